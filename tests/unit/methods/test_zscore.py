import math
from functools import partial

import pytest
import torch

from brainuad.errors import InputError
from brainuad.methods.parts.healthy_atlas import HealthyAtlas
from brainuad.methods.parts.residuals import signed
from brainuad.methods.zscore import ZScore
from brainuad.model.card import Card
from brainuad.model.model import Model
from brainuad.types import Batch
from brainuad.volumes.tiling import VolumeTiling


def scans(*values, brain=None):
    """A batch of one voxel a value in its middle, in a volume of three."""
    image = torch.zeros(len(values), 1, 3, 3, 3)
    image[:, 0, 1, 1, 1] = torch.tensor(values)
    mask = torch.ones(image.shape, dtype=torch.bool) if brain is None else brain
    return Batch(image, mask)


def zscore(**options):
    return ZScore(signed, HealthyAtlas(**options))


def middle(volume):
    return volume[0, 0, 1, 1, 1].item()


@pytest.fixture
def atlas():
    """Of 0.2, 0.4, 0.6 in the middle: mean 0.4, standard deviation 0.2."""
    detector = zscore(sigma=0)
    detector.measure([scans(0.2, 0.4), scans(0.6)])
    return detector


def test_z_by_hand(atlas):
    found = atlas.detect(*scans(0.9))
    assert middle(found.anomaly_map) == pytest.approx(0.5 / 0.2)
    assert middle(found.reconstruction) == pytest.approx(0.4)
    # Elsewhere all scans are 0, and so is this one.
    assert found.anomaly_map[0, 0, 0, 0, 0] == 0


@pytest.mark.parametrize(("sign", "value", "z"), [("positive", 0.9, 2.5), ("negative", 0.1, 1.5)])
def test_signs(atlas, sign, value, z):
    atlas.residual = partial(signed, sign=sign)
    assert middle(atlas.anomaly_map(*scans(value))) == pytest.approx(z)
    assert middle(atlas.anomaly_map(*scans(0.8 - value))) == 0


def test_floor_of_the_standard_deviation(atlas):
    image, mask = scans(0.4)
    image[0, 0, 0, 0, 0] = 0.1  # where every training scan is 0
    assert atlas.anomaly_map(image, mask)[0, 0, 0, 0, 0].item() == pytest.approx(0.1 / 0.05)


def test_only_a_scans_own_brain_counts():
    brain = torch.ones(4, 1, 3, 3, 3, dtype=torch.bool)
    brain[3, 0, 1, 1, 1] = False
    detector = zscore(sigma=0)
    detector.measure([scans(0.2, 0.4, 0.6, 0.0, brain=brain)])
    assert middle(detector.atlas.mean[None]) == pytest.approx(0.4)
    assert middle(detector.atlas.std[None]) == pytest.approx(0.2)


def test_where_too_few_had_brain_all_brain_stands_in():
    brain = torch.zeros(3, 1, 3, 3, 3, dtype=torch.bool)
    brain[0, 0, 1, 1, 1] = brain[1, 0, 1, 1, 1] = True
    detector = zscore(sigma=0)
    detector.measure([scans(0.2, 0.6, 0.0, brain=brain)])
    # Two brain voxels in all, 0.2 and 0.6.
    torch.testing.assert_close(detector.atlas.mean, torch.full((1, 3, 3, 3), 0.4))
    torch.testing.assert_close(detector.atlas.std, torch.full((1, 3, 3, 3), 0.2))


def test_smoothing_takes_the_neighbours_spread_in():
    image = torch.zeros(20, 1, 13, 9, 9)
    image[:, :, 6:] = 1.0  # an edge, the same in all scans
    mask = torch.ones(image.shape, dtype=torch.bool)
    detector = zscore(sigma=1.0, min_std=0.01)
    detector.measure([Batch(image, mask)])
    assert detector.atlas.std[0, 6, 4, 4] > 0.4
    assert detector.atlas.std[0, 0, 4, 4].item() == pytest.approx(0.01)
    assert detector.atlas.std[0, 12, 4, 4].item() == pytest.approx(0.01)
    assert detector.atlas.mean[0, 12, 8, 8].item() == pytest.approx(1.0)


def test_each_channel_has_statistics_of_its_own():
    single = [scans(0.2, 0.4), scans(0.6)]
    double = [Batch(torch.cat([b.image, 1 - b.image], 1), b.brain_mask) for b in single]
    one, other, both = (zscore(sigma=0, min_count=4) for _ in range(3))
    one.measure(single)
    other.measure([Batch(1 - b.image, b.brain_mask) for b in single])
    both.measure(double)
    # Too few scans: the mean and the spread of all brain stand in, of each channel by itself.
    torch.testing.assert_close(both.atlas.mean, torch.cat([one.atlas.mean, other.atlas.mean]))
    torch.testing.assert_close(both.atlas.std, torch.cat([one.atlas.std, other.atlas.std]))
    assert both.detect(*double[0]).anomaly_map.shape == double[0].brain_mask.shape


def test_one_pass_whatever_the_batches():
    image = torch.rand(5, 1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    mask = image > 0.2
    one, other = zscore(), zscore()
    one.measure([Batch(image, mask)])
    other.measure([Batch(image[[i]], mask[[i]]) for i in (3, 1, 0, 4, 2)])
    torch.testing.assert_close(one.atlas.mean, other.atlas.mean)
    torch.testing.assert_close(one.atlas.std, other.atlas.std)


def test_another_grid_is_refused(atlas):
    with pytest.raises(InputError, match="a scan of 3 x 3 x 4 voxels .* which has 3 x 3 x 3;"):
        atlas.anomaly_map(torch.rand(1, 1, 3, 3, 4), torch.ones(1, 1, 3, 3, 4, dtype=torch.bool))
    with pytest.raises(InputError, match="none yet"):
        zscore().anomaly_map(*scans(0.5))


def test_slices_are_refused():
    with pytest.raises(InputError, match="tiling=volume"):
        zscore().measure([Batch(torch.rand(2, 1, 4, 4), torch.ones(2, 1, 4, 4).bool())])


def test_saved_and_loaded(atlas, tmp_path):
    model = {
        "_target_": "brainuad.methods.zscore.ZScore",
        "residual": {"_target_": "brainuad.methods.parts.residuals.signed", "_partial_": True},
        "atlas": {"_target_": "brainuad.methods.parts.healthy_atlas.HealthyAtlas"},
    }
    card = Card(model, {"_target_": "brainuad.volumes.tiling.VolumeTiling"}, {}, "T2w", {})
    Model(atlas, card, VolumeTiling()).save(tmp_path / "model.ckpt")
    loaded = Model.load(tmp_path / "model.ckpt").method
    assert loaded.learns
    assert not loaded.by_gradient
    assert torch.equal(loaded.anomaly_map(*scans(0.9)), atlas.anomaly_map(*scans(0.9)))


@pytest.mark.parametrize("wrong", [{"min_std": 0}, {"sigma": -1}, {"min_count": 1}])
def test_arguments_out_of_range(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong)))):
        zscore(**wrong)


def test_nan_never_comes_out():
    detector = zscore()
    empty = torch.zeros(1, 1, 3, 3, 3)
    detector.measure([Batch(empty, torch.ones(empty.shape, dtype=torch.bool))])
    assert math.isfinite(detector.anomaly_map(*scans(0.5)).max())
