"""Pictures of cases: an axial slice each, with scan, truth, anomaly map and mask."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from brainuad.cohorts.manifest import Scan
from brainuad.reporting.drawing.subject import draw_subject
from brainuad.reporting.drawing.views import load_view, shared_limit

WIDTH, LINE, QUALITY = 900, 26, 80


def strips(
    cases: Sequence[tuple[str, Scan]], maps: Path, threshold: float | None
) -> list[Image.Image]:
    """Draw each case below its caption.

    Args:
        cases: captions and scans.
        maps: folder of the run's maps on the prepared grid.
        threshold: value marked on the scale of the anomaly maps, which all cases share.

    Raises:
        InputError: a volume is damaged.
    """
    views = [load_view(scan, maps) for _, scan in cases]
    limit = shared_limit(views)
    drawn = []
    for (caption, _), view in zip(cases, views, strict=True):
        # The axial plane alone, so that several cases fit on a page.
        picture = draw_subject(replace(view, planes=view.planes[:1]), limit, threshold)
        image = Image.open(io.BytesIO(picture.jpeg))
        slices = image.resize((WIDTH, round(image.height * WIDTH / image.width)))
        strip = Image.new("RGB", (WIDTH, LINE + slices.height), "black")
        _write(strip, (10, 5), caption, "#f0e442")
        strip.paste(slices, (0, LINE))
        drawn.append(strip)
    return drawn


def page(title: str, drawn: Sequence[Image.Image], columns: int = 1) -> bytes:
    """Return strips below a title as JPEG; with several columns each strip is 600 pixels wide."""
    width = WIDTH if columns == 1 else 600
    sized = [strip.resize((width, round(strip.height * width / WIDTH))) for strip in drawn]
    rows = [sized[start : start + columns] for start in range(0, len(sized), columns)]
    heights = [max(strip.height for strip in row) for row in rows]
    sheet = Image.new("RGB", (columns * width, LINE + sum(heights)), "black")
    _write(sheet, (10, 6), title, "#ffffff")
    y = LINE
    for row, height in zip(rows, heights, strict=True):
        for place, strip in enumerate(row):
            sheet.paste(strip, (place * width, y))
        y += height
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def _write(image: Image.Image, place: tuple[int, int], text: str, colour: str) -> None:
    font = ImageFont.load_default(size=15)
    ImageDraw.Draw(image).text(place, text, fill=colour, font=font)
