"""After a training: maps, thresholds, the model file, masks and scores."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path

from rich.console import Console

from brainuad.cohorts.manifest import Cohort, Scan, joined
from brainuad.cohorts.map_folder import MapFolder
from brainuad.evaluation.maps import evaluate_maps
from brainuad.evaluation.results import write_evaluation
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.evaluation.thresholds import fit_thresholds
from brainuad.inference.controls import fixed_thresholds, untrained_controls, write_controls
from brainuad.inference.maps import fill
from brainuad.inference.masks import write_masks
from brainuad.machine import ranks
from brainuad.machine.failures import Failures
from brainuad.machine.text import say
from brainuad.model.model import Model
from brainuad.model.suitability import training_statistics
from brainuad.records.run import Checkpoint, RunRecord
from brainuad.reporting.tables import summary_table
from brainuad.settings.instantiate import instantiate
from brainuad.training.settings import RunSettings

UNTOLD = (
    "(nearly) all scores of the healthy validation scans are equal, so that they determine no "
    "threshold and nothing is marked; give brainuad-predict a threshold with --threshold"
)


def detect_and_score(
    settings: RunSettings,
    model: Model,
    cohort: Cohort,
    record: RunRecord,
    failures: Failures,
) -> None:
    """Write maps, the model with its thresholds, masks and scores into the run folder.

    Ranks share the detection; the first rank does everything else.

    Args:
        settings: settings of the run.
        model: trained model; its card gets thresholds and statistics.
        cohort: cohort of the run.
        record: content of `provenance.json`; gets duration, checkpoint and notes.
        failures: gets the subjects that failed.
    """
    sequence = joined(settings.sequence)
    test = cohort.select("test", sequence)
    scans = [*cohort.select("val", sequence), *test]
    maps = {settings.name: MapFolder(settings.out / "prepared")}
    seconds = fill(
        maps[settings.name],
        scans,
        model,
        failures,
        "detecting",
        model.card.trained_on if model.learns else (),
    )
    for name, options in settings.also.items():
        maps[name] = MapFolder(settings.out / "also" / name)
        other = model.with_options(options).on_device()
        fill(maps[name], scans, other, failures, f"detecting as {name}")
    ranks.part()
    if ranks.rank() != 0:
        return
    record.wall_time_per_volume_s = seconds
    postprocess = instantiate(settings.postprocess)
    with tempfile.TemporaryDirectory(prefix="brainuad-") as kept:
        own = ScoreMaps(maps[settings.name], postprocess, settings.space, Path(kept))
        threshold = _calibrate(settings, model, cohort, own, record, failures)
        model.save(settings.out / "model.ckpt")
        record.checkpoint = Checkpoint("model.ckpt", model.weights_hash)
        failed = {subject for subject, _ in failures}
        done = [scan for scan in test if scan.subject not in failed]
        write_masks(done, own, MapFolder(settings.out), threshold, failures)
        if settings.evaluate:
            _evaluate(settings, model, cohort, maps, own, scans, threshold, record, failures)


def _calibrate(
    settings: RunSettings,
    model: Model,
    cohort: Cohort,
    maps: ScoreMaps,
    record: RunRecord,
    failures: Failures,
) -> float:
    """Put thresholds and statistics into the card; return the healthy threshold, NaN for none."""
    sequence = joined(settings.sequence)
    fitted, bad = fit_thresholds(cohort, sequence, maps)
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
        statistics=training_statistics(cohort, sequence, maps, in_mni).to_json(),
    )
    return fitted.healthy


def _evaluate(
    settings: RunSettings,
    model: Model,
    cohort: Cohort,
    maps: dict[str, MapFolder],
    own: ScoreMaps,
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
        own.postprocess,
        space=settings.space,
        trained_on=own.maps.trained_on,
        thresholds={settings.name: threshold},
        fixed=fixed,
        carried={settings.name: own},
        seed=settings.seed,
    )
    write_evaluation(evaluation, settings.out, record)
    Console().print(summary_table(evaluation.summary, settings.space))
    failures += evaluation.failures
