"""DICOM Segmentation objects as pydicom and dciodvfy see them, for tests."""

import os
import shutil
import subprocess

import numpy as np
import pydicom
import pytest

FLIP = np.diag([-1.0, -1, 1, 1])


def labels_of(file, affine, shape):
    """Number of the segment of each voxel of a NIfTI grid, by the world place of each pixel.

    Args:
        file: the object.
        affine: `(4, 4)` voxel to RAS mm.
        shape: shape of the grid.
    """
    made = pydicom.dcmread(file)
    frames = np.unpackbits(np.frombuffer(made.PixelData, np.uint8), bitorder="little")
    frames = frames[: made.NumberOfFrames * made.Rows * made.Columns]
    frames = frames.reshape(made.NumberOfFrames, made.Rows, made.Columns)
    (shared,) = made.SharedFunctionalGroupsSequence
    row, column = np.array(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, float
    ).reshape(2, 3)
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    found = np.zeros(shape, int)
    for frame, item in zip(frames, made.PerFrameFunctionalGroupsSequence, strict=True):
        r, c = np.nonzero(frame)
        place = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        points = place + np.outer(c * spacing[1], row) + np.outer(r * spacing[0], column)
        back = np.linalg.inv(affine) @ FLIP @ np.c_[points, np.ones(len(points))].T
        index = np.rint(back[:3]).astype(int)
        assert np.abs(back[:3] - index).max() < 0.01
        holder = item if "SegmentIdentificationSequence" in item else shared
        number = holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert not found[tuple(index)].any()
        found[tuple(index)] = number
    return found


def sources_of(file):
    """`(place, SOPInstanceUID, frame number or None)` of each frame."""
    made = pydicom.dcmread(file)
    for item in made.PerFrameFunctionalGroupsSequence:
        (source,) = item.DerivationImageSequence[0].SourceImageSequence
        place = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        yield place, source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber")


def errors_in(file):
    """Errors that dciodvfy, an independent checker, finds; skips without it but where CI has it."""
    if shutil.which("dciodvfy") is None:
        if os.environ.get("BRAINUAD_REQUIRE_DCIODVFY"):
            pytest.fail("dciodvfy is not installed; apt-get install dicom3tools")
        pytest.skip("no dciodvfy here; apt-get install dicom3tools")
    done = subprocess.run(
        ["dciodvfy", "-new", str(file)], capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    # It names the kind of object that it recognised.
    assert "Segmentation" in lines
    return [line for line in lines if line.startswith("Error") or "Abort" in line]
