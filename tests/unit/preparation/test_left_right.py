"""A mirrored head among others, and a head that was stripped upside down."""

from dataclasses import replace

import numpy as np
import pytest
from test_steps import atlas_at, head_of, turned
from tiny import a_record

from brainuad.cohorts.scans import RawScan
from brainuad.preparation.atlas import load_brain_atlas
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.quality import left_right
from brainuad.preparation.quality.left_right import (
    GAIN,
    compare_with_mirror,
    lopsided,
    mirror_grid,
)
from brainuad.preparation.quality.measures import Limits
from brainuad.preparation.register.linear import Register
from brainuad.preparation.skullstrip.template import TemplateBrain
from brainuad.preparation.subject import prepare_subject
from brainuad.types import Volume
from brainuad.volumes.nifti import read_volume, write_volume
from brainuad.volumes.orient import to_ras, turn_of, turned_back, upright


def write_cohort_of(out, count, side, mirrored=()):
    """MNI brains of other gain, noise and place, with a dark patch of contrast `side` right."""
    image, mask = atlas_at(4.0)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in mask.shape], indexing="ij")
    records = {}
    for i in range(count):
        rng = np.random.default_rng(i)
        patch = np.exp(-(((x - 0.5) ** 2 + (y - 0.5) ** 2 + z**2) / 0.06))
        array = image.array * (1 + 0.1 * rng.standard_normal(mask.shape) - side * patch)
        both = [array * (50 + 10 * i), mask]
        if i in mirrored:
            both = [a[::-1] for a in both]
        affine = turned((0, 0, 0), (rng.normal(), 0, 0)) @ image.affine
        write_volume(out / f"work/s{i}.nii.gz", both[0], affine)
        write_volume(out / f"masks/s{i}.nii.gz", both[1], affine, np.uint8)
        records[f"s{i}", "T1w"] = a_record(
            f"s{i}",
            "T1w",
            image=f"work/s{i}.nii.gz",
            brain_mask=f"masks/s{i}.nii.gz",
            stamp=f"stamp{i}",
            quality={"brain_ml": 1400.0},
        )
    return records


def flagged(records):
    """Whom the default limits flag."""
    return [r.subject for r in records.values() if Limits().flags(r.quality)]


@pytest.mark.slow
def test_the_one_mirrored_brain_of_a_lopsided_cohort_is_flagged(tmp_path, monkeypatch):
    atlas = load_brain_atlas()
    records = write_cohort_of(tmp_path, 7, 0.3, mirrored={3})
    compare_with_mirror(records, atlas, tmp_path, 5)
    assert flagged(records) == ["s3"]
    assert records["s3", "T1w"].quality[GAIN] > 0.5
    # The same scans again: nothing is read. One that fails or joins: all are compared anew.
    before = dict(records)
    with monkeypatch.context() as patch:
        patch.delattr(left_right, "read_volume")
        assert compare_with_mirror(records, atlas, tmp_path, 5) == []
    assert records == before
    (tmp_path / "work/s0.nii.gz").unlink()
    left = {key: record for key, record in records.items() if key[0] != "s0"}
    compare_with_mirror(left, atlas, tmp_path, 5)
    assert flagged(left) == ["s3"]
    # A file that went away meanwhile is said and stops nothing; too few are not judged.
    records["s0", "T1w"] = replace(records["s0", "T1w"], stamp="other")
    ((who, _),) = compare_with_mirror(records, atlas, tmp_path, 5)
    assert who == "s0"
    assert ("s0", "T1w") not in records
    assert flagged(records) == ["s3"]
    few = dict(list(records.items())[2:])
    assert compare_with_mirror(few, atlas, tmp_path, 5) == []
    assert not any(GAIN in record.quality for record in few.values())


def test_a_symmetric_cohort_is_not_judged_lopsided(tmp_path):
    records = write_cohort_of(tmp_path, 6, 0.0, mirrored={2})
    compare_with_mirror(records, load_brain_atlas(), tmp_path, 5)
    assert flagged(records) == []


def test_a_brain_beside_the_plane_of_the_mirror_is_not_lopsided():
    image, mask = atlas_at(4.0)
    grid = mirror_grid(load_brain_atlas())
    assert (grid.affine @ [*(n - 1 for n in grid.array.shape), 1])[0] == -grid.affine[0, 3]
    array = image.array.copy()
    array[28:34, 32:42, 15:25] *= 0.6
    found = []
    for sign in (1, -1):
        affine = turned((0, 0, sign), (1.5 * sign, 0, 0)) @ image.affine
        found.append(lopsided(Volume(array, affine), mask, grid))
        assert np.linalg.norm(found[-1]) == pytest.approx(1)
    # Both lie off the plane, to either side; what is lopsided in them is the same.
    assert (found[0] * found[1]).sum() > 0.7


@pytest.mark.parametrize("degrees", [(180, 0, 0), (172, 6, -4), (0, 90, 0), (0, 5, 170)])
def test_a_turned_head_stands_up_exactly(degrees):
    rng = np.random.default_rng(0)
    array = rng.random((5, 6, 7)).astype(np.float32)
    # World of the scan = its head's own, turned; the array in RAS order of the scan's world.
    known = turned(degrees, (3, 4, 5), (1.1, 0.9, 1.0))
    scan = to_ras(Volume(array, known @ np.diag([2.0, 3, 4, 1])))
    angle, turn = turn_of(known)
    assert angle > 80
    stood = upright(scan, turn)
    assert np.array_equal(stood.array, array)
    assert np.array_equal(turned_back(stood.array, scan, turn), scan.array)
    back = np.eye(4)
    back[:3, :3] = turn
    # Every voxel keeps its place, but for the turn.
    assert back @ stood.affine == pytest.approx(known @ np.diag([2.0, 3, 4, 1]), abs=1e-5)
    angle, turn = turn_of(turned((30, -10, 20)))
    assert angle < 45
    assert np.array_equal(turn, np.eye(3))


@pytest.mark.slow
def test_a_head_upside_down_is_stripped_upright_and_keeps_its_place(tmp_path):
    head, _ = head_of(4.0)
    flipped = Volume(head.array, turned((178, 0, 2), (0, 6, 3)) @ head.affine)
    write_volume(tmp_path / "a.nii.gz", head.array, head.affine)
    write_volume(tmp_path / "b.nii.gz", to_ras(flipped).array, to_ras(flipped).affine)
    chain = Preparation(
        TemplateBrain(Register("affine", 4.0)),
        None,
        None,
        Register("affine", 4.0, turns=True),
        ("T1w",),
        4.0,
    )
    found = {}
    for name in "ab":
        scan = RawScan(name, "T1w", tmp_path / f"{name}.nii.gz", healthy=True)
        (found[name],), failures = prepare_subject([scan], chain, tmp_path / "out")
        assert not failures
    assert found["a"].notes == ()
    assert any("the head lies turned by 17" in note for note in found["b"].notes)
    brains = [read_volume(tmp_path / "out" / found[n].brain_mask).array > 0 for n in "ab"]
    assert 2 * (brains[0] & brains[1]).sum() / sum(b.sum() for b in brains) > 0.95
    assert found["b"].quality["brain_ml"] == pytest.approx(found["a"].quality["brain_ml"], rel=0.05)
