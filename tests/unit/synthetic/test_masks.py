import numpy as np
import pytest
import torch

from brainuad.errors import InputError
from brainuad.synthetic.grids import draw_places
from brainuad.synthetic.masks.from_lesions import LesionHoles
from brainuad.synthetic.masks.random import BlobHoles, ShapeHoles
from brainuad.volumes.nifti import write_volume


def _brain(size=(48, 56), count=64):
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in size], indexing="ij")
    return (sum(axis**2 for axis in axes) < 0.8).expand(count, 1, *size).clone()


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _share(hole, brain):
    return hole.flatten(1).sum(1) / brain.flatten(1).sum(1)


def _lesions(folder):
    mask = np.zeros((20, 20, 6), np.uint8)
    mask[4:16, 8:12, 2:4] = 1  # three times as long as wide
    mask[0, 0, 0] = 1  # too small to count
    write_volume(folder / "a.nii.gz", mask, np.eye(4), np.uint8)
    return LesionHoles(folder, radius=(0.1, 0.2), most=2)


@pytest.fixture(params=["shapes", "blobs", "lesions"])
def holes(request, tmp_path):
    made = {"shapes": ShapeHoles, "blobs": BlobHoles, "lesions": lambda: _lesions(tmp_path)}
    return made[request.param]()


def test_are_in_the_brain_differ_and_come_again(holes):
    brain = _brain()
    brain[0] = False
    found = holes(brain, _generator())
    assert found.dtype == torch.bool
    assert not (found & ~brain).any()
    assert not found[0].any()
    assert len({tuple(hole.flatten().tolist()) for hole in found[1:]}) == len(brain) - 1
    assert torch.equal(found, holes(brain, _generator()))
    assert not torch.equal(found, holes(brain, _generator(1)))


def test_shapes_hide_the_wished_share():
    brain = _brain(count=300)
    share = _share(ShapeHoles((0.1, 0.3), (0.05, 0.15), 12)(brain, _generator()), brain)
    assert share.mean().item() == pytest.approx(0.2, abs=0.02)
    assert share.min() > 0.03
    assert share.max() < 0.4


def test_blobs_hide_it_to_the_pixel():
    brain = _brain(count=300)
    share = _share(BlobHoles((0.1, 0.3))(brain, _generator()), brain)
    assert share.min() >= 0.1 - 1e-3
    assert share.max() <= 0.3 + 1e-3
    assert share.mean().item() == pytest.approx(0.2, abs=0.01)
    assert share.std().item() == pytest.approx(0.2 / 12**0.5, abs=0.01)


def test_one_shape_is_a_ball_a_box_or_an_ellipsoid_of_its_size():
    size, radius = (101, 101), 20.2
    brain = torch.ones(400, 1, *size, dtype=torch.bool)
    found = ShapeHoles((0.5, 0.5), (0.2, 0.2), 1)(brain, _generator())
    # Of those that the border does not cut.
    whole = ~(found[..., 0].any(2) | found[..., -1].any(2)).squeeze(1)
    whole &= ~(found[:, :, 0].any(2) | found[:, :, -1].any(2)).squeeze(1)
    areas = found[whole].flatten(1).sum(1).float()
    ball, box = torch.pi * radius**2, 4 * radius**2
    close = (areas[:, None] - torch.tensor([ball, box])).abs() < 0.03 * box
    assert close.any(1).all()
    # A third is balls, a third ellipsoids of equal axes here, a third boxes.
    assert close[:, 1].float().mean().item() == pytest.approx(1 / 3, abs=0.12)


def test_shapes_are_made_in_volumes_too():
    brain = _brain((20, 24, 18), 4)
    share = _share(ShapeHoles()(brain, _generator()), brain)
    assert (share > 0).all()
    assert (share < 0.6).all()


def test_lesions_keep_their_outline(tmp_path):
    holes = _lesions(tmp_path)
    assert len(holes.outlines) == 1
    brain = torch.ones(200, 1, 64, 64, dtype=torch.bool)
    found = LesionHoles(tmp_path, radius=(0.2, 0.2), most=1)(brain, _generator())
    inner = [hole[0] for hole in found if not (hole[0, [0, -1]].any() or hole[0, :, [0, -1]].any())]
    assert len(inner) > 20
    for hole in inner:
        # Half its longer side is 0.2 of 64 pixels; it is a third as wide.
        assert hole.sum().item() == pytest.approx(25.6 * 25.6 / 3, rel=0.15)
        points = hole.nonzero().double()
        long, short = torch.linalg.svdvals(points - points.mean(0)).tolist()
        assert long / short == pytest.approx(3, rel=0.2)


def test_lesions_that_are_not_there_are_refused(tmp_path):
    # A trained model goes without them.
    holes = LesionHoles(tmp_path)
    for read in (holes.require, lambda: holes(torch.ones(1, 1, 8, 8, dtype=torch.bool))):
        with pytest.raises(InputError, match="no lesion mask"):
            read()


def test_lesions_of_volumes_are_whole(tmp_path):
    mask = np.zeros((30, 30, 30))
    mask[4:24, 12:16, 12:14] = 1
    # Twice as long along the last axis in mm.
    write_volume(tmp_path / "mask.nii.gz", mask, np.diag([1, 1, 2, 1]), np.uint8)
    holes = LesionHoles(tmp_path, radius=(10, 10), most=1, spacing_mm=1)
    assert len(holes.solids) == 1
    brain = torch.ones(8, 1, 48, 48, 48, dtype=torch.bool)
    region = torch.zeros_like(brain)
    region[..., 24, 24, 24] = True
    found = LesionHoles(tmp_path, (10, 10), 1, region=lambda _: region, spacing_mm=1)(brain)
    for hole in found[:, 0]:
        # Half its longest side is 10 mm: 20 x 4 x 4 mm.
        assert hole.sum().item() == pytest.approx(20 * 4 * 4, rel=0.2)
        points = hole.nonzero().double()
        assert (points.mean(0) - 24).norm() < 1
        long, *short = torch.linalg.svdvals(points - points.mean(0)).tolist()
        assert long / np.array(short) == pytest.approx(5, rel=0.25)


def test_places_are_uniform_over_the_brain():
    brain = torch.zeros(1, 1, 4, 5, dtype=torch.bool)
    brain[0, 0, 1, 2] = brain[0, 0, 3, 4] = True
    uniform = torch.linspace(0, 0.999, 1000)[None]
    places = draw_places(brain, uniform)[0]
    assert (places[:500] == torch.tensor([1.0, 2.0])).all()
    assert (places[501:] == torch.tensor([3.0, 4.0])).all()
