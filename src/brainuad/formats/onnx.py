"""An ONNX file of a model's network, with a JSON file that says what comes before and after.

| member | content |
| --- | --- |
| `model.onnx` | from a prepared image and its brain mask to the anomaly map |
| `model.json` | inputs, outputs, preparation, post-processing, licence, measured agreement |
| `MODEL_CARD.md` | cohort, split, scores and limits, to be read |
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from brainuad.errors import InputError
from brainuad.formats import facts
from brainuad.formats.agreement import agreement, map_by_tiles, own_map
from brainuad.formats.folder import exported_folder, sha256_of
from brainuad.formats.graph import Graph, example_tiles, graph_of, takes_any_shape
from brainuad.machine.files import write_json, write_text
from brainuad.model.card import Card
from brainuad.model.export import model_card
from brainuad.model.model import Model

SCHEMA = "brainuad-onnx/1.0"
"""Name and version of `model.json`; the second number grows with new keys, the first with others.
"""

OPSET = 20

NETWORK, FACTS, MODEL_CARD = "model.onnx", "model.json", "MODEL_CARD.md"
MEMBERS = (NETWORK, FACTS, MODEL_CARD)

NEEDED = ("onnx", "onnxscript", "onnxruntime")

INPUTS = ("image", "brain_mask")
OUTPUTS = ("anomaly_map", "reconstruction")

MOST_BYTES = 2**31 - 2**20
"""Largest ONNX file; its format ends at 2 GB."""


def write_onnx(run: Path, out: Path, licence: str | None = None) -> tuple[Card, dict[str, Any]]:
    """Write a model as ONNX, measure its agreement, and describe it.

    Args:
        run: run folder, `model.ckpt` or bundle.
        out: folder to make.
        licence: licence of the weights; None for that of the card.

    Returns:
        The card that others see, and the measured agreement.

    Raises:
        InputError: a package is missing, the model has no graph, or `out` holds something else.
    """
    require_packages()
    model = facts.shared_model(run, licence)
    graph = graph_of(model)
    with exported_folder(out, MEMBERS, "an ONNX export") as folder:
        path = folder / NETWORK
        write_network(model, graph, path)
        measured = measured_agreement(model, path)
        write_json(folder / FACTS, described(model, path, measured))
        write_text(folder / MODEL_CARD, model_card(model.card))
    return model.card, measured


def require_packages() -> None:
    """Refuse where the extra is not installed.

    Raises:
        InputError: a package is missing.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"--format onnx: {', '.join(missing)} not installed; pip install 'brainuad[formats]'"
        )


def measured_agreement(model: Model, path: Path) -> dict[str, Any]:
    """Compare the file by onnxruntime with the model, see `agreement`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(image: Tensor, brain_mask: Tensor) -> Tensor:
        given = dict(zip(INPUTS, (image.float().numpy(), brain_mask.numpy()), strict=True))
        return torch.from_numpy(session.run([OUTPUTS[0]], given)[0])

    free = isinstance(session.get_inputs()[0].shape[0], str)
    runner = f"onnxruntime {onnxruntime.__version__} on the CPU"
    theirs = partial(map_by_tiles, model, run=run, batch_size=16 if free else 1)
    return agreement(model, partial(own_map, model), theirs, runner)


def described(model: Model, path: Path, measured: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `model.json`."""
    import onnx

    network = onnx.load(path)
    ends = {"inputs": network.graph.input, "outputs": network.graph.output}
    return {
        "schema": SCHEMA,
        "model": facts.model_facts(model.card),
        "file": {
            "name": NETWORK,
            "sha256": sha256_of(path),
            "opset": OPSET,
            "ir_version": network.ir_version,
            "made_with": f"torch {torch.__version__}, onnx {onnx.__version__}",
        },
        **{end: [_tensor(value) for value in values] for end, values in ends.items()},
        "space": facts.space(model),
        "preparation": facts.preparation(model.card),
        "normalisation": facts.normalisation(model),
        "tiling": facts.tiling(model),
        "postprocessing": facts.postprocessing(model),
        "agreement": measured,
    }


MEANINGS = {
    "image": "prepared and normalised, 0 outside the brain",
    "brain_mask": "true in the brain",
    "anomaly_map": "larger is more abnormal, 0 outside the brain",
    "reconstruction": "the healthy image that the method predicts",
}


def _tensor(value: Any) -> dict[str, Any]:
    kind = value.type.tensor_type
    shape = [axis.dim_param or axis.dim_value for axis in kind.shape.dim]
    spatial = ["right", "anterior", "superior"] if len(shape) == 5 else ["rows", "columns"]
    return {
        "name": value.name,
        "dtype": {1: "float32", 9: "bool"}[kind.elem_type],
        "shape": shape,
        "axes": ["tile", "channel", *spatial],
        "meaning": MEANINGS[value.name],
    }


def write_network(model: Model, graph: Graph, path: Path) -> None:
    """Trace the graph and write it, without places of this machine."""
    size = sum(t.numel() * t.element_size() for t in graph.state_dict().values())
    if size > MOST_BYTES:
        raise InputError(
            f"{model.path}: its weights take {size / 1e9:.1f} GB, more than the 2 GB of an ONNX "
            "file; use --format bundle"
        )
    tiles, lengths = _shape(model, graph)
    free = {axis: torch.export.Dim.DYNAMIC for axis in lengths}
    with torch.no_grad(), _without_remarks():
        # Fills the caches of numbers that the exporter cannot compute.
        graph(*tiles)
        program = torch.export.export(graph, tiles, dynamic_shapes=(free, free), strict=False)
        names = list(OUTPUTS[: len(program.graph_signature.user_outputs)])
        found = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=list(INPUTS),
            output_names=names,
            opset_version=OPSET,
        )
    assert found is not None, "the exporter of torch.export programs returns one"
    ends = [*found.model.graph.inputs, *found.model.graph.outputs]
    shapes = [end.shape for end in ends if end.shape is not None]
    named = {str(shapes[0][axis]): name for axis, name in lengths.items()}
    for shape in shapes:
        for axis, length in enumerate(shape):
            if str(length) in named:
                shape[axis] = named[str(length)]
    for node in found.model.graph.all_nodes():
        # Lines of our sources, with their folders.
        node.metadata_props.clear()
        node.doc_string = None
    found.model.doc_string = None
    found.save(path, external_data=False)


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Silence the exporter about packages that nobody needs and its own future."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _shape(model: Model, graph: Graph) -> tuple[tuple[Tensor, Tensor], dict[int, str]]:
    """Return example tiles, and the axes whose length the file leaves open, with its name."""
    any_shape = takes_any_shape(model)
    several = not (graph.one_tile or any_shape or len(example_tiles(model)[0].shape) == 5)
    tiles = example_tiles(model, 2 if several else 1)
    if several:
        return tiles, {0: "tiles"}
    if any_shape:
        return tiles, {2: "right", 3: "anterior", 4: "superior"}
    return tiles, {}
