"""The repository keeps its own promises: layers, packages, configs, commands of the README."""

import ast
import configparser
import importlib
import re
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig

from brainuad.methods.base import AnomalyDetector
from brainuad.postprocess.pipeline import Postprocess
from brainuad.preparation.model_input import input_of
from brainuad.settings.build import build
from brainuad.settings.instantiate import PREPARATION, RUN_PACKAGES, instantiate, resolve
from brainuad.settings.moved import RENAMED_OPTIONS
from brainuad.settings.plain import plain
from brainuad.volumes.tiling import Tiling

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "brainuad"
MODULES = sorted(SOURCE.rglob("*.py"))
EXPERIMENTS = sorted(path.stem for path in (ROOT / "configs" / "experiment").glob("*.yaml"))

BUILT = {"model": AnomalyDetector, "tiling": Tiling, "postprocess": Postprocess}

FLOOR = {
    "types": 0,
    "errors": 0,
    "machine": 1,
    "settings": 1,
    "metrics": 1,
    "networks": 1,
    "records": 2,
    "volumes": 2,
    "cohorts": 3,
    "postprocess": 3,
    "diffusion": 1,
    "shipped": 4,
    "synthetic": 4,
    "preparation": 4,
    "evaluation": 4,
    "changes": 5,
    "tiles": 5,
    "reporting": 5,
    "methods": 6,
    "model": 7,
    "classes": 8,
    "inference": 8,
    "inpainting": 9,
    "label_free": 9,
    "tracking": 9,
    "training": 10,
    "cli": 11,
    "benchmark": 12,
}
"""Floor of each room. A package imports only from lower floors, for type checking too."""


def _room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Rooms that a module imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("brainuad.")}
    # The configuration files are a package without code.
    return found - {"__version__", "configs"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_packages_import_only_from_lower_floors(path):
    room = _room(path)
    if room == "__init__":
        return
    for other in _imports(path) - {room}:
        assert FLOOR[other] < FLOOR[room], f"{room} imports {other}"


def test_rooms_have_a_floor_and_the_root_holds_two_modules():
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages | {"types", "errors"} == set(FLOOR)
    assert {path.name for path in SOURCE.glob("*.py")} == {"__init__.py", "types.py", "errors.py"}


def test_modules_import_one_another_without_a_circle():
    modules = {".".join(path.relative_to(SOURCE.parent).with_suffix("").parts) for path in MODULES}
    modules = {name.removesuffix(".__init__") for name in modules}
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("brainuad"):
                full = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {one if one in modules else str(node.module) for one in full}
        name = name.removesuffix(".__init__")
        graph[name] = found - {name, "brainuad"}
    # Raises an error that names the circle. Late imports and those for type checking count.
    assert list(TopologicalSorter(graph).static_order())


def test_no_study_imports_another():
    for path in (ROOT / "experiments").rglob("*.py"):
        study = path.relative_to(ROOT).parts[1]
        imported = re.findall(r"^\s*(?:from|import) experiments\.?(\w*)", path.read_text(), re.M)
        assert set(imported) <= {study}, path


def test_studies_import_what_the_package_has():
    for path in (ROOT / "experiments").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("brainuad"):
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    place = f"{node.module}.{alias.name}"
                    assert hasattr(module, alias.name) or find_spec(place), f"{path}: {place}"


def test_one_module_goes_back_to_native_space():
    calling = {
        str(path.relative_to(SOURCE))
        for path in MODULES
        if any(
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) == "to_native"
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    # The second is the inverse of the step that resamples.
    assert calling == {"postprocess/native.py", "preparation/transforms/grid.py"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_modules_hold_one_idea(path):
    assert path.name != "utils.py"
    assert len(path.read_text().splitlines()) <= 310
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_few_modules_know_hydra():
    free = {"metrics", "networks", "diffusion", "volumes", "cohorts", "postprocess", "synthetic"}
    free |= {"evaluation", "tiles", "reporting", "methods", "inference", "inpainting"}
    knowing = {_room(path) for path in MODULES if re.search("hydra|omegaconf", path.read_text())}
    assert not knowing & free


def test_only_training_imports_lightning():
    importing = re.compile(r"^\s*(import|from) lightning", re.MULTILINE)
    knowing = {_room(path) for path in MODULES if importing.search(path.read_text())}
    assert knowing == {"training", "tracking"}


def test_package_list_equals_the_folders():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    folders = {
        ".".join(path.parent.relative_to(ROOT / "src").parts)
        for path in SOURCE.rglob("__init__.py")
    }
    assert listed == folders | {"brainuad.configs", "brainuad.data_prep"}
    assert all((ROOT / name / "__init__.py").is_file() for name in ("configs", "data_prep"))


NEEDED = {"fpi_shapes": ("lesions.folder=masks",)}
"""What an experiment cannot go without."""


@pytest.mark.slow
@pytest.mark.uncounted
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_instantiates(experiment):
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        words = [f"experiment={experiment}", *NEEDED.get(experiment, ())]
        cfg = compose("train", words, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    assert cfg.name == RENAMED_OPTIONS["experiment"].get(experiment, experiment)
    # Without memory: the released networks are large.
    with torch.device("meta"):
        for key in ("model", "tiling", "postprocess", "painted"):
            instantiate(cfg[key])
        # From a file, where annotations are compared too.
        for key, kind in BUILT.items():
            build(plain(resolve(cfg[key])), kind=kind)
    input_of(resolve(cfg.input), own=True)
    for key in ("callbacks", "trainer"):
        instantiate(cfg[key], packages=RUN_PACKAGES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "group",
    [
        *("tiling", "trainer", "logger", "postprocess", "data", "controls", "protocol"),
        *("input", "model/network", "model/residual", "model/corruption", "model/weights"),
        *("first_stage",),
        *("callbacks", "sweep", "painted", "relative", "datamodule/augment"),
    ],
)
def test_every_option_of_every_group_composes(group):
    options = [path.stem for path in (ROOT / "configs" / group).glob("*.yaml")]
    assert options
    for option in options:
        with initialize_config_module("brainuad.configs", version_base="1.3"):
            if group == "protocol":
                compose("evaluate", ["maps=somewhere", f"{group}={option}"])
            else:
                # Groups that not every method has.
                owners = {"model/corruption": "fpi", "model/weights": "autopaint"}
                experiment = owners.get(group, "strega")
                compose("train", [f"experiment={experiment}", f"{group}={option}"])


@pytest.mark.parametrize("group", ["preparation", "preparation/normalise"])
def test_every_option_of_the_preparation_instantiates(group):
    options = [path.stem for path in (ROOT / "configs" / group).glob("*.yaml")]
    assert options
    for option in options:
        with initialize_config_module("brainuad.configs", version_base="1.3"):
            cfg = compose("prepare", [f"{group}={option}"])
        for key in ("steps", "normalise", "limits"):
            assert instantiate(cfg.preparation[key], packages=PREPARATION) is not None


def test_every_model_has_an_experiment():
    models = {path.stem for path in (ROOT / "configs" / "model").glob("*.yaml")}
    assert models <= set(EXPERIMENTS)


def test_commands_of_the_readme_exist():
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^make (\w+)", readme, re.MULTILINE))
    assert {"demo", "test"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    setup = (ROOT / "setup.cfg").read_text()
    for command in set(re.findall(r"\bbrainuad-\w+", readme)):
        assert f"{command} =" in setup, command
    for script in set(re.findall(r"python (\w+\.py)", readme)):
        assert (ROOT / script).is_file(), script
    for name in set(re.findall(r"experiment=(\w+)", readme)):
        assert name in EXPERIMENTS, name
    for link in re.findall(r"\]\((?!http)([^)#]+)", readme):
        assert (ROOT / link).exists(), link


def test_the_demo_and_the_first_commands_of_the_readme_are_for_a_cpu():
    words = re.search(r"train\.py (experiment=\w+)", (ROOT / "Makefile").read_text())
    use = (ROOT / "README.md").read_text().split("## Use")[1].split("```")[1]
    for experiment in {words[1], *re.findall(r"experiment=\w+", use)}:
        with initialize_config_module("brainuad.configs", version_base="1.3"):
            needed = NEEDED.get(experiment.removeprefix("experiment="), ())
            cfg = compose("train", [experiment, *needed])
        with torch.device("meta"):
            parameters = sum(p.numel() for p in instantiate(cfg.model).parameters())
        assert parameters < 10e6, experiment
        assert cfg.data.spacing_mm >= 2, experiment


def test_every_test_option_of_the_lint_is_in_one_place():
    assert "ruff" not in (ROOT / "setup.cfg").read_text().split("[options.extras_require]")[0]


@pytest.mark.parametrize("script", ["train.py", "predict.py", "evaluate.py"])
def test_scripts_only_call_the_package(script):
    code = ast.parse((ROOT / script).read_text()).body
    assert len(code) == 4
