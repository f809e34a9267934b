"""Device, precision and memory of a model."""

from dataclasses import dataclass
from pathlib import Path

from brainuad.machine.cache import working_folder


@dataclass(frozen=True)
class Runtime:
    """Device, precision and memory of a model; never saved.

    Attributes:
        device: name of torch.
        precision: one of `brainuad.model.device.PRECISIONS`.
        batch_size: tiles per forward pass; None for as many as fit the memory.
        cache: folder of the inputs that methods see of scans; None for the user's.
        jobs: number of processes that make them.
    """

    device: str = "cpu"
    precision: str = "32-true"
    batch_size: int | None = None
    cache: Path | None = None
    jobs: int = 1

    @property
    def folder(self) -> Path:
        """The folder of the inputs; it can be written."""
        return self.cache or working_folder()
