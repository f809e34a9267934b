"""The trained model is saved before later steps can fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from brainuad.errors import PartialFailure
from brainuad.machine import ranks
from brainuad.model.model import Model


@contextmanager
def keeping(model: Model, out: Path) -> Iterator[Callable[[], None]]:
    """Save the model as soon as it is trained; later errors name its file.

    Args:
        model: model in training.
        out: run folder.

    Yields:
        A function to call when the model is trained.
    """
    path, saved = out / "model.ckpt", False

    def keep() -> None:
        nonlocal saved
        if ranks.rank() == 0:
            model.save(path)
            saved = True

    try:
        yield keep
    except PartialFailure:
        raise
    except Exception as error:
        if saved:
            error.add_note(f"the trained model is in {path}")
        raise
