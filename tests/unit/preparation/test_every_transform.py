"""Every preparation transform is found by itself and must pass every check of `TransformTester`."""

import pytest
from transform_tester import Runs, TransformTester, configured, unconfigured

# Whole preparations, one for each transform.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of all configurations on one subject."""
    return Runs(tmp_path_factory.mktemp("subject"))


@pytest.fixture(
    scope="module",
    params=[*configured(), *unconfigured()],
    ids=lambda text: text.split("(")[0],
)
def step(request, runs):
    """Each transform, with what it makes of the subject."""
    return runs.step(request.param)


class TestEveryTransform(TransformTester):
    """Every transform passes every check."""
