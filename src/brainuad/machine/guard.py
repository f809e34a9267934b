"""`Failures.catching` for callers whose failures are a plain list."""

from collections.abc import Iterator
from contextlib import contextmanager

from brainuad.machine import failures as collector

Failures = list[tuple[str, str]]


@contextmanager
def guarded(failures: Failures, who: str, where: object) -> Iterator[None]:
    """List what the block raises as the failure of one scan; see `Failures.catching`."""
    own = collector.Failures()
    with own.catching(who, where):
        yield
    failures += own
