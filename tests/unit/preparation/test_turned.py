"""Heads that lie on a side, back to front or upside down, which `turns` is for."""

from functools import cache

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from test_steps import atlas_at, landmark_error, turned

from brainuad.cohorts.scans import RawScan
from brainuad.preparation.register.linear import Register
from brainuad.preparation.subject import prepare_subject
from brainuad.settings.instantiate import PREPARATION, instantiate
from brainuad.types import Volume
from brainuad.volumes.native_space import read_way, to_native
from brainuad.volumes.nifti import read_mask, read_volume, write_volume
from brainuad.volumes.orient import right_angles, to_ras, turn_of


def test_there_are_24_ways_for_a_head_to_lie_along_the_axes():
    turns = right_angles()
    assert len({turn.tobytes() for turn in np.array(turns) + 0.0}) == 24
    for turn in turns:
        assert turn.T @ turn == pytest.approx(np.eye(3))
        assert np.linalg.det(turn) == pytest.approx(1)
        assert (np.abs(turn).max(axis=0) == 1).all()
        around = np.eye(4)
        around[:3, :3] = turn
        assert np.array_equal(turn_of(around)[1], turn)


@pytest.mark.slow
@pytest.mark.parametrize("distinct", [False, True])
@pytest.mark.parametrize("degrees", [(170, 5, 0), (92, 0, 5), (0, -88, 4), (3, 0, 90), (90, 5, 90)])
def test_a_turned_brain_is_found(degrees, distinct):
    fixed, mask = atlas_at(4.0)
    known = turned(degrees, (0, 10, 0))
    moving = Volume(fixed.array, known @ fixed.affine)
    found = Register("rigid", 4.0, turns=True, distinct=distinct)(fixed, moving, mask).matrix
    assert landmark_error(found, known, fixed, mask) < 2


def test_without_turns_a_turned_brain_is_lost():
    fixed, mask = atlas_at(4.0)
    known = turned((90, 0, 90))
    moving = Volume(fixed.array, known @ fixed.affine)
    found = Register("rigid", 4.0)(fixed, moving, mask).matrix
    assert landmark_error(found, known, fixed, mask) > 20


def _prepared(scans, out):
    """By the default chain, at 2 mm."""
    words = ["preparation.steps.spacing_mm=2", "preparation/skullstrip=deepbet"]
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        config = compose("prepare", words).preparation.steps
    chain = instantiate(config, packages=PREPARATION)
    records, failures = prepare_subject(scans, chain, out)
    assert not failures
    return {record.sequence: record for record in records}


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def as_it_came(real_data, tmp_path_factory):
    """`as_it_came(case)`: paths of its raw heads, the folder where they are prepared, and records.

    The glioma patient's T1w and FLAIR are one visit's scans. Each case is prepared once.
    """

    @cache
    def prepare(case):
        glioma = real_data / "raw_heads" / "TCGA-FG-6692"
        ixi = sorted((real_data / "ixi_t1_2mm").iterdir())[0]
        heads = {"T1w": glioma / "T1.nii.gz", "FLAIR": glioma / "FLAIR.nii.gz"}
        if case == "ixi":
            heads = {"T1w": ixi / "T1.nii.gz"}
        out = tmp_path_factory.mktemp(case)
        scans = [RawScan("s", sequence, path, healthy=True) for sequence, path in heads.items()]
        return heads, out, _prepared(scans, out)

    return prepare


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "degrees"),
    [("ixi", (90, 0, 0)), ("glioma", (0, 90, 0))],
)
def test_a_real_head_on_its_side_comes_out_upright(as_it_came, tmp_path, case, degrees):
    """As it came and turned by a right angle: the same brain in the same place, and back.

    The sequences of a visit are turned alike.
    """
    heads, straight, expected = as_it_came(case)
    scans, native = [], {}
    for sequence, path in heads.items():
        head = to_ras(read_volume(path))
        native[sequence] = to_ras(Volume(head.array, turned(degrees) @ head.affine))
        moved = tmp_path / f"{sequence}.nii.gz"
        write_volume(moved, native[sequence].array, native[sequence].affine)
        scans.append(RawScan("s", sequence, moved, healthy=True))
    found = _prepared(scans, tmp_path / "turned")
    for sequence in heads:
        assert any("the head lies turned by" in note for note in found[sequence].notes)
        wanted = read_mask(straight / expected[sequence].brain_mask)
        mask = read_volume(tmp_path / "turned" / found[sequence].brain_mask)
        assert _dice(mask.array > 0, wanted) > 0.97
        images = [
            read_volume(folder / records[sequence].image).array
            for folder, records in ((straight, expected), (tmp_path / "turned", found))
        ]
        assert np.corrcoef(*(image[wanted] for image in images))[0, 1] > 0.95
        transform = tmp_path / "turned" / found[sequence].transform
        back = to_native(mask.array, mask.affine, native[sequence], read_way(transform)) > 0.5
        millilitres = back.sum() * np.prod(native[sequence].spacing_mm) / 1000
        assert millilitres == pytest.approx(found[sequence].quality["brain_ml"], rel=0.03)
        bright = native[sequence].array[back].mean()
        assert bright > 2 * native[sequence].array[~back].mean()
