"""Heads that lie on a side, back to front or upside down, which `turns` is for."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hydra import compose, initialize_config_module
from test_steps import atlas_at, landmark_error, turned

from brainuad.cli.prepare import main
from brainuad.cohorts.manifest import Scan, read_cohort
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


WORDS = ("preparation.steps.spacing_mm=2", "preparation/skullstrip=deepbet")


def _prepared(scans, out):
    """By the default chain, at 2 mm."""
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        config = compose("prepare", list(WORDS)).preparation.steps
    chain = instantiate(config, packages=PREPARATION)
    records, failures = prepare_subject(scans, chain, out)
    assert not failures
    return {record.sequence: record for record in records}


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


GLIOMA = {"T1w": ("T1.nii.gz", "t1"), "FLAIR": ("FLAIR.nii.gz", "fla")}
"""Scans of one visit by sequence: the head, and how its reference brain mask is named."""


@pytest.fixture(scope="module")
def glioma(real_data) -> Path:
    """The folder of a glioma patient as scanned: 5.5 mm slices, two grids, skull on."""
    return real_data / "raw_heads" / "TCGA-FG-6692"


@pytest.fixture(scope="module")
def upright(glioma, tmp_path_factory) -> dict[str, Scan]:
    """The cohort of these heads by sequence, made by the command; each label is half a brain."""
    base = tmp_path_factory.mktemp("glioma")
    rows = ["subject,sequence,image,lesion_mask,healthy"]
    for sequence, (head, name) in GLIOMA.items():
        # A half of the reference brain mask takes the label's way, there and back.
        image = nib.load(glioma / f"brain_mask_hdbet_{name}.nii.gz")
        half = image.get_fdata() > 0
        half[half.shape[0] // 2 :] = False
        label = base / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(half.astype(np.uint8), image.affine), label)
        rows.append(f"glioma,{sequence},{glioma / head},{label},false")
    (base / "raw.csv").write_text("\n".join(rows))
    assert main([str(base / "raw.csv"), str(base / "cohort"), *WORDS]) == 0
    assert (base / "cohort" / "qc.html").is_file()
    return {scan.sequence: scan for scan in read_cohort(base / "cohort").scans}


@pytest.mark.slow
def test_raw_heads_become_a_cohort_and_find_back(upright):
    assert upright.keys() == GLIOMA.keys()
    assert len({read_volume(scan.image).array.shape for scan in upright.values()}) == 1
    for scan in upright.values():
        volume = read_volume(scan.lesion_mask)
        native = read_volume(scan.native_image)
        back = to_native(volume.array, volume.affine, native, read_way(scan.transform)) >= 0.5
        assert _dice(back, read_mask(scan.native_lesion_mask)) > 0.95
        brain = read_mask(scan.brain_mask)
        wanted = volume.array > 0.5
        assert (brain & wanted).sum() > 0.93 * wanted.sum()


@pytest.mark.slow
def test_a_real_head_on_its_side_comes_out_upright(glioma, upright, tmp_path):
    """As it came and turned by a right angle: the same brain in the same place, and back.

    The sequences of a visit are turned alike.
    """
    scans, native = [], {}
    for sequence, (name, _) in GLIOMA.items():
        head = to_ras(read_volume(glioma / name))
        native[sequence] = to_ras(Volume(head.array, turned((0, 90, 0)) @ head.affine))
        moved = tmp_path / f"{sequence}.nii.gz"
        write_volume(moved, native[sequence].array, native[sequence].affine)
        scans.append(RawScan("s", sequence, moved, healthy=True))
    found = _prepared(scans, tmp_path / "turned")
    for sequence, straight in upright.items():
        assert any("the head lies turned by" in note for note in found[sequence].notes)
        wanted = read_mask(straight.brain_mask)
        mask = read_volume(tmp_path / "turned" / found[sequence].brain_mask)
        assert _dice(mask.array > 0, wanted) > 0.97
        paths = straight.image, tmp_path / "turned" / found[sequence].image
        images = [read_volume(path).array for path in paths]
        assert np.corrcoef(*(image[wanted] for image in images))[0, 1] > 0.95
        transform = tmp_path / "turned" / found[sequence].transform
        back = to_native(mask.array, mask.affine, native[sequence], read_way(transform)) > 0.5
        millilitres = back.sum() * np.prod(native[sequence].spacing_mm) / 1000
        assert millilitres == pytest.approx(found[sequence].quality["brain_ml"], rel=0.03)
        bright = native[sequence].array[back].mean()
        assert bright > 2 * native[sequence].array[~back].mean()
