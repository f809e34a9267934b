"""2D benchmarks: miniature trees of the official names, real files in them, hostile ones too."""

import csv
import json
from dataclasses import fields

import numpy as np
import pytest
from PIL import Image

from brainuad.errors import InputError
from data_prep import bmad, madad, medianomaly, unitransad
from data_prep.__main__ import main
from data_prep.registry import DATASETS
from data_prep.slices import SliceRow

COLUMNS = [
    *("subject", "person", "sequence", "image", "channel", "brain_mask", "lesion_mask"),
    *("lesion_channel", "healthy", "split", "pathology", "site", "pixel_mm"),
]


@pytest.fixture
def png(tmp_path):
    """Writes small grey images of the given names and returns the folder."""

    def write(*names):
        for name in names:
            path = tmp_path / "download" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4), 7, np.uint8)).save(path)
        return tmp_path / "download"

    return write


@pytest.fixture
def npy(tmp_path):
    """Writes arrays of a shape under the given names and returns the folder."""

    def write(shape, *names):
        for name in names:
            path = tmp_path / "download" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.zeros(shape))
        return tmp_path / "download"

    return write


def by_subject(rows):
    return {row.subject: row for row in rows}


def test_the_columns_are_those_of_the_reader():
    assert [item.name for item in fields(SliceRow)] == COLUMNS


BMAD = (
    "Brain/train/good/img/00003_60.png",
    "Brain/train/good/img/00003_61.png",
    "Brain/valid/good/img/00025_99.png",
    "Brain/valid/{bad}/img/00124_60.png",
    "Brain/valid/{bad}/{mask}/00124_60.png",
    "Brain/test/good/img/00000_96.png",
    "Brain/test/good/label/00000_96.png",
    "Brain/test/{bad}/img/00002_68.png",
    "Brain/test/{bad}/{mask}/00002_68.png",
)


@pytest.mark.parametrize(
    ("bad", "mask"), [("Ungood", "label"), ("Ungood", "anomaly_mask"), ("ungood", "Label")]
)
def test_bmad(png, bad, mask):
    root = png(*(name.format(bad=bad, mask=mask) for name in BMAD))
    for where in (root, root / "Brain"):
        rows = by_subject(bmad.find(where))
        assert len(rows) == 6
        assert {row.split for row in rows.values()} == {"train", "val", "test"}
        sick = rows["00002_68"]
        assert (sick.person, sick.healthy, sick.split) == ("00002", False, "test")
        assert sick.lesion_mask == root / f"Brain/test/{bad}/{mask}/00002_68.png"
        assert (rows["00003_60"].person, rows["00003_61"].person) == ("00003", "00003")
        assert rows["00000_96"].healthy
        # The masks of good slices say nothing.
        assert rows["00000_96"].lesion_mask is None


def test_bmad_among_its_other_parts(png):
    names = [name.format(bad="Ungood", mask="label") for name in BMAD]
    root = png(*names, "RESC/train/good/img/a.png", "RESC/test/Ungood/img/b.png")
    assert len(bmad.find(root)) == 6
    with pytest.raises(InputError, match="not named as 00003_60.png"):
        bmad.find(root / "RESC")


def test_bmad_images_beside_no_img_folder(png):
    root = png("Brain/train/good/00003_60.png", "Brain/test/Ungood/img/00002_68.png")
    assert set(by_subject(bmad.find(root))) == {"00003_60", "00002_68"}


def test_a_missing_mask_is_told_and_can_be_left_out(png, tmp_path, capsys):
    root = png(*(name.format(bad="Ungood", mask="label") for name in BMAD))
    (root / "Brain/test/Ungood/label/00002_68.png").unlink()
    assert by_subject(bmad.find(root))["00002_68"].lesion_mask is None
    out = tmp_path / "rows.csv"
    assert main(["rows", "bmad", str(root), str(out)]) == 0
    said = capsys.readouterr().out
    assert "5 people, 6 FLAIR; 1 slices with a lesion label" in said
    assert "1 slices of patients have no lesion label, so only whole images" in said
    assert main(["rows", "bmad", str(root), str(out), "--labelled"]) == 0
    with out.open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == COLUMNS
    assert [row["subject"] for row in table if row["healthy"] == "false"] == ["00124_60"]
    assert table[0]["image"] == "download/Brain/train/good/img/00003_60.png"
    assert (table[0]["channel"], table[0]["pixel_mm"]) == ("", "1.0")


def test_two_mask_folders_are_refused(png):
    names = [name.format(bad="Ungood", mask="label") for name in BMAD]
    root = png(*names, "Brain/test/Ungood/anomaly_mask/00002_68.png")
    with pytest.raises(InputError, match="holds anomaly_mask and label; keep one"):
        bmad.find(root)


def test_a_person_in_train_and_test_is_refused_or_left_out_of_train(png):
    names = [name.format(bad="Ungood", mask="label") for name in BMAD]
    root = png(*names, "Brain/test/Ungood/img/00003_90.png")
    with pytest.raises(InputError, match=r"00003 is in train and, by .*00003_90.png, in test"):
        bmad.find(root)
    kept = bmad.find(root, overlap="drop")
    assert [row.subject for row in kept if row.person == "00003"] == ["00003_90"]
    with pytest.raises(InputError, match="overlap is 'keep'; write overlap=drop"):
        bmad.find(root, overlap="keep")


MEDIANOMALY = (
    "BraTS2021/train/BraTS2021_00003_flair_70.png",
    "BraTS2021/train/BraTS2021_00004_flair_70.png",
    "BraTS2021/test/normal/BraTS2021_00005_flair_70.png",
    "BraTS2021/test/tumor/BraTS2021_00006_flair_70.png",
    "BraTS2021/test/annotation/BraTS2021_00006_seg_70.png",
    "BraTS2021/test/tumor/stranger.png",
)


def test_medianomaly_brats(png):
    # A folder called flair in the path is not the file's name.
    root = png(*(f"my_flair/{name}" for name in MEDIANOMALY))
    rows = by_subject(medianomaly.find(root))
    sick = rows["BraTS2021_00006_flair_70"]
    assert sick.lesion_mask.name == "BraTS2021_00006_seg_70.png"
    assert (sick.person, sick.healthy, sick.split) == ("00006", False, "test")
    assert rows["BraTS2021_00005_flair_70"].healthy
    assert rows["stranger"].person == "stranger"
    assert rows["stranger"].lesion_mask is None
    assert [row.split for row in rows.values()].count("val") == 0
    drawn = medianomaly.find(root, val="2")
    assert {row.person for row in drawn if row.split == "val"} == {"00004"}


@pytest.mark.parametrize("val", ["0", "1", "x", "-3"])
def test_bad_shares_of_validation_are_refused(png, val):
    with pytest.raises(InputError, match="write a whole number from 2"):
        medianomaly.find(png(*MEDIANOMALY), val=val)


def test_a_share_that_is_too_small_is_refused(png):
    with pytest.raises(InputError, match="val is 3, but 2 people are in train"):
        medianomaly.find(png(*MEDIANOMALY), val="3")


LISTED = {"train": {"0": ["a.png", "b.png"]}, "test": {"0": ["c.png"], "1": ["d.jpg"]}}


def brain_tumor(png, content):
    root = png(*(f"BrainTumor/images/{name}" for name in ("a.png", "b.png", "c.png", "d.jpg")))
    (root / "BrainTumor/data.json").write_text(json.dumps(content))
    return root


def test_medianomaly_brain_tumor(png):
    rows = by_subject(medianomaly.find_brain_tumor(brain_tumor(png, LISTED)))
    assert {name: (row.healthy, row.split) for name, row in rows.items()} == {
        "a": (True, "train"),
        "b": (True, "train"),
        "c": (True, "test"),
        "d": (False, "test"),
    }
    assert all(row.lesion_mask is None and row.pixel_mm is None for row in rows.values())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "expected a JSON object"),
        ({"train": []}, "needs a list of file names at train, 0"),
        ({**LISTED, "test": {"0": ["c.png"]}}, "needs a list of file names at test, 1"),
        ({**LISTED, "train": {"0": [1]}}, "needs a list of file names at train, 0"),
        ({**LISTED, "train": {"0": ["../data.json"]}}, "lists '../data.json', which is no image"),
        ({**LISTED, "train": {"0": ["/etc/passwd"]}}, "which is no image"),
        ({**LISTED, "train": {"0": ["gone.png"]}}, "lists 'gone.png', which is no image"),
        ({**LISTED, "train": {"0": ["c.png"]}}, "a second T1c of c"),
    ],
)
def test_a_data_json_of_another_kind_is_refused(png, content, said):
    with pytest.raises(InputError, match=said):
        medianomaly.find_brain_tumor(brain_tumor(png, content))


MADAD = (
    "train/p1{a}slice_80{a}T1.png",
    "train/p1{a}slice_80{a}T2.png",
    "train/p1{a}slice_80{a}brainmask.png",
    "val/p2{a}slice_80{a}T1.png",
    "test/T1_p3{a}slice_7{a}T1.png",
    "test/T1_p3{a}slice_7{a}brainmask.png",
    "test/T1_p3{a}slice_7{a}segmentation.png",
    "test/T1_p3{a}slice_8{a}T1.png",
)


@pytest.mark.parametrize("joint", ["-", "_"])
def test_madad(png, joint):
    # The modality is in the folder's name and in a person's, which breaks their loader.
    root = png(*(f"T1_data/Data/{name.format(a=joint)}" for name in MADAD))
    rows = madad.find(root, modality="T1", pathology="ms")
    found = {row.image.name: row for row in rows}
    assert len(rows) == 4
    sick = found[f"T1_p3{joint}slice_7{joint}T1.png"]
    assert sick.person == "T1_p3"
    assert sick.sequence == "T1w"
    assert sick.brain_mask.name == f"T1_p3{joint}slice_7{joint}brainmask.png"
    assert sick.lesion_mask.name == f"T1_p3{joint}slice_7{joint}segmentation.png"
    assert sick.lesion_mask.parent == sick.image.parent
    # Its segmentation tells; without one nobody knows.
    assert (sick.healthy, sick.pathology) == (None, "ms")
    assert found[f"T1_p3{joint}slice_8{joint}T1.png"].healthy is False
    assert found[f"p2{joint}slice_80{joint}T1.png"].brain_mask is None
    assert {row.split for row in rows} == {"train", "val", "test"}
    assert {row.sequence for row in madad.find(root)} == {"T1w", "T2w"}


def test_madad_refuses_what_it_cannot_place(png):
    root = png(*(name.format(a="-") for name in MADAD))
    with pytest.raises(InputError, match="no slice of modality 'PD'"):
        madad.find(root, modality="PD")
    png("test/p1-slice_80-T1.png")
    with pytest.raises(InputError, match="a second T1w of p1-slice_80"):
        madad.find(root)
    (root / "test/p1-slice_80-T1.png").rename(root / "test/p1-slice_81-T1.png")
    with pytest.raises(InputError, match="p1 is in train and, by"):
        madad.find(root)
    assert all(
        row.split == "test" for row in madad.find(root, overlap="drop") if row.person == "p1"
    )
    png("val/holiday.png")
    with pytest.raises(InputError, match="holiday.png: not named as <id>-slice_<n>-<modality>"):
        madad.find(root)


def test_unitransad(npy):
    root = npy((5, 6, 6), *(f"npy/BraTS2021/{part}/{n}.npy" for part in ("train", "train_normal",
        "train_normal_edge", "eval", "test") for n in (60, 61)))  # fmt: skip
    npy((3, 6, 6), "npy/IXI/train/1.npy", "npy/WMH/train/120.npy", "npy/WMH/test/1.npy")
    npy((2, 6, 6), "npy/BRISC/train/1.npy", "npy/BRISC/train/2.npy")
    rows = unitransad.find(root)
    brats = [row for row in rows if row.site == "BraTS2021"]
    assert {row.image.parent.name for row in brats} == {"train_normal", "eval", "test"}
    assert {row.split for row in brats} == {"train", "val", "test"}
    assert {(row.sequence, row.channel) for row in brats} == {
        ("T1w", 0), ("T2w", 1), ("T1c", 2), ("FLAIR", 3)}  # fmt: skip
    assert {row.lesion_channel for row in brats} == {4}
    persons = {(row.image.parent.name, row.image.stem): row.person for row in brats}
    # 60 slices a volume, counted anew in every folder.
    assert persons["eval", "60"] == "BraTS2021_eval_v0000"
    assert persons["eval", "61"] == "BraTS2021_eval_v0001"
    assert persons["test", "60"] == "BraTS2021_test_v0000"
    ixi = [row for row in rows if row.site == "IXI"]
    assert [(row.lesion_channel, row.healthy, row.split) for row in ixi] == [
        (None, True, "train")
    ] * 3
    wmh = {row.image.parent.name: row for row in rows if row.site == "WMH"}
    assert (wmh["train"].split, wmh["test"].split) == ("test", "val")
    assert wmh["train"].person == "WMH_train_v0001"
    brisc = [row for row in rows if row.site == "BRISC"]
    assert len({row.person for row in brisc}) == 2
    assert {row.site for row in unitransad.find(root, set="WMH", sequence="flair")} == {"WMH"}
    assert unitransad.find(root / "npy" / "IXI") == ixi


def test_unitransad_trains_on_train_where_no_normal_slices_were_chosen(npy):
    root = npy((5, 6, 6), "BraTS2021/train/1.npy", "BraTS2021/test/1.npy")
    rows = unitransad.find(root, sequence="FLAIR")
    assert {(row.split, row.healthy) for row in rows} == {("train", None), ("test", None)}


def test_unitransad_refuses_what_it_cannot_place(npy):
    root = npy((5, 6, 6), "MSD/train/1.npy")
    with pytest.raises(InputError, match=r"set is 'HCP'; write one of BraTS2021"):
        unitransad.find(root, set="HCP")
    with pytest.raises(InputError, match="no slice of sequence 'DWI'; there are FLAIR, T1w"):
        unitransad.find(root, sequence="DWI")
    npy((4, 6, 6), "MSD/train/2.npy")
    with pytest.raises(InputError, match=r"2.npy: has shape \(4, 6, 6\); MSD needs 5 channels"):
        unitransad.find(root)
    (root / "MSD/train/2.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match="2.npy: cannot be read as NPY"):
        unitransad.find(root)
    np.save(root / "MSD/train/2.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match="2.npy: cannot be read as NPY"):
        unitransad.find(root)
    (root / "MSD/train/2.npy").rename(root / "MSD/train/edge.npy")
    with pytest.raises(InputError, match="edge.npy: not named by a number"):
        unitransad.find(root)
    npy((5, 6, 6), "MSD_BrainTumour/train/1.npy")
    (root / "MSD/train/edge.npy").unlink()
    with pytest.raises(InputError, match=r"holds .*MSD and .*MSD_BrainTumour; give one"):
        unitransad.find(root)


def test_splits_of_slices_are_given_by_person(png, tmp_path):
    root = png(*(name.format(bad="Ungood", mask="label") for name in BMAD))
    (tmp_path / "splits.csv").write_text("subject,split\n00003,val\n")
    words = ["rows", "bmad", str(root), str(tmp_path / "rows.csv")]
    assert main([*words, "--splits", str(tmp_path / "splits.csv")]) == 0
    with (tmp_path / "rows.csv").open() as file:
        splits = [row["split"] for row in csv.DictReader(file) if row["person"] == "00003"]
    assert splits == ["val", "val"]


@pytest.mark.parametrize("name", [name for name, item in DATASETS.items() if item.slices])
def test_show_says_what_reads_the_rows_and_the_traps(name, capsys):
    assert main(["show", name]) == 0
    out = capsys.readouterr().out
    assert "for data=slices" in out
    assert all(trap in out for trap in DATASETS[name].traps)
