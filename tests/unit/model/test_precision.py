import pytest
import torch

from brainuad.errors import InputError
from brainuad.methods.base import AnomalyDetector
from brainuad.model.detect import model_score
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
    found = model_score(detector, VolumeTiling(), 1, precision=precision)(scan)
    assert detector.seen == dtype
    assert found.anomaly_map.dtype == torch.float32
    assert found.anomaly_map.max() > 0


def test_another_word_is_refused():
    with pytest.raises(InputError, match="predict_precision is half; use one of 32-true"):
        model_score(Product(), VolumeTiling(), 1, precision="half")
