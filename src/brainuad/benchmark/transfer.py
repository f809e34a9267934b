"""Test the model of one run on another cohort; nothing is trained.

    python -m brainuad.benchmark.transfer MODEL_RUN COHORT OUT [key=value ...]

The threshold is fitted on the model's own healthy validation subjects, because no healthy scans of
the new cohort are used.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import yaml

from brainuad.benchmark.runs import program
from brainuad.cohorts.manifest import read_cohort, write_cohort
from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import InputError
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.inference.maps import fill
from brainuad.inference.masks import write_masks
from brainuad.machine import provenance
from brainuad.machine.failures import Failures
from brainuad.machine.files import write_json, write_text
from brainuad.model.device import device
from brainuad.model.model import Model
from brainuad.model.runtime import Runtime
from brainuad.records.run import CohortIdentity
from brainuad.reporting.pages.report import make_report
from brainuad.reporting.run_folder import read_run
from brainuad.settings.instantiate import instantiate

OF_EVALUATION = ("name=", "controls=", "postprocess", "space=", "paths.cache_dir=")
"""Options of a run that `brainuad-evaluate` has as well."""


def main() -> int:
    """Entry point; returns the exit status."""
    model_run, source, out, *options = sys.argv[1:]
    folder = Path(out)
    trained = read_run(Path(model_run))
    if trained.cohort is None:
        raise InputError(f"{model_run}: its cohort is gone, and so its validation subjects")
    scans = [scan for scan in trained.cohort.scans if scan.split == "val"]
    scans += [replace(scan, split="test") for scan in read_cohort(Path(source)).scans]
    name = f"{Path(source).name} by models of {trained.cohort.name}"
    cohort = write_cohort(folder / "cohort", scans, {"name": name})
    config = yaml.safe_load(trained.config)
    sequence = trained.sequence
    runtime = Runtime(
        device(config["device"]),
        config["predict_precision"],
        config["predict_batch_size"],
        Path(config["paths"]["cache_dir"]),
        config["jobs"],
    )
    model = Model.load(Path(model_run) / "model.ckpt", runtime).on_device()
    maps, failures = MapFolder(folder / "prepared"), Failures()
    scans = [*cohort.select("val", sequence), *cohort.select("test", sequence)]
    trained_on = model.card.trained_on
    seconds = fill(maps, scans, model, failures, "detecting", trained_on)
    if failures:
        raise InputError(f"{source}: {len(failures)} scans failed, the first: {failures[0]}")
    command = [program("evaluate"), f"maps={maps.path}", "data=folder"]
    command += [f"data.source={folder}/cohort", f"data.sequence={sequence}"]
    command.append(f"paths.output_dir={out}")
    if model.fixed_threshold is not None:
        command.append(f"fixed={model.fixed_threshold}")
    command += [word for word in options if word.startswith(OF_EVALUATION)]
    if not any(word.startswith("postprocess=") for word in options):
        # The model's own post-processing, as a configuration that can be named.
        chain = yaml.safe_dump(config["postprocess"])
        write_text(folder / "own" / "postprocess" / "trained.yaml", chain)
        search = (folder / "own").absolute()
        command += [f"hydra.searchpath=[file://{search}]", "postprocess=trained"]
    subprocess.run(command, check=True)
    found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    postprocess = instantiate(yaml.safe_load((folder / "config.yaml").read_text())["postprocess"])
    threshold = next(iter(found["thresholds"].values()))
    if threshold is None:
        # Without a threshold nothing is marked.
        threshold = float("nan")
    test = cohort.select("test", sequence)
    own = ScoreMaps(maps, postprocess)
    write_masks(test, own, MapFolder(folder), threshold, failures)
    record = replace(
        trained.record,
        **provenance.describe(),
        cohort=CohortIdentity(**cohort.identity()),
        wall_time_per_volume_s=seconds,
        fit_s=None,
        failures=(),
        peak_memory_bytes=provenance.peak_memory(),
    )
    write_json(folder / "provenance.json", record.to_json())
    make_report(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
