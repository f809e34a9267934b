"""The mean of the maps of a volume and of its mirror image, by what the model's card says."""

import pytest
import torch
from tiny import write_tiny_model

from brainuad.methods.base import AnomalyDetector
from brainuad.model.detect import detect_volume
from brainuad.model.model import Model
from brainuad.types import Detection
from brainuad.volumes.tiling import SliceTiling, VolumeTiling


class Ramp(AnomalyDetector):
    """Sees better on the right."""

    def score(self, image, brain_mask):
        ramp = torch.arange(image.shape[2], dtype=torch.float32).reshape(-1, 1, 1)
        return Detection(image * ramp, image / 2)


def row(*values):
    return torch.tensor(values).reshape(1, -1, 1, 1)


def test_by_hand():
    image, brain_mask = row(1.0, 2.0, 5.0), row(1, 1, 1) > 0
    detector = Ramp()
    once = detect_volume(detector, VolumeTiling(), image, brain_mask)
    torch.testing.assert_close(once.anomaly_map, row(0.0, 2.0, 10.0))
    assert once.uncertainty is None
    both = detect_volume(detector, VolumeTiling(), image, brain_mask, flips=True)
    # Mirrored, the ramp is 2, 1, 0.
    torch.testing.assert_close(both.anomaly_map, row(1.0, 2.0, 5.0))
    torch.testing.assert_close(both.uncertainty, row(1.0, 0.0, 5.0))
    torch.testing.assert_close(both.reconstruction, image / 2)


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_it_travels_with_the_model(tmp_path, plane):
    plain = Model.load(write_tiny_model(tmp_path / "a.ckpt", "strega"))
    flipping = Model.load(write_tiny_model(tmp_path / "b.ckpt", "strega", flips=True))
    assert plain.card.flips is False
    assert plain.weights_hash != flipping.weights_hash
    image = torch.rand(1, 20, 24, 16, generator=torch.Generator().manual_seed(0))
    brain_mask = image > 0.1
    plain.tiling = flipping.tiling = SliceTiling(plane, (24, 32))
    found = flipping.detect(image, brain_mask)
    one = plain.detect(image, brain_mask).anomaly_map
    other = plain.detect(image.flip(1), brain_mask.flip(1)).anomaly_map.flip(1)
    assert not torch.allclose(one, other)
    torch.testing.assert_close(found.anomaly_map, (one + other) / 2)
