"""Model bundles: a model for others, in one folder or one `.zip`.

| member | content |
| --- | --- |
| `weights.safetensors` | the weights |
| `card.json` | configuration, preparation, threshold, statistics of the training cohort, licence |
| `MODEL_CARD.md` | cohort, split, scores and limits, to be read |
| `sha256.json` | SHA-256 of each of these |

Nothing in it is unpickled or executed. The hashes find damage and careless edits. They are no
signature: a member can be replaced together with its hash, so publish the bundle's own hash.
"""

import hashlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainuad.errors import InputError
from brainuad.machine.files import atomic_folder, atomic_path
from brainuad.machine.limits import require_file, require_honest, require_memory
from brainuad.machine.read import parse_json

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, CARD, MODEL_CARD, HASHES = (
    "weights.safetensors",
    "card.json",
    "MODEL_CARD.md",
    "sha256.json",
)


TEXT = 2**26
"""Largest member beside the weights, in bytes."""

RATIO = 20
"""Largest ratio of unpacked to packed weights; trained weights hardly shrink."""

SUSPECT = "do not trust this bundle, or use a larger machine"

MEMBERS = (WEIGHTS, CARD, MODEL_CARD, HASHES)


def named_file(path: Path) -> Path:
    """Return the checkpoint in a run folder; any other path as it is."""
    inside = path / "model.ckpt"
    return inside if inside.is_file() else path


def is_bundle(path: Path) -> bool:
    """Return whether a path is read as a bundle: a folder, or named `.zip`."""
    return path.is_dir() or path.suffix == ".zip"


def write_bundle(
    out: Path, state_dict: "dict[str, Tensor]", card: dict[str, Any], text: str
) -> None:
    """Write a bundle, atomically.

    Args:
        out: a `.zip` or a folder; a bundle that is there is replaced.
        state_dict: weights.
        card: card in plain values.
        text: content of `MODEL_CARD.md`.

    Raises:
        InputError: `out` is something else already.
    """
    from safetensors.torch import save

    if out.is_file() and out.suffix != ".zip":
        raise InputError(f"{out}: is a file; a bundle is a folder, or a file that ends in .zip")
    if other := _others(out):
        raise InputError(
            f"{out}: holds {other!r}, which is no part of a bundle; give OUT a new name"
        )
    # Clones, because safetensors refuses tensors that share their memory.
    weights = {name: value.detach().cpu().clone() for name, value in state_dict.items()}
    members = {
        WEIGHTS: save({name: value.contiguous() for name, value in weights.items()}),
        CARD: (json.dumps(card, indent=2) + "\n").encode(),
        MODEL_CARD: text.encode(),
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    members[HASHES] = (json.dumps(hashes, indent=2) + "\n").encode()
    if out.suffix == ".zip":
        with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w") as file:
            for name, content in members.items():
                # A fixed date: the same model gives the same bytes.
                file.writestr(zipfile.ZipInfo(name), content)
        return
    with atomic_folder(out) as folder:
        for name, content in members.items():
            (folder / name).write_bytes(content)


def _others(out: Path) -> str:
    """Return a file of a folder or archive that is no member of a bundle; empty for none."""
    names: list[str] = []
    if out.is_dir():
        names = [path.name for path in out.iterdir()]
    elif out.is_file():
        try:
            with zipfile.ZipFile(out) as file:
                names = file.namelist()
        except (zipfile.BadZipFile, OSError):
            names = [out.name]
    return next((name for name in sorted(names) if name not in MEMBERS), "")


def read_bundle(path: Path) -> dict[str, Any]:
    """Return weights (`state_dict`) and card (`brainuad`) of a bundle, as `read_checkpoint` does.

    Raises:
        InputError: no bundle, a member that is missing, damaged or not the one that was hashed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    hashes = _json(path, HASHES, _member(path, HASHES))
    content = {name: _hashed(path, name, hashes) for name in (WEIGHTS, CARD, MODEL_CARD)}
    try:
        weights = load(content[WEIGHTS])
    except (SafetensorError, ValueError, KeyError) as error:
        line = " ".join(str(error).split())
        raise InputError(
            f"{path}: {WEIGHTS} cannot be read ({line}); get the bundle again"
        ) from None
    return {"state_dict": weights, "brainuad": _json(path, CARD, content[CARD])}


def read_bundle_card(path: Path) -> dict[str, Any]:
    """Return the card of a bundle; its weights are not read.

    Raises:
        InputError: as `read_bundle`.
    """
    hashes = _json(path, HASHES, _member(path, HASHES))
    return _json(path, CARD, _hashed(path, CARD, hashes))


def _hashed(path: Path, name: str, hashes: dict[str, Any]) -> bytes:
    """Return a member whose hash is that of the export."""
    found = _member(path, name)
    if hashlib.sha256(found).hexdigest() != hashes.get(name):
        raise InputError(
            f"{path}: {name} is not what was exported (its SHA-256 differs); get the bundle again"
        )
    return found


def _member(path: Path, name: str) -> bytes:
    try:
        if path.is_dir():
            if not (path / name).exists():
                raise FileNotFoundError
            require_memory(2 * require_file(path / name), path / name, SUSPECT)
            return (path / name).read_bytes()
        if path.exists():
            require_file(path)
        with zipfile.ZipFile(path) as file:
            member = file.getinfo(name)
            # Weights are packed as they are, and hardly shrink where somebody packs them again.
            most = RATIO * member.compress_size + 2**20
            require_honest(path, [member], most if name == WEIGHTS else TEXT)
            require_memory(2 * member.file_size, f"{path}: {name}", SUSPECT)
            return file.read(name)
    except (KeyError, FileNotFoundError):
        if not path.exists():
            raise InputError(f"{path}: no such bundle; check the path") from None
        raise InputError(
            f"{path}: holds no {name}; give a model.ckpt, or a bundle made by brainuad-export"
        ) from None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: damaged ({line}); get the bundle again") from None


def _json(path: Path, name: str, content: bytes) -> dict[str, Any]:
    return parse_json(content, f"{path}: {name}", "get the bundle again")
