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
    "mosaic": "mosaics",
}
"""Kinds other than `PLAIN`, and how to name their images."""

READABLE = (PLAIN, "diffusion", "map", "real")
"""Kinds that make a volume, the ones that a series is read for first."""

_PROJECTION = frozenset(
    "PROJECTION MIP MIPS MNIP MINIP MAXIP VRT SSD RENDERING VOLREN CURVED RENDER".split()
)
_LOCALIZER = frozenset("LOCALIZER LOCALISER SCOUT SURVEY".split())
_CAPTURE = frozenset("SCREEN SCREENSHOT SCREENSAVE CSAREPORT REPORT CAPTURE".split())
_MAP = frozenset(
    "ADC EADC FA TENSOR TRACEW TRACE CBF CBV RCBF RCBV MTT TTP TMAX SUBTRACTION VELOCITY MAP T1MAP T2MAP "
    "QMAP R2MAP FMRI ZMAP TMAP PERFUSION".split()
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
        modality: of (0008,0060).
    """
    values = [value.strip().upper() for value in image_type.split("\\")]
    tokens = {token for value in values for token in re.split(r"[^A-Z0-9]+", value)}
    if "MOSAIC" in tokens:
        return "mosaic"
    rendered = technique.upper() not in ("", "NONE", "MPR", "MIXED")
    if rendered or tokens & _PROJECTION or ("IP" in tokens and tokens & {"MAX", "MIN", "MEAN"}):
        return "projection"
    if tokens & _LOCALIZER:
        return LOCALIZER
    if tokens & _CAPTURE:
        return "capture"
    if part := _COMPONENT.get(component.strip().upper()):
        return part
    for value in values[2:]:
        # Philips names the technique behind the component: `P_FFE`.
        if part := _COMPONENT.get(value) or _COMPONENT.get(value[:1] if value[1:2] == "_" else ""):
            return part
    if modality not in ("MR", "") or not tokens & (_MAP | {"DIFFUSION"}):
        return PLAIN
    return "map" if tokens & _MAP else "diffusion"
