"""One collector of failures: what it lists, and what it lets pass."""

import errno
import json

import pytest

from brainuad.errors import CannotWrite, InputError, PartialFailure
from brainuad.machine.failures import Failures
from brainuad.machine.files import write_json


def raising(error, where=None):
    """The failures after a block that raises `error`."""
    failures = Failures()
    with failures.catching("a", where):
        raise error
    return failures


def test_an_input_error_is_listed_in_one_line():
    assert raising(InputError("a.nii:\n truncated")) == [("a", "a.nii: truncated")]


def test_an_error_that_nobody_foresaw_passes_unless_a_file_is_given():
    with pytest.raises(KeyError):
        raising(KeyError("x"))
    assert raising(KeyError("x"), "a.nii") == [("a", "a.nii: KeyError: 'x'; please report this")]


@pytest.mark.parametrize("where", [None, "a.nii"])
def test_no_scan_is_to_blame_for_a_full_disk_or_a_signal(where):
    with pytest.raises(CannotWrite):
        raising(CannotWrite("full"), where)
    with pytest.raises(KeyboardInterrupt):
        raising(KeyboardInterrupt, where)
    with pytest.raises(OSError, match="No space"):
        raising(OSError(errno.ENOSPC, "No space left on device"), where)


def test_it_is_a_list_of_pairs(tmp_path):
    failures = Failures()
    assert not failures
    failures.raise_if_any()
    failures += [("a", "first"), ("b", "other")]
    failures += Failures([("a", "second")])
    assert failures.first_reasons() == [("a", "first"), ("b", "other")]
    with pytest.raises(PartialFailure, match="a: first"):
        failures.raise_if_any()
    write_json(tmp_path / "a.json", failures)
    assert json.loads((tmp_path / "a.json").read_text())[0] == ["a", "first"]
