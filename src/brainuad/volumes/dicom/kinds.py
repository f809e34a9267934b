"""Kinds of DICOM images by their image type: magnitude, phase, projection, localizer, map."""

import re

PLAIN = "plain"
"""Kind of the slices of an ordinary scan."""

LOCALIZER = "localizer"

WORDS = {
    "phase": "phase images",
    "real": "real images",
    "imaginary": "imaginary images",
    "projection": "projections",
    LOCALIZER: "images of a localizer",
    "capture": "screen captures",
    "diffusion": "diffusion images",
    "map": "computed maps",
}
"""Kinds other than `PLAIN`, and how to name their images."""

READABLE = (PLAIN, "diffusion", "map")
"""Kinds that make a volume, the ones that a series is read for first."""

_PROJECTION = frozenset(
    {
        *("PROJECTION", "MIP", "MIPS", "MNIP", "MINIP", "MAXIP", "VRT", "SSD", "RENDERING"),
        *("VOLREN", "CURVED", "RENDER"),
    }
)
_LOCALIZER = frozenset({"LOCALIZER", "LOCALISER", "SCOUT", "SURVEY"})
_CAPTURE = frozenset({"SCREEN", "SCREENSHOT", "SCREENSAVE", "CSAREPORT", "REPORT", "CAPTURE"})
_MAP = frozenset(
    {
        *("ADC", "EADC", "FA", "TENSOR", "TRACEW", "TRACE", "CBF", "CBV", "RCBF", "RCBV"),
        *("MTT", "TTP", "TMAX", "SUBTRACTION", "VELOCITY", "MAP", "T1MAP", "T2MAP", "QMAP"),
        *("R2MAP", "FMRI", "ZMAP", "TMAP", "PERFUSION"),
    }
)
_COMPONENT = {
    **dict.fromkeys(("P", "PHASE", "PHASE MAP"), "phase"),
    **dict.fromkeys(("R", "REAL"), "real"),
    **dict.fromkeys(("I", "IMAGINARY"), "imaginary"),
}


def kind_of(image_type: str, component: str = "", technique: str = "", modality: str = "MR") -> str:
    """Return the kind of an image: `PLAIN` or a key of `WORDS`.

    Args:
        image_type: values of (0008,0008), or of (0008,9007) for a frame, joined by backslashes.
        component: value of (0008,9208), such as `PHASE`; empty where there is none.
        technique: value of (0008,9207), such as `MAX_IP`.
        modality: value of (0008,0060).
    """
    values = [value.strip().upper() for value in image_type.split("\\")]
    tokens = {token for value in values for token in re.split(r"[^A-Z0-9]+", value)}
    rendered = technique.upper() not in ("", "NONE", "MPR", "MIXED")
    intensity = "IP" in tokens and tokens & {"MAX", "MIN", "MEAN"}
    part = _COMPONENT.get(component.strip().upper()) or next(
        filter(None, map(_component, values[2:])), ""
    )
    resonance = modality in ("MR", "")
    found = (
        ("projection", rendered or intensity or tokens & _PROJECTION),
        (LOCALIZER, tokens & _LOCALIZER),
        ("capture", tokens & _CAPTURE),
        (part, part),
        ("map", resonance and tokens & _MAP),
        ("diffusion", resonance and "DIFFUSION" in tokens),
    )
    return next((kind for kind, told in found if told), PLAIN)


def _component(value: str) -> str:
    """The part of the complex image that a value names; Philips adds the technique: `P_FFE`."""
    return _COMPONENT.get(value) or _COMPONENT.get(value[:1] if value[1:2] == "_" else "", "")
