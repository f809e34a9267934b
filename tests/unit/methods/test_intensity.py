import torch

from brainuad.methods.intensity import IntensityDetector


def test_equalised_intensity_is_the_rank_within_the_brain():
    image = torch.tensor([[[[0.1, 0.9, 0.4, 0.4, 0.7]]]])
    mask = torch.tensor([[[[True, False, True, True, True]]]])
    found = IntensityDetector().anomaly_map(image, mask)
    torch.testing.assert_close(found.flatten(), torch.tensor([0.25, 0, 0.75, 0.75, 1.0]))


def test_raw_intensity():
    image, mask = torch.rand(2, 1, 3, 4, 5), torch.ones(2, 1, 3, 4, 5, dtype=torch.bool)
    assert torch.equal(IntensityDetector(equalise=False).anomaly_map(image, mask), image)


def test_every_volume_is_equalised_by_itself():
    image = torch.rand(2, 1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(image, dtype=torch.bool)
    alone = IntensityDetector().anomaly_map(image[:1], mask[:1])
    scaled = torch.cat([image[:1], image[1:] * 100])
    assert torch.equal(IntensityDetector().anomaly_map(scaled, mask)[:1], alone)
