"""What a file may say: plain values, and names of a list."""

import importlib
import math
import os
from functools import partial
from pathlib import Path

import pytest
import yaml
from monai.transforms import GaussianSmoothd
from tiny import ROOT
from torch import nn
from watch import watched

from brainuad.errors import InputError
from brainuad.methods.intensity import IntensityDetector
from brainuad.settings.allowed import (
    CONFIGURED,
    MODEL,
    MONAI_TRANSFORM_MODULES,
    OFFERED,
    PREPARED,
    RECIPE,
    RECORDED,
)
from brainuad.settings.build import IGNORED, build
from brainuad.settings.instantiate import instantiate
from brainuad.settings.plain import DEPTH, plain

INTENSITY = "brainuad.methods.intensity.IntensityDetector"


def _targets(value):
    if isinstance(value, dict):
        if "_target_" in value:
            yield value["_target_"]
        for key, item in value.items():
            if key not in IGNORED:
                yield from _targets(item)
    elif isinstance(value, list):
        for item in value:
            yield from _targets(item)


def _is_module_of_ours(name: str) -> bool:
    if not name.startswith(("brainuad.methods.", "brainuad.networks.")):
        return False
    module, _, leaf = name.rpartition(".")
    found = getattr(importlib.import_module(module), leaf)
    return isinstance(found, type) and issubclass(found, nn.Module)


def _configured(*groups: str) -> set[str]:
    found = set()
    for group in groups:
        for path in (ROOT / "configs" / group).rglob("*.yaml"):
            content = yaml.safe_load(path.read_text()) or {}
            if group == "experiment":
                kept = ("model", "input", "tiling", "postprocess", "relative", "first_stage")
                content = [content.get(key) for key in kept]
            found |= set(_targets(content))
    return found


def test_the_lists_hold_what_the_shipped_configurations_name_and_no_more():
    groups = ("model", "experiment", "first_stage", "input", "tiling", "postprocess", "relative")
    listed = {name for name in _configured(*groups) if not _is_module_of_ours(name)}
    assert listed == CONFIGURED
    assert _configured("preparation") == PREPARED
    assert not OFFERED & CONFIGURED
    assert MODEL == CONFIGURED | OFFERED
    assert PREPARED | RECORDED | set(MONAI_TRANSFORM_MODULES) == RECIPE


@pytest.mark.parametrize("name", sorted(MODEL | PREPARED | RECORDED))
def test_every_name_of_the_lists_is_there(name):
    build({"_target_": name, "_partial_": True}, MODEL | PREPARED | RECORDED)


def test_objects_are_made_with_their_parts():
    made = build({"a": [{"_target_": INTENSITY, "equalise": False}], "b": 1})
    assert isinstance(made["a"][0], IntensityDetector)
    assert made["a"][0].equalise is False
    assert made["b"] == 1
    factory = build({"_target_": INTENSITY, "_partial_": True, "equalise": False})
    assert isinstance(factory, partial)
    assert factory().equalise is False


def test_what_training_alone_needs_is_left_out():
    optimizer = {"_target_": "os.system", "command": "true"}
    made = build({"_target_": INTENSITY, "optimizer": optimizer})
    assert isinstance(made, IntensityDetector)


@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "builtins.eval", "subprocess.run", "brainuad.machine.files.write_text"),
        *("monai.networks.utils.save_state", "monai.networks.nets.dints.torch.load"),
        *("brainuad.volumes.native_space.read_way", "brainuad.preparation.cohort._start_worker"),
        *("monai.losses.perceptual.PerceptualLoss", "monai.transforms.LoadImaged"),
        *("brainuad.methods.strega.torch.load", "brainuad.methods.strega.Path"),
        *("brainuad.methods.strega.nn.Linear", "brainuad.methods.strega.torch"),
        *("brainuad.methods.base.AnomalyDetector.__init__", "brainuad.methods._x.Y"),
        *("brainuad.methods.strega.os.system", "hydra.utils.instantiate", ""),
    ],
)
@pytest.mark.parametrize("allowed", [MODEL, RECIPE])
def test_other_names_are_refused_before_anything_is_imported(name, allowed, tmp_path):
    with watched() as seen, pytest.raises(InputError, match=r"not allowed in a file|cannot be f"):
        build({"_target_": name, "path": str(tmp_path / "x")}, allowed)
    assert not seen


@pytest.mark.parametrize("name", ["torch", "np", "Compose", "MapTransform", "_x", "Transform"])
def test_a_recipe_names_monais_own_transforms_alone(name):
    for module in MONAI_TRANSFORM_MODULES:
        with pytest.raises(InputError, match="not allowed|cannot be found"):
            build({"_target_": f"{module}.{name}"}, RECIPE)


def test_a_recipe_takes_monais_transforms_by_both_names():
    for name in (
        "monai.transforms.GaussianSmoothd",
        "monai.transforms.intensity.dictionary.GaussianSmoothd",
    ):
        made = build({"_target_": name, "_partial_": True, "sigma": 1.0}, RECIPE)
        assert made.func is GaussianSmoothd
    with pytest.raises(InputError, match="not allowed"):
        build({"_target_": "monai.transforms.GaussianSmoothd", "_partial_": True}, MODEL)


@pytest.mark.parametrize(
    "values", [{"_args_": [1]}, {"_recursive_": False}, {"a b": 1}, {"_convert_": "all"}]
)
def test_a_file_cannot_steer_how_things_are_made(values):
    with pytest.raises(InputError, match="no argument is called"):
        build({"_target_": INTENSITY, **values})


@pytest.mark.parametrize("values", [{"nonsense": 1}, {"sampling_steps": "x" * 9}])
def test_values_that_do_not_fit_are_one_line(values):
    with pytest.raises(InputError) as caught:
        build({"_target_": "brainuad.methods.madad.MADAD", **values})
    assert "MADAD cannot be made" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": math.nan}, "a is nan"),
        ({"a": [1, -math.inf]}, r"a\[1\] is -inf"),
        ({"a": {"b": "${oc.env:HOME}"}}, "a.b holds an interpolation"),
        ({"${oc.env:HOME}": 1}, "which is no name"),
        ({1: 2}, "which is no name"),
        ({"a": object()}, "a is a object"),
        ({"a": {1, 2}}, "a is a set"),
        ({"a": b"x"}, "a is a bytes"),
        ({"a": "x" * 200_000}, "too long a text"),
        ({"a": [0] * 1_100_000}, "too many values"),
    ],
)
def test_values_that_are_not_plain_are_named(value, words):
    with pytest.raises(ValueError, match=words):
        plain(value)


@pytest.mark.slow
def test_depth_and_bombs_are_bounded():
    deep = value = {}
    for _ in range(DEPTH + 1):
        value["a"] = {}
        value = value["a"]
    with pytest.raises(ValueError, match="nested too deeply"):
        plain(deep)
    # A YAML file of 300 bytes: a list of ten of the list before it, 30 times.
    bomb = "a0: &a0 [x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 31)
    )
    with pytest.raises(ValueError, match="too many values"):
        plain(yaml.safe_load(bomb))


def test_plain_values_come_back_equal_and_tuples_as_lists():
    value = {"a": (1, 2.5, None, True), "b": {"c": "text"}}
    found = plain(value)
    assert found == {"a": [1, 2.5, None, True], "b": {"c": "text"}}
    found["b"]["c"] = "changed"
    assert value["b"]["c"] == "text"


@pytest.mark.parametrize(
    "config",
    [
        {"_target_": INTENSITY, "equalise": "${oc.create:{_target_: os.system}}"},
        {"_target_": INTENSITY, "equalise": ({"_target_": "os.getcwd"},)},
        {"_target_": INTENSITY, "equalise": "${oc.env:HOME}"},
    ],
)
def test_a_users_own_configuration_is_checked_as_it_is_used(config):
    with pytest.raises(InputError, match="interpolation|not allowed"):
        instantiate(config)


def test_the_watch_sees_writes_connections_and_processes(tmp_path: Path):
    with watched() as seen:
        (tmp_path / "x").write_text("x")
        os.mkdir(tmp_path / "y")
    assert len(seen) == 2
    with watched((tmp_path,)) as seen:
        (tmp_path / "x").write_text("x")
    assert not seen
