"""Sheet of panels: the dark picture on which every page shows slices."""

import io
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIGHT = "#e6e9ee"
"""Colour of text on the dark picture."""

MAX_BYTES = 150_000
"""Size of a JPEG above which it is compressed further, so that a page stays small."""


class Picture(NamedTuple):
    """A JPEG and its size on the page in pixels."""

    jpeg: bytes
    width: int
    height: int


class Sheet:
    """A dark picture, in both themes, as image viewers are. Places are pixels from the upper left.

    Args:
        width: width on the page.
        height: height on the page.
        scale: pixels of the file per pixel on the page; more than 1 is sharp on dense screens.
    """

    def __init__(self, width: float, height: float, scale: float = 1.3) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        size = width / 100, height / 100
        self.figure = Figure(figsize=size, dpi=100 * scale, facecolor="black")
        self._canvas = FigureCanvasAgg(self.figure)

    def axes(self, x: float, y: float, width: float, height: float) -> "Axes":
        """Return axes at a place."""
        bottom = self.height - y - height
        return self.figure.add_axes(
            (x / self.width, bottom / self.height, width / self.width, height / self.height)
        )

    def panel(self, x: float, y: float, width: float, height: float) -> "Axes":
        """Return axes without lines and labels at a place."""
        axes = self.axes(x, y, width, height)
        axes.set_axis_off()
        return axes

    def text(self, x: float, y: float, text: str, size: float, **style: Any) -> None:
        """Write a text around a place."""
        style = {"ha": "center", "va": "center", "color": LIGHT, **style}
        self.figure.text(x / self.width, 1 - y / self.height, text, fontsize=size, **style)

    def pixels(self) -> np.ndarray:
        """Return the picture, `(height, width, 3)` uint8."""
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3]

    def jpeg(self) -> Picture:
        """Return the picture as JPEG, of lower quality where it would be large."""
        from PIL import Image

        picture = Image.fromarray(self.pixels())
        for quality in (85, 70, 50, 20):
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= MAX_BYTES:
                break
        return Picture(buffer.getvalue(), round(self.width), round(self.height))

    def png(self) -> bytes:
        """Return the picture as PNG."""
        buffer = io.BytesIO()
        self._canvas.print_png(buffer)
        return buffer.getvalue()


def show(axes: "Axes", plane: np.ndarray, size_mm: tuple[float, float], **style: Any) -> Any:
    """Show a plane of a volume at the scale of its panel.

    Args:
        axes: panel.
        plane: `(rows, columns)`, from the bottom up, or RGBA.
        size_mm: width and height.
        style: options of matplotlib's `imshow`, grey by default.

    Returns:
        The image, as a colour bar needs it.
    """
    width, height = size_mm
    style = {"cmap": "gray", "vmin": 0, **style}
    image = axes.imshow(plane, extent=(0, width, 0, height), origin="lower", **style)
    axes.set_aspect("equal")
    return image


def outline(
    axes: "Axes",
    mask: np.ndarray,
    size_mm: tuple[float, float],
    colour: str,
    thickness: float = 0.9,
) -> None:
    """Draw the border of a mask.

    Args:
        axes: panel that shows a plane of this size.
        mask: `(rows, columns)`, from the bottom up.
        size_mm: width and height.
        colour: colour of the line.
        thickness: thickness of the line, in points.
    """
    width, height = size_mm
    marked = mask > 0
    if marked.any() and not marked.all() and min(mask.shape) > 1:
        style: dict[str, Any] = {"extent": (0, width, 0, height), "origin": "lower"}
        axes.contour(marked.astype(float), [0.5], colors=colour, linewidths=thickness, **style)


def colour_bar(
    sheet: Sheet, x: float, y: float, width: float, limit: float, threshold: float | None
) -> None:
    """Draw the scale of an anomaly map.

    Args:
        sheet: picture to draw into.
        x: left edge.
        y: upper edge.
        width: width; the height is 8.
        limit: top of the scale.
        threshold: score to mark; None, NaN or a score beyond the scale is not marked.
    """
    axes = sheet.axes(x, y, width, 8)
    shades = np.linspace(0, 1, 256)[None]
    axes.imshow(shades, cmap="inferno", aspect="auto", extent=(0, limit, 0, 1))
    axes.set_yticks([])
    axes.set_xticks([0, limit], ["0", f"≥ {limit:.3g}"])
    axes.tick_params(colors=LIGHT, labelsize=7, length=2, pad=2)
    if threshold is not None and 0 < threshold <= limit:
        axes.axvline(threshold, color="white", linewidth=1.2)
        style: dict[str, Any] = {"color": "white", "ha": "center", "va": "bottom"}
        axes.text(threshold, 1.2, f"▼ {threshold:.3g}", fontsize=7, **style)
