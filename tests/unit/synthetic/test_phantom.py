import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from brainuad.cohorts.manifest import read_cohort
from brainuad.synthetic.phantom import SEQUENCES, make_subject, tiny_subject, write_phantom_cohort
from brainuad.synthetic.phantom.anatomy import draw_anatomy, draw_displacement
from brainuad.synthetic.phantom.contrast import draw_details, render, rician
from brainuad.synthetic.phantom.fields import generator, jacobian, random_field, tame, warp
from brainuad.synthetic.phantom.pathology import VOLUMES_ML, draw_lesion
from brainuad.volumes.nifti import read_mask, read_volume
from brainuad.volumes.template import load_template

PATHOLOGIES = ("tumour", "ms", "stroke")


@pytest.fixture(scope="module")
def sick():
    """A subject of each pathology at 3 mm."""
    return {name: make_subject("a", pathology=name, spacing_mm=3.0) for name in PATHOLOGIES}


def test_template_is_a_brain_in_mni_space():
    template = load_template(3.0)
    assert template.brain.shape == (64, 74, 58)
    total = template.grey + template.white + template.csf
    assert total == pytest.approx(template.brain, abs=0.05)
    # The origin of MNI space lies in the anterior commissure: inside the brain.
    x, y, z = np.round(np.linalg.inv(template.affine) @ [0, 0, 0, 1])[:3].astype(int)
    assert template.brain[x, y, z] == pytest.approx(1, abs=1e-3)
    litres = template.brain.sum() * 27 / 1e6
    assert litres == pytest.approx(1.88, abs=0.03)


def test_a_field_has_the_stated_moments_and_scale():
    field = random_field(np.random.default_rng(0), (60, 60, 60), 2.0, 8.0)
    assert field.mean() == pytest.approx(0, abs=1e-5)
    assert field.std() == pytest.approx(1, abs=1e-5)
    # The autocorrelation of noise smoothed with sigma is exp(-d^2 / (4 sigma^2)).
    lag = 4
    found = np.mean(field[:-lag] * field[lag:])
    assert found == pytest.approx(np.exp(-((lag * 2.0) ** 2) / (4 * 8.0**2)), abs=0.1)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000))
def test_every_warp_is_invertible(seed):
    template = load_template(6.0)
    displacement = draw_displacement(template, "s", seed)
    assert jacobian(displacement, 6.0).min() > 0
    # The inverse by fixed-point iteration; there and back is the identity.
    inverse = np.zeros_like(displacement)
    for _ in range(40):
        inverse = -np.stack([warp(d, inverse, 6.0) for d in displacement])
    back = inverse + np.stack([warp(d, inverse, 6.0) for d in displacement])
    core = (slice(None), *[slice(3, -3)] * 3)
    assert np.abs(back[core]).max() < 0.5


def test_jacobian_by_hand():
    grid = np.indices((6, 6, 6), dtype=np.float32)
    stretched = np.stack([0.5 * grid[0], -0.2 * grid[1], 0.1 * grid[0]]) * 2.0
    assert jacobian(stretched, 2.0) == pytest.approx(1.5 * 0.8, abs=1e-5)
    folded = np.stack([-1.5 * grid[0], 0 * grid[1], 0 * grid[2]]) * 2.0
    assert jacobian(folded, 2.0).max() < 0
    assert jacobian(tame(folded, 2.0), 2.0).min() >= 0.2


def test_warp_looks_where_it_says():
    array = np.arange(5.0).reshape(5, 1, 1)
    displacement = np.zeros((3, 5, 1, 1))
    displacement[0] = 2.0
    assert warp(array, displacement, 2.0).ravel().tolist() == [1, 2, 3, 4, 4]


def test_same_name_and_seed_give_the_same_bits():
    first, again = tiny_subject("a", pathology="ms"), tiny_subject("a", pathology="ms")
    for sequence in SEQUENCES:
        assert np.array_equal(first.images[sequence], again.images[sequence])
    assert np.array_equal(first.lesion_mask, again.lesion_mask)
    for other in (tiny_subject("b"), tiny_subject("a", seed=1)):
        assert not np.array_equal(first.twins["T1w"], other.images["T1w"])


def test_what_is_drawn_does_not_depend_on_what_was_drawn_before():
    alone = make_subject("a", spacing_mm=6.0, sequences=("FLAIR",))
    tiny_subject("b")
    together = make_subject("a", spacing_mm=6.0, sequences=("T1w", "FLAIR"))
    assert np.array_equal(alone.images["FLAIR"], together.images["FLAIR"])
    first = generator(0, "a", "x").random(3)
    assert not np.array_equal(first, generator(0, "a", "y").random(3))


def test_tissues_are_in_the_sequences_order():
    anatomy = draw_anatomy("a", 0, 3.0)
    details = draw_details(anatomy, "a", 0)
    order = {"T1w": "cgw", "T2w": "wgc", "FLAIR": "cwg"}
    for sequence, expected in order.items():
        image = render(anatomy, details, sequence, "a", 0)
        means = {
            name: np.median(image[share > 0.9])
            for name, share in (("c", anatomy.csf), ("g", anatomy.grey), ("w", anatomy.white))
        }
        assert "".join(sorted(means, key=means.get)) == expected


def test_subjects_differ_in_anatomy():
    first, second = draw_anatomy("a", 0, 3.0), draw_anatomy("b", 0, 3.0)
    volumes = [float((a.ventricles > 0.5).sum()) for a in (first, second)]
    assert volumes[0] != pytest.approx(volumes[1], rel=0.02)
    overlap = ((first.white > 0.5) & (second.white > 0.5)).sum() / (first.white > 0.5).sum()
    assert 0.5 < overlap < 0.95


@pytest.mark.slow
@pytest.mark.parametrize("pathology", PATHOLOGIES)
def test_images_are_prepared(sick, pathology):
    subject = sick[pathology]
    for image in (*subject.images.values(), *subject.twins.values()):
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert image.min() >= 0
        assert image.max() <= 1
        assert (image[~subject.brain_mask] == 0).all()


@pytest.mark.parametrize("pathology", PATHOLOGIES)
def test_lesions_lie_in_the_brain_and_have_the_stated_volume(sick, pathology):
    subject = sick[pathology]
    assert not (subject.lesion_mask & ~subject.brain_mask).any()
    millilitres = subject.lesion_mask.sum() * 27 / 1000
    low, high = VOLUMES_ML[pathology]
    assert 0.3 * low <= millilitres <= 1.3 * high
    assert np.isfinite(list(subject.contrast.values())).all()


@pytest.mark.parametrize("pathology", ["ms", "stroke"])
def test_the_twin_differs_only_at_the_lesion(sick, pathology):
    subject = sick[pathology]
    # No mass effect, isotropic or not: beyond a thick slice of the soft border nothing changes.
    from scipy.ndimage import binary_dilation

    far = subject.brain_mask & ~binary_dilation(subject.lesion_mask, iterations=4)
    for sequence in SEQUENCES:
        change = np.abs(subject.images[sequence] - subject.twins[sequence])
        assert change[far].max() < 0.05
        assert change[subject.lesion_mask].mean() > 5 * change[far].mean()


def test_a_tumour_pushes_tissue_aside():
    anatomy = draw_anatomy("a", 0, 3.0)
    lesion = draw_lesion(anatomy, "tumour", "a", 0)
    assert jacobian(lesion.displacement_mm, 3.0).min() > 0
    length = np.linalg.norm(lesion.displacement_mm, axis=0)
    assert 0.5 < length.max() <= 5.0
    assert length[~anatomy.brain_mask].max() < 0.5
    with pytest.raises(ValueError, match="use one of tumour, ms, stroke"):
        draw_lesion(anatomy, "cold", "a", 0)


def test_ms_lesions_are_many_and_in_white_matter(sick):
    from scipy.ndimage import label

    anatomy = draw_anatomy("a", 0, 3.0)
    mask = sick["ms"].lesion_mask
    assert label(mask)[1] >= 5
    assert anatomy.white[mask].mean() > 0.6


@pytest.mark.slow
def test_contrast_varies_and_some_lesions_are_not_bright():
    found = [
        tiny_subject(f"s{i}", pathology=("tumour", "stroke")[i % 2]).contrast["FLAIR"]
        for i in range(16)
    ]
    assert max(found) > 1
    assert min(found) < 0.5


def test_healthy_subjects_have_no_lesion():
    subject = tiny_subject("a")
    assert not subject.lesion_mask.any()
    assert np.isnan(subject.contrast["T1w"])
    assert subject.images["T1w"] is subject.twins["T1w"] or np.array_equal(
        subject.images["T1w"], subject.twins["T1w"]
    )


def test_noise_is_rician():
    noise = 0.1 * np.random.default_rng(0).standard_normal((2, 40, 40, 40))
    background = rician(np.zeros((40, 40, 40)), noise).ravel()
    assert background.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.01)
    signal = rician(np.full((40, 40, 40), 0.3), noise).ravel()
    assert stats.kstest(signal[:4000], stats.rice(3.0, scale=0.1).cdf).pvalue > 0.01


@pytest.mark.parametrize(
    "bad", [{"sequences": ("PDw",)}, {"spacing_mm": 0.5}, {"pathology": "cold"}]
)
def test_bad_arguments_are_refused(bad):
    with pytest.raises(ValueError, match="use"):
        make_subject("a", **({"spacing_mm": 6.0} | bad))


@pytest.mark.slow
def test_the_cohort_is_a_cohort_folder(tmp_path):
    counts = {"train": 1, "val": 1, "test": 1, "tumour": 1, "ms": 1, "stroke": 1}
    common = {"spacing_mm": 6.0, "sequences": ("T2w", "FLAIR"), **counts}
    cohort = write_phantom_cohort(tmp_path / "one", **common)
    assert read_cohort(tmp_path / "one").scans == cohort.scans
    assert len(cohort.scans) == 12
    for scan in cohort.scans:
        image = read_volume(scan.image)
        read_mask(scan.brain_mask, like=image)
        assert scan.healthy == (scan.pathology == "") == (scan.lesion_mask is None)
        if not scan.healthy:
            assert scan.split == "test"
            inside = read_mask(scan.lesion_mask, like=image)
            twin = read_volume(scan.twin)
            shift = (image.array - twin.array)[inside].mean()
            brain = read_mask(scan.brain_mask)
            assert scan.contrast == pytest.approx(shift / twin.array[brain].std(), abs=1e-4)
    info = json.loads((tmp_path / "one" / "cohort.json").read_text())
    assert info["seed"] == 0
    assert info["spacing_mm"] == 6.0

    parallel = write_phantom_cohort(tmp_path / "two", jobs=2, **common)
    for a, b in zip(cohort.scans, parallel.scans, strict=True):
        assert a.image.read_bytes() == b.image.read_bytes()


@pytest.mark.slow
def test_an_interrupted_cohort_goes_on(tmp_path):
    counts = {"train": 2, "val": 1, "test": 0, "tumour": 0, "ms": 0, "stroke": 0}
    common = {"spacing_mm": 6.0, "sequences": ("T2w",), **counts}
    cohort = write_phantom_cohort(tmp_path, **common)
    kept, lost = cohort.scans[0].image, cohort.scans[1].image
    before = kept.stat().st_mtime_ns
    content = lost.read_bytes()
    lost.unlink()
    (tmp_path / "scans" / f"{cohort.scans[1].subject}.json").unlink()
    (tmp_path / "manifest.csv").unlink()
    write_phantom_cohort(tmp_path, **common)
    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == content
    write_phantom_cohort(tmp_path, **(common | {"seed": 1}))
    assert kept.stat().st_mtime_ns != before


def test_limit(tmp_path):
    cohort = write_phantom_cohort(tmp_path, spacing_mm=6.0, sequences=("T1w",), limit=1)
    assert len(cohort.scans) == 6
