"""Brain-extracted scans that share a space keep it: they are prepared on one grid.

Scans share a space if their headers state it and their brains overlap. Headers state it by one
grid, axes in whatever order, or by headers that all name the same world: Talairach's, MNI's, or
that of another file. Many programs write the last one whatever it means, so that it counts only
where the brains agree as well as registered ones do (`brainuad.volumes.overlap`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from nibabel.affines import apply_affine

from brainuad.cohorts.places import grid_of_file
from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.machine.failures import Failures
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.shared_grid import WORLDS, SharedGrid
from brainuad.volumes.grids import SHARE, Grid, grid_of, united
from brainuad.volumes.header import read_header
from brainuad.volumes.overlap import ASTRAY, CELL_MM, CERTAIN, LIKELY, cells_of, overlaps, some


class _Header(NamedTuple):
    """Place of a scan by its header: its grid, RAS axes, and the code of its world."""

    scan: RawScan
    grid: Grid
    world: int


class _Told(NamedTuple):
    """Space that the headers of scans name: a grid that all have, a world that all name."""

    native: Grid | None
    world: int


@dataclass
class _Group:
    """Sequences whose scans state a shared space."""

    sequences: list[str]
    scans: list[_Header]
    told: _Told


def told_spaces(scans: Sequence[RawScan]) -> list[str]:
    """Return the sequences whose scans state a shared space in their headers."""
    groups, _ = _groups(scans)
    return [name for group in groups for name in group.sequences]


def with_shared_grids(
    scans: Sequence[RawScan], preparation: Preparation
) -> tuple[Preparation, list[str]]:
    """The preparation with a grid for each sequence whose scans share a space.

    At most `brainuad.volumes.overlap.MOST` brains of a space are looked at, by the first steps of
    the preparation. Registrations make a space of their own: with them nothing changes.

    Args:
        scans: scans of a cohort.
        preparation: its steps.

    Returns:
        The preparation, and a line with the decision for each group of scans.
    """
    if preparation.atlas is not None or preparation.between is not None:
        return preparation, []
    groups, lines = _groups(scans)
    shared: dict[str, SharedGrid] = {}
    for group in groups:
        grid, line = _shared(group, preparation)
        lines.append(line)
        if grid is not None:
            shared |= dict.fromkeys(group.sequences, grid)
    return replace(preparation, shared=shared), lines


def _groups(scans: Sequence[RawScan]) -> tuple[list[_Group], list[str]]:
    """Return scans that state a shared space, by sequence, and a line for the others."""
    groups: list[_Group] = []
    lines = []
    for name in dict.fromkeys(scan.sequence for scan in scans):
        own = _headers([scan for scan in scans if scan.sequence == name])
        if (told := _told(own)) is None:
            lines += [_odd(own, name)] if len(own) > 1 else []
        elif (group := _fellow(own, told, groups)) is not None:
            group.sequences.append(name)
            group.scans += own
        else:
            groups.append(_Group([name], own, told))
    return groups, lines


def _headers(scans: Sequence[RawScan]) -> list[_Header]:
    """Return the places of the scans that are readable NIfTI files."""
    found = []
    for scan in scans:
        grid = None if scan.image.is_dir() else grid_of_file(scan.image)
        if grid is not None:
            found.append(_Header(scan, grid.ras(), read_header(scan.image).world))
    return found


def _told(known: Sequence[_Header]) -> _Told | None:
    """Return the space that the headers have in common; None without one."""
    if len(known) < 2:
        return None
    first = known[0]
    alike = all(one.grid.apart(first.grid) <= SHARE for one in known)
    world = first.world if {one.world for one in known} == {first.world} else 0
    told = _Told(first.grid if alike else None, world if world in WORLDS else 0)
    return told if alike or told.world else None


def _fellow(own: list[_Header], told: _Told, groups: Sequence[_Group]) -> _Group | None:
    """The group whose grid, or else whose world, another sequence has as well."""
    for group in groups:
        both = _told([*group.scans, *own])
        kinds = {one.native is None for one in (both, told, group.told) if one is not None}
        if both is not None and len(kinds) == 1:
            return group
    return None


def _odd(known: Sequence[_Header], name: str) -> str:
    """That scans share no space, and which few keep the others from it."""
    alike: list[list[_Header]] = []
    for one in known:
        same = next((own for own in alike if one.grid.apart(own[0].grid) <= SHARE), None)
        if same is None:
            alike.append([one])
        else:
            same.append(one)
    most = max(alike, key=len)
    others = [one for own in alike if own is not most for one in own]
    said = (
        f"{len(known)} {name} scans lie on different grids, and their headers name no common space "
        "(such as MNI): each is cropped to its own brain"
    )
    if 2 * len(most) <= len(known):
        return said
    more = f" and {len(others) - 1} more have" if len(others) > 1 else " has"
    return (
        f"{said}. {len(most)} share a grid, {others[0].scan.image}{more} another one; resample "
        "what is of their space onto it"
    )


def _shared(group: _Group, preparation: Preparation) -> tuple[SharedGrid | None, str]:
    """The grid of a group's scans; None where their brains lie in different places."""
    chosen = some(group.scans)
    edge = max(CELL_MM, *(max(one.grid.empty.spacing_mm) for one in chosen))
    seen = []
    for one in chosen:
        # A scan that fails is listed when its turn comes.
        with Failures().catching(one.scan.subject, one.scan.image):
            seen.append(_looked_at(one.scan, preparation, edge))
    alike = overlaps([one.cells for one in seen]) if len(seen) > 1 else np.zeros(len(seen))
    median = float(np.median(alike)) if len(alike) else 0.0
    native, world = group.told
    least = LIKELY if native is not None or world > 2 else CERTAIN
    by = f"share one grid of {native.words} voxels" if native else f"name the world {WORLDS[world]}"
    said = f"{len(group.scans)} {', '.join(group.sequences)} scans {by}"
    if median < least:
        return None, (
            f"{said}, but their brains overlap by {median:.2f}, less than the {least} of "
            "registered scans: each is cropped to its own brain"
        )
    within = [one for one, own in zip(seen, alike, strict=True) if own >= ASTRAY]
    found = united([one.grid for one in within])
    shared = SharedGrid(
        found.shape,
        _rows(found.affine),
        _rows(np.median([one.ends_mm for one in within], axis=0)),
        () if native is None else tuple(int(n) for n in native.shape),
        () if native is None else _rows(native.affine),
        # Beside a grid that all have, code 2 says too little of another scan.
        world if native is None or world > 2 else 0,
    )
    kept = f"{found.words} voxels of {preparation.spacing_mm:g} mm"
    return shared, f"{said}; it is kept: all are prepared on one grid of {kept}"


class _Seen(NamedTuple):
    """A brain: its cells, the grid that it would be cropped to, and its corners in mm."""

    cells: np.ndarray
    grid: Grid
    ends_mm: np.ndarray


def _looked_at(scan: RawScan, preparation: Preparation, edge_mm: float) -> _Seen:
    from monai.transforms.compose import Compose

    from brainuad.preparation.subject import run
    from brainuad.preparation.transforms.base import Data
    from brainuad.preparation.transforms.grid import PreparedGridd
    from brainuad.volumes.meta_tensor import volume_of

    ours = preparation.transforms([scan.sequence])
    steps = {name: one for name, one, given in ours if given is None}
    data: Data = {scan.sequence: scan.image}
    if scan.brain_mask is not None:
        data[f"{scan.sequence}.brain"] = scan.brain_mask
    found = run(Compose([steps[name] for name in ("load", "orient", "skullstrip")]), data)
    if scan.sequence not in found:
        raise InputError(f"{scan.image}: cannot be prepared")
    volume = volume_of(found[scan.sequence])
    inside = volume_of(found[f"{scan.sequence}.brain"]).array > 0.5
    make = steps["grid"]
    assert isinstance(make, PreparedGridd)
    points = apply_affine(volume.affine, np.argwhere(inside))
    ends = np.array([points.min(axis=0), points.max(axis=0)])
    around = grid_of(make.grid_of(volume, inside))
    return _Seen(cells_of(inside, volume.affine, edge_mm), around, ends)


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in matrix)
