"""After a training: maps, thresholds, the model file, masks and scores."""

from collections.abc import Sequence
from dataclasses import replace
from math import isnan

from rich.console import Console

from brainuad.cohorts.manifest import Cohort, Scan, joined
from brainuad.cohorts.map_folder import MapFolder
from brainuad.evaluation.maps import evaluate_maps
from brainuad.evaluation.results import write_evaluation
from brainuad.evaluation.thresholds import fit_thresholds
from brainuad.inference.controls import fixed_thresholds, untrained_controls, write_controls
from brainuad.inference.maps import fill
from brainuad.inference.masks import write_masks
from brainuad.machine import ranks
from brainuad.machine.failures import Failures
from brainuad.machine.text import say
from brainuad.model.model import Model
from brainuad.model.suitability import training_statistics
from brainuad.postprocess.pipeline import Postprocess
from brainuad.records.run import Checkpoint, RunRecord
from brainuad.reporting.tables import summary_table
from brainuad.settings.instantiate import instantiate
from brainuad.training.settings import RunSettings

UNTOLD = (
    "(nearly) all scores of the healthy validation scans are one and the same: they tell of no "
    "threshold, so that no mask marks anything; give brainuad-predict one with --threshold"
)


def detect_and_score(
    settings: RunSettings,
    model: Model,
    cohort: Cohort,
    record: RunRecord,
    failures: Failures,
) -> None:
    """Write maps, the model with its thresholds, masks and scores into the run folder.

    Ranks share the scans that are detected; what comes after is done by the first one alone.

    Args:
        settings: settings of the run.
        model: trained; its card gets thresholds and statistics.
        cohort: cohort of the run.
        record: record for `provenance.json`; gets the measurements.
        failures: gets the subjects that something could not be done for.
    """
    sequence = joined(settings.sequence)
    val, test = (cohort.select(split, sequence) for split in ("val", "test"))
    maps = {settings.name: MapFolder(settings.out / "prepared")}
    seconds = fill(
        maps[settings.name],
        [*val, *test],
        model,
        failures,
        "detecting",
        model.card.trained_on if model.learns else (),
    )
    for name, options in settings.also.items():
        maps[name] = MapFolder(settings.out / "also" / name)
        other = model.with_options(options).on_device()
        fill(maps[name], [*val, *test], other, failures, f"detecting as {name}")
    ranks.part()
    if ranks.rank() != 0:
        return
    record.wall_time_per_volume_s = seconds
    postprocess = instantiate(settings.postprocess)
    prepared = maps[settings.name]
    threshold = _calibrate(settings, model, cohort, prepared, postprocess, record, failures)
    model.save(settings.out / "model.ckpt")
    record.checkpoint = Checkpoint("model.ckpt", model.weights_hash)
    failed = {subject for subject, _ in failures}
    done = [scan for scan in test if scan.subject not in failed]
    write_masks(done, prepared, MapFolder(settings.out), postprocess, threshold, failures)
    if settings.evaluate:
        _evaluate(settings, model, cohort, maps, [*val, *test], threshold, record, failures)


def _calibrate(
    settings: RunSettings,
    model: Model,
    cohort: Cohort,
    maps: MapFolder,
    postprocess: Postprocess,
    record: RunRecord,
    failures: Failures,
) -> float:
    """Put thresholds and statistics into the card; return the healthy threshold, NaN for none."""
    sequence = joined(settings.sequence)
    fitted, bad = fit_thresholds(cohort, sequence, maps.path, postprocess, space=settings.space)
    failures += bad
    told = not isnan(fitted.healthy)
    if not told:
        record.notes = (*record.notes, UNTOLD)
        say(f"note: {UNTOLD}")
    in_mni = bool(model.card.preparation) and model.card.recipe.in_mni
    model.card = replace(
        model.card,
        threshold=fitted.healthy if told else None,
        thresholds=fitted.as_card(model.fixed_threshold),
        statistics=training_statistics(cohort, sequence, maps, postprocess, in_mni),
    )
    return fitted.healthy


def _evaluate(
    settings: RunSettings,
    model: Model,
    cohort: Cohort,
    maps: dict[str, MapFolder],
    scans: Sequence[Scan],
    threshold: float,
    record: RunRecord,
    failures: Failures,
) -> None:
    """Score the maps and those of the controls, write the scores and print the table."""
    controls = untrained_controls(settings.controls)
    controlled = write_controls(controls, scans, settings.out / "controls", settings.name, failures)
    fixed = fixed_thresholds(controls)
    if model.fixed_threshold is not None:
        fixed |= dict.fromkeys(maps, model.fixed_threshold)
    evaluation = evaluate_maps(
        cohort,
        joined(settings.sequence),
        {name: folder.path for name, folder in (maps | controlled).items()},
        instantiate(settings.postprocess),
        space=settings.space,
        trained_on=maps[settings.name].trained_on,
        thresholds={settings.name: threshold},
        fixed=fixed,
        seed=settings.seed,
    )
    write_evaluation(evaluation, settings.out, record)
    Console().print(summary_table(evaluation.summary, settings.space))
    failures += evaluation.failures
