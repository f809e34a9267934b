"""Trains a method on healthy subjects, then predicts, scores and reports: one run folder.

python train.py experiment=madad
"""

import json
import logging
import time
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from brainuad.cli import run_hydra
from brainuad.errors import InputError, PartialFailure
from brainuad.files import write_json, write_text
from brainuad.instantiate import RUN_PACKAGES, instantiate, resolve
from brainuad.recipes import of_cohort

# torch, Lightning and MONAI take ten seconds to import: only when the work starts.
if TYPE_CHECKING:
    from brainuad.data.datamodule import HealthyDataModule
    from brainuad.data.manifest import Cohort
    from brainuad.methods.detector import AnomalyDetector

RESULT_KEYS = ("name", "seed", "data", "input", "model", "tiling", "datamodule")
"""What must agree between a checkpoint and the run that resumes from it."""

NEUTRAL_KEYS = ("cache_dir", "jobs", "num_workers")
"""What may differ within: none of it changes a result."""


def main() -> int:
    """Entry point of `train.py` and `brainuad-train`; returns the exit status."""
    return run_hydra("train", train)


def train(cfg: DictConfig) -> None:
    """One run, from the cohort to the report.

    Raises:
        InputError: bad input.
        PartialFailure: some subjects failed, everything else is done.
    """
    from lightning import seed_everything

    from brainuad import provenance
    from brainuad.data.folds import with_fold
    from brainuad.data.manifest import Cohort
    from brainuad.detection import device
    from brainuad.inputs import as_input
    from brainuad.stages import build_on, with_first_stage

    started = time.time()
    _quieten()
    out = _output_dir(cfg)
    cohort: Cohort = instantiate(cfg.data.cohort, packages=RUN_PACKAGES)
    cohort = with_fold(cohort, cfg.data.folds, cfg.data.fold)
    first_stage = with_first_stage(cfg, cohort, train)
    config = resolve(cfg)
    seed_everything(cfg.seed, workers=True, verbose=False)
    detector: AnomalyDetector = instantiate(cfg.model)
    detector.card = _card(config, cohort)
    if first_stage is not None:
        detector.card["run"]["first_stage"] = first_stage.digest
    # Before anything is written: a refused run leaves the folder it was pointed at as it was.
    resume = _resume_point(cfg, out, detector) if detector.learns else None
    write_text(out / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    print(f"run folder: {out}")
    failures: list[tuple[str, str]] = []
    if detector.learns:
        healthy = [s for s in cohort.scans if s.healthy and s.sequence == cfg.data.sequence]
        seen, bad = as_input(healthy, instantiate(cfg.input.tissue), cfg.paths.cache_dir, cfg.jobs)
        tiling = instantiate(cfg.tiling)
        datamodule: HealthyDataModule = instantiate(
            cfg.datamodule,
            cohort=Cohort(cohort.root, seen, cohort.info),
            tiling=tiling,
            packages=RUN_PACKAGES,
        )
        if first_stage is not None:
            build_on(detector, first_stage, tiling, datamodule.scans, out, device(cfg.device))
        datamodule.training_set = detector.training_set
        _fit(cfg, detector, datamodule, resume)
        failures += bad + datamodule.failures
        # Lightning leaves it on the CPU, where a large autoencoder would take hours.
        detector.to(device(cfg.device))
        detector.examine(tiling, datamodule.scans["train"], datamodule.scans["val"], out)
    fitted = time.time()
    record = {
        **provenance.describe(),
        "seed": cfg.seed,
        "method": cfg.name,
        "sequence": cfg.data.sequence,
        "cohort": cohort.identity(),
        "parameters": sum(p.numel() for p in detector.parameters() if p.requires_grad),
        "time_started": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(started)),
        "fit_s": fitted - started,
    }
    failures += detect_and_score(cfg, detector, cohort, out, record)
    # A subject that failed early fails later too: its first reason is the one to know.
    failures = list(dict(reversed(failures)).items())[::-1]
    record["failures"] = failures
    record["duration_s"] = time.time() - started
    write_json(out / "provenance.json", record)
    if cfg.report:
        from brainuad.report import make_report

        print(f"report: {make_report(out)}")
    if failures:
        raise PartialFailure(failures)


def detect_and_score(
    cfg: DictConfig,
    detector: "AnomalyDetector",
    cohort: "Cohort",
    out: Path,
    record: dict[str, Any],
) -> list[tuple[str, str]]:
    """Maps, threshold, model file, masks and scores; fills in `record`; returns the failures."""
    from brainuad.checkpoint import save_model, weights_hash
    from brainuad.detection import device, model_score, write_maps, write_masks
    from brainuad.evaluation.thresholds import fit_healthy_threshold
    from brainuad.inputs import as_input
    from brainuad.predicting.suitability import training_statistics
    from brainuad.prepare import cohort_failures

    failures = cohort_failures(cohort)
    if not cfg.predict:
        save_model(detector, out / "model.ckpt")
        return failures
    sequence, prepared = cfg.data.sequence, out / "prepared"
    postprocess = instantiate(cfg.postprocess)
    val = cohort.select("val", sequence)
    test = cohort.select("test", sequence)
    tiling = instantiate(cfg.tiling)
    score = model_score(
        detector, tiling, cfg.predict_batch_size, device(cfg.device), cfg.predict_precision
    )
    trained_on = detector.card["subjects"]["train"] if detector.learns else []
    weights = weights_hash(detector)
    tissue = instantiate(cfg.input.tissue)
    seen, bad = as_input([*val, *test], tissue, cfg.paths.cache_dir, cfg.jobs)
    stamp = f"{weights} {cfg.predict_precision}"
    written = write_maps(
        seen, prepared, score, stamp, "detecting", trained_on, keep_input=tissue is not None
    )
    record["wall_time_per_volume_s"] = written.seconds_per_volume
    failures += bad + written.failures
    threshold, bad = fit_healthy_threshold(cohort, sequence, prepared, postprocess, space=cfg.space)
    failures += bad
    detector.card["threshold"] = threshold
    detector.card["statistics"] = training_statistics(
        cohort, sequence, prepared, postprocess, detector.card["preparation"]
    )
    save_model(detector, out / "model.ckpt")
    record["checkpoint"] = {"path": "model.ckpt", "sha256": weights}
    failed = {subject for subject, _ in failures}
    done = [scan for scan in test if scan.subject not in failed]
    failures += write_masks(done, prepared, out, postprocess, threshold)
    if cfg.evaluate:
        failures += _evaluate(cfg, cohort, out, postprocess, threshold, record)
    return failures


def _evaluate(
    cfg: DictConfig,
    cohort: "Cohort",
    out: Path,
    postprocess: Any,
    threshold: float,
    record: dict[str, Any],
) -> list[tuple[str, str]]:
    from rich.console import Console

    from brainuad.controls import write_controls
    from brainuad.detection import read_trained_on
    from brainuad.evaluation.maps import evaluate_maps
    from brainuad.evaluation.results import write_evaluation
    from brainuad.reporting.tables import summary_table

    sequence = cfg.data.sequence
    scans = [*cohort.select("val", sequence), *cohort.select("test", sequence)]
    maps = {str(cfg.name): out / "prepared"}
    maps |= write_controls(cfg.controls, scans, out / "controls", str(cfg.name))
    evaluation = evaluate_maps(
        cohort,
        sequence,
        maps,
        postprocess,
        space=cfg.space,
        trained_on=read_trained_on(out / "prepared"),
        thresholds={str(cfg.name): threshold},
        seed=cfg.seed,
    )
    write_evaluation(evaluation, out, record)
    Console().print(summary_table(evaluation.summary, cfg.space))
    return evaluation.failures


def _quieten() -> None:
    """Leaves out what libraries say about themselves; warnings about the work stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    # A first stage is frozen, on purpose.
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
    # The loader's workers are a setting here, and on two cores none is best.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def _output_dir(cfg: DictConfig) -> Path:
    """The run folder; `ckpt=last` goes on in the newest one of this name that has a checkpoint."""
    out = Path(cfg.paths.output_dir)
    last = Path("checkpoints") / "last.ckpt"
    if cfg.ckpt == "last" and not (out / last).is_file():
        runs = sorted(out.parent.glob(f"*/{last}"), key=lambda path: path.stat().st_mtime)
        # A folder that the user named is the one he means, with or without a checkpoint.
        if runs and cfg.paths.output_dir == cfg.paths.default_output_dir:
            out = runs[-1].parent.parent
            cfg.paths.output_dir = str(out)
    return out


def _resume_point(cfg: DictConfig, out: Path, detector: "AnomalyDetector") -> Path | None:
    """The checkpoint to go on from, if one was asked for and is there."""
    from brainuad.checkpoint import read_checkpoint

    if cfg.ckpt is None:
        return None
    path = out / "checkpoints" / "last.ckpt" if cfg.ckpt == "last" else Path(cfg.ckpt)
    if cfg.ckpt == "last" and not path.is_file():
        print(f"no checkpoint in {path.parent} yet: starting from the beginning")
        return None
    _check_resumable(path, read_checkpoint(path), detector)
    print(f"resuming from {path}")
    return path


def _fit(
    cfg: DictConfig,
    detector: "AnomalyDetector",
    datamodule: "HealthyDataModule",
    resume: Path | None,
) -> None:
    """Trains, from a checkpoint where there is one, and leaves the best weights in the detector."""
    from lightning.pytorch import Trainer

    from brainuad.checkpoint import read_checkpoint

    callbacks = instantiate(cfg.callbacks, packages=RUN_PACKAGES).values()
    logger = instantiate(cfg.logger, packages=RUN_PACKAGES) if cfg.logger else False
    trainer: Trainer = instantiate(
        cfg.trainer, callbacks=list(callbacks), logger=logger, packages=RUN_PACKAGES
    )
    trainer.fit(detector, datamodule=datamodule, ckpt_path=resume, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    best = Path(getattr(trainer.checkpoint_callback, "best_model_path", "") or "")
    if best.is_file():
        detector.load_state_dict(read_checkpoint(best)["state_dict"])


def _check_resumable(path: Path, checkpoint: dict[str, Any], detector: "AnomalyDetector") -> None:
    saved = checkpoint.get("brainuad", {}).get("run", {})
    now = detector.card["run"]
    differing = [key for key in now if saved.get(key) != now[key]]
    if differing:
        raise InputError(
            f"{path}: was made with another {', '.join(differing)}; repeat the command it was "
            "made with (config.yaml beside it) or start without ckpt"
        )


def _card(config: dict[str, Any], cohort: "Cohort") -> dict[str, Any]:
    """Plain values that travel in every checkpoint."""
    subjects = {
        split: sorted({s.subject for s in cohort.scans if s.split == split and s.healthy})
        for split in ("train", "val")
    }
    run = _without({key: config[key] for key in RESULT_KEYS}, NEUTRAL_KEYS)
    return {
        "model": config["model"],
        "input": config["input"],
        "tiling": config["tiling"],
        "postprocess": config["postprocess"],
        "sequence": config["data"]["sequence"],
        "space": config["space"],
        "seed": config["seed"],
        "name": config["name"],
        "cohort": cohort.name,
        "split_hash": cohort.split_hash(),
        "subjects": subjects,
        "preparation": of_cohort(cohort, config["data"]["sequence"]),
        # Through JSON, so that what was resolved and what was loaded compare equal.
        "run": json.loads(json.dumps(run, default=str)),
    }


def _without(value: Any, keys: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, keys) for key, item in value.items() if key not in keys}
    return value
