"""Recognition of 2D images by their file names, without an image library."""

RASTERS = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
ARRAYS = (".npy",)
VOLUMES = (".nii", ".nii.gz", ".img", ".hdr")
PLANES = RASTERS + ARRAYS
"""Endings of 2D images, in any case. NIfTI files may hold one plane, too."""

TAKEN_BY = "data=slices takes 2D images, and so do models that were trained with it"
"""Advice where volumes are searched and 2D images are found."""


def is_plane_file(name: str) -> bool:
    """Return whether a file's name ends as those of 2D images do."""
    return name.lower().endswith(PLANES)
