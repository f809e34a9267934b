"""What follows a training: maps, thresholds, the model file, masks and scores."""

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from brainuad.cohorts.manifest import joined
from brainuad.machine.text import say
from brainuad.settings.instantiate import instantiate, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brainuad.cohorts.manifest import Cohort, Scan
    from brainuad.methods.base import AnomalyDetector

UNTOLD = (
    "(nearly) all scores of the healthy validation scans are one and the same: they tell of no "
    "threshold, so that no mask marks anything; give brainuad-predict one with --threshold"
)


def detect_and_score(
    cfg: DictConfig,
    detector: "AnomalyDetector",
    cohort: "Cohort",
    out: Path,
    record: dict[str, Any],
) -> list[tuple[str, str]]:
    """Maps, threshold, model file, masks and scores; fills in `record`; returns the failures.

    Ranks share the scans that are detected; what comes after is done by the first one alone.
    """
    from brainuad.inference.maps import write_maps
    from brainuad.inference.masks import write_masks
    from brainuad.label_free.objective import measure
    from brainuad.machine import ranks
    from brainuad.model.checkpoint import save_model, weights_hash
    from brainuad.model.detect import device, model_score
    from brainuad.model.suitability import training_statistics
    from brainuad.preparation.from_folder import cohort_failures
    from brainuad.preparation.model_input import as_input, input_of
    from brainuad.training.relative_to_healthy import make_relative

    failures = cohort_failures(cohort)
    first = ranks.rank() == 0
    if cfg.relative:
        failures += make_relative(cfg, detector, cohort, out)
    if cfg.painted_draws:
        failures += measure(cfg, detector, cohort, out, record)
    if not cfg.predict:
        if first:
            save_model(detector, out / "model.ckpt")
        return failures
    sequence, prepared = joined(cfg.data.sequence), out / "prepared"
    postprocess = instantiate(cfg.postprocess)
    val = cohort.select("val", sequence)
    test = cohort.select("test", sequence)
    tiling = instantiate(cfg.tiling)
    score = model_score(
        detector, tiling, cfg.predict_batch_size, device(cfg.device), cfg.predict_precision
    )
    knows = detector.learns or detector.relative is not None
    trained_on = detector.card["subjects"]["train"] if knows else []
    weights = weights_hash(detector)
    how = input_of(cfg.input)
    seen, bad = as_input([*val, *test], how, cfg.paths.cache_dir, cfg.jobs)
    stamp = f"{weights} {cfg.predict_precision}"
    written = write_maps(
        seen, prepared, score, stamp, "detecting", trained_on, keep_input=how is not None
    )
    bad += [one for one in _detect_again(cfg, detector, seen, out) if one not in written.failures]
    ranks.part()
    if not first:
        return failures
    record["wall_time_per_volume_s"] = written.seconds_per_volume
    failures += bad + written.failures
    threshold, unread = _fit_threshold(cfg, detector, cohort, prepared, record)
    failures += unread
    detector.card["statistics"] = training_statistics(
        cohort, sequence, prepared, postprocess, detector.card["preparation"]
    )
    save_model(detector, out / "model.ckpt")
    record["checkpoint"] = {"path": "model.ckpt", "sha256": weights}
    failed = {subject for subject, _ in failures}
    done = [scan for scan in test if scan.subject not in failed]
    failures += write_masks(done, prepared, out, postprocess, threshold)
    if cfg.evaluate:
        failures += _evaluate(cfg, detector, cohort, out, threshold, record)
    return failures


def _fit_threshold(
    cfg: DictConfig,
    detector: "AnomalyDetector",
    cohort: "Cohort",
    maps: Path,
    record: dict[str, Any],
) -> tuple[float, list[tuple[str, str]]]:
    """The healthy threshold, NaN for none, and the failures; the card gets every threshold."""
    from brainuad.evaluation.thresholds import fit_thresholds

    postprocess = instantiate(cfg.postprocess)
    fitted, failures = fit_thresholds(
        cohort, joined(cfg.data.sequence), maps, postprocess, space=cfg.space
    )
    told = not isnan(fitted.healthy)
    if not told:
        record["notes"] = [*record.get("notes", []), UNTOLD]
        say(f"note: {UNTOLD}")
    detector.card["threshold"] = fitted.healthy if told else None
    detector.card["thresholds"] = fitted.as_card(detector.fixed_threshold)
    return fitted.healthy, failures


def _detect_again(
    cfg: DictConfig, detector: "AnomalyDetector", scans: "Sequence[Scan]", out: Path
) -> list[tuple[str, str]]:
    """Write the maps of `also`: the same weights with other options; returns the failures."""
    from brainuad.inference.maps import write_maps
    from brainuad.model.checkpoint import weights_hash, with_options
    from brainuad.model.detect import device, model_score

    how = cfg.predict_batch_size, device(cfg.device), cfg.predict_precision
    failures: list[tuple[str, str]] = []
    for name, options in (resolve(cfg.also) or {}).items():
        other = with_options(detector, options)
        score = model_score(other, instantiate(cfg.tiling), *how)
        stamp = f"{weights_hash(other)} {cfg.predict_precision}"
        written = write_maps(scans, out / "also" / name, score, stamp, f"detecting as {name}")
        failures += [one for one in written.failures if one not in failures]
    return failures


def _evaluate(
    cfg: DictConfig,
    detector: "AnomalyDetector",
    cohort: "Cohort",
    out: Path,
    threshold: float,
    record: dict[str, Any],
) -> list[tuple[str, str]]:
    from rich.console import Console

    from brainuad.evaluation.maps import evaluate_maps
    from brainuad.evaluation.results import write_evaluation
    from brainuad.inference.controls import fixed_thresholds, write_controls
    from brainuad.inference.maps import read_trained_on
    from brainuad.reporting.tables import summary_table

    sequence = joined(cfg.data.sequence)
    scans = [*cohort.select("val", sequence), *cohort.select("test", sequence)]
    maps = {str(cfg.name): out / "prepared"}
    maps |= {name: out / "also" / name for name in cfg.also}
    failures: list[tuple[str, str]] = []
    maps |= write_controls(cfg.controls, scans, out / "controls", str(cfg.name), failures)
    fixed = fixed_thresholds(cfg.controls)
    if detector.fixed_threshold is not None:
        fixed |= dict.fromkeys([str(cfg.name), *cfg.also], detector.fixed_threshold)
    evaluation = evaluate_maps(
        cohort,
        sequence,
        maps,
        instantiate(cfg.postprocess),
        space=cfg.space,
        trained_on=read_trained_on(out / "prepared"),
        thresholds={str(cfg.name): threshold},
        fixed=fixed,
        seed=cfg.seed,
    )
    write_evaluation(evaluation, out, record)
    Console().print(summary_table(evaluation.summary, cfg.space))
    return [*failures, *evaluation.failures]
