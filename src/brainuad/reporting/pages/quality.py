"""`qc.html`: a picture per prepared scan, the flagged ones first."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.machine.failures import Failures
from brainuad.machine.files import write_text
from brainuad.preparation.atlas import BrainAtlas
from brainuad.preparation.explain import Said
from brainuad.preparation.records import Records, key_of
from brainuad.reporting.drawing.subject import Picture
from brainuad.reporting.drawing.views import radiological
from brainuad.reporting.pages import html
from brainuad.volumes.nifti import read_mask, read_volume
from brainuad.volumes.resample import resample_like

_PANEL, _GAP, _HISTOGRAM = 150, 4, 190
_MEASURES = ("overlap", "similarity", "cohort_mirrored_gain", "noise", "border_share")
_BRAIN, _ATLAS = "#56d364", "#ff9f1c"


def write_quality(
    cohort: Cohort,
    records: Records,
    atlas: BrainAtlas | None,
    steps: Sequence[Said] = (),
    nameless: bool = False,
) -> Path:
    """Writes `qc.html` into the cohort folder.

    Args:
        cohort: prepared.
        records: of all its scans.
        atlas: whose outline is drawn, None where nothing was registered to one.
        steps: of the preparation, in words.
        nameless: leave out pictures, names, notes, reasons and steps, which may hold paths; scans
            become numbers.
    """
    flags = cohort.record.flags
    scans = sorted(cohort.scans, key=lambda s: (-len(flags.get(_name(s), [])), s.subject))
    rows, items = [], []
    for index, scan in enumerate(scans):
        anchor = f"scan-{index}"
        record = records[key_of(scan)]
        name, found = record.name, record.quality
        shown = f"scan {index + 1}" if nameless else name
        said = [*flags.get(name, []), *([] if nameless else record.notes)]
        rows.append(
            [
                shown if nameless else html.Markup(f'<a href="#{anchor}">{html.escape(name)}</a>'),
                str(len(flags.get(name, []))),
                f"{found['brain_ml']:.0f}",
                *("–" if found.get(key) is None else f"{found[key]:.3f}" for key in _MEASURES),
                scan.split,
                "; ".join(said),
            ]
        )
        if nameless:
            continue
        problems, body = Failures(), ""
        with problems.catching(name, scan.image):
            picture = draw_scan(scan, atlas)
            body = html.picture(picture.jpeg, f"{name}. " + "; ".join(said), *picture[1:])
        body += "".join(html.paragraph(why, "alert") for _, why in problems)
        chips = "".join(f'<span class="chip">{html.escape(text)}</span> ' for text in said)
        title = html.Markup(f"<h3>{html.escape(name)}</h3> {chips}")
        items.append(html.details(title, body, "subject", anchor, shown=True))
    header = [
        *("scan", "flags", "brain, ml", "overlap", "similarity", "mirrored fit", "noise"),
        *("mask at border", "split", "what to look at"),
    ]
    table = html.table(header, rows, "Prepared scans", (0, 8, 9), sortable=True)
    words = (
        "Green is the brain mask, orange the atlas's brain after registration. A flag asks for a "
        "look and excludes nothing; the limits are in the configuration (preparation.limits). "
        "Left and right: radiological convention."
    )
    failed = cohort.record.failures
    lost = "".join(f"<li><b>{html.escape(a)}</b>: {html.escape(b)}</li>" for a, b in failed)
    if nameless:
        words = "This page is anonymous: it leaves out pictures, names and places."
        lost = html.Markup(f"<li>{len(failed)} scans</li>")
    alert = f'<div class="alert" role="alert"><h2>Not prepared</h2><ul>{lost}</ul></div>'
    content = "".join(
        (
            alert if failed else "",
            html.section("Scans", html.paragraph(words, "soft"), table, anchor="scans"),
            "" if nameless else html.section("Pictures", *items, anchor="pictures"),
        )
    )
    parts = {"scans": "Scans"} | ({} if nameless else {"pictures": "Pictures"})
    if steps and not nameless:
        words = "In this order; brainuad-prepare --explain prints the same."
        titles = ("step", "grid", "intensities", "transform")
        lines = [(one.step, one.grid, one.intensities, one.transform) for one in steps]
        steps_table = html.table(titles, lines, "Steps of the preparation", (0, 1, 2, 3))
        content += html.section("Steps", html.paragraph(words, "soft"), steps_table, anchor="steps")
        parts["steps"] = "Steps"
    count = sum(bool(flags.get(_name(scan))) for scan in scans)
    subtitle = f"{len(scans)} scans, {count} flagged, {len(failed)} failed"
    path = cohort.root / "qc.html"
    whose = "an unnamed cohort" if nameless else cohort.name
    write_text(path, html.page(f"Quality of {whose}", subtitle, parts, content))
    return path


def draw_scan(scan: Scan, atlas: BrainAtlas | None) -> Picture:
    """Three planes of a prepared scan with both outlines, and the histogram of its brain.

    Raises:
        InputError: a file that cannot be read.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    volume = read_volume(scan.image)
    brain = read_mask(scan.brain_mask, like=volume)
    target = None
    if atlas is not None:
        share = atlas.brain_mask.astype(np.float32)
        target = resample_like(share, atlas.image.affine, volume) >= 0.5
    middle = [int(n) for n in np.argwhere(brain).mean(axis=0)] if brain.any() else [0, 0, 0]
    width, height = 3 * (_PANEL + _GAP) + _HISTOGRAM, _PANEL
    figure = Figure(figsize=(width / 100, height / 100), dpi=130, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    for column, axis in enumerate((2, 1, 0)):
        axes = figure.add_axes((column * (_PANEL + _GAP) / width, 0, _PANEL / width, 1))
        axes.set_axis_off()
        axes.imshow(radiological(volume.array, axis, middle), cmap="gray", vmin=0, vmax=1)
        for mask, colour in ((target, _ATLAS), (brain, _BRAIN)):
            plane = None if mask is None else radiological(mask, axis, middle)
            if plane is not None and plane.any() and not plane.all():
                axes.contour(plane.astype(float), [0.5], colors=colour, linewidths=0.7)
    axes = figure.add_axes((1 - (_HISTOGRAM - 14) / width, 0.2, (_HISTOGRAM - 26) / width, 0.72))
    axes.hist(volume.array[brain], bins=64, range=(0, 1), color="#c9ced6")
    axes.set_facecolor("black")
    axes.set_yticks([])
    axes.tick_params(colors="#c9ced6", labelsize=6, length=2)
    canvas.draw()
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(buffer, "JPEG", quality=80)
    return Picture(buffer.getvalue(), width, height)


def _name(scan: Scan) -> str:
    return f"{scan.subject}_{scan.sequence}"
