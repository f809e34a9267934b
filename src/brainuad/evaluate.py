"""Scores a folder of anomaly maps, ours or somebody else's.

python evaluate.py maps=runs/strega/NAME/prepared data=folder data.source=COHORT
"""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from brainuad.cli import run_hydra
from brainuad.errors import InputError, PartialFailure
from brainuad.files import write_json, write_text
from brainuad.instantiate import RUN_PACKAGES, instantiate


def main() -> int:
    """Entry point of `evaluate.py` and `brainuad-evaluate`; returns the exit status."""
    return run_hydra("evaluate", evaluate)


def evaluate(cfg: DictConfig) -> None:
    """Writes `scores.csv`, `summary.json` and `curves.npz`, and prints the table.

    Raises:
        InputError: bad input.
        PartialFailure: some subjects failed, everything else is done.
    """
    from rich.console import Console

    from brainuad import provenance
    from brainuad.data.manifest import Cohort
    from brainuad.detection import read_trained_on
    from brainuad.evaluation import evaluate_maps, write_evaluation
    from brainuad.prepare import cohort_failures
    from brainuad.reporting.tables import summary_table

    maps = Path(cfg.maps)
    if not maps.is_dir():
        raise InputError(f"{maps}: no such folder; give the anomaly maps with maps=DIR")
    cohort: Cohort = instantiate(cfg.data.cohort, packages=RUN_PACKAGES)
    sequence = cfg.data.sequence
    evaluation = evaluate_maps(
        cohort,
        sequence,
        {str(cfg.name): maps},
        instantiate(cfg.postprocess),
        space=cfg.space,
        trained_on=read_trained_on(maps),
        thresholds=None if cfg.threshold is None else {str(cfg.name): float(cfg.threshold)},
        seed=cfg.seed,
    )
    out = Path(cfg.paths.output_dir)
    write_text(out / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    record = {
        **provenance.describe(),
        "seed": cfg.seed,
        "method": cfg.name,
        "sequence": sequence,
        "cohort": cohort.identity(),
    }
    write_json(out / "provenance.json", record)
    write_evaluation(evaluation, out, record)
    Console().print(summary_table(evaluation.summary))
    print(f"scores: {out / 'scores.csv'}")
    if failures := [*cohort_failures(cohort), *evaluation.failures]:
        raise PartialFailure(failures)
