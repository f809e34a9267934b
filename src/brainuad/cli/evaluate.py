"""Score a folder of anomaly maps, of brainuad or another program.

python evaluate.py maps=runs/strega/NAME/prepared data=folder data.source=COHORT
"""

from pathlib import Path
from typing import TYPE_CHECKING

from brainuad.cli.error_line import run_hydra
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.machine.files import write_json, write_text
from brainuad.machine.links import follow_no_links
from brainuad.machine.text import say
from brainuad.settings.instantiate import RUN_PACKAGES, as_yaml, instantiate, resolve

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from brainuad.postprocess.pipeline import Postprocess


def main() -> int:
    """Entry point of `evaluate.py` and `brainuad-evaluate`; returns the exit status."""
    return run_hydra("evaluate", evaluate)


def evaluate(cfg: "DictConfig") -> None:
    """Write the files of `brainuad.evaluation.results.write_evaluation` and print the table.

    Raises:
        InputError: bad input.
        PartialFailure: some subjects failed; the others are done.
    """
    from brainuad.evaluation.thresholds import as_threshold, require_space
    from brainuad.machine.limits import require_folder
    from brainuad.machine.locks import claim_free
    from brainuad.machine.present import present
    from brainuad.machine.temporary import have_temporary

    folder = Path(cfg.maps)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the anomaly maps with maps=DIR")
    # Errors of the settings come before anything is made or read.
    threshold, own = as_threshold(cfg.threshold, "threshold"), as_threshold(cfg.fixed, "fixed")
    require_space(cfg.space)
    postprocess = instantiate(cfg.postprocess)
    out = Path(cfg.paths.output_dir)
    for place in (Path(cfg.paths.cache_dir), out):
        follow_no_links(place)
        require_folder(place)
    have_temporary(out)
    claim = claim_free(out, fresh=cfg.paths.output_dir == cfg.paths.default_output_dir)
    cfg.paths.output_dir = str(claim.folder)
    try:
        with present(claim.folder, claim.mark):
            _evaluate(cfg, claim.folder, postprocess, threshold, own)
    finally:
        claim.release()


def _evaluate(
    cfg: "DictConfig",
    out: Path,
    postprocess: "Postprocess",
    threshold: float | None,
    own: float | None,
) -> None:
    from rich.console import Console

    from brainuad.cohorts.manifest import joined
    from brainuad.cohorts.map_folder import MapFolder
    from brainuad.evaluation.maps import evaluate_maps
    from brainuad.evaluation.results import write_evaluation
    from brainuad.evaluation.slices import evaluate_slices
    from brainuad.inference.controls import fixed_thresholds, untrained_controls, write_controls
    from brainuad.machine import provenance
    from brainuad.preparation.configured import cohort_of
    from brainuad.records.run import CohortIdentity, RunRecord
    from brainuad.reporting.tables import flatter_table, summary_table

    folder = Path(cfg.maps)
    config = resolve(cfg)
    cohort = cohort_of(config["data"], {"test": None})
    sequence, name = joined(cfg.data.sequence), str(cfg.name)
    scans = [
        *cohort.select("val", sequence, allow_empty=True),
        *cohort.select("test", sequence),
    ]
    failed = Failures()
    controls = untrained_controls(config["controls"] or {})
    controlled = write_controls(controls, scans, out / "controls", name, failed)
    maps = {name: folder} | {control: made.path for control, made in controlled.items()}
    trained_on = MapFolder(folder).trained_on
    if cfg.protocol.slices is None:
        evaluation = evaluate_maps(
            cohort,
            sequence,
            maps,
            postprocess,
            space=cfg.space,
            trained_on=trained_on,
            thresholds=None if threshold is None else {name: threshold},
            fixed=fixed_thresholds(controls) | ({} if own is None else {name: own}),
            seed=cfg.seed,
        )
    else:
        evaluation = evaluate_slices(
            cohort,
            sequence,
            maps,
            postprocess,
            instantiate(cfg.protocol.slices, packages=RUN_PACKAGES),
            trained_on=trained_on,
            seed=cfg.seed,
        )
    write_text(out / "config.yaml", as_yaml(config))
    record = RunRecord(
        **provenance.describe(),
        seed=cfg.seed,
        method=cfg.name,
        sequence=config["data"]["sequence"],
        cohort=CohortIdentity(**cohort.identity()),
    )
    write_json(out / "provenance.json", record.to_json())
    write_evaluation(evaluation, out, record)
    Console().print(summary_table(evaluation.summary, str(evaluation.context["space"])))
    if evaluation.flatter is not None and len(evaluation.flatter):
        Console().print(flatter_table(evaluation.flatter))
    say(f"scores: {out / 'scores.csv'}")
    Failures([*cohort.record.failures, *failed, *evaluation.failures]).raise_if_any()
