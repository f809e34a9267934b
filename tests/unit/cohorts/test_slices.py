"""2D images as a cohort: tables, folders, people."""

import numpy as np
import pytest
from PIL import Image

from brainuad.cohorts.find_slices import find_slices
from brainuad.cohorts.manifest import read_cohort
from brainuad.errors import InputError
from brainuad.preparation.from_slices import slices_cohort
from brainuad.volumes.nifti import read_volume


def brain(seed=0, shape=(40, 32)):
    """A grey disc on black, `(rows, columns)` uint8."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside = ((rows - 19.5) / 17) ** 2 + ((columns - 15.5) / 13) ** 2 < 1
    noise = np.random.default_rng(seed).integers(60, 180, shape)
    return np.where(inside, noise, 0).astype(np.uint8)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def lesion(shape=(40, 32)):
    mask = np.zeros(shape, np.uint8)
    mask[8:14, 10:16] = 255
    return mask


def table(folder, rows, name="slices.csv"):
    header = list(dict.fromkeys(key for row in rows for key in row))
    lines = [",".join(header), *(",".join(row.get(key, "") for key in header) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def people(folder, count=6):
    """A table of `count` people with two slices each, the last one with a lesion in one."""
    save(folder / "lesion.png", lesion())
    save(folder / "empty.png", np.zeros((40, 32), np.uint8))
    rows = []
    for person in range(count):
        for slice_ in range(2):
            name = f"p{person}_{slice_}"
            save(folder / f"{name}.png", brain(10 * person + slice_))
            sick = person == count - 1 and slice_ == 1
            rows.append(
                {
                    "subject": name,
                    "person": f"p{person}",
                    "image": f"{name}.png",
                    "mask": "lesion.png" if sick else "empty.png",
                    "pixel_mm": "1",
                }
            )
    return table(folder, rows)


def cohort_of(source, tmp_path, **options):
    options = {"spacing_mm": None} | options
    return slices_cohort(source, tmp_path / "cache", "FLAIR", **options)


def test_a_slice_is_a_volume_of_one_plane_with_its_first_row_in_front(tmp_path):
    image = brain()
    image[5, 12] = 255
    save(tmp_path / "a.png", image)
    save(tmp_path / "b.png", brain(1))
    save(tmp_path / "c.png", brain(2))
    cohort = cohort_of(tmp_path, tmp_path)
    scan = next(scan for scan in cohort.scans if scan.subject == "a")
    native = read_volume(scan.native_image)
    assert native.array.shape == (32, 40, 1)
    # Columns run to the right of the picture, and the top row is the most anterior.
    assert native.array[12, 40 - 1 - 5, 0] == 255
    np.testing.assert_allclose(native.affine @ [12, 34, 0, 1], [12 - 15.5, 34 - 19.5, 0, 1])
    prepared = read_volume(scan.image)
    assert prepared.array.shape == native.array.shape
    assert prepared.array[12, 34, 0] == prepared.array.max() == 1


def test_people_are_the_unit_of_splits_and_health_is_that_of_a_slice(tmp_path):
    cohort = cohort_of(people(tmp_path), tmp_path)
    splits = {}
    for scan in cohort.scans:
        splits.setdefault(scan.person, set()).add(scan.split)
    assert len(splits) == 6
    assert all(len(own) == 1 for own in splits.values())
    last = {scan.subject: scan for scan in cohort.scans if scan.person == "p5"}
    assert splits["p5"] == {"test"}
    assert last["p5_0"].healthy
    assert not last["p5_1"].healthy
    again = read_cohort(cohort.root)
    assert [scan.person for scan in again.scans] == [scan.person for scan in cohort.scans]


def test_a_person_in_two_splits_is_refused(tmp_path):
    save(tmp_path / "a.png", brain(0))
    save(tmp_path / "b.png", brain(1))
    rows = [
        {"image": "a.png", "person": "p", "split": "train"},
        {"image": "b.png", "person": "p", "split": "test"},
    ]
    with pytest.raises(InputError, match="person p is in two splits, train and test"):
        cohort_of(table(tmp_path, rows), tmp_path)


def test_a_coarser_grid_keeps_the_middle_and_the_lesion(tmp_path):
    cohort = cohort_of(people(tmp_path), tmp_path, spacing_mm=2.0)
    scan = next(scan for scan in cohort.scans if not scan.healthy)
    image, label = read_volume(scan.image), read_volume(scan.lesion_mask)
    assert image.array.shape == label.array.shape == (16, 20, 1)
    centre = (image.affine @ [7.5, 9.5, 0, 1])[:3]
    np.testing.assert_allclose(centre, 0, atol=1e-6)
    assert label.array.sum() == 9
    assert read_volume(scan.native_lesion_mask).array.sum() == 36


def test_a_folder_pairs_masks_by_name_or_by_folder_and_reads_splits(tmp_path):
    for split, name in (("train", "a"), ("test", "b")):
        save(tmp_path / split / "images" / f"{name}_flair.png", brain(ord(name)))
    save(tmp_path / "test" / "masks" / "b_flair.png", lesion())
    save(tmp_path / "train" / "c_t1.png", brain(3))
    save(tmp_path / "train" / "c_brainmask.png", (brain(3) > 0).astype(np.uint8) * 255)
    found = {scan.subject: scan for scan in find_slices(tmp_path, "FLAIR", 0.5).scans}
    assert {name: scan.split for name, scan in found.items()} == {
        **{"a": "train", "b": "test", "c": "train"}
    }
    assert found["b"].lesion_mask == tmp_path / "test" / "masks" / "b_flair.png"
    assert not found["b"].healthy
    assert found["a"].healthy
    assert found["c"].brain_mask == tmp_path / "train" / "c_brainmask.png"
    assert found["c"].sequence == "T1w"
    assert found["a"].pixel_mm == 0.5


def test_a_bad_slice_is_listed_and_the_rest_is_done(tmp_path):
    source = people(tmp_path)
    (tmp_path / "p0_0.png").write_bytes(b"no image")
    save(tmp_path / "p1_0.png", brain(shape=(30, 30)))
    cohort = cohort_of(source, tmp_path)
    failed = {subject: reason for subject, reason in cohort.info["failures"]}
    assert set(failed) == {"p0_0", "p1_0"}
    assert str(tmp_path / "p0_0.png") in failed["p0_0"]
    assert "40 x 32 pixels" in failed["p1_0"]
    assert len(cohort.scans) == 10


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"image": "a.png", "healthy": "true", "lesion_mask": "lesion.png"}, "marks a lesion"),
        ({"image": "a.png", "healthy": "perhaps"}, "write true or false"),
        ({"image": "a.png", "pixel_mm": "wide"}, "write a number"),
        ({"image": "a.png", "pixel_mm": "0"}, "edge of a pixel"),
        ({"image": "a.png", "channel": "one"}, "write a whole number"),
        ({"image": "a.png", "person": "../x"}, "cannot name a file"),
        ({"image": "missing.png"}, "no such file"),
        ({"image": "", "subject": "x"}, "fill it in"),
    ],
)
def test_a_row_that_cannot_be_meant_is_one_line(tmp_path, row, words):
    save(tmp_path / "a.png", brain())
    save(tmp_path / "lesion.png", lesion())
    with pytest.raises(InputError, match=words) as caught:
        cohort_of(table(tmp_path, [row, {"image": "a.png", "subject": "other"}]), tmp_path)
    assert "\n" not in str(caught.value)


def test_two_rows_of_one_slice_are_refused(tmp_path):
    save(tmp_path / "a.png", brain())
    save(tmp_path / "b.png", brain(1))
    rows = [{"image": "a.png", "subject": "s"}, {"image": "b.png", "subject": "s"}]
    with pytest.raises(InputError, match="name each slice once"):
        cohort_of(table(tmp_path, rows), tmp_path)


def test_channels_of_one_array_are_image_and_label(tmp_path):
    stack = np.stack([brain(1), brain(2), (lesion() > 0) * 1]).astype(np.float32)
    np.save(tmp_path / "1.npy", stack)
    np.save(tmp_path / "2.npy", np.moveaxis(stack, 0, -1))
    rows = [
        {"image": f"{i}.npy", "subject": f"s{i}", "channel": str(i - 1), "lesion_channel": "2"}
        for i in (1, 2)
    ]
    cohort = cohort_of(table(tmp_path, rows), tmp_path)
    for scan, seed in zip(cohort.scans, (1, 2), strict=True):
        assert not scan.healthy
        native = read_volume(scan.native_image).array[..., 0]
        np.testing.assert_array_equal(native[:, ::-1].T, brain(seed))
        label = read_volume(scan.native_lesion_mask).array[..., 0]
        np.testing.assert_array_equal(label[:, ::-1].T > 0, lesion() > 0)
