"""DISYRE's anomalies, each part held against the released code's rule worked out by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from brainuad.synthetic.grids import blurred, draw_corners, windows_at
from brainuad.synthetic.lesions.disentangled import DisentangledAnomalies, in_range_of
from brainuad.synthetic.lesions.shapes import Blobs

BLOBS = Blobs((0.08, 0.34))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(count=8, side=128, seed=0):
    """Noise in a disc, well inside (0, 1)."""
    axis = torch.linspace(-1, 1, side)
    brain = (axis[:, None].square() + axis.square() < 0.8).expand(count, 1, side, side).clone()
    noise = torch.rand(count, 1, side, side, generator=seeded(seed))
    return (0.3 + 0.4 * noise) * brain, brain


@pytest.mark.parametrize("size", [(20, 31), (9, 12, 10)], ids=["2d", "3d"])
def test_blurs_are_scipys(size):
    image, sigma = torch.rand(3, 2, *size, generator=seeded()), [0.0, 0.8, 2.2]
    found = blurred(image, torch.tensor(sigma))
    for one, old, width in zip(found, image, sigma, strict=True):
        for channel, before in zip(one, old, strict=True):
            known = ndimage.gaussian_filter(before.numpy(), width) if width else before.numpy()
            np.testing.assert_allclose(channel.numpy(), known, atol=1e-6)


def test_corners_are_uniform_in_the_brains_box_and_centred_where_it_is_smaller():
    brain = torch.zeros(300, 1, 20, 20, dtype=torch.bool)
    brain[:, :, 3:15, 8:13] = True
    corners = draw_corners(brain, [7, 8], torch.rand(300, 2, generator=seeded()))
    # randint leaves out the end: 12 - 7 places. Of 5 pixels under 8, floor((5 - 8) / 2) before.
    assert set(corners[:, 0].tolist()) == {3.0, 4.0, 5.0, 6.0, 7.0}
    assert set(corners[:, 1].tolist()) == {6.0}
    nothing = draw_corners(torch.zeros(1, 1, 5, 6, dtype=torch.bool), [3, 9], torch.zeros(1, 2))
    assert nothing.tolist() == [[0.0, -2.0]]


def test_windows_are_cut_and_zero_outside():
    image = torch.rand(2, 1, 6, 5)
    found = windows_at(image, torch.tensor([[1.0, 2.0], [-2.0, 3.0]]), [3, 4])
    assert torch.equal(found[0, 0, :, :3], image[0, 0, 1:4, 2:])
    assert (found[0, 0, :, 3] == 0).all()
    assert (found[1, 0, :2] == 0).all()
    assert torch.equal(found[1, 0, 2:, :2], image[1, 0, :1, 3:])


def test_textures_take_the_range_of_what_they_replace():
    image = torch.tensor([[[[0.2, 0.4, 0.6, 0.9]]]])
    texture = torch.tensor([[[[0.5, 0.1, 0.3, 0.8]]]])
    inside = torch.tensor([[[[True, True, True, False]]]])
    found = in_range_of(image, texture, inside)[0, 0, 0]
    known = [(x - 0.1) / (0.4 + 1e-3) * 0.4 + 0.2 for x in (0.5, 0.1, 0.3)]
    assert found.tolist() == pytest.approx([*known, 0.9])


def test_shapes_are_rectangles_discs_and_outlines_of_the_released_sizes():
    nothing = lambda mask, generator=None: torch.zeros_like(mask)  # noqa: E731
    anomalies = DisentangledAnomalies(nothing, blur=0.0)
    shapes = anomalies.shapes(torch.zeros(600, 1, 128, 128), seeded())[:, 0] > 0.5
    assert shapes.shape == (600, 64, 64)
    kinds = {"rectangle": [], "turned": [], "disc": [], "outline": []}
    for shape in shapes.numpy():
        height, width = (int(shape.any(axis).sum()) for axis in (1, 0))
        share = shape.sum() / max(height * width, 1)
        kind = "outline" if not height else "rectangle" if share == 1 else "turned"
        rows, columns = np.nonzero(shape)
        if kind == "turned" and height == width:
            away = np.hypot(rows - rows.mean(), columns - columns.mean())
            kind = "disc" if away.max() <= height / 2 + 0.5 and share < 0.85 else kind
        kinds[kind].append((height, width, rows.min(initial=64), rows.max(initial=0)))
    counts = {kind: len(found) for kind, found in kinds.items()}
    assert counts["outline"] == pytest.approx(200, abs=35)
    assert counts["disc"] == pytest.approx(200, abs=40)
    assert counts["rectangle"] == pytest.approx(100, abs=35)
    sides = np.array([found[:2] for found in kinds["rectangle"]])
    assert (sides % 2 == 0).all()
    assert (sides.min(), sides.max()) == (10, 44)
    discs = np.array(kinds["disc"])
    # A disc of radius 5 to 22, its border 10 pixels at least inside the patch.
    assert discs[:, 0].min() >= 9
    assert discs[:, 0].max() <= 45
    assert discs[:, 2].min() >= 9
    assert discs[:, 3].max() <= 54


def test_three_of_ten_edges_are_hard():
    anomalies = DisentangledAnomalies(BLOBS)
    shapes = anomalies.shapes(torch.zeros(400, 1, 128, 128), seeded()).flatten(1)
    hard = ((shapes == 0) | (shapes == 1)).all(1).float().mean().item()
    # And of those with a width the narrowest: below 0.13 pixels, 7 of 10 by 2.5 %.
    assert hard == pytest.approx(0.32, abs=0.06)


def test_anomalies_lie_in_a_patch_around_brain():
    image, brain = batch(64)
    share = DisentangledAnomalies(BLOBS)(image, brain, seeded()).share[:, 0]
    for one in share:
        for axis in (0, 1):
            used = one.any(axis).nonzero()
            assert used.max() - used.min() < 64
    assert (share[~brain[:, 0]] == 0).all()


def test_the_texture_is_mixed_by_its_factor_which_is_the_severity():
    image, brain = batch()
    anomalies = DisentangledAnomalies(BLOBS, factor=(0.7, 0.7), step=(0.0, 0.0))
    painted, share, severity, _ = anomalies(image, brain, seeded())
    torch.testing.assert_close(severity, torch.full((8,), 0.7))
    # The largest change of a pixel is smaller: the tissue is alike.
    assert ((painted - image).abs().flatten(1).amax(1) < 0.3).all()
    for new, old, part in zip(painted, image, share, strict=True):
        middle = part > 0.999
        texture = (new - 0.3 * old)[middle] / 0.7
        low, high = old[part > 0].min(), old[part > 0].max()
        assert texture.min() >= low - 1e-3
        assert texture.max() <= high + 1e-3


def test_a_texture_that_changes_nothing_has_no_severity():
    image, brain = torch.full((2, 1, 128, 128), 0.5), torch.ones(2, 1, 128, 128, dtype=torch.bool)
    found = DisentangledAnomalies(BLOBS, step=(0.0, 0.0))(image, brain, seeded())
    assert torch.equal(found.image, image)
    assert found.severity.tolist() == [0, 0]


def test_the_step_is_the_severity_where_it_is_larger():
    image, brain = batch(64)
    anomalies = DisentangledAnomalies(BLOBS, blur=0.0, factor=(0.0, 0.0), step=(0.2, 0.2))
    painted, _, severity, _ = anomalies(image, brain, seeded())
    change = (painted - image).flatten(1)
    torch.testing.assert_close(severity, change.abs().amax(1))
    assert severity.max().item() == pytest.approx(0.2, abs=1e-5)
    brighter = (change.sum(1) > 0).float().mean().item()
    assert brighter == pytest.approx(0.5, abs=0.2)
    # One sign a sample.
    assert ((change.amin(1) > -1e-6) | (change.amax(1) < 1e-6)).all()


@pytest.mark.slow
def test_levels_are_stepped_as_often_as_there_is_of_them():
    """Two levels side by side: each is drawn with n / (n of both + 1000), both if none is."""
    count, side = 300, 80
    image = torch.full((count, 1, side, side), 0.38)
    image[..., 40:] = 0.62
    brain = torch.ones_like(image, dtype=torch.bool)
    anomalies = DisentangledAnomalies(BLOBS, blur=0.0, factor=(0.0, 0.0), step=(0.2, 0.2))
    change = (anomalies(image, brain, seeded()).image - image).abs()[:, 0]
    # The same draws in an even image, all of whose pixels are stepped, show the shapes.
    shape = anomalies(torch.full_like(image, 0.5), brain, seeded()).share[:, 0] > 0
    numbers = torch.stack([half.sum((1, 2)) for half in (shape[..., :40], shape[..., 40:])])
    chance = numbers / (numbers.sum(0) + 1000)
    chance = chance + (1 - chance).prod(0)
    # Away from where the levels meet, whose step is softened.
    parts = [shape[..., :35], shape[..., 45:]]
    there = torch.stack([part.flatten(1).any(1) for part in parts])
    most = torch.stack([part.flatten(1).amax(1) for part in (change[..., :35], change[..., 45:])])
    assert there.sum() > 300
    found = (most[there] > 0.19).float().mean().item()
    assert found == pytest.approx(chance[there].mean().item(), abs=0.06)
    assert 0.4 < found < 0.9


@pytest.mark.parametrize("side", [(0, 10), (10, 45), (12, 11)])
def test_shapes_that_do_not_fit_are_refused(side):
    with pytest.raises(ValueError, match="patch of 64"):
        DisentangledAnomalies(BLOBS, side=side)
