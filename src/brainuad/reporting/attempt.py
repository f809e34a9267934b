"""A page that cannot be made costs a warning, never the results that it would show."""

import sys
from collections.abc import Callable
from pathlib import Path

from brainuad.machine.text import one_line, say


def attempt(make: Callable[[], Path], title: str) -> str:
    """Make a page and say where it lies, or why it could not be made; return why.

    Args:
        make: writes the page and returns its path.
        title: said before the path: `report:`, `look at`.
    """
    try:
        say(title, make())
        return ""
    except Exception as error:
        why = f"{type(error).__name__}: {one_line(error)}"
        say(f"warning: no page ({why}); the results are complete", file=sys.stderr)
        return why
