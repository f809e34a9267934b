import argparse
from typing import ClassVar

import pytest
from hydra.experimental.callback import Callback

from brainuad.cli.error_line import run_cli, run_hydra
from brainuad.errors import InputError, PartialFailure


def _call(error, *argv):
    def function(arguments):
        if error:
            raise error
        return 0

    return run_cli(function, argparse.ArgumentParser(), argv)


def test_success():
    assert _call(None) == 0


def test_bad_input_is_one_line_and_status_two(capsys):
    assert _call(InputError("a.nii: missing;\n  give it")) == 2
    assert capsys.readouterr().err == "error: a.nii: missing; give it\n"


def test_the_cause_is_found_behind_a_wrapper(capsys):
    wrapper = RuntimeError("hydra says")
    wrapper.__cause__ = InputError("the real one")
    assert _call(wrapper) == 2
    assert capsys.readouterr().err == "error: the real one\n"


def test_partial_failure_lists_the_subjects(capsys):
    assert _call(PartialFailure([("s1", "broken"), ("s2", "empty")])) == 3
    assert capsys.readouterr().err.splitlines()[1:] == ["  s1: broken", "  s2: empty"]


def test_a_bug_is_called_a_bug(capsys):
    assert _call(KeyError("x")) == 1
    assert "internal error: KeyError" in capsys.readouterr().err


def test_interruption_has_its_own_status():
    assert _call(KeyboardInterrupt()) == 130


def test_debug_shows_the_traceback():
    with pytest.raises(InputError):
        _call(InputError("x"), "--debug")


def test_an_error_that_is_its_own_cause_is_said_as_any_other(capsys):
    error, other = ValueError("x"), ValueError("y")
    error.__cause__, other.__cause__ = other, error
    assert _call(error) == 1
    assert capsys.readouterr().err.startswith("internal error: ValueError: x (run with --debug")


class Returned(Callback):
    """A Hydra callback that keeps what the jobs of a sweep returned."""

    values: ClassVar[list] = []

    def on_job_end(self, config, job_return, **_):
        self.values.append(job_return.return_value)


def test_what_a_task_returns_reaches_hydras_sweepers(tmp_path, monkeypatch, capsys):
    words = [
        "-m",
        "seed=3,4",
        "maps=none",
        "+hydra.callbacks.kept._target_=test_error_line.Returned",
    ]
    monkeypatch.setattr("sys.argv", ["evaluate.py", *words, f"paths.runs_dir={tmp_path}"])
    assert run_hydra("evaluate", lambda cfg: cfg.seed / 2) == 0
    assert Returned.values == [1.5, 2.0]
