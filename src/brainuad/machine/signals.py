"""Signals that end a process: its work stops as at an error, and no file is left unfinished."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from brainuad.errors import Stopped

END = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals of a cluster, a container or a closed terminal before it kills the process."""

Handlers = dict[signal.Signals, Any]


@contextmanager
def stoppable(said: str) -> Iterator[None]:
    """Raise `Stopped` in the block at a signal of `END`; ignored signals stay ignored.

    Args:
        said: words behind the name of the signal.
    """

    def stop(number: int, frame: Any) -> None:
        raise Stopped(f"{signal.Signals(number).name}: {said}")

    # `nohup` ignores SIGHUP.
    wanted = [number for number in END if signal.getsignal(number) is signal.SIG_DFL]
    before = take_over(stop, wanted)
    try:
        yield
    finally:
        give_back(before)


@contextmanager
def deferred() -> Iterator[list[int]]:
    """Hold signals back in the block, and deliver the first one after it.

    For native code that calls Python back: it turns what a signal's handler raises into an error of
    its own, and a stopped command would look like a bad scan.

    Yields:
        Numbers of the signals that came, so that a callback can end the work early.
    """
    came: list[int] = []
    wanted = [n for n in (*END, signal.SIGINT) if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = take_over(lambda number, frame: came.append(number), wanted)
    try:
        yield came
    finally:
        give_back(before)
        for number in came[:1]:
            signal.raise_signal(number)


def take_over(
    handler: Callable[[int, Any], None], numbers: "tuple[signal.Signals, ...] | list[Any]"
) -> Handlers:
    """Handle signals by `handler`, and return the handlers before; none outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in numbers}


def give_back(handlers: Handlers) -> None:
    """Handle signals as before."""
    for number, handler in handlers.items():
        signal.signal(number, handler)
