"""`brainuad-bids` on tiny datasets: selection, derivative, group, failures, a second run."""

import json
import re
from types import SimpleNamespace

import nibabel as nib
import pandas as pd
import pytest
from bids_dataset import errors_of_validator, files_of, write_bids_scan, write_description
from tiny import write_tiny_model

from brainuad.cli import bids
from brainuad.inference.find_scans import find_wanted

pytestmark = pytest.mark.slow

SCANS = (
    *("sub-01_ses-1_T2w", "sub-01_ses-1_T1w", "sub-01_ses-2_acq-fine_run-01_T2w"),
    *("sub-01_ses-2_acq-fine_run-02_T2w", "sub-02_T2w", "sub-02_rec-norm_T2w", "sub-03_T1w"),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "model.ckpt")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("bids") / "raw"
    write_description(root)
    for seed, name in enumerate(SCANS):
        write_bids_scan(root, name, seed)
    damaged = root / "sub-04/anat/sub-04_T2w.nii.gz"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"nothing")
    return root


@pytest.fixture
def call(capsys):
    def call(*words):
        status = bids.main([*map(str, words)])
        return SimpleNamespace(status=status, **capsys.readouterr()._asdict())

    return call


@pytest.fixture(scope="module")
def whole(dataset, model):
    """The derivative of the whole dataset after both levels, and the two exit statuses."""
    out = dataset.parent / "derivative"
    before = files_of(dataset)
    first = bids.main([str(dataset), str(out), "participant", "--model", str(model)])
    second = bids.main([str(dataset), str(out), "group"])
    assert files_of(dataset) == before, "the dataset is only read"
    return SimpleNamespace(out=out, status=(first, second))


def test_the_validator_accepts_the_derivative(whole):
    errors = errors_of_validator(whole.out)
    if errors is None:
        pytest.skip("no bids-validator-deno; pip install -e .[dev] brings it")
    assert errors == []


def test_the_validator_would_find_a_wrong_name(whole, tmp_path):
    write_description(tmp_path, DatasetType="derivative", GeneratedBy=[{"Name": "x"}])
    write_bids_scan(tmp_path, "sub-01_nonsense-1_T2w")
    errors = errors_of_validator(tmp_path)
    if errors is None:
        pytest.skip("no bids-validator-deno; pip install -e .[dev] brings it")
    assert errors


def test_a_failed_participant_stops_no_other_and_is_told_by_the_status(whole):
    assert whole.status == (3, 0)
    table = pd.read_csv(whole.out / "subjects.csv").set_index("scan_id")
    assert table.status["sub-04_T2w"] == "failed"
    assert (table.status.drop("sub-04_T2w") == "done").all()
    assert sorted(table.index) == sorted(
        ["sub-04_T2w", *(name for name in SCANS if name.endswith("T2w"))]
    )


def test_masks_lie_on_their_scans_and_say_so(whole, dataset):
    name = "sub-01/ses-2/anat/sub-01_ses-2_acq-fine_run-02"
    mask = nib.load(whole.out / f"{name}_label-lesion_desc-T2w_mask.nii.gz")
    scan = nib.load(dataset / f"{name}_T2w.nii.gz")
    assert mask.shape == scan.shape
    assert (mask.affine == scan.affine).all()
    assert mask.get_fdata().any()
    about = json.loads((whole.out / f"{name}_label-lesion_desc-T2w_mask.json").read_text())
    assert about["Type"] == "Lesion"
    assert about["Threshold"] == 0.75
    assert about["Sources"] == [f"bids::{name}_desc-anomaly_T2w.nii.gz"]
    assert len(about["ModelWeightsSHA256"][0]) == 64
    about = json.loads((whole.out / f"{name}_desc-anomaly_T2w.json").read_text())
    assert about["SkullStripped"] is True
    assert about["Sources"] == [f"bids:raw:{name}_T2w.nii.gz"]
    about = json.loads((whole.out / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["GeneratedBy"][0]["Name"] == "brainuad"
    assert about["DatasetLinks"] == {"raw": dataset.as_uri()}
    assert "Left side" in (whole.out / f"{name}_desc-findings_T2w.txt").read_text()


def test_two_sequences_of_a_session_have_masks_of_their_own(dataset, tmp_path):
    masks = [
        scan.file("mask")
        for sequence in ("T1w", "T2w")
        for scan in find_wanted(dataset, sequence, tmp_path).wanted
    ]
    assert len(masks) == len(SCANS) + 1
    assert len(set(masks)) == len(masks)


def test_the_group_has_a_row_per_participant_and_a_page(whole):
    table = pd.read_csv(whole.out / "participants.tsv", sep="\t", na_values="n/a")
    assert list(table.participant_id) == ["sub-01", "sub-02", "sub-04"]
    assert list(table.n_scans) == [3, 2, 1]
    assert list(table.n_failed) == [0, 0, 1]
    scans = pd.read_csv(whole.out / "subjects.csv").set_index("scan_id")
    for row in table.iloc[:2].itertuples():
        own = scans[scans.subject == row.participant_id]
        assert row.lesion_volume_mm3 == pytest.approx(own.volume_mm3.max(), rel=1e-4)
        assert own.volume_mm3[row.scan] == own.volume_mm3.max()
    assert table.lesion_volume_mm3.isna()[2]
    about = json.loads((whole.out / "participants.json").read_text())
    assert list(about) == list(table.columns)
    assert "sub-01_ses-1_T2w" in (whole.out / "index.html").read_text()


def test_the_methods_are_those_that_ran(whole):
    text = (whole.out / "logs/CITATION.md").read_text()
    for words in (
        "voxels of 3 mm", "`intensity` was trained on tiny.",
        "Its method is IntensityDetector;", "above 0.75 (healthy threshold)",
        "[CC0]", "not a diagnosis", "- [BIDS] Gorgolewski",
    ):  # fmt: skip
        assert words in text
    # Nothing was registered, and no bias field corrected.
    assert "MNI152" not in text
    assert "N4" not in text
    said, _, listed = text.partition("## References")
    names = re.findall(r"^- (\[.+?\])", listed, re.MULTILINE)
    assert names == ["[MONAI]", "[PyTorch]", "[SimpleITK]", "[BIDS]"]
    assert all(name in said for name in names)


def test_a_second_run_does_nothing_again_and_mends_a_sidecar(whole, dataset, model, call):
    lost = whole.out / "sub-02/anat/sub-02_label-lesion_desc-T2w_mask.json"
    content = lost.read_text()
    lost.unlink()
    orphan = whole.out / "sub-02/anat/sub-02_desc-uncertainty_T2w.json"
    orphan.write_text("{}")
    images = {p: t for p, t in files_of(whole.out).items() if p.endswith("nii.gz")}
    done = call(dataset, whole.out, "participant", "--model", model, "--participant-label", "02")
    assert (done.status, done.err) == (0, "")
    assert "to do: 0 scans, 2 are done already" in done.out
    assert lost.read_text() == content
    assert not orphan.exists()
    assert images == {p: t for p, t in files_of(whole.out).items() if p.endswith("nii.gz")}


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([], 6),
        (["--participant-label", "sub-01", "02"], 5),
        (["--participant_label", "01", "--session-label", "ses-2"], 2),
        ({"suffix": "T2w", "run": 1}, 1),
        ({"run": ["01", "02"], "session": "2"}, 2),
        ({"reconstruction": None, "acquisition": None}, 3),
        ({"reconstruction": "*"}, 1),
        ({"a": {"acquisition": "fine"}, "b": {"datatype": "anat", "reconstruction": "norm"}}, 3),
    ],
)
def test_scans_are_chosen(call, dataset, model, tmp_path, words, count):
    if isinstance(words, dict):
        (tmp_path / "filter.json").write_text(json.dumps(words))
        words = ["--bids-filter-file", tmp_path / "filter.json"]
    done = call(dataset, tmp_path / "out", "participant", "--model", model, "--dry-run", *words)
    assert (done.status, done.err) == (0, "")
    assert f"to do: {count} scans;" in done.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--participant-label", "7", "02"], "no participant 7 (--participant-label); there are "
         "01, 02, 03, 04"),
        (["--session-label", "9"], "no session 9 (--session-label)"),
        ({"suffix": "PDw"}, "no anatomical scan of 01, 02, 03, 04 is asked for"),
        ({"echo": 1}, "has no use for echo; use suffix, session, acquisition, reconstruction, run"),
        ({"datatype": "func"}, "datatype is not anat"),
    ],
)  # fmt: skip
def test_bad_words_are_one_line(call, dataset, model, tmp_path, words, message):
    if isinstance(words, dict):
        (tmp_path / "filter.json").write_text(json.dumps(words))
        words = ["--bids-filter-file", tmp_path / "filter.json"]
    done = call(dataset, tmp_path / "out", "participant", "--model", model, *words)
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_a_named_participant_without_a_scan_is_a_failure(call, dataset, model, whole):
    words = (dataset, whole.out, "participant", "--model", model, "--participant-label", "02", "03")
    done = call(*words)
    assert done.status == 3
    assert "sub-03: has no scan that the model is for and the filter allows" in done.err


def test_folders_that_are_no_dataset_or_another_one(call, dataset, tmp_path):
    nothing, other = tmp_path / "nothing", tmp_path / "other"
    assert "no such folder" in call(nothing, tmp_path / "out", "participant").err
    nothing.mkdir()
    assert "no BIDS dataset; --skip-bids" in call(nothing, tmp_path / "out", "participant").err
    skip = "--skip-bids-validation"
    assert "has no folder sub-*" in call(nothing, tmp_path / "out", "participant", skip).err
    write_description(other)
    assert "is another dataset" in call(dataset, other, "participant").err
    assert "run the level `participant` first" in call(dataset, nothing, "group").err
    write_description(other, DatasetType="derivative")
    assert "is a derivative" in call(other, nothing, "participant").err
