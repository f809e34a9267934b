"""`qc.html`: a picture per prepared scan, the flagged ones first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.machine.failures import Failures
from brainuad.machine.files import write_text
from brainuad.machine.text import quantity
from brainuad.preparation.atlas import BrainAtlas
from brainuad.preparation.explain import Said
from brainuad.preparation.records import Records, key_of
from brainuad.reporting.drawing.panels import Picture, Sheet, outline, show
from brainuad.reporting.drawing.views import radiological
from brainuad.reporting.flags import Flag, flags_of
from brainuad.reporting.pages.render import Link, Table, decimals, render
from brainuad.volumes.nifti import read_mask, read_volume
from brainuad.volumes.resample import resample_like

_PANEL, _GAP, _HISTOGRAM = 220, 4, 200
_MEASURES = {
    "brain_ml": ("brain, ml", 0),
    "overlap": ("overlap", 3),
    "similarity": ("similarity", 3),
    "cohort_mirrored_gain": ("mirrored fit", 3),
    "noise": ("noise", 3),
    "border_share": ("mask at border", 3),
}
"""Measure to its title and its decimals."""

_BRAIN, _ATLAS = "#56d364", "#ff9f1c"


@dataclass(frozen=True)
class Checked:
    """A prepared scan with its picture.

    Attributes:
        anchor: its place on the page.
        name: name of the scan.
        flags: what to look at.
        notes: oddities of its files.
        picture: None where a file cannot be read.
        alt: the picture in words.
        problems: reasons why there is no picture.
    """

    anchor: str
    name: str
    flags: tuple[Flag, ...]
    notes: tuple[str, ...]
    picture: Picture | None
    alt: str
    problems: list[str]


def write_quality(
    cohort: Cohort,
    records: Records,
    atlas: BrainAtlas | None,
    steps: Sequence[Said] = (),
    nameless: bool = False,
) -> Path:
    """Write `qc.html` into the cohort folder.

    Args:
        cohort: prepared cohort.
        records: records of all its scans.
        atlas: atlas whose outline is drawn; None where nothing was registered to one.
        steps: steps of the preparation, in words.
        nameless: leave out pictures, names, notes, reasons and steps, which may hold paths; scans
            become numbers.
    """
    texts = cohort.record.flags
    scans = sorted(cohort.scans, key=lambda s: (-len(texts.get(_name(s), [])), s.subject))
    rows, shown = [], []
    for index, scan in enumerate(scans):
        record = records[key_of(scan)]
        flags = flags_of(texts.get(record.name, []))
        measures = [decimals(record.quality.get(m), digits) for m, (_, digits) in _MEASURES.items()]
        looks = ". ".join([f.look for f in flags] + ([] if nameless else list(record.notes)))
        anchor = f"scan-{index}"
        name = f"scan {index + 1}" if nameless else Link(record.name, anchor)
        rows.append([name, looks, *measures, scan.split])
        if not nameless:
            shown.append(_checked(scan, atlas, anchor, record.name, flags, record.notes))
    header = ["scan", "what to look at", *(title for title, _ in _MEASURES.values()), "split"]
    lines = [] if nameless else [[s.step, s.grid, s.intensities, s.transform] for s in steps]
    titles = ("step", "grid", "intensities", "transform")
    explained = Table(titles, lines, "Steps of the preparation", (0, 1, 2, 3)) if lines else None
    failed = cohort.record.failures
    count = sum(bool(texts.get(_name(scan))) for scan in scans)
    page = render(
        "quality.html",
        title=f"Quality of {'an unnamed cohort' if nameless else cohort.name}",
        subtitle=f"{quantity(len(scans), 'scan')}, {count} flagged, {len(failed)} failed",
        nameless=nameless,
        failed=failed,
        scans=Table(header, rows, "Prepared scans", (0, 1, 8), sortable=True),
        shown=shown,
        steps=explained,
    )
    path = cohort.root / "qc.html"
    write_text(path, page)
    return path


def draw_scan(scan: Scan, atlas: BrainAtlas | None) -> Picture:
    """Return three planes of a prepared scan with both outlines, and the histogram of its brain.

    Raises:
        InputError: a file that cannot be read.
    """
    volume = read_volume(scan.image)
    brain = read_mask(scan.brain_mask, like=volume)
    outlines = {_BRAIN: brain}
    if atlas is not None:
        share = atlas.brain_mask.astype(np.float32)
        target = resample_like(share, atlas.image.affine, volume) >= 0.5
        outlines = {_ATLAS: target, _BRAIN: brain}
    middle = [int(n) for n in np.argwhere(brain).mean(axis=0)] if brain.any() else [0, 0, 0]
    size_mm = np.array(brain.shape) * volume.spacing_mm
    per_mm = _PANEL / size_mm.max()
    sheet = Sheet(3 * (_PANEL + _GAP) + _HISTOGRAM, size_mm[1:].max() * per_mm)
    for column, axis in enumerate((2, 1, 0)):
        wide, tall = (float(mm) for mm in np.delete(size_mm, axis))
        x = column * (_PANEL + _GAP) + (_PANEL - wide * per_mm) / 2
        axes = sheet.panel(x, (sheet.height - tall * per_mm) / 2, wide * per_mm, tall * per_mm)
        show(axes, radiological(volume.array, axis, middle), (wide, tall), vmax=1)
        for colour, mask in outlines.items():
            outline(axes, radiological(mask, axis, middle), (wide, tall), colour)
    axes = sheet.axes(sheet.width - _HISTOGRAM + 10, 12, _HISTOGRAM - 24, sheet.height - 36)
    axes.hist(volume.array[brain], bins=64, range=(0, 1), color="#c9ced6")
    axes.set_facecolor("black")
    axes.set_yticks([])
    axes.tick_params(colors="#c9ced6", labelsize=7, length=2)
    return sheet.jpeg()


def _checked(
    scan: Scan,
    atlas: BrainAtlas | None,
    anchor: str,
    name: str,
    flags: tuple[Flag, ...],
    notes: tuple[str, ...],
) -> Checked:
    problems, picture = Failures(), None
    with problems.catching(name, scan.image):
        picture = draw_scan(scan, atlas)
    alt = f"{name}. " + ". ".join([flag.look for flag in flags] + list(notes))
    return Checked(anchor, name, flags, notes, picture, alt, [why for _, why in problems])


def _name(scan: Scan) -> str:
    return f"{scan.subject}_{scan.sequence}"
