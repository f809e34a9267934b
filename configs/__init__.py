"""The Hydra configuration tree, installed as `brainuad.configs`, and the functions it calls."""

from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf


def _channels(each: int = 1, *, _root_: DictConfig) -> int:
    """`${channels:4}`: 4 for each sequence that `data.sequence` names."""
    sequence = _root_.data.sequence
    return each * (len(sequence) if isinstance(sequence, ListConfig) else 1)


def _sides(*, _root_: DictConfig) -> Any:
    """`${sides:}`: the side of `lesion_sides` of the sequence, or of each of several."""
    sequence, sides = _root_.data.sequence, _root_.lesion_sides
    return [sides[one] for one in sequence] if isinstance(sequence, ListConfig) else sides[sequence]


def _bright(share: float, *, _root_: DictConfig) -> float:
    """`${bright:0.9}`: 0.9 where lesions of the sequence are brighter, 0.1 where they are darker.

    A half where they are either, and for several sequences that differ in it.
    """
    found = _sides(_root_=_root_)
    sides = {found} if isinstance(found, str) else set(found)
    return {("positive",): share, ("negative",): round(1 - share, 6)}.get(tuple(sides), 0.5)


def _first(value: Any) -> Any:
    """`${first:${data.sequence}}`: the first item of a list; another value as it is."""
    return value[0] if isinstance(value, ListConfig) else value


def _watched(keep: str) -> str:
    """`${watched:${keep}}`: the metric that `keep` names; the last epoch's weights need none."""
    return "val/loss" if keep == "last" else keep


OmegaConf.register_new_resolver("channels", _channels, replace=True)
OmegaConf.register_new_resolver("sides", _sides, replace=True)
OmegaConf.register_new_resolver("bright", _bright, replace=True)
OmegaConf.register_new_resolver("first", _first, replace=True)
OmegaConf.register_new_resolver("watched", _watched, replace=True)
