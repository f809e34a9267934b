"""Tissue classes on volumes whose answer is known."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.interpolate import RegularGridInterpolator

from brainuad.preparation.tissue import hmrf
from brainuad.preparation.tissue.hmrf import (
    TYPICAL,
    Classes,
    NeighbourSum,
    SmoothField,
    expectation,
    log_likelihood,
    maximisation,
    typicality,
)
from brainuad.preparation.tissue.segment import BACKENDS, TissueInput

SPACING = (2.0, 2.0, 2.0)
MEANS = np.array([0.3, 0.6, 0.9])


def dice(found, truth):
    return 2 * np.sum(found & truth) / (np.sum(found) + np.sum(truth))


def dices(labels, truth):
    return [dice(labels == k, truth == k) for k in (1, 2, 3)]


@pytest.fixture(scope="module")
def phantom():
    """Truth of blobs in a ball, 0 outside, and its image with noise."""
    rng = np.random.default_rng(0)
    grid = np.indices((40, 40, 40)) - 19.5
    brain = (grid**2).sum(0) < 18**2
    rough = ndimage.gaussian_filter(rng.normal(size=brain.shape), 2)
    truth = np.where(brain, 1 + np.digitize(rough, np.quantile(rough[brain], [0.2, 0.6])), 0)
    image = np.where(brain, MEANS[truth - 1] + rng.normal(0, 0.06, brain.shape), 0)
    return truth, image.astype(np.float32)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gaussian_classes_with_noise_are_recovered(phantom, backend):
    truth, image = phantom
    found = TissueInput(backend=backend).segment(image, truth > 0, SPACING)
    assert min(dices(found.labels, truth)) > 0.95
    assert found.labels.dtype == np.uint8
    assert found.partial_volume.dtype == found.bias.dtype == np.float32
    assert not found.labels[truth == 0].any()
    assert (found.bias[truth == 0] == 1).all()


def test_a_smooth_field_is_estimated_and_divided_out(phantom):
    truth, image = phantom
    ramp = np.linspace(0.7, 1.3, 40, dtype=np.float32)[:, None, None]
    with_field = TissueInput().segment(image * ramp, truth > 0, SPACING)
    without = TissueInput(bias_sigma_mm=None).segment(image * ramp, truth > 0, SPACING)
    assert min(dices(with_field.labels, truth)) > 0.93
    assert np.mean(dices(with_field.labels, truth)) > np.mean(dices(without.labels, truth)) + 0.03
    assert (without.bias == 1).all()
    brain = truth > 0
    expected = np.broadcast_to(ramp, truth.shape)[brain]
    error = with_field.bias[brain] / (expected / expected.mean()) - 1
    assert np.abs(error).mean() < 0.03
    assert with_field.bias[brain].mean() == pytest.approx(1, abs=1e-3)


def test_neighbours_overrule_isolated_voxels(phantom):
    truth, _ = phantom
    brain = truth > 0
    rng = np.random.default_rng(1)
    halves = np.where(np.arange(40) < 20, 1, 2)[:, None, None] * brain
    image = np.where(brain, halves + rng.normal(0, 0.35, brain.shape), 0)
    options = {"classes": 2, "bias_sigma_mm": None}
    found = [
        TissueInput(beta=b, **options).segment(image, brain, SPACING).labels for b in (0.0, 0.3)
    ]
    wrong = [np.mean(labels[brain] != halves[brain]) for labels in found]
    assert wrong[1] < 0.5 * wrong[0]


def test_classes_rise_with_intensity_when_contrast_is_inverted(phantom):
    truth, image = phantom
    inverted = np.where(truth > 0, 1.2 - image, 0)
    found = TissueInput().segment(inverted, truth > 0, SPACING)
    assert min(dices(np.where(truth > 0, 4 - found.labels, 0), truth)) > 0.95


def test_partial_volume_lies_between_the_labels_of_a_mixed_voxel(phantom):
    truth, image = phantom
    mixed = image.copy()
    mixed[18:22, 18:22, 18:22] = 0.75
    found = TissueInput(backend="gmm", bias_sigma_mm=None).segment(mixed, truth > 0, SPACING)
    inside = found.partial_volume[truth > 0]
    assert inside.min() >= 1
    assert inside.max() <= 3
    assert not found.partial_volume[truth == 0].any()
    assert (np.abs(found.partial_volume[18:22, 18:22, 18:22] - 2.5) < 0.4).all()


def test_same_result_twice_and_at_any_scale(phantom):
    truth, image = phantom
    first = TissueInput().segment(image, truth > 0, SPACING)
    again = TissueInput().segment(image, truth > 0, SPACING)
    scaled = TissueInput().segment(image * 1024, truth > 0, SPACING)
    for other in (again, scaled):
        np.testing.assert_array_equal(first.labels, other.labels)
        np.testing.assert_array_equal(first.partial_volume, other.partial_volume)


@pytest.mark.parametrize("value", [0.02, 1.8])
def test_a_lesion_leaves_the_other_tissue_alone(phantom, value):
    truth, image = phantom
    grid = np.indices(truth.shape) - np.array([20, 20, 27])[:, None, None, None]
    lesion = (grid**2).sum(0) < 6.6**2
    assert 0.045 < lesion.sum() / np.sum(truth > 0) < 0.055
    sick = TissueInput().segment(np.where(lesion, value, image), truth > 0, SPACING)
    well = TissueInput().segment(image, truth > 0, SPACING)
    rest = (truth > 0) & ~lesion
    assert np.mean(sick.labels[rest] != well.labels[rest]) < 0.03
    # As bright as no tissue, it counts as the nearest one in intensity.
    assert np.mean(sick.labels[lesion] == (1 if value < 0.3 else 3)) > 0.95


def test_one_mean_field_step_equals_a_loop():
    rng = np.random.default_rng(2)
    shape, spacing, beta = (3, 4, 2), (1.0, 1.0, 3.0), 0.4
    brain = rng.random(shape) > 0.2
    values = rng.random(shape)
    classes = Classes(np.array([0.2, 0.8]), np.array([0.1, 0.3]), np.array([0.5, 0.5]))
    before = rng.random((2, *shape)).astype(np.float32)
    before = before / before.sum(0) * brain
    prior = beta * NeighbourSum(brain, spacing)(before[:, brain])
    found = expectation(log_likelihood(values[brain], classes), prior)

    expected = np.zeros_like(found)
    for voxel, place in enumerate(np.argwhere(brain)):
        density = np.empty(2)
        for k in range(2):
            said = 0.0
            for axis in range(3):
                for step in (-1, 1):
                    other = place.copy()
                    other[axis] += step
                    if 0 <= other[axis] < shape[axis]:
                        said += before[(k, *other)] * (1 / 3 if axis == 2 else 1)
            mean, width = classes.means[k], classes.deviations[k]
            x = min(max(values[tuple(place)], 0.2), 0.8)
            density[k] = np.exp(-((x - mean) ** 2) / (2 * width**2) + beta * said) / width
        expected[:, voxel] = density / density.sum()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_class_statistics_by_hand():
    weights = np.array([[1, 1, 0, 0], [0, 0, 1, 0.5]], np.float32)
    found = maximisation(np.array([1.0, 3.0, 5.0, 8.0]), weights, 0.01)
    np.testing.assert_allclose(found.means, [2, 6])
    np.testing.assert_allclose(found.deviations, [1, np.sqrt(2)])
    np.testing.assert_allclose(found.weights, [4 / 7, 3 / 7])


@pytest.mark.parametrize("block", [1, 7, 2**15])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 3.0, 1.1)])
def test_lines_in_blocks_equal_whole_arrays(monkeypatch, block, spacing):
    monkeypatch.setattr(hmrf, "BLOCK", block)
    rng = np.random.default_rng(3)
    brain = np.zeros((8, 6, 9), bool)
    brain[1:6, :5, 2:] = rng.random((5, 5, 7)) > 0.3
    values = rng.normal(0.6, 0.4, brain.shape).astype(np.float32)
    posterior = rng.dirichlet(np.ones(3), brain.shape).astype(np.float32)
    posterior = np.where(brain, np.moveaxis(posterior, -1, 0), 0)
    classes = Classes(MEANS, np.array([0.1, 0.05, 0.2]), np.array([0.2, 0.3, 0.5]))
    means, deviations = (x[:, None, None, None] for x in (classes.means, classes.deviations))

    said = np.zeros(posterior.shape)
    around = np.pad(posterior, ((0, 0), (1, 1), (1, 1), (1, 1)))
    for axis, edge in enumerate(spacing, start=1):
        for step in (-1, 1):
            said += min(spacing) / edge * np.roll(around, step, axis)[:, 1:-1, 1:-1, 1:-1]
    found = NeighbourSum(brain, spacing)(posterior[:, brain])
    np.testing.assert_allclose(found, said[:, brain], rtol=1e-6)

    inner = np.clip(values.astype(float), MEANS[0], MEANS[2])
    likelihood = -((inner - means) ** 2) / (2 * deviations**2) - np.log(deviations)
    found = log_likelihood(values[brain], classes)
    np.testing.assert_allclose(found, likelihood[:, brain], rtol=1e-6)

    density = np.exp(likelihood + said)
    found = expectation(found, said[:, brain].astype(np.float32))
    np.testing.assert_allclose(found, (density / density.sum(0))[:, brain], atol=1e-5)

    far = (values - means) / deviations
    typical = 1 / (1 + np.exp(far**2 / 2 - TYPICAL**2 / 2))
    found = typicality(values[brain], classes)
    np.testing.assert_allclose(found, typical[:, brain], rtol=1e-6, atol=1e-30)

    weights = posterior * typical
    mean = [np.average(values[brain], weights=w) for w in weights[:, brain]]
    spread = [
        np.average((values[brain] - m) ** 2, weights=w)
        for m, w in zip(mean, weights[:, brain], strict=True)
    ]
    found = maximisation(values[brain], weights[:, brain], 1e-3)
    np.testing.assert_allclose(found.means, mean)
    np.testing.assert_allclose(found.deviations, np.sqrt(spread))
    np.testing.assert_allclose(found.weights, weights.sum((1, 2, 3)) / weights.sum())


def test_a_field_equals_its_sums_at_every_knot():
    rng = np.random.default_rng(4)
    brain = np.zeros((9, 8, 12), bool)
    brain[2:, :7, 1:11] = rng.random((7, 7, 10)) > 0.2
    brain[2, 0, 1] = brain[8, 6, 10] = True  # the corners of its box
    spacing, sigma = (2.0, 1.0, 1.5), 6.0
    values = rng.uniform(0.2, 1, brain.shape).astype(np.float32)
    posterior = rng.random((2, brain.sum())).astype(np.float32)
    classes = Classes(np.array([0.3, 0.8]), np.array([0.1, 0.2]), np.array([0.5, 0.5]))
    found = SmoothField(brain, spacing, sigma)(values[brain], posterior, classes)

    where = (np.argwhere(brain) - [2, 0, 1]) * spacing
    lengths = np.array([6, 6, 9]) * spacing  # from the first voxel to the last
    knots = [np.linspace(0, length, round(2 * length / sigma) + 1) for length in lengths]
    precision = classes.means / classes.deviations**2
    ratio = np.empty([len(axis) for axis in knots])
    for index in np.ndindex(ratio.shape):
        knot = [axis[i] for axis, i in zip(knots, index, strict=True)]
        near = np.exp(-(((where - knot) / sigma) ** 2).sum(1) / 2)
        upper = (near * (precision @ posterior) * values[brain]).sum()
        ratio[index] = upper / (near * ((precision * classes.means) @ posterior)).sum()
    expected = RegularGridInterpolator(knots, ratio)(where)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.ones((4, 4, 4))}, "1 distinct values, too few for 3"),
        ({"brain_mask": np.zeros((4, 4, 4), bool)}, "mask is empty"),
        ({"brain_mask": np.arange(64).reshape(4, 4, 4) < 2}, "2 distinct values"),
        ({"brain_mask": np.ones((4, 4, 3), bool)}, "one 3D grid"),
        ({"image": np.full((4, 4, 4), np.nan)}, "not finite"),
        ({"image": np.linspace(-1, 1, 64).reshape(4, 4, 4)}, "bias_sigma_mm=None"),
        ({"backend": "fast"}, "hmrf, gmm, kmeans"),
        ({"classes": 1}, "classes 1"),
        ({"bias_sigma_mm": 0.0}, "bias_sigma_mm 0.0"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "three lengths above 0"),
    ],
)
def test_errors_name_the_cause(change, message):
    given = {
        "image": np.arange(64.0).reshape(4, 4, 4),
        "brain_mask": np.ones((4, 4, 4), bool),
        "spacing_mm": (1.0, 1.0, 1.0),
    }
    given |= {name: value for name, value in change.items() if name in given}
    options = {name: value for name, value in change.items() if name not in given}
    with pytest.raises(ValueError, match=message):
        TissueInput(**options).segment(**given)


def test_a_real_slab(real_data):
    folder = real_data / "t1_slabs_1mm" / "subj02"
    truth = np.asarray(nib.load(folder / "labels.nii.gz").dataobj).astype(int)
    image = np.asarray(nib.load(folder / "T1.nii.gz").dataobj)
    brain = truth > 0
    truth[truth == 4] = 2
    found = TissueInput().segment(image, brain, (1.0, 1.0, 1.0))
    assert np.mean(dices(found.labels, truth)[1:]) > 0.8


def test_as_a_normaliser_contrast_drops_out(phantom):
    truth, image = phantom
    brain = truth > 0
    soft, hard = (TissueInput(2.0, soft=soft)(image, brain) for soft in (True, False))
    for found in (soft, hard):
        assert found.dtype == np.float32
        assert (found[~brain] == 0).all()
        assert found[brain].min() >= 1 / 3 - 1e-6
        assert found.max() <= 1
    assert np.unique(hard).tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert np.abs(soft - hard)[brain].mean() < 0.05
    # Another scanner's gain and gamma, the same tissues.
    bent = np.where(brain, 700 * np.maximum(image, 0) ** 1.3, 0)
    assert (TissueInput(2.0, soft=False)(bent, brain) == hard)[brain].mean() > 0.97
