"""What a training has reached is kept, whatever fails after it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from brainuad.errors import PartialFailure
from brainuad.machine import ranks
from brainuad.methods.base import AnomalyDetector


@contextmanager
def keeping(detector: AnomalyDetector, out: Path) -> Iterator[Callable[[], None]]:
    """Save the model as soon as it is trained, and say where it is when the rest fails.

    Args:
        detector: in training, with its card.
        out: run folder.

    Yields:
        What to call when the detector is trained.
    """
    from brainuad.model.checkpoint import save_model

    path, saved = out / "model.ckpt", False

    def keep() -> None:
        nonlocal saved
        if ranks.rank() == 0:
            save_model(detector, path)
            saved = True

    try:
        yield keep
    except PartialFailure:
        raise
    except Exception as error:
        if saved:
            error.add_note(f"the trained model is in {path}")
        raise
