"""Output that never ends a command, whose work may take hours."""

import io
import logging
import os
import sys
from typing import Any, TextIO


def steady() -> None:
    """Let no error of the terminal, the log file or the display end the process.

    Characters that the output's encoding lacks are replaced. Errors of an output that is gone (a
    closed pipe or terminal, a full disk) are ignored. matplotlib draws to files alone. A second
    call has no effect.
    """
    os.environ["MPLBACKEND"] = "agg"
    # It warns where it needs another folder for its cache.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    sys.stdout, sys.stderr = _steady(sys.stdout), _steady(sys.stderr)


class _Sink(io.FileIO):
    """A file descriptor whose errors of writing are ignored."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(memoryview(data).cast("B"))


def _steady(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # of a notebook or a test
    try:
        number = stream.fileno()
    except OSError:
        stream.reconfigure(errors="replace")
        return stream
    if number not in (1, 2) or isinstance(getattr(stream.buffer, "raw", None), _Sink):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Sink(number, "w", closefd=False)),
        encoding=stream.encoding,
        errors="replace",
        # PYTHONUNBUFFERED turns the buffer off; lines are flushed then.
        line_buffering=stream.line_buffering or stream.write_through or number == 2,
        write_through=stream.write_through,
    )
