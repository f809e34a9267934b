"""The baseline of Meissen et al., github.com/FeliMe/brain_sas_baseline at 1d323478."""

import pytest
from released_values import Value, own, preset

VALUES = [
    Value("equalised", "model.equalise", True, "baseline.py:31"),
    Value("steps on the map", "postprocess.map_steps", [], "baseline.py:102-114"),
    Value(
        "components of 20 voxels and fewer",
        "postprocess.mask_steps",
        [
            {
                "_target_": "brainuad.postprocess.components.RemoveSmall",
                # Between 20 and 21 voxels of 240 / 128 mm in the plane and 1 mm across.
                "min_volume_mm3": pytest.approx(20.5 * (240 / 128) ** 2, abs=1.7),
            }
        ],
        "utils/utils.py:156",
    ),
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_intensity(value):
    assert own(preset("intensity"), value) == value.released, value.source
