"""Preparation: from raw scans to prepared ones.

The steps are MONAI dictionary transforms for any pipeline, imported when they are first named,
because MONAI takes seconds to import:

    from brainuad.preparation import AffineToAtlasd, N4BiasFieldCorrectiond, SkullStripd
"""

from importlib import import_module
from typing import Any

_TRANSFORMS = {
    "ScanReader": "load",
    "LoadScand": "load",
    "SkullStripd": "brain",
    "N4BiasFieldCorrectiond": "brain",
    "MeasureScand": "brain",
    "ExtractBraind": "brain",
    "RegisterBetweend": "register",
    "AffineToAtlasd": "register",
    "DeformToAtlasd": "grid",
    "PreparedGridd": "grid",
    "NyulNormalized": "intensities",
    "WhiteStriped": "intensities",
    "TissueMapd": "intensities",
    "CurvatureFlowd": "intensities",
}

__all__ = list(_TRANSFORMS)


def __getattr__(name: str) -> Any:
    if name not in _TRANSFORMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.transforms.{_TRANSFORMS[name]}"), name)
