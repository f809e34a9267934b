"""A run in its folder: from the cohort to the report."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning import seed_everything

from brainuad.cohorts.manifest import Cohort, joined
from brainuad.cohorts.map_folder import MapFolder
from brainuad.errors import CannotWrite
from brainuad.label_free.objective import painted_ap
from brainuad.machine import provenance, ranks
from brainuad.machine.failures import Failures
from brainuad.machine.files import write_json, write_text
from brainuad.machine.text import one_line, say
from brainuad.model.card import card_of, preparation_of
from brainuad.model.model import Model
from brainuad.model.runtime import Runtime
from brainuad.preparation.configured import cohort_of
from brainuad.preparation.model_input import input_of
from brainuad.records.run import CohortIdentity, RunRecord
from brainuad.settings.instantiate import RUN_PACKAGES, as_yaml, instantiate
from brainuad.training.channels import channels_compared
from brainuad.training.detect_and_score import detect_and_score
from brainuad.training.first_stage import FirstStage, build_on, first_stage_of
from brainuad.training.fit import calibrate, fit, resume_point, start_from
from brainuad.training.kept import keeping
from brainuad.training.planes import refuse_volume_method
from brainuad.training.preflight import preflight
from brainuad.training.relative_to_healthy import make_relative
from brainuad.training.settings import RunSettings


def run(settings: RunSettings) -> float | None:
    """Make a run folder, from the cohort to the report; a first stage is a run, too.

    Returns:
        Mean average precision of painted lesions; None where none were asked for.

    Raises:
        InputError: bad input.
        PartialFailure: some subjects failed; the others are done.
    """
    started = time.time()
    cohort = cohort_of(settings.data, preflight(settings))
    stage = first_stage_of(settings, cohort, run)
    if stage is not None:
        settings = settings.with_first_stage(stage.config)
    model = _untrained(settings, cohort, stage)
    # Before anything is written: a refused run leaves its folder unchanged.
    ckpt = settings.ckpt if model.method.by_gradient else None
    resume = resume_point(ckpt, settings.out, model)
    if ranks.rank() == 0:
        write_text(settings.out / "config.yaml", as_yaml(settings.config))
    say(f"run folder: {settings.out}")
    logger = _logger(settings)
    failures = Failures()
    with keeping(model, settings.out) as keep:
        if model.method.learns:
            _learn(settings, model, cohort, stage, resume, logger, keep, failures)
        record = _record(settings, model, cohort, started)
        with _recorded(settings.out, record, failures, started):
            failures += cohort.record.failures
            if settings.relative:
                make_relative(settings, model, cohort, failures)
            if settings.painted_draws:
                record.painted = painted_ap(
                    model,
                    cohort.select("val", settings.sequence, healthy=True),
                    instantiate(settings.painted),
                    settings.painted_draws,
                    instantiate(settings.postprocess),
                    MapFolder(settings.out / "painted"),
                    failures,
                )
            if settings.predict:
                detect_and_score(settings, model, cohort, record, failures)
            elif ranks.rank() == 0:
                model.save(settings.out / "model.ckpt")
        if ranks.rank() != 0:
            return None
        _show(settings, cohort, record, logger, failures)
    failures.raise_if_any()
    return record.painted["mean"] if record.painted else None


def _untrained(settings: RunSettings, cohort: Cohort, stage: FirstStage | None) -> Model:
    """Return the model before its training, with its initial weights.

    Raises:
        InputError: the method does not suit the cohort, the weights or the options of `also`.
    """
    seed_everything(settings.seed, workers=True, verbose=False)
    tiling = instantiate(settings.tiling)
    runtime = Runtime(
        settings.device,
        settings.predict_precision,
        settings.predict_batch_size,
        settings.cache,
        settings.jobs,
    )
    card = card_of(settings.config, cohort, preparation_of(cohort, settings.sequence))
    if stage is not None:
        card = replace(card, run={**card.run, "first_stage": stage.digest})
    view = input_of(settings.input, own=True)
    model = Model(instantiate(settings.model), card, tiling, view, runtime=runtime)
    refuse_volume_method(cohort, model.method, tiling)
    start_from(settings.weights, model)
    for options in settings.also.values():
        model.with_options(options)
    return model


def _learn(
    settings: RunSettings,
    model: Model,
    cohort: Cohort,
    stage: FirstStage | None,
    resume: Path | None,
    logger: Any,
    keep: Callable[[], None],
    failures: Failures,
) -> None:
    """Train the model on the healthy scans; `keep` is called when its weights are final."""
    sequence = joined(settings.sequence)
    healthy = [scan for scan in cohort.scans if scan.healthy and scan.sequence == sequence]
    seen = tuple(model.views(healthy, failures))
    datamodule = instantiate(
        settings.datamodule,
        cohort=Cohort(cohort.root, seen, cohort.info),
        tiling=model.tiling,
        packages=RUN_PACKAGES,
    )
    if stage is not None:
        build_on(model, stage, datamodule.scans)
    datamodule.training_set = model.method.training_set
    datamodule.pairs = model.method.traits.pairs
    with channels_compared(settings.channels):
        fit(settings, model, datamodule, resume, logger)
    failures += datamodule.failures
    keep()
    # Lightning leaves the method on the CPU, where a large autoencoder would take hours.
    model.method.to(settings.device)
    calibrate(model, datamodule.scans, settings.out)


def _record(settings: RunSettings, model: Model, cohort: Cohort, started: float) -> RunRecord:
    """Return the record of a run once it is trained."""
    return RunRecord(
        **provenance.describe(),
        seed=settings.seed,
        precision={
            "training": settings.trainer["precision"],
            "detection": settings.predict_precision,
        },
        method=settings.name,
        sequence=settings.sequence,
        cohort=CohortIdentity(**cohort.identity()),
        parameters=sum(p.numel() for p in model.method.parameters() if p.requires_grad),
        time_started=time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(started)),
        fit_s=time.time() - started,
        ranks=ranks.count(),
    )


@contextmanager
def _recorded(out: Path, record: RunRecord, failures: Failures, started: float) -> Iterator[None]:
    """Write `provenance.json` at the end of the block, also after an error."""
    first: Exception | None = None
    try:
        yield
    except Exception as error:
        first = error
        record.error = one_line(error) or type(error).__name__
        raise
    finally:
        # A subject that failed early fails later too; its first reason is the cause.
        failures[:] = failures.first_reasons()
        record.failures, record.duration_s = tuple(failures), time.time() - started
        record.peak_memory_bytes = provenance.peak_memory()
        if ranks.rank() == 0:
            # On a full disk the first error is reported, not this one.
            with suppress(CannotWrite) if first else nullcontext():
                write_json(out / "provenance.json", record.to_json())


def _logger(settings: RunSettings) -> Any:
    """Return the logger of the run, with its settings logged; False for none."""
    made = instantiate(settings.logger, packages=RUN_PACKAGES) if settings.logger else False
    if hasattr(made, "log_config"):
        made.log_config(settings.config)
    return made


def _show(
    settings: RunSettings, cohort: Cohort, record: RunRecord, logger: Any, failures: Failures
) -> None:
    """Hand the results to the logger, and make the report."""
    from brainuad.reporting.attempt import attempt
    from brainuad.reporting.pages.report import make_report
    from brainuad.reporting.pages.subjects import choose

    if hasattr(logger, "log_results"):
        test = cohort.select("test", settings.sequence, allow_empty=True)
        with failures.catching("(logger)", settings.out):
            logger.log_results(choose(test, len(test)), record)
    if settings.report:
        why = attempt(lambda: make_report(settings.out), "report:", bool(failures))
        if why:
            failures.append(("(report)", why))
