"""The exceptions that a user can mend."""

from collections.abc import Sequence


class InputError(Exception):
    """Bad input: the message is one line that names the file or key and the remedy.

    Entry points print it without a traceback and exit with status 2.
    """


class PartialFailure(Exception):
    """Some subjects failed, the others were done; entry points list them and exit with status 3."""

    def __init__(self, failures: Sequence[tuple[str, str]]) -> None:
        lines = "\n".join("  " + " ".join(f"{who}: {why}".split()) for who, why in failures)
        super().__init__(f"{len(failures)} subject(s) failed, the others were done:\n{lines}")


class CannotWrite(OSError):
    """A full or read-only disk, a quota, a permission: the message is one line with the path.

    No scan is to blame, and the next one fails as well: entry points stop at the first, print it
    without a traceback and exit with status 2.
    """


class Stopped(BaseException):
    """A signal stopped the work, and it was saved; entry points exit with status 143.

    Not an `Exception`: nothing on the way is to handle it.
    """
