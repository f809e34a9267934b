import numpy as np
import pandas as pd
import pytest
from nibabel.affines import apply_affine

from brainuad.model.findings import COLUMNS, find, numbered
from brainuad.model.lobes import lobes_of
from brainuad.types import Volume
from brainuad.volumes.template import load_template

SHAPE = (40, 30, 20)
AFFINE = np.array([[-2.0, 0, 0, 40], [0, 3.0, 0, -45], [0, 0, 4.0, -40], [0, 0, 0, 1]])
BRAIN = np.ones(SHAPE, bool)


def _score(**boxes):
    score = np.zeros(SHAPE, np.float32)
    for (start, size), peak in boxes.values():
        score[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = peak
    return Volume(score, AFFINE)


def test_components_by_hand():
    score = _score(a=(((4, 4, 4), (2, 2, 2)), 0.6), b=(((30, 10, 10), (3, 1, 1)), 0.9))
    found = find(score.array > 0.5, score, BRAIN)
    assert list(found.columns) == list(COLUMNS)
    assert list(found.finding) == [1, 2]
    assert list(found.peak) == pytest.approx([0.9, 0.6])
    assert list(found.volume_mm3) == [3 * 24, 8 * 24]
    # The first box is voxels 30 to 32, 10, 10; the second lies between 4 and 5.
    assert found[["x_mm", "y_mm", "z_mm"]].to_numpy() == pytest.approx(
        np.array([[40 - 2 * 31, -45 + 30, 0], [40 - 9, -45 + 13.5, -40 + 18]])
    )
    # The brain's middle is at 1 mm: voxel 31 is at -22, left; voxel 4.5 at 31, right.
    assert list(found.side) == ["left", "right"]
    assert found[["mni_x", "uncertainty", "support"]].isna().all().all()
    assert set(found.region) == {""}


def test_corners_connect_and_nothing_gives_an_empty_table():
    score = _score(a=(((4, 4, 4), (1, 1, 1)), 0.6), b=(((5, 5, 5), (1, 1, 1)), 0.7))
    assert len(find(score.array > 0.5, score, BRAIN)) == 1
    nothing = find(np.zeros(SHAPE, bool), score, BRAIN)
    assert nothing.empty
    assert list(nothing.columns) == list(COLUMNS)


def test_a_finding_across_the_middle_is_of_no_side():
    score = _score(a=(((15, 4, 4), (10, 1, 1)), 0.6))
    assert list(find(score.array > 0.5, score, BRAIN).side) == ["midline"]


def test_findings_that_few_members_support_are_marked():
    score = _score(a=(((4, 4, 4), (2, 2, 2)), 0.9), b=(((30, 10, 10), (3, 1, 1)), 0.8))
    mask = score.array > 0.5
    only_first = np.where(score.array > 0.85, 0.9, 0).astype(np.float32)
    members = [(score.array, 0.5), (only_first, 0.5), (score.array, 0.85)]
    spread = np.full(SHAPE, 0.25, np.float32)
    found = find(mask, score, BRAIN, uncertainty=spread, members=members)
    assert list(found.support) == pytest.approx([1, 1 / 3])
    assert list(found.marked) == [False, True]
    assert list(found.uncertainty) == [0.25, 0.25]
    assert found[["support", "marked"]].isna().sum().sum() == 0
    alone = find(mask, score, BRAIN, members=members[:1])
    assert pd.isna(alone.marked).all()


def test_tissue_and_side_by_the_atlas():
    template = load_template(2.0)
    white = np.argwhere(template.white > 0.98)
    deep = np.argwhere(template.ventricles > 0.95)
    score = np.zeros(template.brain.shape, np.float32)
    places = [points[len(points) // 2] for points in (white, deep)]
    for place, peak in zip(places, (0.9, 0.8), strict=True):
        score[tuple(place)] = peak
    # The scan's world is turned about the vertical: only the way to MNI can tell the sides.
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    volume = Volume(score, turn @ template.affine)

    def to_mni(points):
        return points * [-1, -1, 1]

    found = find(score > 0, volume, template.brain > 0.5, to_mni)
    assert list(found.region) == ["white matter", "ventricles"]
    # The ventricles lie in no lobe.
    assert list(found.lobe != "") == [True, False]
    for row, place in zip(found.itertuples(), places, strict=True):
        x, y, z = (template.affine @ [*place, 1])[:3]
        assert (row.mni_x, row.mni_y, row.mni_z) == pytest.approx((x, y, z))
        assert (row.x_mm, row.y_mm) == pytest.approx((-x, -y))
        assert row.side == ("left" if x < 0 else "right")


def test_numbers_are_those_of_the_table():
    rng = np.random.default_rng(4)
    mask = rng.random((14, 12, 10)) > 0.93
    # Equal peaks and equal sizes are frequent.
    score = Volume(rng.integers(0, 3, mask.shape).astype("f4"), AFFINE)
    table = find(mask, score, np.ones_like(mask))
    numbers = numbered(mask, score.array)
    assert np.array_equal(numbers > 0, mask)
    assert len(table) == numbers.max() > 20
    assert list(table.peak) == sorted(table.peak, reverse=True)
    for row in table.itertuples():
        where = np.argwhere(numbers == row.finding)
        assert len(where) * np.prod(score.spacing_mm) == pytest.approx(row.volume_mm3)
        assert score.array[tuple(where.T)].max() == row.peak
        centre = apply_affine(AFFINE, where.mean(axis=0))
        np.testing.assert_allclose(centre, [row.x_mm, row.y_mm, row.z_mm])


def test_isolated_voxels_that_fill_a_box_are_numbered():
    """cc3d alone fails there."""
    mask = np.zeros((3, 1, 1), bool)
    mask[::2] = True
    assert numbered(mask, np.array([1.0, 0, 2]).reshape(3, 1, 1)).ravel().tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("place", "lobe"),
    [
        ((-40, 30, 20), "frontal lobe"),
        ((30, -20, 62), "frontal lobe"),
        ((-40, -50, 45), "parietal lobe"),
        ((52, -20, -15), "temporal lobe"),
        ((-30, 15, -33), "temporal lobe"),
        ((10, -88, 5), "occipital lobe"),
        ((-25, -65, -38), "cerebellum"),
        ((2, -25, -32), "brain stem"),
    ],
)
def test_lobes_of_known_places(place, lobe):
    # Middle frontal and precentral gyrus, supramarginal gyrus, middle temporal gyrus, temporal
    # pole, calcarine cortex, cerebellar hemisphere, pons: centres of the usual atlases, MNI mm.
    assert lobes_of(np.array([place]), np.array([1])) == [lobe]


def test_a_finding_in_two_lobes_has_both_and_the_larger_part_first():
    front, back = np.tile((-40, 30, 30), (3, 1)), np.tile((-40, -50, 45), (5, 1))
    points = np.concatenate([front, back, front[:1]])
    assert lobes_of(points, np.array([1] * 8 + [2])) == [
        "parietal lobe and frontal lobe",
        "frontal lobe",
    ]


def test_contrast_is_the_brightness_relative_to_the_brain_around():
    score = _score(a=(((4, 4, 4), (2, 2, 2)), 0.9), b=(((30, 10, 10), (3, 1, 1)), 0.8))
    image = np.full(SHAPE, 200.0)
    image[:10] = 100
    image[4:6, 4:6, 4:6] = 150
    image[30:33, 10, 10] = 50
    # Voxels outside the brain are no comparison.
    brain = BRAIN.copy()
    brain[:3], image[:3] = False, 1e4
    found = find(score.array > 0.5, score, brain, image=image)
    assert list(found.contrast) == pytest.approx([1.5, 0.25])
    assert find(score.array > 0.5, score, brain).contrast.isna().all()
    # A ratio of standardised intensities has no meaning.
    assert find(score.array > 0.5, score, brain, image=image - 1e5).contrast.isna().all()
