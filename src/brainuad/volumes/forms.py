"""The two affines of a NIfTI header, its sform and its qform."""

import math
from typing import Any

import nibabel as nib
import numpy as np

CONFLICT_MM = 1.0
"""Corners that sform and qform put further apart than this are a conflict."""

VOXEL_MM = 1e-3
"""Shortest edge of a voxel that a header can mean."""

IN_MM = {1: (1e3, "metres"), 3: (1e-3, "micrometres")}
"""Code of a unit of length to its millimetres and its name; all others are millimetres."""


def agree(sform: np.ndarray, qform: np.ndarray, header: Any, notes: list[str]) -> bool:
    """Compare the two forms; False where they disagree about left and right."""
    shape = np.array(header["dim"][1:4]) - 1
    corners = np.array(np.meshgrid(*[(0, n) for n in shape])).reshape(3, -1)
    both = np.vstack([corners, np.ones(8)])
    apart = unit_of(header) * np.linalg.norm(((sform - qform) @ both)[:3], axis=0).max()
    if apart > CONFLICT_MM:
        notes.append(f"sform and qform differ by {apart:.1f} mm; the sform is used")
    if (sform[0, :3] * qform[0, :3]).sum() >= 0:
        return True
    notes.append("sform and qform disagree about left and right")
    return False


def sform_of(header: Any) -> np.ndarray:
    """The sform, `(4, 4)`, as the file has it."""
    rows = [header[name] for name in ("srow_x", "srow_y", "srow_z")]
    return np.vstack([np.asarray(rows, dtype=np.float64), [0, 0, 0, 1]])


def qform_of(header: Any) -> np.ndarray:
    """The qform, `(4, 4)`, by the rules of nifti1_io.c.

    Like it, this normalises a quaternion that rounding made too long.
    """
    b, c, d = (float(header[f"quatern_{axis}"]) for axis in "bcd")
    length = b * b + c * c + d * d
    if not length <= 1 + 1e-3:
        return np.full((4, 4), np.nan)
    if length > 1:
        b, c, d = (value / math.sqrt(length) for value in (b, c, d))
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    size = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    size[2] *= -1 if header["pixdim"][0] < 0 else 1
    matrix = np.eye(4)
    matrix[:3, :3] = nib.quaternions.quat2mat([a, b, c, d]) * size
    matrix[:3, 3] = [header[f"qoffset_{axis}"] for axis in "xyz"]
    return matrix


def is_usable(matrix: np.ndarray) -> bool:
    """Return whether an affine is finite and spans a volume."""
    if not np.isfinite(matrix).all():
        return False
    size = np.linalg.norm(matrix[:3, :3], axis=0)
    # In whatever unit: metres and micrometres lie within.
    if size.min() < VOXEL_MM / 1e3 or size.max() > 1e6:
        return False
    return abs(np.linalg.det(matrix[:3, :3] / size)) > 1e-3


def shear_of(matrix: np.ndarray) -> float:
    """The largest cosine between two of an affine's axes."""
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max())


def unit_of(header: Any) -> float:
    """Return the header's unit of length in millimetres."""
    return IN_MM.get(int(header["xyzt_units"]) & 7, (1.0, "millimetres"))[0]
