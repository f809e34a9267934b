"""Settings of a computation: device, precision, memory."""

from dataclasses import dataclass, field
from pathlib import Path

from brainuad.machine.cache import cache_folder


@dataclass(frozen=True)
class Runtime:
    """Settings of a computation; never saved.

    Attributes:
        device: as torch knows it.
        precision: one of `brainuad.model.device.PRECISIONS`.
        batch_size: tiles per forward pass; None for as many as fit the memory.
        cache: folder of what methods see of scans.
        jobs: processes that make it.
    """

    device: str = "cpu"
    precision: str = "32-true"
    batch_size: int | None = None
    cache: Path = field(default_factory=cache_folder)
    jobs: int = 1
