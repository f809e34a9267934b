"""Crops of training and windows of detection."""

import torch
from monai.inferers import sliding_window_inference

from brainuad.methods.parts.windows import in_windows, random_crops
from brainuad.types import Batch


def test_windows_are_monais_weighted_by_their_brain():
    image = torch.rand(2, 1, 24, 32, generator=torch.Generator().manual_seed(0))
    mask = image > 0.4

    def score(window, inside):
        """Depends on the window, so that the weights show."""
        mean = window.mean((1, 2, 3), keepdim=True)
        return (window - mean).abs(), window * mean

    def weighted(window):
        inside = window > 0.4
        anomaly_map, restored = score(window, inside)
        return anomaly_map * inside.float().mean((1, 2, 3), keepdim=True), restored

    found = in_windows(score, image, mask, 16, 4)
    known = sliding_window_inference(
        image, (16, 16), 4, weighted, overlap=0.75, mode="gaussian", sigma_scale=0.125
    )
    torch.testing.assert_close(found[0], known[0])
    torch.testing.assert_close(found[1], known[1])


def test_zeros_make_room_for_whole_steps():
    seen = []

    def score(window, inside):
        seen.append(window)
        return window, window

    image = torch.rand(1, 1, 7, 18)
    found = in_windows(score, image, torch.ones_like(image, dtype=torch.bool), 8, 4)
    # 7 becomes 8, one window; 18 becomes 20, four of them.
    assert len(seen) == 4
    assert (seen[0][..., 7, :] == 0).all()
    assert (seen[0][..., 0] == 0).all()
    assert torch.equal(seen[1][0, 0, :7], image[0, 0, :, 3:11])
    torch.testing.assert_close(found[1], image)


def test_crops_lie_in_the_box_around_the_brain():
    image = torch.arange(400.0).reshape(1, 1, 20, 20).expand(50, 1, 20, 20)
    mask = torch.zeros(50, 1, 20, 20, dtype=torch.bool)
    mask[..., 2:14, 5:19] = True
    crops = random_crops(Batch(image, mask), 10, torch.Generator().manual_seed(0))
    assert crops.image.shape == crops.brain_mask.shape == (50, 1, 10, 10)
    assert crops.brain_mask.all()
    rows, columns = crops.image[:, 0, 0, 0].div(20).floor(), crops.image[:, 0, 0, 0] % 20
    assert set(rows.tolist()) == {2.0, 3.0}
    assert set(columns.tolist()) == {5.0, 6.0, 7.0, 8.0}
    for crop, row, column in zip(crops.image[:, 0], rows.int(), columns.int(), strict=True):
        assert torch.equal(crop, image[0, 0, row : row + 10, column : column + 10])
