"""Folders of DICOM files: headers, kinds of images, series, geometry of the slices, voxels."""
