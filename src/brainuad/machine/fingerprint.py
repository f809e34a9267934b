"""Hashes of what decides a file."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def hash_weights(weights: Mapping[str, Any], *, about: str = "") -> str:
    """SHA-256 over the names and values of tensors, and what else `about` says of them."""
    digest = hashlib.sha256(about.encode())
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def short_hash(recipe: Any) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of plain values."""
    text = json.dumps(recipe, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
