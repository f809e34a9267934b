"""Registrations that lose their way, and what is done about them."""

import signal

import numpy as np
import pytest
import SimpleITK as sitk
from test_steps import atlas_at, landmark_error, turned

from brainuad.errors import Stopped
from brainuad.machine.signals import give_back, stoppable, take_over
from brainuad.preparation.atlas import BrainAtlas
from brainuad.preparation.bias import N4
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.register.checked import measure_fit, mended
from brainuad.preparation.register.descent import Level, descend
from brainuad.preparation.register.linear import LEVELS, Register, Registration, scaled_image
from brainuad.preparation.skullstrip.auto import Auto
from brainuad.preparation.transforms.base import report
from brainuad.types import Volume
from brainuad.volumes.itk import to_sitk

SHEARED = np.array(
    [
        [1.08, -0.06, -0.01, -9.7],
        [-0.03, 1.02, -0.36, 12.4],
        [-0.07, 0.51, 1.26, -4.3],
        [0, 0, 0, 1],
    ]
)
"""Where a healthy head's registration ended."""


def shells():
    """Nested ellipsoids: by their symmetry the shift has no gradient, so the matrix has it all."""
    shape, spacing = np.array((40, 48, 40)), 4.0
    axes = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * spacing for n in shape], indexing="ij")
    radius = np.sqrt(sum((a / mm) ** 2 for a, mm in zip(axes, (60, 75, 55), strict=True)))
    levels = [radius < r for r in (0.4, 0.6, 0.8, 1)]
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -(shape - 1) / 2 * spacing
    array = np.select(levels, [0.9, 0.4, 1.0, 0.6], 0).astype(np.float32)
    return Volume(array, affine), levels[-1]


@pytest.mark.parametrize(("scales", "level"), [((1.05, 1, 0.95), 2), ((1, 1, 1.03), 1)])
def test_a_descent_that_jumps_off_is_told_and_a_careful_one_does_not(scales, level):
    fixed, inside = shells()
    known = np.diag([*scales, 1.0])
    images = [scaled_image(one, 4.0) for one in (fixed, Volume(fixed.array, known @ fixed.affine))]
    mask = to_sitk(Volume(inside.astype(np.float32), fixed.affine))
    task = (*images, np.eye(4), mask, "affine", LEVELS[level : level + 1], 150)
    usual, careful = descend(*task), descend(*task, careful=True)
    assert usual.lost
    assert not careful.lost
    assert careful.value < usual.value
    assert careful.matrix[:3, :3] == pytest.approx(known[:3, :3], abs=0.01)


@pytest.fixture(scope="module")
def atlas():
    """MNI152 at 4 mm."""
    return BrainAtlas("small", *atlas_at(4.0))


@pytest.mark.parametrize(
    ("number", "stopped"), [("SIGTERM", Stopped), ("SIGINT", KeyboardInterrupt)]
)
def test_a_signal_within_a_descent_stops_the_command_and_blames_no_scan(
    monkeypatch, number, stopped
):
    volume = Volume(np.random.default_rng(0).random((12, 12, 12)).astype(np.float32), np.eye(4))
    image, calls = to_sitk(volume), []
    # As at the start of a command: an earlier test may have left another handler, and a shell
    # starts what runs in the background with SIGINT ignored.
    before = take_over(signal.SIG_DFL, [signal.SIGTERM])
    before |= take_over(signal.default_int_handler, [signal.SIGINT])

    def value(self):
        calls.append(1)
        signal.raise_signal(getattr(signal, number))
        return -1.0

    # SimpleITK calls back at each iteration, and loses what the callback raises.
    monkeypatch.setattr(sitk.ImageRegistrationMethod, "GetMetricValue", value)
    try:
        with pytest.raises(stopped), stoppable("nothing finished is lost"):
            descend(image, image, np.eye(4), None, "rigid", [Level(1, 0, 1.0)], 50)
    finally:
        give_back(before)
    assert len(calls) < 5


@pytest.mark.slow
def test_a_registration_that_fails_the_check_is_done_again(atlas):
    known = turned((8, -5, 12), (9, 4, -3), (0.9, 0.92, 0.95))
    moving = Volume(atlas.image.array, known @ atlas.image.affine)
    failed = Registration(SHEARED, 0.1)
    assert measure_fit(SHEARED, atlas, moving, atlas.brain_mask)["overlap"] < 0.85
    found = mended(failed, Register("affine", 4.0), atlas, moving, atlas.brain_mask)
    assert landmark_error(found.matrix, known, atlas.image, atlas.brain_mask) < 1.5
    assert "done again from every start" in found.again
    # What lies well is not touched.
    good = Registration(known, 1.0)
    assert mended(good, Register("affine", 4.0), atlas, moving, atlas.brain_mask) is good


def test_the_first_registration_stays_where_no_other_is_better(atlas):
    # Half a brain lies as well as it can and overlaps too little all the same.
    half = atlas.image.array.copy()
    half[half.shape[0] // 2 :] = 0
    first = Registration(np.eye(4), 0.5)
    moving = Volume(half, atlas.image.affine)
    assert measure_fit(np.eye(4), atlas, moving, half > 0)["overlap"] < 0.85
    register = Register("rigid", 6.0, iterations=20)
    assert mended(first, register, atlas, moving, half > 0) is first


@pytest.mark.slow
def test_a_healthy_head_whose_affine_ended_in_a_shear(real_data):
    """IXI316: overlap 0.65 and edge similarity 0.08 before."""
    chain = Preparation(Auto(), N4(), None, Register("affine", turns=True, distinct=True), (), 2.0)
    path = real_data / "ixi_t1_heads" / "IXI316-HH-1862" / "T1.nii.gz"
    said = report(chain.compose(["T1w"])({"T1w": path})["T1w"])
    assert said["quality"]["overlap"] > 0.9
    assert said["quality"]["similarity"] > 0.6
    if "Deepbet" in said["skullstrip"]["by"]:
        assert "affine stage ended worse" in said["atlas"]["again"]
