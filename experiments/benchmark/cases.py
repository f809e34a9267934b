"""A page of cases of one method: an axial slice each, scan, truth, anomaly map and mask."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from brainuad.cohorts.manifest import Scan
from brainuad.reporting.drawing.subject import draw_subject
from brainuad.reporting.drawing.views import load_view, shared_limit

WIDTH, LINE, QUALITY = 900, 26, 80


def page(
    title: str, cases: Sequence[tuple[str, Scan]], maps: Path, threshold: float | None
) -> bytes:
    """The page as JPEG.

    Args:
        title: above it.
        cases: what stands above each, and its scan.
        maps: folder of the run's maps on the prepared grid.
        threshold: marked on the scale of the anomaly maps, which all cases share.

    Raises:
        InputError: a volume is damaged.
    """
    views = [load_view(scan, maps) for _, scan in cases]
    limit = shared_limit(views)
    strips = []
    for view in views:
        # The axial plane alone: three cases are to be seen at a glance.
        picture = draw_subject(replace(view, planes=view.planes[:1]), limit, threshold)
        strip = Image.open(io.BytesIO(picture.jpeg))
        strips.append(strip.resize((WIDTH, round(strip.height * WIDTH / strip.width))))
    height = LINE + sum(strip.height + LINE for strip in strips)
    sheet = Image.new("RGB", (WIDTH, height), "black")
    draw, y = ImageDraw.Draw(sheet), LINE
    font = ImageFont.load_default(size=15)
    draw.text((10, 6), title, fill="#ffffff", font=font)
    for (text, _), strip in zip(cases, strips, strict=True):
        draw.text((10, y + 5), text, fill="#f0e442", font=font)
        sheet.paste(strip, (0, y + LINE))
        y += LINE + strip.height
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
