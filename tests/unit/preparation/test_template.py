"""A template of the user's own in place of MNI152."""

import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from test_steps import atlas_at, turned

from brainuad.cli.prepare import main
from brainuad.cohorts.manifest import read_cohort
from brainuad.preparation.register.linear import Registration
from brainuad.preparation.skullstrip.template import TemplateBrain
from brainuad.types import Volume
from brainuad.volumes.native_space import native_points, prepared_points, to_native
from brainuad.volumes.nifti import read_mask, read_volume, write_volume
from brainuad.volumes.resample import resample_like


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A subject on a template that is no MNI152: smaller, elsewhere, left-handed, at 4 mm."""
    folder = tmp_path_factory.mktemp("template")
    image, mask = atlas_at(4.0)
    place = turned((0, 0, 0), (200, -150, 80), (0.8, 0.85, 0.9)) @ image.affine
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = image.array.shape[0] - 1
    write_volume(folder / "mine.nii.gz", image.array[::-1], place @ flip)
    write_volume(folder / "mine_mask.nii.gz", mask[::-1], place @ flip, np.uint8)
    pose = turned((8, -5, 12), (15, -10, 6)) @ image.affine
    lesion = np.zeros(mask.shape, bool)
    lesion[14:22, 28:36, 20:27] = True
    lesion &= mask
    source = folder / "source"
    write_volume(source / "s_T1w.nii.gz", 500 * image.array, pose)
    write_volume(source / "s_brain_mask.nii.gz", mask, pose, np.uint8)
    write_volume(source / "s_lesion.nii.gz", lesion, pose, np.uint8)
    words = [
        *("preparation/skullstrip=given", "preparation.steps.bias=null"),
        *("preparation.steps.spacing_mm=3", "preparation.steps.margin_mm=9"),
        *("preparation.steps.atlas.spacing_mm=4", "preparation.steps.atlas.turns=false"),
        f"preparation.steps.atlas_image={folder / 'mine.nii.gz'}",
        f"preparation.steps.atlas_mask={folder / 'mine_mask.nii.gz'}",
    ]
    assert main([str(source), str(folder / "out"), *words]) == 0
    (scan,) = read_cohort(folder / "out").scans
    return scan, Volume(image.array, place), mask, Volume(image.array, pose), lesion


@pytest.mark.slow
def test_a_scan_comes_to_lie_on_the_users_template(prepared):
    scan, template, mask, _, _ = prepared
    found = read_volume(scan.image)
    assert found.spacing_mm == pytest.approx((3, 3, 3))
    assert nib.aff2axcodes(found.affine) == ("R", "A", "S")
    # The grid is the template's brain and its margin, in the template's world, far off MNI152's.
    corners = np.array([[0, 0, 0], np.array(found.array.shape) - 1])
    box = corners @ found.affine[:3, :3].T + found.affine[:3, 3]
    brain = np.argwhere(mask) @ template.affine[:3, :3].T + template.affine[:3, 3]
    assert box[0] == pytest.approx(brain.min(axis=0) - 9, abs=6)
    assert box[1] == pytest.approx(brain.max(axis=0) + 9, abs=6)
    wanted = resample_like(mask.astype(np.float32), template.affine, found) >= 0.5
    inside = read_mask(scan.brain_mask)
    assert _dice(inside, wanted) > 0.95
    expected = resample_like(template.array, template.affine, found)
    both = inside & wanted
    assert np.corrcoef(found.array[both], expected[both])[0, 1] > 0.9


def test_and_finds_back(prepared):
    scan, _, _, native, lesion = prepared
    volume = read_volume(scan.lesion_mask)
    back = to_native(volume.array, volume.affine, native, scan.space.way) >= 0.5
    assert _dice(back, lesion) > 0.9
    points = np.argwhere(lesion)[::20] @ native.affine[:3, :3].T + native.affine[:3, 3]
    there = prepared_points(points, scan.space.way)
    assert np.abs(there - points).max() > 100
    assert native_points(there, scan.space.way) == pytest.approx(points, abs=0.1)


def test_a_brain_is_sought_where_it_lies_and_not_in_the_whole_array():
    image, mask = atlas_at(4.0)
    room = [(60, 60)] * 3
    affine = image.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [60, 60, 60]
    head = Volume(np.pad(image.array, room), affine)
    skullstrip = TemplateBrain(register=lambda *_, **__: Registration(np.eye(4), 1.0))
    small = skullstrip(image)
    tracemalloc.start()
    found = skullstrip(head)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(found, np.pad(small, room))
    assert _dice(small, mask) > 0.9
    # A distance transform of the whole array takes some 50 bytes a voxel.
    assert most < 20 * head.array.size


def test_a_template_that_cannot_be_read_is_one_line(tmp_path, capsys):
    image, _ = atlas_at(6.0)
    write_volume(tmp_path / "source" / "s_T1w.nii.gz", image.array, image.affine)
    words = [str(tmp_path / "source"), str(tmp_path / "out")]
    missing = tmp_path / "none.nii.gz"
    assert main([*words, f"preparation.steps.atlas_image={missing}"]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "error" in x]
    assert str(missing) in line
