import torch
from torch import nn

from brainuad.callbacks import ChannelsLast


def test_layout_changes_and_values_do_not():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    volume = nn.Conv3d(2, 4, 3)
    image = torch.rand(2, 3, 8, 8)
    before = network(image)
    ChannelsLast().on_fit_start(None, nn.ModuleList([network, volume]))
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert volume.weight.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(network(image), before)
    assert network[0].weight.shape == (4, 3, 3, 3)
