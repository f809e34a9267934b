"""From a trained detector and one scan to its anomaly map, on the prepared grid."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.places import from_plain, laid
from brainuad.errors import InputError
from brainuad.methods.base import AnomalyDetector
from brainuad.methods.parts.random_draws import averaged
from brainuad.networks.memory_layout import fastest_layout
from brainuad.types import Detection
from brainuad.volumes.grids import EXACT, Grid, lay
from brainuad.volumes.header import read_header
from brainuad.volumes.tiling import Tiling

PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""Precisions of detection, in Lightning's words; `auto` becomes one of them."""

KINDS = ("anomaly", "reconstruction", "uncertainty", "input", "mask")
"""Of files a subject in the folder of maps."""


def detect_volume(
    detector: AnomalyDetector,
    tiling: Tiling,
    image: Tensor,
    brain_mask: Tensor,
    batch_size: int = 32,
    affine: np.ndarray | None = None,
) -> Detection:
    """Scores a whole volume tile by tile.

    A detector that knows places has the grid of its training scans in its card: a volume on another
    grid is laid on it by its affine, and what is found comes back. Where the card says `flips`, the
    volume's left-right mirror image is scored too, and both are averaged (`uncertainty` is then
    that between the two as well). The detector judges the scan as a whole, and what it finds is
    relative to healthy brains where it is `relative`.

    Args:
        detector: on the device to use.
        tiling: how the detector wants its input cut.
        image: `(C, D, H, W)` in [0, 1].
        brain_mask: `(1, D, H, W)` bool.
        batch_size: tiles a forward pass.
        affine: `(4, 4)`, voxels to their world in mm, for what knows places
            (`AnomalyDetector.affine`, `relative`); None for the grid of the training scans.

    Returns:
        `Detection` without batch axis, on the CPU.

    Raises:
        InputError: the anomaly map is not finite, or the scan does not lie where the training
            scans do.
    """
    found = _detect_placed(detector, tiling, image, brain_mask, batch_size, affine)
    if detector.relative is not None:
        found = detector.relative(found, affine)
    # No threshold is below a NaN: such a map would look like a healthy brain.
    if not bool(torch.isfinite(found.anomaly_map).all()):
        raise InputError(
            "the model's anomaly map holds NaN or infinite values; use another model, or compute "
            "in more precision (32-true)"
        )
    return found


def _detect_placed(
    detector: AnomalyDetector,
    tiling: Tiling,
    image: Tensor,
    brain_mask: Tensor,
    batch_size: int,
    affine: np.ndarray | None,
) -> Detection:
    """What is found of a scan, judged as a whole, where the training scans lie."""
    own = None if affine is None else Grid(tuple(image.shape[1:]), affine)
    known = detector.card.get("grid")
    grid = None if known is None else from_plain(known)
    if own is not None and grid is not None and own.apart(grid) > EXACT:
        try:
            placed, mask = laid(image, brain_mask, own.affine, grid)
        except InputError:
            if detector.traits.places == "required":
                raise
        else:
            found = _detect_both(detector, tiling, placed, mask, batch_size, grid.affine)
            return _back(detector.judge_scan(found, placed), grid, own, brain_mask)
    found = _detect_both(detector, tiling, image, brain_mask, batch_size, affine)
    return detector.judge_scan(found, image)


def _back(found: Detection, grid: Grid, own: Grid, brain_mask: Tensor) -> Detection:
    """What was found on one grid, on another; 0 outside the brain."""
    parts: list[Tensor | None] = []
    for part in found:
        if part is None:
            parts.append(None)
            continue
        moved = [torch.from_numpy(lay(one, grid.affine, own)) for one in part.numpy()]
        parts.append(torch.where(brain_mask, torch.stack(moved), 0))
    return Detection._make(parts)


def _detect_both(
    detector: AnomalyDetector,
    tiling: Tiling,
    image: Tensor,
    brain_mask: Tensor,
    batch_size: int,
    affine: np.ndarray | None,
) -> Detection:
    detector.affine = affine
    found = _detect_tiles(detector, tiling, image, brain_mask, batch_size)
    if not detector.card.get("flips"):
        return found
    if affine is not None:
        turn = np.diag([-1.0, 1.0, 1.0, 1.0])
        turn[0, 3] = image.shape[1] - 1
        detector.affine = affine @ turn
    mirrored = _detect_tiles(detector, tiling, image.flip(1), brain_mask.flip(1), batch_size)
    back = (None if part is None else part.flip(1) for part in mirrored)
    return averaged([found, Detection._make(back)])


def _detect_tiles(
    detector: AnomalyDetector, tiling: Tiling, image: Tensor, brain_mask: Tensor, batch_size: int
) -> Detection:
    shape = (image.shape[1], image.shape[2], image.shape[3])
    tiles, locations = tiling.split(image)
    masks = tiling.split(brain_mask.to(torch.uint8))[0].bool()
    parts: dict[str, Tensor] = {"anomaly_map": tiles.new_zeros(len(tiles), 1, *tiles.shape[2:])}
    # A tile without brain scores zero by contract, so it is not computed.
    wanted = masks.flatten(1).any(1) | detector.traits.keeps_background
    todo = wanted.nonzero()[:, 0]
    for index in todo.split(batch_size):
        found = detector.detect(tiles[index].to(detector.device), masks[index].to(detector.device))
        for name, values in found._asdict().items():
            if values is not None:
                empty = tiles.new_zeros(len(tiles), values.shape[1], *tiles.shape[2:])
                parts.setdefault(name, empty)[index] = values.cpu()
    joined = {name: tiling.join(part, locations, shape) for name, part in parts.items()}
    return Detection(
        joined["anomaly_map"],
        *(joined.get(name) for name in ("reconstruction", "uncertainty", "draws")),
    )


def model_score(
    detector: AnomalyDetector,
    tiling: Tiling,
    batch_size: int,
    device: str = "cpu",
    precision: str = "32-true",
) -> Callable[[Scan], Detection]:
    """The score of a trained detector, for `write_maps`.

    In one memory layout, so that a loaded model's maps are those of its training run, bit for bit.

    Args:
        detector: is moved to the device, and its weights to that layout.
        tiling: how the detector wants its input cut.
        batch_size: tiles a forward pass.
        device: a name that torch knows.
        precision: one of PRECISIONS, or `auto`.

    Raises:
        InputError: no such precision.
    """
    half = PRECISIONS[chosen_precision(precision, device)]
    detector.to(device)
    fastest_layout(detector, device)

    def score(scan: Scan) -> Detection:
        image, brain_mask = load_scan(scan)
        affine = read_header(scan.image).affine
        with torch.autocast(detector.device.type, half, enabled=half is not None):
            return detect_volume(detector, tiling, image, brain_mask, batch_size, affine)

    return score


def chosen_precision(name: str, place: str = "cpu") -> str:
    """Return the precision to compute in.

    Args:
        name: one of PRECISIONS, which stays, or `auto`: bf16-mixed where the device computes in
            bfloat16 by itself, else 32-true. A CPU does with avx512_bf16 or AMX; without, half
            precision is slower there.
        place: device, as torch knows it.

    Raises:
        InputError: no such precision.
    """
    if name == "auto":
        return "bf16-mixed" if _has_bfloat16(place) else "32-true"
    if name not in PRECISIONS:
        raise InputError(f"precision is {name}; use one of auto, {', '.join(PRECISIONS)}")
    return name


def _has_bfloat16(place: str) -> bool:
    if place.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return place == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


@cache
def device(name: str) -> str:
    """Return the device that a name stands for, once it is known to be there.

    Args:
        name: as torch knows it, or `auto` for the accelerator of this machine.

    Raises:
        InputError: no such device, or one that cannot be used.
    """
    place = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        made = torch.device(place)
        if made.type == "cuda" and torch.cuda.is_available():
            # Nothing is put there: each rank of a training would take memory of the first GPU.
            torch.cuda.get_device_properties(made)
        else:
            torch.zeros(1, device=made).item()
    # A missing driver, a number too high and a name that is none have kinds of their own.
    except Exception as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"device {name} cannot be used ({line:.200}); use cpu, or cuda or cuda:1 where there "
            "is such a GPU"
        ) from None
    return place
