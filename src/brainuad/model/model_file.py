"""The card of a model file, and the hash of weights that were loaded before, without torch.

Importing torch takes seconds, and `brainuad-predict --dry-run` needs nothing else.
"""

import collections
import contextlib
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

from brainuad import __version__
from brainuad.machine.cache import cache_folder
from brainuad.machine.files import sizes, write_json
from brainuad.machine.fingerprint import short_hash
from brainuad.machine.limits import require_file, require_honest
from brainuad.machine.read import MOST
from brainuad.model.bundle import is_bundle, named_file, read_bundle_card
from brainuad.model.card import Card


def read_card(path: Path) -> Card:
    """Return the card of a checkpoint, of a run folder or of a bundle.

    Raises:
        InputError: the file or its card cannot be read, see `brainuad.model.model.Model.load`.
    """
    path = named_file(path)
    return Card.from_json(path, read_bundle_card(path) if is_bundle(path) else _card_in(path))


def remember_hash(path: Path, found: str) -> None:
    """Keep the hash of a model's weights for `remembered_hash`, where the cache can be written."""
    kept = _kept_in(path)
    if kept and remembered_hash(path) != found:
        # The cache may be read-only or full.
        with contextlib.suppress(OSError):
            write_json(kept, {"of": _state(path), "sha256": found})


def remembered_hash(path: Path) -> str | None:
    """Return the hash of a model's weights; None where they changed or were never loaded here."""
    file = _kept_in(path)
    if file is None:
        return None
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept["sha256"] if kept["of"] == _state(path) else None


def _kept_in(path: Path) -> Path | None:
    folder, name = cache_folder(), short_hash(str(named_file(path).absolute()))
    return folder and folder / "weights" / f"{name}.json"


def _state(path: Path) -> list[str]:
    """Return the state of a model file: version of brainuad, size and time."""
    return [__version__, *sizes([named_file(path).absolute()])]


class _Nothing:
    """Placeholder of a tensor and its parts."""

    def __init__(self, *given: Any) -> None:
        pass


class _PlainValues(pickle.Unpickler):
    """Unpickler of plain values; leaves out tensors and executes nothing."""

    def find_class(self, module: str, name: str) -> type:
        if module.partition(".")[0] == "torch":
            return _Nothing
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")

    def persistent_load(self, pid: Any) -> _Nothing:
        return _Nothing()


def _card_in(path: Path) -> Any:
    """Return the card in a checkpoint; `read_checkpoint` reads what this function cannot."""
    try:
        require_file(path)
        with zipfile.ZipFile(path) as file:
            (name,) = (name for name in file.namelist() if name.endswith("/data.pkl"))
            require_honest(path, [file.getinfo(name)], MOST)
            with file.open(name) as values:
                return _PlainValues(values).load()["brainuad"]
    except Exception:
        from brainuad.model.checkpoint import read_checkpoint

        return read_checkpoint(path).get("brainuad")
