"""The study of which step loses a stroke: its arithmetic by hand."""

import math

import pytest
import torch

from experiments.why.study import _kept


def test_the_share_of_a_difference_that_is_left():
    lesion = torch.zeros(2, 2, 1, dtype=torch.bool)
    lesion[0] = True
    healthy = torch.full((1, 2, 2, 1), 0.5)
    added = torch.where(lesion, 0.4, 0.0)[None]
    # What lies outside the lesion does not count.
    rebuilt = healthy + torch.where(lesion, 0.1, 0.3)
    assert _kept([rebuilt, healthy], added, lesion) == pytest.approx(0.25)
    assert _kept([healthy + added, healthy], added, lesion) == pytest.approx(1)
    assert _kept([healthy, healthy], added, lesion) == 0
    assert math.isnan(_kept([None, None], added, lesion))
