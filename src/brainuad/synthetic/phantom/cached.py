"""The embedded cohort in a cache: made once, found again by its parameters."""

from pathlib import Path
from typing import Any

from brainuad.cohorts.manifest import MANIFEST, Cohort, read_cohort
from brainuad.machine.fingerprint import short_hash
from brainuad.machine.locks import lock


def phantom_cohort(cache_dir: Path, **parameters: Any) -> Cohort:
    """The embedded cohort, made at the first call and found by its parameters after.

    Args:
        cache_dir: folder of cohorts.
        parameters: parameters of `brainuad.synthetic.phantom.write_phantom_cohort`.
    """
    from brainuad.synthetic.phantom import write_phantom_cohort

    recipe = {key: value for key, value in parameters.items() if key != "jobs"}
    out = Path(cache_dir) / "cohorts" / f"phantom-{short_hash(recipe)}"
    with lock(out):
        if not (out / MANIFEST).is_file():
            write_phantom_cohort(out, **parameters)
    return read_cohort(out)
