"""A fault in any step for one scan: the others are done, and that one is listed with the reason."""

import json

import numpy as np
import pandas as pd
import pytest
from tiny import AFFINE, brain, write_tiny_model

from brainuad.cli import predict, prepare
from brainuad.cohorts.scans import RawScan
from brainuad.errors import CannotWrite
from brainuad.inference import outputs, prepare_scans
from brainuad.model import model as model_module
from brainuad.model import predict as predicting
from brainuad.model import prepared_scan
from brainuad.preparation import cohort, finish, subject
from brainuad.preparation.bias import N4
from brainuad.preparation.normalise import cohort as normalise_cohort
from brainuad.preparation.normalise.intensity import Nyul, Percentile
from brainuad.preparation.pipeline import STEPS, Preparation
from brainuad.preparation.quality import left_right
from brainuad.preparation.quality.measures import Limits
from brainuad.preparation.register.demons import Deform
from brainuad.preparation.register.linear import Register
from brainuad.preparation.skullstrip.extracted import Extracted
from brainuad.reporting.pages import quality
from brainuad.volumes.nifti import write_volume

SUBJECTS = ("a", "b", "c")
ALL = Preparation(Extracted(), N4(), Register(), Register("affine"), ("T2w",), 6.0, deform=Deform())
PLAIN = Preparation(Extracted(), None, None, None, ("T2w",), 6.0)
HEAVY = ("bias", "between", "atlas", "deform")
"""Steps that take seconds; what they do is no matter here."""


class Fault(Exception):
    """Nobody foresees it."""


@pytest.fixture
def scans(tmp_path):
    for number, name in enumerate(SUBJECTS):
        affine = AFFINE.copy()
        # Its middle near that of the atlas.
        affine[:3, 3] = -36, -60, -20
        write_volume(tmp_path / f"scans/{name}_T2w.nii.gz", 900 * brain(number)[0], affine)
    return tmp_path / "scans"


def second(monkeypatch, target, name):
    """The second call of a function fails."""
    original, calls = getattr(target, name), []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise Fault("by the test")
        return original(*args, **kwargs)

    monkeypatch.setattr(target, name, call)
    return calls


def in_step(monkeypatch, step):
    """One step fails for subject b, and those that take long do nothing."""
    for name, transform, _ in ALL.transforms(["T2w"]):
        kind, original = type(transform), type(transform).__call__

        def call(self, data, *args, name=name, original=original, **kwargs):
            scan = data["T2w"]
            where = str(getattr(scan, "meta", {}).get("filename_or_obj", scan))
            if name == step and where.endswith("b_T2w.nii.gz"):
                raise Fault("by the test")
            return dict(data) if name in HEAVY else original(self, data, *args, **kwargs)

        monkeypatch.setattr(kind, "__call__", call)


def cohort_of(scans, out, preparation=PLAIN, normalise=None):
    splits = zip(SUBJECTS, ("train", "train", "val"), strict=True)
    raw = [
        RawScan(name, "T2w", scans / f"{name}_T2w.nii.gz", healthy=True, split=split)
        for name, split in splits
    ]
    found = cohort.prepare_cohort(
        raw, preparation, normalise or Percentile(), Limits(cohort_subjects=2), out, scans
    )
    failures = pd.read_csv(out / "failures.csv")
    return {scan.subject for scan in found.scans}, failures


@pytest.mark.parametrize("step", STEPS)
def test_a_fault_in_a_step_of_the_chain_costs_its_own_scan_alone(
    scans, tmp_path, monkeypatch, step
):
    in_step(monkeypatch, step)
    done, failures = cohort_of(scans, tmp_path / "out", ALL)
    assert done == {"a", "c"}
    assert list(failures.subject) == ["b"]
    line = f"{scans}/b_T2w.nii.gz: Fault: by the test; please report this"
    assert failures.reason[0] == line


AFTER = [
    (subject, "_write"),
    (subject, "write_volume"),
    (subject, "write_way"),
    (cohort, "write_record"),
    (Percentile, "__call__"),
    (normalise_cohort, "read_volume"),
    (normalise_cohort, "write_volume"),
    (finish, "write_record"),
    (left_right, "lopsided"),
    (Limits, "flags"),
    (finish, "row_of"),
]


@pytest.mark.parametrize(
    ("target", "name"), AFTER, ids=lambda part: getattr(part, "__name__", part)
)
def test_a_fault_after_the_chain_costs_its_own_scan_alone(
    scans, tmp_path, monkeypatch, target, name
):
    in_step(monkeypatch, "none")
    with monkeypatch.context() as patch:
        assert second(patch, target, name) is not None
        done, failures = cohort_of(scans, tmp_path / "out", ALL)
    assert len(done) == 2
    assert len(failures) == 1
    assert set(failures.subject) | done == set(SUBJECTS)
    assert "Fault: by the test; please report this" in failures.reason[0]
    # What failed by chance is done the next time.
    done, failures = cohort_of(scans, tmp_path / "out", ALL)
    assert done == set(SUBJECTS)
    assert failures.empty


def test_a_scan_that_cannot_be_learned_from_costs_the_others_no_normaliser(
    scans, tmp_path, monkeypatch
):
    second(monkeypatch, normalise_cohort, "read_mask")
    done, failures = cohort_of(scans, tmp_path / "out", normalise=Nyul())
    assert done == {"a", "c"}
    assert list(failures.subject) == ["b"]


def test_a_picture_that_cannot_be_drawn_costs_the_page_nothing_else(
    scans, tmp_path, monkeypatch, capsys
):
    second(monkeypatch, quality, "draw_scan")
    words = ("preparation=extracted", "preparation.steps.spacing_mm=6")
    assert prepare.main([str(scans), str(tmp_path / "out"), *words]) == 0
    assert "no page" not in capsys.readouterr().err
    page = (tmp_path / "out/qc.html").read_text(encoding="utf-8")
    assert "Fault: by the test" in page
    assert page.count("<img") == 2


def test_a_disk_that_is_full_is_nobodys_fault(scans, tmp_path, monkeypatch):
    def full(*_):
        raise CannotWrite("a: no space left")

    monkeypatch.setattr(subject, "write_volume", full)
    with pytest.raises(CannotWrite):
        cohort_of(scans, tmp_path / "out")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model") / "model.ckpt")


def predicted(model, scans, out):
    status = predict.main([*map(str, (model, scans, out)), "--no-page", "--device", "cpu"])
    return status, pd.read_csv(out / "subjects.csv", keep_default_na=False).set_index("subject")


@pytest.mark.parametrize("step", ["load", "orient", "skullstrip", "measure", "extract", "grid"])
def test_a_fault_in_the_chain_of_a_prediction_costs_its_own_scan_alone(
    model, scans, tmp_path, monkeypatch, step
):
    in_step(monkeypatch, step)
    status, table = predicted(model, scans, tmp_path / "out")
    assert status == 3
    assert dict(table.status) == {"a": "done", "b": "failed", "c": "done"}
    assert "Fault: by the test; please report this" in table.reason["b"]


PREDICTING = [
    (prepare_scans, "read_record"),
    (prepare_scans, "from_records"),
    (prepared_scan, "measures_of"),
    (Percentile, "__call__"),
    (Limits, "flags"),
    (predicting, "seen_by"),
    (model_module, "detect_volume"),
    (predicting, "native_map"),
    (predicting, "native_mask"),
    (predicting, "read_native"),
    (predicting, "find"),
    (predicting, "unsuitable"),
    (predicting, "percentile_of"),
    (outputs, "write_like"),
]


@pytest.mark.parametrize(
    ("target", "name"), PREDICTING, ids=lambda part: getattr(part, "__name__", part)
)
def test_a_fault_after_the_chain_of_a_prediction_costs_its_own_scan_alone(
    model, scans, tmp_path, monkeypatch, target, name
):
    with monkeypatch.context() as patch:
        calls = second(patch, target, name)
        status, table = predicted(model, scans, tmp_path / "out")
    assert len(calls) > 1
    assert status == 3
    assert sorted(table.status) == ["done", "done", "failed"]
    (reason,) = table.reason[table.status == "failed"]
    assert "Fault: by the test; please report this" in reason
    status, table = predicted(model, scans, tmp_path / "out")
    assert (status, set(table.status)) == (0, {"done"})


def test_a_fault_in_reading_a_cohort_costs_its_own_scan_alone(model, scans, tmp_path, monkeypatch):
    cohort_of(scans, tmp_path / "cohort")
    second(monkeypatch, prepared_scan, "load_scan")
    status, table = predicted(model, tmp_path / "cohort", tmp_path / "out")
    assert status == 3
    assert list(table.status == "failed") == [False, True, False]


def test_a_record_without_a_number_stops_nobody(scans, tmp_path):
    """Cohorts of before have null for the noise of a brain whose median is not above 0."""
    cohort_of(scans, tmp_path / "out")
    path = tmp_path / "out/scans/b_T2w.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["quality"]["noise"] = None
    path.write_text(json.dumps(record), encoding="utf-8")
    done, failures = cohort_of(scans, tmp_path / "out")
    assert done == set(SUBJECTS)
    assert failures.empty
    assert np.isfinite(record["quality"]["brain_ml"])
