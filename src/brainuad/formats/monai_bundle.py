"""A MONAI bundle of a model, which runs with MONAI, torch and scikit-image alone.

| member | content |
| --- | --- |
| `configs/metadata.json` | inputs, outputs and versions, by MONAI's schema |
| `configs/inference.json` | from image and brain mask to map and mask |
| `models/model.ts` | the network with intensities, grid, tiles and smoothing, as TorchScript |
| `docs/README.md` | how to run it, then the model card |
| `docs/model.json` | preparation, post-processing, licence, measured agreement |
| `LICENSE` | licence of the weights |

The network is TorchScript because tiles and grids are no network of MONAI's; it has no Python, and
MONAI's other programs read it too. MONAI executes expressions in `configs`. None of them holds a
string of the model: its names and licence are texts that begin with our own words.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainuad.errors import InputError
from brainuad.formats import facts, monai_texts
from brainuad.formats.agreement import agreement, own_map
from brainuad.formats.example import ExampleScan
from brainuad.formats.folder import exported_folder
from brainuad.formats.graph import Graph, example_tiles, graph_of
from brainuad.formats.scan_script import ScanScript, Settings
from brainuad.machine.files import write_json, write_text
from brainuad.model.card import Card
from brainuad.model.model import Model
from brainuad.postprocess.components import RemoveSmall
from brainuad.postprocess.threshold import above

NETWORK = "models/model.ts"
METADATA, INFERENCE = "configs/metadata.json", "configs/inference.json"
README, FACTS, LICENSE = "docs/README.md", "docs/model.json", "LICENSE"
MEMBERS = (NETWORK, METADATA, INFERENCE, README, FACTS, LICENSE)

BATCH = 16
"""Tiles per forward pass."""

CONNECTIVITY = {6: 1, 18: 2, 26: 3}
"""Neighbours as MONAI counts them."""


def write_monai(run: Path, out: Path, licence: str | None = None) -> tuple[Card, dict[str, Any]]:
    """Write a model as a MONAI bundle, and measure its agreement.

    Args:
        run: run folder, `model.ckpt` or bundle.
        out: folder to make.
        licence: licence of the weights; None for that of the card.

    Returns:
        The card that others see, and the measured agreement.

    Raises:
        InputError: the method or a step has no counterpart, or `out` holds something else.
    """
    model = facts.shared_model(run, licence)
    steps = _mask_steps(model)
    script = scan_script(model)
    with exported_folder(out, MEMBERS, "a MONAI bundle") as folder:
        for name in ("configs", "docs", "models"):
            (folder / name).mkdir()
        save_script(script, folder / NETWORK)
        measured = _measured(model, folder / NETWORK)
        write_json(folder / METADATA, monai_texts.metadata(model))
        write_json(folder / INFERENCE, monai_texts.inference(model.known.threshold, steps))
        write_json(folder / FACTS, _described(model, measured))
        write_text(folder / README, monai_texts.readme(model, measured, normalises(model)))
        write_text(folder / LICENSE, monai_texts.licence(model.card))
    return model.card, measured


def scan_script(model: Model) -> torch.jit.ScriptModule:
    """Return the way from a prepared scan to its post-processed map.

    Raises:
        InputError: the method or a step has no counterpart.
    """
    graph = graph_of(model)
    tiles = example_tiles(model, 1 if graph.one_tile else 2)
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer doubts what is the same for every image, and is itself on its way out.
        warnings.simplefilter("ignore")
        tile = torch.jit.trace(_MapAlone(graph).eval(), tiles, check_trace=False)
        size = facts.options(model.tiling)["size"]
        grid = model.method.grid
        steps = [_map_step(model, step) for step in model.postprocess.map_steps]
        script = ScanScript(
            tile,
            _settings(model, graph),
            list(facts.plane_axes(model).values()) or [-1],
            [int(n) for n in size or []],
            [] if grid is None else [int(n) for n in grid.shape],
            torch.from_numpy(np.eye(4) if grid is None else np.asarray(grid.affine, float)),
            [name for name, _ in steps],
            [values for _, values in steps],
        )
        return torch.jit.script(script.eval())


def save_script(script: torch.jit.ScriptModule, path: Path) -> None:
    """Save TorchScript without the lines of our sources, which hold places of this machine."""
    torch.jit.save(script, path)
    reader = torch._C.PyTorchFileReader(str(path))
    kept = [name for name in reader.get_all_records() if not name.endswith(".debug_pkl")]
    members = {name: reader.get_record(name) for name in kept if name not in _OF_WRITER}
    del reader
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, content in members.items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()


_OF_WRITER = ("version", "byteorder", ".data/serialization_id")
"""Records that the writer of an archive makes."""


class _MapAlone(torch.nn.Module):
    """The map of a graph, without its reconstruction."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, image: torch.Tensor, brain_mask: torch.Tensor) -> torch.Tensor:
        """As `Graph`."""
        return self.graph(image, brain_mask)[0]


def _settings(model: Model, graph: Graph) -> Settings:
    quantile = facts.bright_quantile(model)
    return {
        **_normalisation(model),
        "flips": float(model.card.flips),
        "keeps_background": float(model.method.traits.keeps_background),
        "crop": float(facts.options(model.tiling).get("crop", False)),
        "batch": 1.0 if graph.one_tile else float(BATCH),
        "bright": -1.0 if quantile is None else float(quantile),
    }


def _normalisation(model: Model) -> Settings:
    """Return the normalisation of the image in `ScanScript`'s numbers."""
    made = facts.normalisation(model)
    names = ("normalise", "low", "high", "inside", "from_low", "clips", "range")
    share = {name: float(made[name]) / 100 for name in ("low", "high") if name in made}
    top = float(made.get("percentile", 100)) / 100
    match made["kind"]:
        case "Percentile":
            values = (1, share["low"], share["high"], 1, 1, 1, 0)
        case "VolumeQuantiles":
            values = (1, 100 * share["low"], 100 * share["high"], 0, 1, 1, 0)
        case "PositivePercentile":
            values = (1, 0, top, 2, 0, 0, 0)
        case "ZScore":
            values = (2, 100 * share["low"], 100 * share["high"], 1, 1, 1, 0)
        case "StandardRange":
            values = (2, 100 * share["low"], 100 * share["high"], 0, 1, 0, 1)
        case "VolumeMaximum":
            values = (3, 0, top, 0, 0, 0, 0)
        case _:
            values = (0, 0, 1, 0, 1, 0, 0)
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def normalises(model: Model) -> bool:
    """Return whether the bundle normalises the image itself."""
    return _normalisation(model)["normalise"] > 0


def _map_step(model: Model, step: Any) -> tuple[str, list[float]]:
    """Return the name and the numbers of a step on the map."""
    own = facts.options(step)
    kind = own.pop("kind")
    if kind not in ("Median", "ErodeBrainMask", "Clip", "Saturate"):
        raise _no_counterpart(model, kind)
    return kind, [float(value) for value in own.values()]


def _mask_steps(model: Model) -> list[dict[str, Any]]:
    """Return the arguments of MONAI's `RemoveSmallObjectsd` for the steps on the mask."""
    post = model.postprocess
    if post.masks_last or post.binarise is not above:
        raise _no_counterpart(model, "masks_last" if post.masks_last else "Hysteresis")
    found = []
    for step in post.mask_steps:
        if not isinstance(step, RemoveSmall) or step.filled:
            raise _no_counterpart(model, type(step).__name__)
        recipe = model.card.recipe
        own: dict[str, Any] = {"connectivity": CONNECTIVITY[step.connectivity]}
        if recipe.of_slices:
            # A plane has no thickness: the largest cut through a ball of that volume.
            area = np.pi * (3 * step.min_volume_mm3 / (4 * np.pi)) ** (2 / 3)
            edge = recipe.spacing_mm or recipe.pixel_mm
            found.append({**own, "min_size": int(np.ceil(area / edge**2 - 1e-6))})
        else:
            # Rounding of the voxel size must not make one voxel more of it.
            found.append({**own, "min_size": step.min_volume_mm3 * (1 - 1e-6), "by_measure": True})
    return found


def _no_counterpart(model: Model, kind: str) -> InputError:
    return InputError(
        f"{model.path}: its post-processing has {kind}, which a MONAI bundle cannot hold; use "
        "--format bundle or --format onnx"
    )


def _measured(model: Model, path: Path) -> dict[str, Any]:
    """Compare the saved file with the model, from prepared image to map."""
    script = torch.jit.load(path).eval()
    normalise = facts.normaliser(model) if normalises(model) else None

    def ours(scan: ExampleScan) -> np.ndarray:
        image = scan.image
        if normalise is not None:
            image = np.stack([normalise(channel, scan.brain_mask) for channel in image])
        return own_map(model, ExampleScan(image, scan.brain_mask, scan.grid, scan.lesion_ml))

    def theirs(scan: ExampleScan) -> np.ndarray:
        image, mask = torch.from_numpy(scan.image), torch.from_numpy(scan.brain_mask)
        with torch.no_grad():
            found = script(
                image[None], mask[None, None].float(), torch.from_numpy(scan.grid.affine)
            )
        return found[0, 0].numpy()

    return agreement(model, ours, theirs, f"TorchScript of torch {torch.__version__}")


def _described(model: Model, measured: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": "brainuad-monai/1.0",
        "model": facts.model_facts(model.card),
        "space": facts.space(model),
        "preparation": facts.preparation(model.card),
        "normalisation": facts.normalisation(model),
        "tiling": facts.tiling(model),
        "postprocessing": facts.postprocessing(model),
        "agreement": measured,
    }
