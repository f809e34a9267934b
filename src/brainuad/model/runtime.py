"""Device, precision and memory of a model."""

from dataclasses import dataclass, field
from pathlib import Path

from brainuad.machine.cache import cache_folder


@dataclass(frozen=True)
class Runtime:
    """Device, precision and memory of a model; never saved.

    Attributes:
        device: name of torch.
        precision: one of `brainuad.model.device.PRECISIONS`.
        batch_size: tiles per forward pass; None for as many as fit the memory.
        cache: folder of the inputs that methods see of scans.
        jobs: number of processes that make them.
    """

    device: str = "cpu"
    precision: str = "32-true"
    batch_size: int | None = None
    cache: Path = field(default_factory=cache_folder)
    jobs: int = 1
