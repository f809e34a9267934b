"""Which slice is shown, which way round, and in which colours."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brainuad.cohorts.manifest import Scan
from brainuad.errors import InputError
from brainuad.reporting.drawing.curves import Curve, precision_recall, strips, training_curve
from brainuad.reporting.drawing.subject import _agreement, draw_subject
from brainuad.reporting.drawing.views import SubjectView, lesion_share, load_view, shared_limit
from brainuad.volumes.nifti import write_volume

SHAPE = (20, 24, 16)
SPACING = (2.0, 1.0, 3.0)


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    """A box brain with a lesion in its right, anterior, superior corner."""
    image, brain, lesion = np.zeros(SHAPE), np.zeros(SHAPE), np.zeros(SHAPE)
    brain[2:-2, 2:-2, 2:-2] = 1
    image[brain > 0] = 0.5
    lesion[13:17, 17:21, 10:13] = 1
    lesion[14, 18, 4:12] = 1
    image[lesion > 0] = 0.9
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-20, -12, -24)
    for name, array in (("image", image), ("brain", brain), ("lesion", lesion)):
        write_volume(tmp_path / f"{name}.nii.gz", array, affine)
    write_volume(tmp_path / "s_anomaly.nii.gz", image * brain, affine)
    write_volume(tmp_path / "s_mask.nii.gz", image > 0.7, affine, np.uint8)
    return Scan(
        "s", "T2w", tmp_path / "image.nii.gz", tmp_path / "brain.nii.gz", False, "test",
        lesion_mask=tmp_path / "lesion.nii.gz",
    )  # fmt: skip


def test_slices_go_through_the_largest_area_and_keep_left_and_right(scan: Scan, tmp_path: Path):
    view = load_view(scan, tmp_path)
    axial, coronal, sagittal = view.planes
    assert (axial.position, coronal.position) == ("z = 6 mm", "y = 6 mm")
    assert sagittal.position == "x = 8 mm"
    assert axial.edges == "RLAP"
    rows, columns = np.nonzero(axial.slices["truth"])
    height, width = axial.slices["truth"].shape
    # The patient's right on the picture's left, anterior up.
    assert columns.max() < width / 2
    assert rows.min() > height / 2
    _, columns = np.nonzero(sagittal.slices["truth"])
    assert columns.mean() < sagittal.slices["truth"].shape[1] / 2  # anterior first
    rows, _ = np.nonzero(coronal.slices["truth"])
    assert rows.mean() > coronal.slices["truth"].shape[0] / 2  # superior up
    for plane, (across, up) in zip(view.planes, ((0, 1), (0, 2), (1, 2)), strict=True):
        rows_, columns_ = plane.slices["image"].shape
        assert plane.size_mm == (columns_ * SPACING[across], rows_ * SPACING[up])


def test_other_axis_order_shows_the_same(scan: Scan, tmp_path: Path):
    import nibabel as nib

    expected = load_view(scan, tmp_path)
    for path in tmp_path.glob("*.nii.gz"):
        image = nib.load(path)
        flip = nib.orientations.axcodes2ornt(("P", "S", "L"))
        turned = image.as_reoriented(
            nib.orientations.ornt_transform(nib.io_orientation(image.affine), flip)
        )
        write_volume(path, turned.get_fdata(), turned.affine)
    found = load_view(scan, tmp_path)
    for plane, other in zip(expected.planes, found.planes, strict=True):
        assert plane.position == other.position
        np.testing.assert_allclose(plane.slices["image"], other.slices["image"], atol=1e-6)


def test_lesion_volume_and_missing_files(scan: Scan, tmp_path: Path):
    view = load_view(scan, tmp_path)
    assert view.lesion_ml == pytest.approx((4 * 4 * 3 + 6) * 6 / 1000)
    assert view.missing == ("reconstruction",)
    unknown = load_view(replace(scan, lesion_mask=None), tmp_path)
    assert unknown.lesion_ml is None
    assert unknown.missing == ("truth", "reconstruction")
    healthy = load_view(replace(scan, lesion_mask=None, healthy=True), tmp_path / "empty")
    assert healthy.lesion_ml == 0
    assert healthy.missing == ("reconstruction", "anomaly", "segmentation")


def test_without_truth_the_slice_with_most_anomaly(scan: Scan, tmp_path: Path):
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-20, -12, -24)
    anomaly = np.full(SHAPE, 0.1, np.float32)
    anomaly[5, 6, 7] = 100
    write_volume(tmp_path / "s_anomaly.nii.gz", anomaly, affine)
    view = load_view(replace(scan, lesion_mask=None), tmp_path)
    assert [plane.position for plane in view.planes] == ["z = −3 mm", "y = −6 mm", "x = −10 mm"]


def test_map_on_another_grid_is_refused(scan: Scan, tmp_path: Path):
    write_volume(tmp_path / "s_anomaly.nii.gz", np.zeros((3, 4, 5)), np.eye(4))
    with pytest.raises(InputError, match="s_anomaly"):
        load_view(scan, tmp_path)


def test_agreement_tells_found_false_missed_and_unknown():
    predicted = np.array([[1, 1, 0, 0]])
    truth = np.array([[1, 0, 1, 0]])
    colours = _agreement({"segmentation": predicted, "truth": truth}, known=True)[0]
    assert len({tuple(c) for c in colours}) == 4
    assert colours[3, 3] == 0
    no_lesion = _agreement({"segmentation": predicted}, known=True)[0]
    np.testing.assert_array_equal(no_lesion[0], colours[1])
    unknown = _agreement({"segmentation": predicted}, known=False)[0]
    np.testing.assert_array_equal(unknown[0], colours[0])


def test_lesion_share(scan: Scan, tmp_path: Path):
    view = load_view(scan, tmp_path)
    assert lesion_share([view, replace(view, lesion_ml=0.0)]) == pytest.approx(54 / (16 * 20 * 12))
    assert lesion_share([replace(view, lesion_ml=None)]) is None


def test_scale_is_shared(scan: Scan, tmp_path: Path):
    view = load_view(scan, tmp_path)
    bright = replace(view, sample=np.full(1000, 7.0))
    assert shared_limit([view, bright]) == pytest.approx(7)
    assert shared_limit([]) == 1
    assert shared_limit([replace(view, sample=np.zeros(5))]) == 1


def test_noise_stays_small_on_the_page(scan: Scan, tmp_path: Path):
    rng = np.random.default_rng(0)
    view = load_view(scan, tmp_path)

    def noisy(view: SubjectView) -> SubjectView:
        planes = tuple(
            replace(plane, slices={key: rng.random((218, 182)) for key in plane.slices})
            for plane in view.planes
        )
        return replace(view, planes=planes)

    picture = draw_subject(noisy(view), 1.0, 0.5)
    assert len(picture.jpeg) < 150_000
    size = Image.open(io.BytesIO(picture.jpeg)).size
    assert size[0] / size[1] == pytest.approx(picture.width / picture.height, rel=0.01)


def test_labels_of_a_thin_slab_do_not_run_into_one_another(scan: Scan, tmp_path: Path):
    view = load_view(scan, tmp_path)
    axial, *others = view.planes
    thin = tuple(replace(plane, size_mm=(plane.size_mm[0], 4.0)) for plane in others)
    picture = draw_subject(replace(view, planes=(axial, *thin)), 1.0, 0.5)
    image = Image.open(io.BytesIO(picture.jpeg)).convert("L")
    per_pixel = image.height / picture.height
    beside = np.asarray(image)[:, : round(24 * per_pixel)].max(axis=1) > 100
    lines = np.flatnonzero(beside)
    gaps = np.diff(lines)
    assert (gaps > 12 * per_pixel).sum() == 2  # three labels


def test_curves_are_self_contained_svg_in_the_page_colour():
    recall = np.linspace(1, 0, 5000)
    curve = Curve("a<b", 1 - recall / 2, recall, (0.5, 0.75), 0.6)
    drawings = [
        precision_recall([curve]),
        precision_recall([], chance=0.02),
        training_curve("loss", {"train": ([0, 1], [100.0, 0.1]), "val": ([1], [2.0])}),
        strips("AP", {"own": {"ms": [0.1, 0.2]}, "intensity": {"tumour": [0.3]}}, (0, 1)),
    ]
    for svg in drawings:
        assert svg.startswith('<svg role="img" aria-label="')
        assert "currentColor" in svg
        assert "http" not in svg
        assert "a<b" not in svg
        assert len(svg) < 60_000
    assert "median 0.150 of 2" in drawings[3]
