"""The DICOM series of a folder: which one is a volume of a head, and which of its images."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainuad.errors import InputError
from brainuad.volumes.dicom.headers import Image, images_in
from brainuad.volumes.dicom.kinds import LOCALIZER, PLAIN, READABLE, WORDS

SAME_DIRECTION = 0.015
"""Largest difference of two unit vectors of one direction: cosines of two decimals are rounded."""

FEW = 20
"""Largest number of slices of one direction in a localizer."""

_LOCALIZER = re.compile(r"(?<![a-z])(?:locali[sz]er|loc|scout|survey|aahead)(?![a-z])", re.I)


@dataclass(frozen=True)
class Series:
    """The images of one series in a folder.

    Attributes:
        folder: the folder.
        images: its images, without those of other kinds than `kind`.
        left: number of images of each other kind.
        kind: kind of the images.
    """

    folder: Path
    images: list[Image]
    left: dict[str, int]
    kind: str

    @property
    def first(self) -> Image:
        """Its first image."""
        return self.images[0]

    @property
    def modality(self) -> str:
        """Return its modality; empty if unknown."""
        return self.first.modality

    @property
    def reason(self) -> str:
        """Reason why it is not a volume of a head, in any modality; empty where it may be one."""
        # Inversion recovery with its sign kept comes as real images alone.
        alone = self.kind == "real" and not self.left
        if self.kind not in READABLE and not alone:
            others = f" and {_counted(self.left)}" if self.left else ""
            return (
                f"{WORDS[self.kind]}{others}, no volume of a head, by the image type in its files"
            )
        several = directions(self.images)
        named = bool(_LOCALIZER.search(self.first.description))
        few = several and len(several[0]) <= max(FEW, len(self.images) // len(several))
        if len(several) > (1 if named else 2) and few:
            return f"a localizer: {len(self.images)} slices in {len(several)} directions"
        return ""

    @property
    def notes(self) -> list[str]:
        """Return the images that are left out."""
        return [f"{_counted(self.left)} of the series are left out"] if self.left else []


def series_in(folder: Path) -> tuple[list[Series], list[Path]]:
    """List the DICOM series that lie directly in a folder, and its damaged files.

    Raises:
        InputError: a pipe or a device lies in the folder.
    """
    images, damaged = images_in(folder)
    groups: dict[str, list[Image]] = {}
    for image in images:
        groups.setdefault(image.series, []).append(image)
    return [_series(folder, group) for group in groups.values()], damaged


def usable(found: list[Series]) -> list[Series]:
    """Return the series that may be volumes of heads; beside magnetic resonance, that alone."""
    kept = [series for series in found if not series.reason]
    kept = [series for series in kept if series.modality in ("", "MR")] or kept
    if len(kept) > 1:
        kept = [s for s in kept if not _LOCALIZER.search(s.first.description)] or kept
        kept = [s for s in kept if s.kind == PLAIN] or kept
    return kept


def the_series(folder: Path) -> tuple[Series, list[str]]:
    """Choose the one series of a folder, with notes on the others.

    Raises:
        InputError: none, or several.
    """
    found, damaged = series_in(folder)
    if damaged:
        raise InputError(
            f"{damaged[0]}: no readable DICOM file ({len(damaged)} in the folder); copy it again, "
            "or take it out of the folder"
        )
    if not found:
        raise InputError(f"{folder}: no DICOM series in this folder; give the series' own folder")
    kept = usable(found)
    if not kept:
        reasons = "; ".join(dict.fromkeys(series.reason for series in found))
        raise InputError(f"{folder}: {reasons}; give the folder of the scan itself")
    if len(kept) > 1:
        names = ", ".join(series.first.description or "without a name" for series in kept[:4])
        raise InputError(
            f"{folder}: holds {len(kept)} DICOM series ({names}); put each into a folder of its own"
        )
    others = [series for series in found if series is not kept[0]]
    notes = [f"another series is left out: {_about(series)}" for series in others]
    return kept[0], notes


def directions(images: list[Image]) -> list[list[Image]]:
    """Group images by the directions of their rows and columns, the largest group first."""
    groups: list[tuple[np.ndarray, list[Image]]] = []
    for image in images:
        if image.orientation is None:
            continue
        own = np.array(image.orientation)
        for known, group in groups:
            if np.abs(known - own).max() <= SAME_DIRECTION:
                group.append(image)
                break
        else:
            groups.append((own, [image]))
    return sorted((group for _, group in groups), key=len, reverse=True)


def _series(folder: Path, images: list[Image]) -> Series:
    count = Counter(image.kind for image in images)
    kind = next((kind for kind in READABLE if count[kind]), max(count, key=lambda k: count[k]))
    own = [image for image in images if image.kind == kind]
    left = {other: number for other, number in count.items() if other != kind}
    return Series(folder, own, left, kind)


def _counted(left: dict[str, int]) -> str:
    return " and ".join(f"{number} {WORDS[kind]}" for kind, number in sorted(left.items()))


def _about(series: Series) -> str:
    what = series.reason or (
        WORDS[LOCALIZER] if _LOCALIZER.search(series.first.description) else ""
    )
    if series.modality not in ("", "MR"):
        what = f"{series.modality}, not MR"
    name = f" ({series.first.description})" if series.first.description else ""
    return f"{what or WORDS.get(series.kind, 'a volume')}{name}"
