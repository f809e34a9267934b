"""A page that cannot be made costs a warning, never the results that it would show."""

import sys
from collections.abc import Callable
from pathlib import Path

from brainuad.errors import CannotWrite
from brainuad.machine.present import require_present
from brainuad.machine.text import one_line, say


def attempt(make: Callable[[], Path], title: str, failed: bool = False) -> str:
    """Make a page and say where it lies, or why it could not be made; return why.

    Args:
        make: writes the page and returns its path.
        title: words before the path: `report:`, `look at`.
        failed: whether some subjects failed, which the caller lists after this.

    Raises:
        CannotWrite: it cannot be written, and no subject failed; with a note that the results are
            complete.
    """
    try:
        say(title, make())
        return ""
    except CannotWrite as error:
        if not failed:
            error.add_note("the results are complete")
            raise
        say(f"warning: no page ({one_line(error)})", file=sys.stderr)
        return one_line(error)
    except Exception as error:
        require_present()
        why = f"{type(error).__name__}: {one_line(error)}"
        say(f"warning: no page ({why}); the results are complete", file=sys.stderr)
        return why
