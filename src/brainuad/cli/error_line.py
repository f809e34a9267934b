"""The error boundary of every command: one line for the user, a traceback only with `--debug`."""

import argparse
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from brainuad import __version__
from brainuad.errors import CannotWrite, InputError, PartialFailure, Stopped
from brainuad.machine import signals, terminal, threads
from brainuad.machine.limits import is_out_of_memory
from brainuad.machine.memory import keep_memory
from brainuad.machine.refused import REFUSED, refused
from brainuad.machine.text import say
from brainuad.settings.moved import warn_of_options

FULL_ERROR, DEBUG = "HYDRA_FULL_ERROR", "BRAINUAD_DEBUG"
BAD_INPUT, SOME_FAILED, STOPPED = 2, 3, 143

AGAIN = "nothing finished is lost; give the same command again to go on"


def run_cli(
    function: Callable[[argparse.Namespace], int],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse `argv` and run `function`; return the exit status.

    The status is 2 for bad input, 3 where some subjects failed and the others are done, and 143
    where a signal stopped the work and it was saved.
    """
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"brainuad {__version__}")
    words = list(sys.argv[1:] if argv is None else argv)
    # Removed by hand, so that it may stand anywhere, behind a subcommand, too.
    debug = "--debug" in words
    arguments = parser.parse_intermixed_args([word for word in words if word != "--debug"])
    return _guard(lambda: function(arguments), debug)


def run_hydra(config_name: str, task: Callable[[Any], Any]) -> int:
    """Compose `configs/<config_name>.yaml` with the command line and run `task(cfg)`.

    `--help` alone, and `--version`, answer without Hydra. Returns the exit status as `run_cli`
    does; Hydra's sweepers use the result of the task.
    """
    if "--version" in sys.argv[1:]:
        say(f"brainuad {__version__}")
        return 0
    if sys.argv[1:] in (["--help"], ["-h"]):
        from brainuad.cli.hydra_help import help_page

        say(help_page(config_name))
        return 0
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from brainuad.settings.hydra_words import require_read

    debug = "--debug" in sys.argv or os.environ.get(DEBUG, os.environ.get(FULL_ERROR)) == "1"
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    # Hydra then raises instead of printing its own page, and `_guard` prints one line. The ranks
    # that Lightning launches get the words without --debug, and the environment.
    ours = {FULL_ERROR: "1", DEBUG: "1" if debug else "0"}
    caught: list[Exception] = []
    started: list[bool] = []

    @functools.wraps(task)
    def job(cfg: Any) -> Any:
        started.append(True)
        try:
            words: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
            sources = HydraConfig.get().runtime.config_sources
            # A folder of the user's own configurations may have unknown keys.
            if all(source.provider != "command-line" for source in sources):
                require_read(cfg, config_name, words)
            warn_of_options(HydraConfig.get().runtime.choices)
            return task(cfg)
        except Exception as error:
            # Hydra must see that a job of a sweep failed; a single job is reported here.
            if HydraConfig.get().mode is not RunMode.RUN:
                raise
            caught.append(error)
            return None

    main = hydra.main(
        version_base="1.3", config_path="pkg://brainuad.configs", config_name=config_name
    )(job)

    def run() -> int:
        from hydra.errors import HydraException

        from brainuad.settings.hydra_words import explained

        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        words = sys.argv[1:]
        try:
            main()
        except HydraException as error:
            # A job of a sweep has printed its own error.
            if _known(error) is not None or started:
                raise
            raise InputError(explained(error, config_name, words)) from error
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                os.environ |= {} if value is None else {name: value}
        if caught:
            raise caught[0]
        return 0

    return _guard(run, debug)


def _guard(function: Callable[[], int], debug: bool) -> int:
    keep_memory()
    threads.start()
    terminal.steady()
    try:
        with signals.stoppable(AGAIN):
            return function()
    except KeyboardInterrupt:
        message, status = "interrupted; nothing finished is lost", 130
    except Stopped as stopped:
        message, status = f"stopped by {stopped}", STOPPED
    except Exception as error:
        if debug:
            raise
        message, status = _explain(error)
    say(message, file=sys.stderr)
    return status


def _explain(error: Exception) -> tuple[str, int]:
    """Return the message for the user, and the exit status."""
    known = _known(error)
    # Files that are kept all the same, see `brainuad.training.kept`.
    kept = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    if isinstance(known, PartialFailure):
        return str(known), SOME_FAILED
    if known is not None:
        return f"error: {' '.join(str(known).split())}{kept}", BAD_INPUT
    if _lost_peer(error):
        return "error: another process of this job ended; it said why", 1
    message = " ".join(str(error).split())
    hint = "(run with --debug for the traceback, and please report it)"
    return f"internal error: {type(error).__name__}: {message}{kept} {hint}", 1


def _lost_peer(error: Exception) -> bool:
    """Return whether the error only reports that another rank ended."""
    words = str(error)
    return isinstance(error, RuntimeError) and ("gloo" in words or "NCCL" in words)


def _known(error: BaseException | None) -> BaseException | None:
    """Return the error in the chain of causes that the user can mend; None for none."""
    from omegaconf.errors import OmegaConfBaseException

    from brainuad.settings.hydra_words import explained_value

    for one in _chain(error):
        if isinstance(one, InputError | PartialFailure | CannotWrite):
            return one
        if isinstance(one, OSError) and one.errno in REFUSED and one.filename:
            return refused(one.filename, one)
    if error is not None and is_out_of_memory(error):
        return InputError(
            f"the memory is full ({' '.join(str(error).split()):.200}); use smaller batches "
            "(datamodule.batch_size, predict_batch_size, --batch-size), fewer --jobs, larger "
            "voxels or another device"
        )
    if isinstance(error, OmegaConfBaseException):
        return InputError(explained_value(error))
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, each once.

    Under a debugger or a measurement of coverage, OmegaConf makes an error its own cause.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
