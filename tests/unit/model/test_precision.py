import pytest
import torch

from brainuad.errors import InputError
from brainuad.methods.base import AnomalyDetector
from brainuad.model.device import chosen_precision
from brainuad.model.model import Model
from brainuad.model.runtime import Runtime
from brainuad.types import Detection
from brainuad.volumes.tiling import VolumeTiling


class Product(AnomalyDetector):
    """Scores by a matrix product, which autocast does in half precision."""

    def __init__(self):
        super().__init__()
        self.seen = None

    def score(self, image, brain_mask):
        found = image.flatten(2).transpose(1, 2) @ torch.ones(1, 1)
        self.seen = found.dtype
        return Detection(found.transpose(1, 2).reshape(image.shape).float(), None)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)]
)
def test_detection_runs_in_the_precision_asked_for(tiny_cohort, precision, dtype):
    detector = Product()
    scan = tiny_cohort.scans[0]
    runtime = Runtime(precision=precision, batch_size=1)
    found = Model(detector, None, VolumeTiling(), runtime=runtime).detect_scan(scan)
    assert detector.seen == dtype
    assert found.anomaly_map.dtype == torch.float32
    assert found.anomaly_map.max() > 0


def test_another_word_is_refused():
    with pytest.raises(InputError, match="precision is half; use one of auto, 32-true"):
        chosen_precision("half")


@pytest.mark.parametrize(
    ("avx512", "amx", "chosen"),
    [
        (False, False, "32-true"),
        (True, False, "bf16-mixed"),
        (False, True, "bf16-mixed"),
    ],
)
def test_auto_is_half_precision_where_the_cpu_has_it(monkeypatch, avx512, amx, chosen):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert chosen_precision("auto") == chosen
    assert chosen_precision("16-mixed") == "16-mixed"
