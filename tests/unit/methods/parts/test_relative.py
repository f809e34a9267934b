"""Scores in units of what healthy brains score at the same place."""

import numpy as np
import pytest
import torch

from brainuad.errors import InputError
from brainuad.methods.parts.relative_to_healthy import RelativeToHealthy
from brainuad.types import Detection, Volume


def row(*values):
    """Voxels of 2 mm one behind the other, the first at y = 10 mm."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[1, 3] = 10
    return Volume(np.array(values, np.float32).reshape(1, -1, 1), affine)


def measured(sigma=0.0, floor=0.5):
    relative = RelativeToHealthy(sigma, floor)
    # The third voxel is brain in one scan alone, the fourth in none.
    relative.measure(
        [
            (row(1.0, 4.0, 2.0, 9.0), row(1, 1, 1, 0).array > 0),
            (row(3.0, 8.0, 9.0, 9.0), row(1, 1, 0, 0).array > 0),
        ]
    )
    return relative


def test_by_hand():
    relative = measured()
    # Means 2, 6 and 2; over all five 18 / 5 = 3.6, which stands in for the fourth.
    expected = torch.tensor([3.8, 7.8, 3.8, 5.4]).reshape(1, 1, -1, 1)
    torch.testing.assert_close(relative.expected, expected)
    ones = torch.ones(1, 1, 4, 1)
    found = relative(Detection(3 * ones, ones, 2 * ones, torch.cat([ones, 4 * ones])))
    torch.testing.assert_close(found.anomaly_map, 3 / expected)
    torch.testing.assert_close(found.reconstruction, ones)
    torch.testing.assert_close(found.uncertainty, 2 / expected)
    torch.testing.assert_close(found.draws, torch.cat([1 / expected, 4 / expected]))


def test_healthy_scans_score_one_at_every_place_without_a_floor_worth_the_name():
    rng = np.random.default_rng(0)
    brain_mask = np.ones((6, 7, 8), bool)
    maps = [rng.gamma(2, size=brain_mask.shape) for _ in range(5)]
    relative = RelativeToHealthy(0.0, 1e-9)
    relative.measure((Volume(a, np.eye(4)), brain_mask) for a in maps)
    scores = [relative(Detection(torch.from_numpy(a)[None], None)).anomaly_map for a in maps]
    torch.testing.assert_close(torch.stack(scores).mean(0), torch.ones(1, 6, 7, 8).double())


def test_smoothing_stays_inside_the_brain():
    """A constant score stays constant to the brain's border, whatever lies outside it."""
    brain_mask = np.zeros((12, 12, 12), bool)
    brain_mask[3:9, 3:9, 3:9] = True
    relative = RelativeToHealthy(1.0, 1.0)
    constant = Volume(np.where(brain_mask, 2.0, 50.0), np.eye(4))
    relative.measure([(constant, brain_mask)] * 4)
    np.testing.assert_allclose(relative.expected[0].numpy(), 4.0, rtol=1e-6)


def test_a_scan_on_another_grid_is_found_by_its_affine():
    relative = measured()
    expected = [3.8, 7.8, 3.8, 5.4]
    # From y = 9 mm on, every millimetre: outside what is expected elsewhere, between the means.
    affine = np.diag([2.0, 1.0, 2.0, 1.0])
    affine[1, 3] = 9
    ones = torch.ones(1, 1, 10, 1)
    found = 1 / relative(Detection(ones, None), affine).anomaly_map.flatten()
    torch.testing.assert_close(found[1:8:2], torch.tensor(expected))
    torch.testing.assert_close(found[2:8:2], torch.tensor([5.8, 5.8, 4.6]))
    torch.testing.assert_close(found[9], torch.tensor(5.4))
    # The same grid is not interpolated.
    same = relative(Detection(ones[:, :, :4], None), row(0).affine).anomaly_map
    torch.testing.assert_close(1 / same.flatten(), torch.tensor(expected))


def test_the_grid_comes_back_from_a_checkpoint():
    relative, again = measured(), RelativeToHealthy()
    again.load_state_dict(relative.state_dict())
    for name, value in relative.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert again.affine[1, 3] == 10


def test_refusals():
    with pytest.raises(ValueError, match="floor 0"):
        RelativeToHealthy(floor=0)
    one, brain_mask = row(1.0, 2.0), row(1, 1).array > 0
    with pytest.raises(InputError, match="1 x 2 x 1 and 1 x 3 x 1 voxels have no places in common"):
        RelativeToHealthy().measure([(one, brain_mask), (row(1, 2, 3), row(1, 1, 1).array > 0)])
    with pytest.raises(InputError, match="no healthy scan scores anything"):
        RelativeToHealthy().measure([(row(0, 0), brain_mask)])
    with pytest.raises(InputError, match="no healthy scan scores anything"):
        RelativeToHealthy().measure([])
    with pytest.raises(InputError, match="a scan of 2 x 1 x 1 voxels .* on a grid of 1 x 4 x 1;"):
        measured()(Detection(torch.ones(1, 2, 1, 1), None))
    with pytest.raises(InputError, match="none yet"):
        RelativeToHealthy()(Detection(torch.ones(1, 2, 1, 1), None))
