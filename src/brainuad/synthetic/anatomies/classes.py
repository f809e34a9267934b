"""Sixteen tissue classes of a head, and the labels that belong to each.

Labels up to 255 are FreeSurfer's. Labels from 500 are those of SimNIBS's head atlas, 136 to 164
the choroid plexus: both as in the label maps of SynthSeg (Billot et al. 2023, Medical Image
Analysis 86:102789). Left and right share a class, so a drawn contrast is the same on both sides.
"""

import numpy as np

from brainuad.errors import InputError

LESIONS = (25, 57, 77, 78, 79)
"""Lesions and hypointensities of white matter; white matter in the healthy anatomy."""

LABELS: dict[str, tuple[int, ...]] = {
    "white": (2, 41, 251, 252, 253, 254, 255, *LESIONS),
    "cortex": (3, 42),
    "cerebellar white": (7, 46),
    "cerebellar cortex": (8, 47),
    # 30 and 62 are called vessels, but lie below the putamen: perivascular spaces.
    "sulcal CSF": (24, 30, 62),
    "ventricles": (4, 5, 43, 44, 14, 15, 72),
    "thalamus": (10, 49),
    "caudate": (11, 50, 26, 58),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "hippocampus": (17, 53, 18, 54),
    "brainstem": (16, 28, 60, 512, 85, 530),
    "plexus": (31, 63, 136, 137, 163, 164),
    "vessels": (502, 514),
    "bone": (515, 516),
    "soft tissue": (506, 507, 508, 509, 511),
}
"""Labels of each class: accumbens with caudate, amygdala with hippocampus, eyes with soft tissue.

Background (air) is no class: it is what the shares of a voxel lack to one.
"""

CLASSES = tuple(LABELS)
"""Names of the classes; a class's number is its place here."""

WHITE = tuple(CLASSES.index(name) for name in ("white", "cerebellar white", "brainstem"))
GREY = tuple(
    CLASSES.index(name)
    for name in (
        *("cortex", "cerebellar cortex", "thalamus", "caudate", "putamen", "pallidum"),
        "hippocampus",
    )
)
CSF = tuple(CLASSES.index(name) for name in ("sulcal CSF", "ventricles"))

OUTSIDE = (24, 30, 62, 502, 506, 507, 508, 509, 511, 512, 514, 515, 516, 530)
"""Labels that are not brain tissue; brain masks are made of the others."""

LATERAL = (4, 5, 43, 44, 14, 136, 163)
"""The lateral and third ventricles with their plexus, whose walls have caps and bands."""

_NEEDED = ("white", "cortex", "sulcal CSF", "ventricles")


def class_of_label(labels: np.ndarray, name: str) -> np.ndarray:
    """Return the class of every label from 0 to the largest one, `len(CLASSES)` for background.

    Args:
        labels: the labels that a map has, whole numbers.
        name: name of the map, for messages.

    Raises:
        InputError: a label of none of the classes, or a class that every head has is missing.
    """
    known = {label: index for index, own in enumerate(LABELS.values()) for label in own}
    present = [int(label) for label in labels if label != 0]
    unknown = [label for label in present if label not in known]
    if unknown:
        raise InputError(
            f"{name}: label {unknown[0]} is neither FreeSurfer's nor of the head atlas; set it to "
            "0 or to a label of docs/how-to/synthetic-scans.md"
        )
    found = {known[label] for label in present}
    for needed in _NEEDED:
        if CLASSES.index(needed) not in found:
            raise InputError(
                f"{name}: has no {needed} (labels {LABELS[needed]}); give a label map of a whole "
                "brain with its CSF"
            )
    table = np.full(max(present) + 1, len(CLASSES), dtype=np.uint8)
    for label, index in known.items():
        if label < len(table):
            table[label] = index
    return table
