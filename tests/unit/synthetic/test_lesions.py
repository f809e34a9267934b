"""Synthetic lesions: one contract for all, and what each kind of them is known to do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from brainuad.errors import InputError
from brainuad.synthetic.lesions.contract import outline
from brainuad.synthetic.lesions.disentangled import DisentangledAnomalies
from brainuad.synthetic.lesions.fillings import (
    CoarseNoise,
    ForeignPatch,
    IntensityShift,
    TextureSwap,
)
from brainuad.synthetic.lesions.mass_effect import MassEffect
from brainuad.synthetic.lesions.mixture import OneOf
from brainuad.synthetic.lesions.poisson import PoissonImage, poisson_blend
from brainuad.synthetic.lesions.shapes import (
    Blobs,
    Boxes,
    CentralBoxes,
    DepthBand,
    Ellipsoids,
    Soft,
    depth_of,
    with_spacing,
)
from brainuad.synthetic.masks.random import BlobHoles
from brainuad.synthetic.noise.coarse import coarse_noise
from brainuad.types import Batch

SOFT = Soft(Ellipsoids((0.1, 0.25)), 0.02)
CORRUPTIONS = {
    "fpi": ForeignPatch(Boxes((0.1, 0.2))),
    "pii": PoissonImage(Boxes((0.1, 0.2)), iterations=20),
    "nsa": PoissonImage(Blobs(), (1, 1), elsewhere=True, iterations=20),
    "shift": IntensityShift(SOFT),
    "texture": TextureSwap(SOFT),
    "histogram": TextureSwap(Soft(BlobHoles((0.05, 0.1)), 0.02), "histogram"),
    "mass": MassEffect(Ellipsoids((0.15, 0.3)), contrast=(0, 0.2)),
    "noise": CoarseNoise(cells=4),
    "dag": DisentangledAnomalies(Blobs(), patch=16, side=(3, 10), blur=1.0),
    "several": IntensityShift(Soft(Ellipsoids((0.05, 0.1), number=(1, 3)), 0.01)),
}
CORRUPTIONS["mixture"] = OneOf(list(CORRUPTIONS.values()), probability=0.8)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _batch(size=(40, 48), count=4, seed=0, channels=1):
    """Brains of different patterns, well inside [0, 1]."""
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in size], indexing="ij")
    mask = (sum(axis**2 for axis in axes) < 0.8).expand(count, 1, *size).clone()
    noise = torch.rand(count, channels, *size, generator=_generator(seed))
    waves = torch.linspace(2, 5, count).reshape(-1, 1, *[1] * len(size))
    image = 0.5 + 0.15 * torch.cos(waves * axes[0]) * torch.cos(waves * axes[1])
    return (image + 0.1 * (noise - 0.5)) * mask, mask


@pytest.mark.parametrize("size", [(40, 48), (18, 20, 16)], ids=["2d", "3d"])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_keeps_the_contract(name, size):
    image, brain = _batch(size, 5, channels=2)
    brain[2], image[2] = False, 0
    before = image.clone()
    painted, share, severity, _ = CORRUPTIONS[name](image, brain, _generator())
    assert torch.equal(image, before)
    assert painted.shape == image.shape
    assert painted.dtype == image.dtype
    assert share.shape == brain.shape
    assert share.min() >= 0
    assert share.max() <= 1
    assert (share[~brain] == 0).all()
    assert painted.isfinite().all()
    assert painted.min() >= 0
    assert painted.max() <= 1
    assert torch.equal(painted[(share == 0).expand_as(image)], image[(share == 0).expand_as(image)])
    assert (share[2] == 0).all()
    found = (share.flatten(1) > 0).any(1)
    # The fourth one's donor may be the third, which has no tissue to give.
    assert found[[0, 1, 4]].sum() >= (2 if name == "mixture" else 3)
    changed = (painted != image).flatten(1).any(1)
    assert torch.equal(changed, found)
    again = CORRUPTIONS[name](image, brain, _generator())
    assert torch.equal(again.image, painted)
    assert torch.equal(again.share, share)
    other = CORRUPTIONS[name](image, brain, _generator(1))
    assert not torch.equal(other.share, share)
    if name in ("dag", "mixture"):
        change = (painted - image).abs().flatten(1).amax(1)
        assert (severity[found] > 0).all()
        assert (severity[~found] == 0).all()
        assert severity.max() <= 1
        assert name == "mixture" or (severity != change).any()
    else:
        assert severity is None


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_batch_of_one_is_its_own_donor(name):
    image, brain = _batch(count=1)
    painted, share, *_ = CORRUPTIONS[name](image, brain, _generator(3))
    same = (share == 0).expand_as(image)
    assert torch.equal(painted[same], image[same])
    if name == "fpi":
        assert torch.equal(painted, image)
        assert (share == 0).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_step_in_half_precision_paints_the_same(name):
    image, brain = _batch()
    whole = CORRUPTIONS[name](image, brain, _generator())
    with torch.autocast("cpu", torch.bfloat16):
        half = CORRUPTIONS[name](image, brain, _generator())
    assert half.image.dtype == torch.float32
    assert torch.equal(half.image, whole.image)
    assert torch.equal(half.share, whole.share)


def test_a_soft_border_is_a_gaussian_step_and_the_brain_does_not_fade_it():
    brain = torch.zeros(1, 1, 60, 40, dtype=torch.bool)
    brain[..., :40, :] = True
    half = torch.zeros_like(brain)
    half[..., 20:40, :] = True
    share = Soft(lambda *_: half, 3.0, 1)(brain)
    wanted = torch.special.ndtr((torch.arange(36) - 19.5) / 3)
    assert share[0, 0, :28, 20] == pytest.approx(wanted[:28].numpy(), abs=0.01)
    assert share[0, 0, 34:40, 20].min() > 0.999
    assert (share[0, 0, 40:] == 0).all()
    assert (share[0, 0, :7] == 0).all()


@settings(max_examples=15, deadline=None)
@given(low=st.floats(0.08, 0.2), wide=st.floats(0, 0.1), seed=st.integers(0, 1000))
def test_shapes_have_the_asked_size(low, wide, seed):
    brain = torch.ones(6, 1, 80, 90, dtype=torch.bool)
    middle = torch.zeros_like(brain)
    middle[..., 40, 45] = True
    radius = (low, low + wide)
    small, large = (torch.pi * (80 * r) ** 2 for r in radius)
    for kind in (Ellipsoids, Blobs):
        area = kind(radius, region=lambda _: middle)(brain, _generator(seed)).flatten(1).sum(1)
        # Blobs meet their size to the pixel; ellipses are as round as pixels let them be.
        off = 0.05 if kind is Blobs else 0.1
        assert (area > (1 - off) * small).all(), kind
        assert (area < (1 + off) * large).all(), kind
    boxes = Boxes(radius, region=lambda _: middle)(brain, _generator(seed))
    for box in boxes[:, 0]:
        height, width = (int(box.any(axis).sum()) for axis in (1, 0))
        assert height == width == pytest.approx(2 * 80 * radius[0], abs=160 * wide + 1.1)
        assert box.sum() == height * width


def test_sizes_are_in_mm_where_the_spacing_is_known():
    brain = torch.ones(1, 1, 60, 30, 20, dtype=torch.bool)
    middle = torch.zeros_like(brain)
    middle[..., 30, 15, 10] = True
    for kind, volume in ((Ellipsoids, 4.19e3), (Blobs, 4.19e3), (Boxes, 8e3)):
        shape = kind((10, 10), region=lambda _: middle)
        found = with_spacing(IntensityShift(Soft(shape, 0)), (1.0, 2.0, 3.0)).shape.shape(brain)
        assert 6 * found.sum().item() == pytest.approx(volume, rel=0.12 if kind is Boxes else 0.05)
        if kind is not Blobs:
            extent = [
                n * s
                for n, s in zip(
                    np.ptp(found[0, 0].nonzero().numpy(), axis=0) + 1, (1, 2, 3), strict=True
                )
            ]
            assert extent == pytest.approx([20, 20, 20], abs=3)


def test_the_number_of_lesions_is_uniform():
    brain = torch.ones(400, 1, 64, 64, dtype=torch.bool)
    shapes = Ellipsoids((0.03, 0.03), number=(2, 4))(brain, _generator())
    counts = np.bincount([ndimage.label(shape[0].numpy())[1] for shape in shapes], minlength=6)
    # Some touch one another, so that fewer are seen.
    assert counts[5:].sum() == 0
    assert counts[4] == pytest.approx(133, abs=40)
    assert counts[0] == 0


def test_depths_are_exact_and_lesions_lie_in_the_band():
    brain = _batch((30, 40, 24), 2)[1]
    spacing = (1.0, 0.7, 2.0)
    depth = depth_of(brain, torch.tensor(spacing))
    for mine, mask in zip(depth, brain, strict=True):
        theirs = ndimage.distance_transform_edt(mask[0].numpy(), sampling=spacing)
        assert mine[0].numpy() == pytest.approx(theirs, abs=1e-4)
    brain = _batch((64, 64), 200)[1]
    depth = depth_of(brain, torch.tensor([1.0, 1.0]))
    for band in ((0.0, 4.0), (15.0, 25.0)):
        shape = Ellipsoids((2, 2), region=DepthBand(band, 1), spacing_mm=1)
        for hole, at in zip(shape(brain, _generator()), depth, strict=True):
            middle = hole[0].nonzero().float().mean(0).round().long()
            assert band[0] - 1.5 <= at[0, middle[0], middle[1]] < band[1] + 1.5
    empty = Ellipsoids((0.1, 0.1), region=DepthBand((0.9, 1.0)))(brain)
    assert not empty.any()


def test_foreign_patches_are_the_formula():
    image, brain = _batch(count=3)
    painted, share, *_ = ForeignPatch(Boxes((0.2, 0.2)), (0.3, 0.3))(image, brain, _generator())
    for index in range(3):
        inside = share[index] > 0
        assert torch.allclose(share[index][inside], torch.tensor(0.3))
        wanted = 0.7 * image[index] + 0.3 * image[index - 1]
        assert torch.allclose(painted[index][inside], wanted[inside], atol=1e-6)


def test_central_boxes_are_those_of_the_released_code():
    """Of 256 pixels: centres of 64 to 191, half sides of 13 to 50 (`self_sup_task.py:33-44`)."""
    nothing = torch.zeros(1000, 1, 256, 256, dtype=torch.bool)
    boxes = CentralBoxes(0.5)(nothing, _generator())[:, 0]
    centres, halves = [], []
    for axis in (1, 2):
        along = boxes.any(3 - axis)
        first = along.int().argmax(1)
        past = 256 - along.flip(1).int().argmax(1)
        # From 14 to below 241: no border cuts them.
        assert ((past - first) % 2 == 0).all()
        centres.append((first + past) // 2)
        halves.append((past - first) // 2)
    assert torch.equal(halves[0], halves[1])
    assert torch.equal(boxes.flatten(1).sum(1), 4 * halves[0] ** 2)
    assert (halves[0].min(), halves[0].max()) == (13, 50)
    assert halves[0].float().mean().item() == pytest.approx(31.5, abs=1.1)
    for centre in centres:
        assert (centre.min(), centre.max()) == (64, 191)
        assert centre.float().mean().item() == pytest.approx(127.5, abs=4)
    # With a wider core the image cuts them.
    wide = CentralBoxes(1.0, (0.2, 0.2))(nothing[:200], _generator())[:, 0]
    assert (wide.flatten(1).sum(1) < 102**2).any()
    # In a volume of sides 48, 40 and 36 the smallest is a cube of 4, the core its middle.
    (cube,) = CentralBoxes(0.0, (0.05, 0.05))(torch.zeros(1, 1, 48, 40, 36, dtype=torch.bool))
    assert cube.nonzero().amin(0).tolist() == [0, 22, 18, 16]
    assert cube.nonzero().amax(0).tolist() == [0, 25, 21, 19]


@pytest.mark.parametrize("name", ["fpi", "pii", "nsa"])
def test_a_donor_can_be_named(name):
    """The sample before each one is the donor where none is named."""
    image, brain = _batch()
    donors = Batch(image.roll(1, 0), brain.roll(1, 0))
    usual = CORRUPTIONS[name](image, brain, _generator())
    named = CORRUPTIONS[name](image, brain, _generator(), donors=donors)
    assert torch.equal(usual.image, named.image)
    other = CORRUPTIONS[name](
        image, brain, _generator(), donors=Batch(*(x.flip(0) for x in donors))
    )
    assert not torch.equal(usual.image, other.image)


def test_a_patch_lies_outside_the_brain_too_where_the_donor_has_one():
    image = torch.zeros(1, 1, 32, 32)
    brain = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    donor = torch.zeros_like(image)
    donor[..., :, 16:] = 0.5
    corruption = ForeignPatch(CentralBoxes(0.1, (0.2, 0.25)), (0.4, 0.4))
    painted, share, *_ = corruption(image, brain, _generator(), donors=Batch(donor, donor > 0))
    # Nothing differs in its left half, where the share is 0.
    assert not share[..., :16].any()
    found = share[0, 0] > 0
    assert found.any()
    assert torch.allclose(share[0, 0][found], torch.tensor(0.4))
    assert torch.allclose(painted[0, 0][found], torch.tensor(0.2))


def test_with_a_tolerance_small_changes_have_no_share():
    image, brain = _batch((32, 32))
    everywhere, larger = (
        PoissonImage(Boxes((0.2, 0.2)), tolerance=part)(image, brain, _generator())
        for part in (0.0, 1e-2)
    )
    assert torch.equal(everywhere.image, larger.image)
    same = torch.floor(image * 100) == torch.floor(everywhere.image * 100)
    assert torch.equal(larger.share, everywhere.share.masked_fill(same, 0))
    assert 0 < (larger.share > 0).sum() < (everywhere.share > 0).sum()


@pytest.mark.parametrize("size", [(14, 15), (8, 9, 7)], ids=["2d", "3d"])
def test_poisson_is_the_direct_solution(size):
    image, _ = _batch(size, 3)
    inside = torch.zeros(3, 1, *size, dtype=torch.bool)
    inside[0, 0, 3:9, 2:7] = True
    inside[1, 0, 1:4, 5:9] = True
    inside[2, 0, 0:5, 3:8] = True  # at the image's border
    factor = torch.tensor([0.3, 0.6, 1.0]).reshape(3, 1, *[1] * len(size))
    donor = image.roll(1, 0)
    found = poisson_blend(image, donor, inside, factor, 100)
    for index in range(3):
        a, x, y = factor[index].item(), image[index, 0].numpy(), donor[index, 0].numpy()
        mask = inside[index, 0].numpy()
        number = np.cumsum(mask.ravel()).reshape(size) - 1
        matrix = sparse.lil_matrix((mask.sum(), mask.sum()))
        right = np.zeros(mask.sum())
        for p in np.argwhere(mask):
            for axis in range(len(size)):
                for step in (-1, 1):
                    q = p.copy()
                    q[axis] += step
                    if not 0 <= q[axis] < size[axis]:
                        continue
                    p_, q_ = tuple(p), tuple(q)
                    own, other = (1 - a) * (x[p_] - x[q_]), a * (y[p_] - y[q_])
                    right[number[p_]] += own if abs(own) > abs(other) else other
                    matrix[number[p_], number[p_]] += 1
                    if mask[q_]:
                        matrix[number[p_], number[q_]] -= 1
                    else:
                        right[number[p_]] += x[q_]
        wanted = x.copy()
        wanted[mask] = spsolve(matrix.tocsr(), right)
        assert found[index, 0].numpy() == pytest.approx(wanted, abs=1e-4)


def test_a_seamless_clone_of_itself_changes_nothing():
    image, brain = _batch(count=1)
    painted, *_ = PoissonImage(Boxes((0.2, 0.2)), (1, 1))(image, brain, _generator())
    assert torch.allclose(painted, image, atol=1e-6)


@pytest.mark.parametrize("bright", [0.0, 1.0])
def test_an_intensity_shift_has_its_size_in_the_middle(bright):
    image, brain = _batch((60, 60), 8)
    painted, share, *_ = IntensityShift(
        Soft(Ellipsoids((0.15, 0.2)), 0.02), contrast=(0.2, 0.3), bright=bright
    )(image, brain, _generator())
    for index in range(8):
        low, high = np.percentile(image[index][brain[index]], [2, 98])
        peak = share[index].argmax()
        shift = (painted - image)[index].flatten()[peak] / share[index].max()
        ratio = shift.item() / (high - low) * (1 if bright else -1)
        assert 0.195 <= ratio <= 0.305
        assert share[index].max() > 0.95
        # Soft, also at the border of the brain, where it does not fade.
        border = (share[index] > 0.05) & (share[index] < 0.95)
        assert border.any()


def test_coarse_noise_is_the_autoencoders():
    image, brain = _batch((32, 32), 4)
    painted, share, *_ = CoarseNoise(cells=4, sigma=0.1)(image, brain, _generator())
    noise = coarse_noise(image, brain, 4, 0.1, _generator())
    torch.testing.assert_close(painted, (image + noise).clamp(0, 1))
    torch.testing.assert_close(share, (noise.abs() / 0.3).clamp(0, 1))


def test_a_shift_can_even_the_tissue_out():
    """With no texture kept, a hard-edged lesion is its mean plus the contrast everywhere."""
    image, brain = _batch((40, 40), 4)
    shape = Ellipsoids((0.15, 0.2))
    kept, evened = (
        IntensityShift(shape, (0.1, 0.1), texture=(part, part))(image, brain, _generator())
        for part in (1.0, 0.0)
    )
    for index in range(4):
        inside = kept.share[index] > 0
        assert evened.image[index][inside].std() < 1e-5 < kept.image[index][inside].std()
        assert evened.image[index][inside].mean() == pytest.approx(
            kept.image[index][inside].mean().item(), abs=1e-5
        )


def test_half_of_the_shifts_are_bright():
    image, brain = _batch((32, 32), 400)
    painted, *_ = IntensityShift(Ellipsoids((0.1, 0.2)))(image, brain, _generator())
    brighter = (painted - image).flatten(1).sum(1) > 0
    assert brighter.float().mean().item() == pytest.approx(0.5, abs=0.08)


def test_a_swapped_texture_keeps_the_mean_or_the_histogram():
    image, brain = _batch(count=6)
    painted, share, *_ = TextureSwap(SOFT)(image, brain, _generator())
    change = (painted - image).flatten(1)
    assert change.sum(1).abs().max() < 1e-3
    assert (change.abs().amax(1) > 0.02).all()
    painted, share, *_ = TextureSwap(Ellipsoids((0.1, 0.2)), "histogram")(
        image, brain, _generator()
    )
    for old, new, part in zip(image, painted, share, strict=True):
        assert torch.allclose(old[part > 0].sort().values, new[part > 0].sort().values, atol=1e-6)
        assert not torch.equal(old[part > 0], new[part > 0])


def test_a_texture_of_no_zoom_is_a_copy():
    image, brain = _batch(count=2)
    painted, share, *_ = TextureSwap(Boxes((0.1, 0.1)))(image, brain, _generator())
    inside = share[0, 0] > 0
    rows, columns = (slice(int(v.min()), int(v.max()) + 1) for v in inside.nonzero().T)
    patch = painted[0, 0, rows, columns]
    height, width = patch.shape
    places = image[1, 0].unfold(0, height, 1).unfold(1, width, 1)
    gap = places - places.mean((2, 3), keepdim=True) - (patch - patch.mean())
    assert gap.abs().amax((2, 3)).min() < 1e-4


@pytest.mark.parametrize("growing", [0.0, 1.0])
def test_mass_effect_pushes_outwards_one_to_one(growing):
    size = (61, 61)
    axis = torch.arange(61.0)
    image = (axis / 60).expand(1, 1, *size).clone()
    brain = torch.ones(1, 1, *size, dtype=torch.bool)
    middle = torch.zeros_like(brain)
    middle[..., 30, 30] = True
    shape = Ellipsoids((0.35, 0.35), region=lambda _: middle)
    painted, share, *_ = MassEffect(shape, (0.6, 0.6), growing)(image, brain, _generator())
    row = painted[0, 0, 30]
    assert row[30].item() == pytest.approx(0.5, abs=1e-6)
    # One to one: what was in order stays so; magnified in the middle, or shrunk.
    assert (row.diff() > 0).all()
    factor = (row[31] - row[29]) / (2 / 60)
    assert factor.item() == pytest.approx(0.4 if growing else 1.6, abs=0.02)
    assert share[0, 0, 30, 30] == 1
    radius = ((axis - 30) / (0.35 * 61)).square()
    assert torch.allclose(share[0, 0, 30], (1 - radius).clamp_min(0).square(), atol=1e-5)
    with pytest.raises(ValueError, match="strength"):
        MassEffect(shape, (0.5, 1.0))


def test_a_mixture_has_its_proportions():
    image, brain = _batch((24, 24), 900)
    constant = {
        value: IntensityShift(Ellipsoids((0.2, 0.2)), (value, value), bright=1)
        for value in (0.1, 0.2, 0.4)
    }
    painted, share, *_ = OneOf(list(constant.values()), [1, 3, 0], probability=0.8)(
        image, brain, _generator()
    )
    ranges = [np.ptp(np.percentile(i[b], [2, 98])) for i, b in zip(image, brain, strict=True)]
    found = (painted - image).flatten(1).amax(1) / torch.tensor(ranges, dtype=torch.float32)
    for value, part in ((0.1, 0.2), (0.2, 0.6), (0.4, 0.0), (0.0, 0.2)):
        close = ((found - value).abs() < 0.04).float().mean().item()
        assert close == pytest.approx(part, abs=0.05)
    assert torch.equal((share > 0).flatten(1).any(1), found > 0)


def test_a_mixture_gives_a_single_sample_another_donor():
    image, brain = _batch(count=2)
    mixture = OneOf([ForeignPatch(Boxes((0.2, 0.2))), IntensityShift(SOFT)])
    for seed in range(6):
        assert (mixture(image, brain, _generator(seed)).share.flatten(1).amax(1) > 0).all()


@pytest.mark.parametrize("odds", [[1], [1, -1], [0, 0]])
def test_a_mixture_of_no_sense_is_refused(odds):
    with pytest.raises(InputError, match="2 corruptions"):
        OneOf([IntensityShift(SOFT)] * 2, odds)


def test_the_outline_is_where_there_is_half_of_the_most():
    share = torch.tensor([[[0.0, 0.1, 0.2, 0.4]], [[0.0, 0.0, 0.0, 0.0]]])[:, :, None]
    assert outline(share).squeeze().tolist() == [[False, False, True, True], [False] * 4]
