"""A method as a graph computes what the method does, and ONNX computes what the graph does."""

import re

import numpy as np
import onnxruntime
import pytest
import torch
from tiny import ROOT
from untrained import METHODS, model_of

from brainuad.errors import InputError
from brainuad.formats.graph import ONE_PASS, graph_of
from brainuad.formats.onnx import write_network

EXPORTED = [name for name in METHODS if model_of(name)[0].method.traits.one_pass]
OTHERS = sorted(set(METHODS) - set(EXPORTED))


def test_the_list_of_exported_methods_is_complete():
    named = {re.split(" ", name)[0] for name in ONE_PASS}
    # The preset of prototypes is MAD-AD's, with one of these scores.
    assert named - {"madad"} == set(EXPORTED) - {"madad_prototypes"}


@pytest.mark.parametrize("name", OTHERS)
def test_methods_that_sample_or_repeat_are_refused_with_those_that_can(name):
    with pytest.raises(InputError, match="samples, repeats its steps.*fpi, intensity") as found:
        graph_of(model_of(name)[0])
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", EXPORTED)
def test_a_graph_computes_what_the_method_does(name):
    model, image, brain_mask = model_of(name)
    graph = graph_of(model)
    if graph.one_tile:
        image, brain_mask = image[:1], brain_mask[:1]
    model.method.affine = None if model.method.grid is None else model.method.grid.affine
    expected = model.method.detect(image, brain_mask)
    with torch.no_grad():
        found = graph(image, brain_mask)
    torch.testing.assert_close(found[0], expected.anomaly_map, rtol=1e-4, atol=2e-5)
    if expected.reconstruction is not None:
        torch.testing.assert_close(found[1], expected.reconstruction, rtol=1e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["asymmetry", "intensity", "patchcore"])
def test_onnxruntime_computes_the_map(name, tmp_path):
    """Methods that no other test exports: of any shape, by ranks, by a bank."""
    model, image, brain_mask = model_of(name)
    graph = graph_of(model)
    if graph.one_tile:
        image, brain_mask = image[:1], brain_mask[:1]
    expected = model.method.detect(image, brain_mask)
    path = tmp_path / "model.onnx"
    write_network(model, graph, path)
    session = onnxruntime.InferenceSession(path)
    found = session.run(None, {"image": image.numpy(), "brain_mask": brain_mask.numpy()})
    np.testing.assert_allclose(found[0], expected.anomaly_map.numpy(), rtol=1e-3, atol=1e-4)
    text = path.read_bytes().decode("latin-1")
    assert str(ROOT) not in text
    assert "site-packages" not in text
