"""A run in its folder: from the cohort to the report."""

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from brainuad.cohorts.manifest import joined
from brainuad.errors import CannotWrite, InputError, PartialFailure
from brainuad.machine.files import write_json, write_text
from brainuad.machine.guard import guarded
from brainuad.machine.text import one_line, say
from brainuad.settings.instantiate import RUN_PACKAGES, instantiate, resolve

if TYPE_CHECKING:
    from brainuad.cohorts.manifest import Cohort
    from brainuad.methods.base import AnomalyDetector
    from brainuad.training.datamodule import HealthyDataModule
    from brainuad.training.first_stage import FirstStage


def run(cfg: DictConfig) -> float | None:
    """A run in its folder; a first stage is one too."""
    from brainuad.machine import provenance, ranks
    from brainuad.preparation.configured import cohort_of
    from brainuad.training.detect_and_score import detect_and_score
    from brainuad.training.first_stage import with_first_stage
    from brainuad.training.fit import resume_point
    from brainuad.training.kept import keeping
    from brainuad.training.preflight import preflight

    started = time.time()
    out = Path(cfg.paths.output_dir)
    sequence = cfg.data.sequence
    if not isinstance(sequence, str) and len(sequence) > 1 and cfg.input.tissue is not None:
        raise InputError(
            "input: tissue maps are made of one sequence; set data.sequence to one, or "
            "input=intensity"
        )
    _choose_precision(cfg)
    cohort = cohort_of(cfg.data, preflight(cfg))
    first_stage = with_first_stage(cfg, cohort, run)
    config = resolve(cfg)
    detector = _untrained(cfg, config, cohort, first_stage)
    # Before anything is written: a refused run leaves the folder it was pointed at as it was.
    resume = resume_point(cfg, out, detector) if detector.by_gradient else None
    if ranks.rank() == 0:
        write_text(out / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    say(f"run folder: {out}")
    logger = _logger(cfg, config)
    with keeping(detector, out) as keep:
        failures = []
        if detector.learns:
            failures = _learn(cfg, detector, cohort, first_stage, resume, logger, keep)
        record = _record(cfg, config, detector, cohort, started)
        first: Exception | None = None
        try:
            failures += detect_and_score(cfg, detector, cohort, out, record)
        except Exception as error:
            first = error
            record["error"] = one_line(error) or type(error).__name__
            raise
        finally:
            # A subject that failed early fails later too: its first reason is the one to know.
            failures = list(dict(reversed(failures)).items())[::-1]
            record |= {"failures": failures, "duration_s": time.time() - started}
            record["peak_memory_bytes"] = provenance.peak_memory()
            if ranks.rank() == 0:
                # On a full disk the first error is said, not this one.
                with suppress(CannotWrite) if first else nullcontext():
                    write_json(out / "provenance.json", record)
        if ranks.rank() != 0:
            return None
        failures += _show(cfg, cohort, out, record, logger)
    if failures:
        raise PartialFailure(failures)
    return record.get("painted", {}).get("mean")


def _untrained(
    cfg: DictConfig, config: dict[str, Any], cohort: "Cohort", first_stage: "FirstStage | None"
) -> "AnomalyDetector":
    """Return the method with its card, and with the weights that it is to start from.

    Raises:
        InputError: the method does not suit the cohort, the weights or the options of `also`.
    """
    from lightning import seed_everything

    from brainuad.model.card import card_of, preparation_of
    from brainuad.model.checkpoint import with_options
    from brainuad.training.fit import start_from
    from brainuad.training.planes import refuse_volume_method

    seed_everything(cfg.seed, workers=True, verbose=False)
    detector: AnomalyDetector = instantiate(cfg.model)
    refuse_volume_method(cohort, detector, instantiate(cfg.tiling))
    detector.card = card_of(config, cohort, preparation_of(cohort, cfg.data.sequence))
    if first_stage is not None:
        detector.card["run"]["first_stage"] = first_stage.digest
    start_from(cfg.weights, detector)
    for options in (config["also"] or {}).values():
        with_options(detector, options)
    return detector


def _record(
    cfg: DictConfig,
    config: dict[str, Any],
    detector: "AnomalyDetector",
    cohort: "Cohort",
    started: float,
) -> dict[str, Any]:
    """Return what `provenance.json` tells of a run when it is trained."""
    from brainuad.machine import provenance, ranks

    return {
        **provenance.describe(),
        "seed": cfg.seed,
        "precision": {"training": cfg.trainer.precision, "detection": cfg.predict_precision},
        "method": cfg.name,
        "sequence": config["data"]["sequence"],
        "cohort": cohort.identity(),
        "parameters": sum(p.numel() for p in detector.parameters() if p.requires_grad),
        "time_started": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(started)),
        "fit_s": time.time() - started,
        "ranks": ranks.count(),
    }


def _choose_precision(cfg: DictConfig) -> None:
    """Put what `auto` becomes on this machine into the settings, which the run folder keeps."""
    from brainuad.model.detect import chosen_precision, device

    place = device(cfg.device)
    cfg.predict_precision = chosen_precision(cfg.predict_precision, place)
    if cfg.trainer.precision == "auto":
        cfg.trainer.precision = chosen_precision("auto", place)


def _learn(
    cfg: DictConfig,
    detector: "AnomalyDetector",
    cohort: "Cohort",
    first_stage: "FirstStage | None",
    resume: Any,
    logger: Any,
    keep: Callable[[], None],
) -> list[tuple[str, str]]:
    """From the healthy scans to a detector that knows them; returns the failures.

    `keep` is called when it is trained.
    """
    from brainuad.cohorts.manifest import Cohort
    from brainuad.model.detect import device
    from brainuad.preparation.model_input import as_input, input_of
    from brainuad.training.channels import channels_compared
    from brainuad.training.first_stage import build_on
    from brainuad.training.fit import calibrate, fit

    out = Path(cfg.paths.output_dir)
    sequence = joined(cfg.data.sequence)
    healthy = [s for s in cohort.scans if s.healthy and s.sequence == sequence]
    seen, bad = as_input(healthy, input_of(cfg.input), cfg.paths.cache_dir, cfg.jobs)
    tiling = instantiate(cfg.tiling)
    datamodule: HealthyDataModule = instantiate(
        cfg.datamodule,
        cohort=Cohort(cohort.root, seen, cohort.info),
        tiling=tiling,
        packages=RUN_PACKAGES,
    )
    if first_stage is not None:
        build_on(detector, first_stage, tiling, datamodule.scans, device(cfg.device))
    datamodule.training_set = detector.training_set
    datamodule.pairs = detector.traits.pairs
    with channels_compared(cfg.data.sequence):
        fit(cfg, detector, datamodule, resume, logger)
    keep()
    # Lightning leaves it on the CPU, where a large autoencoder would take hours.
    detector.to(device(cfg.device))
    calibrate(detector, tiling, datamodule.scans, out)
    return bad + datamodule.failures


def _logger(cfg: DictConfig, config: dict[str, Any]) -> Any:
    """Who follows the run, told its settings; False for nobody."""
    logger = instantiate(cfg.logger, packages=RUN_PACKAGES) if cfg.logger else False
    if hasattr(logger, "log_config"):
        logger.log_config(config)
    return logger


def _show(
    cfg: DictConfig, cohort: "Cohort", out: Path, record: dict[str, Any], logger: Any
) -> list[tuple[str, str]]:
    """Hand the results to who follows the run, and make the report; return what failed."""
    from brainuad.reporting.attempt import attempt
    from brainuad.reporting.pages.report import choose, make_report

    failures: list[tuple[str, str]] = []
    if hasattr(logger, "log_results"):
        test = cohort.select("test", cfg.data.sequence, allow_empty=True)
        with guarded(failures, "(logger)", out):
            logger.log_results(choose(test, len(test)), record)
    failed = bool(failures or record["failures"])
    if cfg.report and (why := attempt(lambda: make_report(out), "report:", failed)):
        failures.append(("(report)", why))
    return failures
