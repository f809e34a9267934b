"""Old names lead to the things' present places."""

import importlib
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from brainuad.errors import InputError
from brainuad.settings.instantiate import instantiate
from brainuad.settings.moved import (
    CHANGED_OPTIONS,
    MOVED,
    RENAMED_OPTIONS,
    ROOT,
    as_before,
    moved,
    retargeted,
    warn_of_options,
)

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.mark.parametrize("old", MOVED)
def test_every_row_leads_somewhere(old):
    path = moved(ROOT + old)
    try:
        importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, leaf = path.rpartition(".")
        assert hasattr(importlib.import_module(module), leaf)


def test_renaming_follows_classes_and_leaves_other_names():
    assert moved("brainuad.files.write_json") == "brainuad.machine.files.write_json"
    assert moved("brainuad.files.hash_weights") == "brainuad.machine.fingerprint.hash_weights"
    assert moved("torch.optim.AdamW") == "torch.optim.AdamW"
    assert moved("brainuad.files_of_mine.X") == "brainuad.files_of_mine.X"


@pytest.mark.parametrize("old", ["files.write_json", "files.hash_weights", "ranks"])
def test_the_name_before_is_the_inverse(old):
    assert as_before(moved(ROOT + old)) == ROOT + old


def test_configurations_are_renamed_throughout():
    old = {"_target_": "brainuad.files.write_json", "parts": [{"_target_": "torch.nn.ReLU"}, 1]}
    new = {**old, "_target_": "brainuad.machine.files.write_json"}
    assert retargeted(old) == new
    assert retargeted(new, as_before) == old


def test_old_names_pass_the_same_allow_list():
    with pytest.raises(InputError, match="not allowed"):
        instantiate({"_target_": "brainuad.files.write_json"})


def test_old_imports_work_and_warn():
    with pytest.warns(FutureWarning, match="is now brainuad.machine.files.write_json"):
        from brainuad.files import write_json
    assert write_json is sys.modules["brainuad.machine.files"].write_json
    with pytest.raises(ImportError), pytest.warns(FutureWarning):
        from brainuad.files import nothing_of_the_kind  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("brainuad.filesystem")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "old", "new"),
    [(group, *pair) for group, table in RENAMED_OPTIONS.items() for pair in table.items()],
)
def test_old_options_compose_the_same_and_warn(group, old, new, capsys):
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        name, word = ("evaluate", "maps=x") if group == "protocol" else ("train", "name=x")
        words = [[word, f"{group}={option}", "paths.output_dir=x"] for option in (old, new)]
        # As plain values: equality would look at the clock, which `paths` has in it.
        first, second = (OmegaConf.to_container(compose(name, given)) for given in words)
    assert first == second
    warn_of_options({group: old, "data": "phantom"})
    assert capsys.readouterr().err.count(f"{group}={old} is now {group}={new}") == 1
    warn_of_options({group: new})
    assert f"{group}={new} is now" not in capsys.readouterr().err


def test_present_names_are_not_commented_and_exist(capsys):
    """Nor are those that had another meaning once: most people never used that version."""
    warn_of_options({"experiment": "dae"})
    assert not capsys.readouterr().err
    for group, table in CHANGED_OPTIONS.items():
        for name in (*table, *table.values()):
            assert (CONFIGS / group / f"{name}.yaml").is_file()
