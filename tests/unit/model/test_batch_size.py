import torch
from tiny import METHODS, SHAPE

from brainuad.machine.limits import is_out_of_memory
from brainuad.model import batch_size
from brainuad.model.batch_size import batch_size_for, free_bytes
from brainuad.settings.instantiate import instantiate
from brainuad.volumes.tiling import SliceTiling, VolumeTiling

IMAGE, MASK = torch.rand(1, *SHAPE), torch.ones(1, *SHAPE, dtype=torch.bool)
TILING = SliceTiling("axial", (24, 32))


def test_the_batch_follows_the_free_memory(monkeypatch):
    detector = instantiate(METHODS["strega"])
    sizes = []
    for free in (1 << 40, 1_000_000, 300_000, 10):
        monkeypatch.setattr(batch_size, "free_bytes", lambda device, free=free: free)
        sizes.append(batch_size_for(detector, TILING, IMAGE, MASK))
    assert sizes[0] == 32
    assert sizes[-1] == 1
    assert sizes[0] > sizes[1] > sizes[2] > 1
    # Nothing stays behind in the network.
    assert not any(module._forward_hooks for module in detector.modules())


def test_a_whole_volume_is_one_tile():
    detector = instantiate(METHODS["intensity"])
    assert batch_size_for(detector, VolumeTiling(), IMAGE, MASK) == 1


def test_free_memory_and_its_end():
    assert 1 << 20 < free_bytes(torch.device("cpu")) < 1 << 50
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: 5 bytes"))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
