"""3D images in world space: files, orientation, resampling, warps, the way back, tiles."""
