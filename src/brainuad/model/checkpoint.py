"""Reading a checkpoint: tensors and plain values, never a pickled object."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from brainuad.errors import InputError
from brainuad.machine.limits import available_bytes, require_file, require_honest
from brainuad.machine.text import one_line


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint with `weights_only=True`.

    Raises:
        InputError: missing, damaged, or holding anything but tensors and plain values.
    """
    if not path.exists():
        raise InputError(f"{path}: no such checkpoint; check the path")
    require_file(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                require_honest(path, file.infolist(), available_bytes())
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        # Damaged bytes reach many parts of torch, which fail in as many ways.
        line = one_line(error)[:200] or type(error).__name__
        raise InputError(f"{path}: not a readable checkpoint ({line}); copy it again") from None
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise InputError(f"{path}: holds no weights; give a checkpoint written by brainuad")
    return checkpoint
