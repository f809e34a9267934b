from math import exp, pi, sqrt

import numpy as np
import pytest
import torch

from brainuad.errors import InputError
from brainuad.methods.outlier import Outlier, fit_classes
from brainuad.methods.parts.tissue_atlas import atlas_at, on_atlas
from brainuad.preparation.tissue.hmrf import Classes, typicality
from brainuad.synthetic.phantom.contrast import SIGNALS
from brainuad.volumes.template import load_template

VALUES = np.array([0.1, 0.15, 0.42, 0.5, 0.55, 0.8, 0.84, 1.6], np.float32)
PRIORS = np.array(
    [
        [0.8, 0.7, 0.1, 0.1, 0.1, 0.05, 0.05, 0.1],
        [0.1, 0.2, 0.8, 0.7, 0.6, 0.15, 0.05, 0.1],
        [0.1, 0.1, 0.1, 0.2, 0.3, 0.8, 0.9, 0.8],
    ],
    np.float32,
)


def by_hand(values, priors, iterations, counts):
    """The equations voxel by voxel; `counts(t, likelihoods)` says how far each voxel counts."""
    floor = 0.01 * sum(map(abs, values)) / len(values)
    weights = [[float(p) for p in row] for row in priors]
    for number in range(iterations + 1):
        means, spreads = [], []
        for row in weights:
            mean = sum(w * y for w, y in zip(row, values, strict=True)) / sum(row)
            second = sum(w * (y - mean) ** 2 for w, y in zip(row, values, strict=True))
            means.append(mean)
            spreads.append(max(sqrt(second / sum(row)), floor))
        if number == iterations:
            return means, spreads
        joint, typical = [], []
        for row, mean, spread in zip(priors, means, spreads, strict=True):
            d = [abs(y - mean) / spread for y in values]
            joint.append(
                [
                    p * exp(-(x**2) / 2) / (spread * sqrt(2 * pi))
                    for p, x in zip(row, d, strict=True)
                ]
            )
            typical.append([1 / (1 + exp(min((x**2 - 9) / 2, 700))) for x in d])
        mixture = [sum(column) for column in zip(*joint, strict=True)]
        kept = counts(typical, mixture)
        weights = [
            [j / total * k for j, total, k in zip(row, mixture, keep, strict=True)]
            for row, keep in zip(joint, kept, strict=True)
        ]


def test_weights_are_van_leemputs_equations():
    found = fit_classes(VALUES, PRIORS, "weights", iterations=4)
    means, spreads = by_hand(VALUES.tolist(), PRIORS, 4, lambda typical, mixture: typical)
    np.testing.assert_allclose(found.means, means, rtol=1e-4)
    np.testing.assert_allclose(found.deviations, spreads, rtol=1e-3)


def test_trimmed_leaves_out_the_least_likely_share():
    def keep(typical, mixture):
        out = sorted(range(len(mixture)), key=mixture.__getitem__)[:2]
        return [[float(j not in out) for j in range(len(mixture))] for _ in typical]

    found = fit_classes(VALUES, PRIORS, "trimmed", trim=0.25, iterations=2)
    means, spreads = by_hand(VALUES.tolist(), PRIORS, 2, keep)
    np.testing.assert_allclose(found.means, means, rtol=1e-4)
    np.testing.assert_allclose(found.deviations, spreads, rtol=1e-3)


@pytest.mark.parametrize("kappa", [2.0, 3.0])
def test_a_voxel_counts_half_at_kappa(kappa):
    classes = Classes(np.array([5.0]), np.array([2.0]), np.ones(1))
    values = np.array([5.0, 5 + 2 * kappa, 5 - 2 * kappa, 5 + 2 * (kappa + 3)], np.float32)
    found = typicality(values, classes, kappa)[0]
    np.testing.assert_allclose(found[1:3], 0.5)
    assert found[0] == pytest.approx(1 / (1 + exp(-(kappa**2) / 2)))
    assert found[3] < 1e-3


@pytest.mark.parametrize("robust", ["weights", "trimmed"])
def test_a_lesion_does_not_pull_the_classes(robust):
    rng = np.random.default_rng(0)
    tissue = rng.integers(3, size=20_000)
    values = (np.array([0.2, 0.5, 0.8])[tissue] + 0.04 * rng.standard_normal(20_000)).astype("f4")
    priors = np.where(np.arange(3)[:, None] == tissue, 0.8, 0.1).astype("f4")
    healthy = fit_classes(values, priors, robust)
    np.testing.assert_allclose(healthy.means, [0.2, 0.5, 0.8], atol=0.005)
    np.testing.assert_allclose(healthy.deviations, 0.04, rtol=0.15)
    sick = values.copy()
    sick[np.flatnonzero(tissue == 2)[:300]] = 2.0
    found = fit_classes(sick, priors, robust)
    np.testing.assert_allclose(found.means, healthy.means, atol=0.005)
    np.testing.assert_allclose(found.deviations, healthy.deviations, rtol=0.1)
    # What it would be without: the plain mixture follows the lesion.
    pulled = fit_classes(sick, priors, "trimmed", trim=0.0)
    assert (pulled.deviations / healthy.deviations).max() > 1.5


def brain(sequence, spacing=4.0, grey=None):
    """A head in atlas space of the sequence's mean intensities, its mask and affine."""
    template = load_template(spacing)
    signal = SIGNALS[sequence]
    mask = template.brain > 0.5
    image = (
        template.csf * signal.csf[0]
        + template.grey * (signal.grey[0] if grey is None else grey)
        + template.white * signal.white[0]
    )
    noise = 0.03 * np.random.default_rng(0).standard_normal(mask.shape)
    return np.where(mask, image + noise, 0).astype(np.float32), mask, template


def scored(detector, image, mask, affine):
    detector.affine = affine
    given = torch.from_numpy(image)[None, None], torch.from_numpy(mask)[None, None]
    return detector.anomaly_map(*given)[0, 0].numpy()


def deepest(tissue, mask):
    """A cube of 3 voxels around the first voxel that is surely this tissue, with its neighbours."""
    inside = tissue > 0.9
    for axis in range(3):
        inside = inside & np.roll(inside, 1, axis) & np.roll(inside, -1, axis)
    at = np.argwhere(inside & mask)[0]
    return tuple(slice(n - 1, n + 2) for n in at)


@pytest.mark.parametrize(
    ("sequence", "sign", "lesion"),
    [("FLAIR", "positive", 0.9), ("T2w", "positive", 0.8), ("T1w", "negative", 0.6)],
)
def test_a_lesion_of_white_matter_is_above_3_on_the_side_of_the_sequence(sequence, sign, lesion):
    image, mask, template = brain(sequence)
    where = deepest(template.white, mask)
    image[where] = lesion
    found = scored(Outlier(sign), image, mask, template.affine)
    healthy = np.ones_like(mask)
    healthy[tuple(slice(part.start - 1, part.stop + 1) for part in where)] = False
    assert (found[where] > Outlier.traits.own_threshold).all()
    assert (found > Outlier.traits.own_threshold)[healthy & mask].mean() < 0.002
    other = {"positive": "negative", "negative": "positive"}[sign]
    assert not scored(Outlier(other), image, mask, template.affine)[where].any()


def test_on_t1w_grey_matter_is_dark_only_where_white_is_due():
    image, mask, template = brain("T1w")
    cortex = mask & (template.grey > 0.9)
    assert (scored(Outlier("negative"), image, mask, template.affine)[cortex] < 3).all()
    anywhere = scored(Outlier("negative", place=False), image, mask, template.affine)
    assert (anywhere[cortex] > 3).mean() > 0.5


@pytest.mark.parametrize("grey", [0.40, 0.60])
def test_white_matter_is_no_finding_on_flair_whether_grey_is_darker_or_brighter(grey):
    image, mask, template = brain("FLAIR", grey=grey)
    found = scored(Outlier("positive"), image, mask, template.affine)
    assert (found > 3)[mask].mean() < 0.001
    # Without the place, too: not above the brighter of the two.
    found = scored(Outlier("positive", place=False), image, mask, template.affine)
    assert (found > 3)[mask].mean() < 0.01


def test_beyond_the_limit_the_place_orders_the_scores():
    image, mask, template = brain("T2w")
    lesions = mask & (np.random.default_rng(1).random(mask.shape) < 0.05)
    image[lesions] = 3.0
    found = scored(Outlier("positive", sigma_mm=0), image, mask, template.affine)
    atlas = atlas_at(template.affine, np.argwhere(lesions))
    place = atlas["white"] + atlas["deep_grey"]
    np.testing.assert_allclose(found[lesions], 6 * place, rtol=1e-5)
    far = scored(Outlier("positive", sigma_mm=0, place=False), image, mask, template.affine)
    assert (far[lesions] > 12).all()


@pytest.mark.parametrize("move", ["shifted", "upside down", "front to back", "unknown"])
def test_a_scan_beside_the_atlas_is_scored_without_places_and_it_is_said(move, capsys):
    image, mask, template = brain("FLAIR")
    places = np.argwhere(mask)
    assert on_atlas(template.affine, places, [image[mask]])
    middle = (template.affine @ [*places.mean(0), 1])[:3]
    turn = {"upside down": np.diag([1, 1, -1]), "front to back": np.diag([1, -1, 1])}
    way = np.eye(4)
    way[:3, :3] = turn.get(move, np.eye(3))
    way[:3, 3] = middle - way[:3, :3] @ middle + (12 if move == "shifted" else 0)
    affine = None if move == "unknown" else way @ template.affine
    found = scored(Outlier(sigma_mm=0), image, mask, affine)
    assert "does not lie on the MNI152 atlas" in capsys.readouterr().out
    values = image[mask]
    middle = np.median(values)
    expected = (values - middle) / (1.4826 * np.median(np.abs(values - middle)))
    np.testing.assert_allclose(found[mask], np.maximum(expected, 0), rtol=1e-4, atol=1e-5)


def test_one_plane_of_a_brain_is_a_volume():
    image, mask, template = brain("FLAIR", spacing=2.0)
    plane = 50
    affine = template.affine.copy()
    affine[:3, 3] += affine[:3, 2] * plane
    part = slice(plane, plane + 1)
    where = (
        *deepest(template.white[..., plane - 2 : plane + 3], mask[..., 48:53])[:2],
        slice(0, 1),
    )
    image, mask = image[..., part].copy(), mask[..., part]
    image[where] = 0.9
    found = scored(Outlier(), image, mask, affine)
    assert (found[where] > 3).all()
    assert (found > 3).mean() < 0.01


def test_slices_are_refused():
    with pytest.raises(InputError, match="tiling=volume"):
        Outlier().anomaly_map(torch.rand(1, 1, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.bool))


def test_channels_are_scored_by_their_own_sign_and_averaged():
    first, mask, template = brain("T1w")
    second = brain("FLAIR")[0]
    where = deepest(template.white, mask)
    first[where], second[where] = 0.6, 0.9
    both = Outlier(["negative", "positive"])
    both.affine = template.affine
    image = torch.from_numpy(np.stack([first, second]))[None]
    found = both.anomaly_map(image, torch.from_numpy(mask)[None, None])[0, 0].numpy()
    # Distances below the mean count too, before the two are averaged.
    parts = [
        scored(Outlier(sign), one, mask, template.affine)
        for sign, one in (("negative", first), ("positive", second))
    ]
    np.testing.assert_allclose(found[where], np.mean(parts, 0)[where], rtol=1e-5)
    with pytest.raises(InputError, match="1 channels, and 2 signs"):
        scored(both, first, mask, template.affine)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sign": "abs"}, "sign is abs"),
        ({"sign": []}, "sign is"),
        ({"robust": "both"}, "weights or trimmed"),
        ({"kappa": 0.0}, "kappa is 0.0"),
        ({"trim": 1.0}, "trim 1.0"),
        ({"iterations": 0}, "iterations 0"),
        ({"limit": 0.0}, "limit is 0.0"),
        ({"sigma_mm": -1.0}, "sigma_mm -1.0"),
    ],
)
def test_wrong_arguments(options, said):
    with pytest.raises(ValueError, match=said):
        Outlier(**options)
