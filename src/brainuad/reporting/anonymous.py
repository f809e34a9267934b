"""A run folder for a report that names nobody and no place."""

from dataclasses import replace

from brainuad.cohorts.names import POOLED
from brainuad.records.run import RunRecord
from brainuad.reporting.run_folder import RunFolder

KEPT = (
    *("method", "sequence", "seed", "commit", "dirty", "versions", "python", "device"),
    *("parameters", "duration_s", "wall_time_per_volume_s"),
)
"""Entries of the run record that an anonymous page keeps."""


def anonymous(run: RunFolder) -> RunFolder:
    """Return a run without pictures, names of subjects and cohort, command, configuration, places.

    Subjects become numbers in the order of the scores; a reason of failure, which may hold a path,
    is not told.
    """
    subjects = [*(score.subject for score in run.scores), *(name for name, _ in run.failures)]
    names = {name: f"subject {i + 1}" for i, name in enumerate(dict.fromkeys(subjects))}
    names[POOLED] = POOLED
    whose = dict.fromkeys(score.person for score in run.scores)
    people = {name: f"person {i + 1}" for i, name in enumerate(whose)}
    failures = [(names[name], "could not be done") for name, _ in run.failures]
    record = RunRecord(**{key: getattr(run.record, key) for key in KEPT})
    return replace(
        run,
        config="",
        record=replace(record, failures=tuple(failures)),
        summary=replace(run.summary, cohort="", failures=(), provenance={}, split_hash=""),
        scores=tuple(
            score._replace(subject=names[score.subject], person=people[score.person])
            for score in run.scores
        ),
        cohort=None,
        absent=("This report is anonymous: it leaves out pictures, names and places.",),
    )
