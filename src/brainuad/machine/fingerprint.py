"""Hashes of everything that decides a cached file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any


def fingerprint(*parts: Any) -> str:
    """Return a hash of 16 hexadecimal digits.

    Args:
        parts: values that decide the file. A path counts by its place, size and modification time,
            a folder by its files; an array or tensor by type, shape and values; a dataclass by
            class and fields; a mapping in the order of its keys; anything else by its text.

    Raises:
        TypeError: a part whose text holds its address in memory.
    """
    return hashlib.sha256(_told(parts).encode()).hexdigest()[:16]


def _told(part: Any) -> str:
    if isinstance(part, Path):
        return f"path({_place(part)})"
    if hasattr(part, "detach"):
        part = part.detach().cpu().numpy()
    if hasattr(part, "tobytes"):
        values = hashlib.sha256(part.tobytes()).hexdigest()
        return f"array({part.dtype}, {part.shape}, {values})"
    if is_dataclass(part) and not isinstance(part, type):
        own = {field.name: getattr(part, field.name) for field in fields(part)}
        return f"{type(part).__qualname__}{_told(own)}"
    if isinstance(part, Mapping):
        pairs = sorted((_told(key), _told(value)) for key, value in part.items())
        return f"{{{', '.join(': '.join(pair) for pair in pairs)}}}"
    if isinstance(part, list | tuple):
        return f"[{', '.join(map(_told, part))}]"
    text = repr(part)
    if " at 0x" in text and not isinstance(part, str):
        raise TypeError(f"{text} has no fingerprint; make it a dataclass")
    return text


def _place(path: Path) -> str:
    if path.is_dir():
        return f"{path.absolute()!r}, {', '.join(map(_place, sorted(path.iterdir())))}"
    stat = path.stat() if path.is_file() else None
    about = f"{stat.st_size}, {stat.st_mtime_ns}" if stat else "absent"
    return f"{str(path.absolute())!r}, {about}"


def hash_weights(weights: Mapping[str, Any], *, about: str = "") -> str:
    """Return SHA-256 over `about` and the names and values of tensors."""
    digest = hashlib.sha256(about.encode())
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def short_hash(recipe: Any) -> str:
    """Return 12 hexadecimal digits of plain values, for permanent names, as those of cohorts."""
    text = json.dumps(recipe, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
