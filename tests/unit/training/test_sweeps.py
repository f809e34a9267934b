"""Sweep definitions: W&B's own schema, and every parameter is one that train.py has."""

import json

import jsonschema
import pytest
import yaml
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from tiny import ROOT
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

SWEEPS = sorted((ROOT / "experiments" / "sweeps").glob("*.yaml"))
OWN = sorted(p.stem for p in (ROOT / "configs" / "sweep").glob("*.yaml"))
SEARCHES = {"strega": "strega", "madad": "madad", "autopaint": "autopaint"}
SCHEMA = json.loads((ROOT / "tests" / "data" / "wandb_sweep_schema.json").read_text())


def _compose(*overrides):
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        return compose("train", list(overrides), return_hydra_config=True)


def test_the_schema_refuses_what_is_wrong():
    sweep = yaml.safe_load(SWEEPS[0].read_text())
    for wrong in ({"method": "guess"}, {"parameters": {"a": {"min": 1, "values": [1]}}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(sweep | wrong, SCHEMA)


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_wandb_sweeps_keep_the_schema_and_set_what_exists(path):
    sweep = yaml.safe_load(path.read_text())
    jsonschema.validate(sweep, SCHEMA)
    assert (ROOT / sweep["program"]).is_file()
    command = sweep["command"]
    assert command[:3] == ["${env}", "python", "${program}"]
    assert command[-1] == "${args_no_hyphens}"
    fixed = command[3:-1]
    for bound in ("min", "max"):
        values = {
            key: {"value": spec.get(bound, sorted(spec.get("values", [0]))[-(bound == "max")])}
            for key, spec in sweep["parameters"].items()
        }
        arguments = create_sweep_command_args({"args": values})["args_no_hyphens"]
        # Without a plus, so a key that the experiment has not is an error.
        cfg = _compose(*fixed, *arguments)
        assert cfg.painted_draws > 0
        assert not cfg.predict
        assert cfg.logger.offline is False


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OWN if name not in ("objective", "agent")])
def test_every_combination_of_hydras_sweeps_composes(name):
    experiment = f"experiment={SEARCHES.get(name, 'strega')}"
    params = _compose(experiment, f"sweep={name}").hydra.sweeper.params
    parser = OverridesParser.create()
    for key, values in params.items():
        choices = list(parser.parse_override(f"{key}={values}").sweep_string_iterator())
        assert len(choices) > 1
        for value in choices:
            _compose(experiment, f"sweep={name}", f"{key}={value}")
    assert (name in SEARCHES) == bool(_compose(experiment, f"sweep={name}").painted_draws)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_every_run_of_a_sweep_goes_on_where_it_was(name):
    assert _compose("experiment=strega", f"sweep={name}").ckpt == "last"


def test_runs_of_a_sweep_have_folders_of_their_own():
    cfg = _compose("experiment=madad", "sweep=folds_seeds", "data.fold=3", "seed=2")
    assert cfg.paths.output_dir == "runs/madad/folds/fold3_seed2"
    cfg = _compose("experiment=madad", "sweep=madad", "hydra.job.num=7")
    HydraConfig.instance().set_config(cfg)
    assert cfg.paths.output_dir == "runs/madad/sweep/7"


def test_the_slurm_launcher_composes_and_can_be_set():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    cfg = _compose("hydra/launcher=slurm", "hydra.launcher.partition=gpu")
    launcher = cfg.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert launcher.mem_gb is None
    assert launcher.additional_parameters.signal.startswith("USR1@")
    assert launcher.partition == "gpu"
    assert launcher.additional_parameters.requeue
