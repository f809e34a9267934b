from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest

from brainuad.settings.fits import fits, misfits


class _Named(Protocol):
    name: str


@pytest.mark.parametrize(
    ("value", "known"),
    [
        *((1, float), (1.5, float), (1, int), ("a", str), (True, bool), (None, None)),
        *(([1, 2], tuple[int, int]), ([], tuple[int, ...]), ([1.5], tuple[float, ...])),
        *(([1], list[int]), ([1], Sequence[float]), ({"a": 1}, Mapping[str, int])),
        *((None, int | None), ("x", Literal["x", "y"]), ("/a", Path), (len, Callable[..., int])),
        *((object(), Any), ("anything", "Unknown"), (Path(), _Named), ({}, dict[str, Any])),
    ],
)
def test_what_fits(value, known):
    assert fits(value, known)


@pytest.mark.parametrize(
    ("value", "known"),
    [
        *((True, float), (True, int), ("1", float), (1.5, int), (1, str), (0, bool), (None, int)),
        *(([1], tuple[int, int]), (["a"], tuple[int, ...]), ("ab", Sequence[str]), ({}, list)),
        *(([1, "a"], list[int]), ({"a": "b"}, Mapping[str, int]), ({1: 1}, Mapping[str, int])),
        *(("z", Literal["x", "y"]), (3, Path), (3, Callable[..., int]), ({}, _Named), ([], dict)),
    ],
)
def test_what_does_not(value, known):
    assert not fits(value, known)


def test_misfits_are_named_on_one_line():
    def make(size: int, name: str = "", free=None) -> None: ...

    assert list(misfits(make, {"size": 1, "free": "x"})) == []
    assert list(misfits(make, {"size": "1\n2", "name": 3})) == [
        "size is '1\\n2', not int",
        "name is 3, not str",
    ]


def test_a_subclass_is_held_to_the_annotations_of_its_base():
    from brainuad.methods.madad_clean import MADADClean

    given = {"scores_by": "clean", "mask_weight": "heavy", "num_timesteps": 10, "latent_noise": 1}
    assert [line.split(" is ")[0] for line in misfits(MADADClean, given)] == [
        "mask_weight",
        "latent_noise",
    ]
