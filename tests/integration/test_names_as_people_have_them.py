"""Trees and tables as people have them: who is who, what each file is, and what is left aside."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from commands import call
from tiny import AFFINE, ROOT, brain, lesion, write_tiny_model

from brainuad.cli.predict import main as predict
from brainuad.cli.prepare import main as prepare
from brainuad.cohorts.find import find_all, find_raw, refuse_missing, refuse_unused
from brainuad.cohorts.manifest import read_cohort
from brainuad.cohorts.split_rules import check_scans
from brainuad.cohorts.splits import assign_splits, planned_scan
from brainuad.errors import InputError
from brainuad.inference.find_scans import find_wanted
from brainuad.volumes.dicom.read import quiet_gdcm
from brainuad.volumes.nifti import write_volume

pytestmark = pytest.mark.counted


def put(path, array=None, dtype=np.float32):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, 100 * brain(len(path.name))[0] if array is None else array, AFFINE, dtype)


def label(path, mask=None):
    put(path, lesion() if mask is None else mask, np.uint8)


def scans(folder, *names):
    for name in names:
        put(folder / f"{name}.nii.gz")


def taken(source, **options):
    found = find_all(source, "T1w", **options)
    return {(s.subject, s.sequence, s.image.name): s for s in found.scans}


def rows(source, **options):
    return sorted((s.subject, s.sequence) for s in find_all(source, "T1w", **options).scans)


def reasons(source):
    return {a.path.name: (a.reason, a.wanted) for a in find_all(source, "T1w").aside}


@pytest.mark.parametrize(
    "name", ["p1_T1w_lesion", "P1_lesion", "p-1_lesion", "p01_lesion_mask", "p1_T1_seg_manual",
             "labels/p1", "truth/P1_T1w", "p1_tumour_mask", "p1-gold-standard"],
)  # fmt: skip
def test_a_label_finds_its_scan_however_it_is_spelled(tmp_path, name):
    scans(tmp_path, "p0_T1w", "p1_T1w", "p10_T1w")
    label(tmp_path / f"{name}.nii.gz")
    found = {s.subject: s for s in find_raw(tmp_path, "T1w")}
    assert {name: s.healthy for name, s in found.items()} == {"p0": True, "p1": False, "p10": True}
    assert found["p1"].lesion_mask == tmp_path / f"{name}.nii.gz"
    split = {s.subject: s.split for s in assign_splits(list(found.values()), 0, 0.3, 0.3)}
    assert split["p1"] == "test"


@pytest.mark.parametrize("name", ["p1_T1w_brain_mask", "p1_brainmask", "P1_brain", "p1_T1w_mask"])
def test_a_brain_mask_finds_its_scan_and_is_told_by_its_size(tmp_path, name):
    scans(tmp_path, "p0_T1w", "p1_T1w")
    label(tmp_path / f"{name}.nii.gz", np.ones((24, 28, 20), bool) if "x" in name else _brain())
    found = {s.subject: s for s in find_raw(tmp_path, "T1w")}
    assert found["p1"].brain_mask == tmp_path / f"{name}.nii.gz"
    assert found["p1"].healthy
    assert found["p0"].brain_mask is None


def _brain():
    """A mask of some 1,300 ml on a grid of 3 mm."""
    mask = np.zeros((40, 48, 40), bool)
    mask[2:38, 2:46, 4:36] = True
    return mask


def test_a_mask_of_nobody_is_an_error_until_it_is_allowed(tmp_path, capsys):
    scans(tmp_path / "in", "s1_T1w", "s2_T1w", "s3_T1w")
    label(tmp_path / "in" / "s6_lesion.nii.gz")
    words = [str(tmp_path / "in"), str(tmp_path / "out"), "--dry-run"]
    assert prepare(words) == 2
    said = capsys.readouterr()
    assert "s6_lesion.nii.gz: a lesion label of nobody" in said.err
    assert "s6_lesion.nii.gz" in said.out
    assert prepare([*words, "--allow-unused"]) == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["s0_T1w_mask", "s0_tumor_seg_manual", "s0_T1w_roi"])
def test_a_small_mask_is_a_lesion_and_its_owner_a_patient(tmp_path, name):
    scans(tmp_path, "s0_T1w", "s1_T1w")
    label(tmp_path / f"{name}.nii.gz")
    found = {s.subject: s for s in find_raw(tmp_path, "T1w")}
    assert not found["s0"].healthy
    assert found["s1"].healthy


@pytest.mark.parametrize("name", ["s1_anomaly", "s1_T1w_residual", "s1_uncertainty", "s1_pve_1"])
def test_maps_are_no_scans(tmp_path, name):
    scans(tmp_path, "s0_T1w", "s1_T1w", name)
    assert rows(tmp_path) == [("s0", "T1w"), ("s1", "T1w")]
    assert reasons(tmp_path)[f"{name}.nii.gz"][0] == "a map, and no scan"


def test_a_label_map_with_an_odd_name_is_no_scan_of_somebody_else(tmp_path):
    scans(tmp_path, "s0_T1w", "s1_T1w")
    label(tmp_path / "s1_wibble.nii.gz")
    with pytest.raises(InputError, match=r"s1_wibble.*does not tell of what"):
        find_raw(tmp_path, "T1w")


def test_a_tissue_segmentation_and_a_word_in_a_subjects_name_make_no_patient(tmp_path):
    scans(tmp_path, "tumor_01_T1w", "brain_study_T1w", "patient_tumor_T1w")
    label(tmp_path / "tumor_01_T1w_dseg.nii.gz")
    label(tmp_path / "tumor_01_aparc.nii.gz")
    found = find_raw(tmp_path, "T1w")
    names = ["brain_study", "patient_tumor", "tumor_01"]
    assert sorted(s.subject for s in found) == names
    assert all(s.healthy for s in found)


def bids(root, *names):
    for name in names:
        put(root / f"{name}.nii.gz")


def test_bids_labels_are_compared_by_entity(tmp_path):
    bids(tmp_path, *(f"{s}/anat/{s}_T1w" for s in ("sub-1", "sub-10", "sub-2", "sub-3")))
    masks = tmp_path / "derivatives" / "manual"
    label(masks / "sub-10" / "anat" / "sub-10_label-lesion_mask.nii.gz")
    label(masks / "sub-2" / "anat" / "sub-2_label-nonlesion_mask.nii.gz")
    label(masks / "sub-3" / "anat" / "sub-3_space-FLAIR_label-lesion_mask.nii.gz")
    own = masks / "sub-3" / "anat" / "sub-3_space-T1w_label-lesion_mask.nii.gz"
    label(own)
    found = {s.subject: s for s in find_raw(tmp_path, "T1w")}
    assert list(found) == ["sub-1", "sub-2", "sub-3", "sub-10"]
    healthy = {name for name, s in found.items() if s.healthy}
    assert healthy == {"sub-1", "sub-2"}
    assert found["sub-3"].lesion_mask == own
    left = reasons(tmp_path)
    assert "another space (FLAIR)" in left["sub-3_space-FLAIR_label-lesion_mask.nii.gz"][0]


@pytest.mark.parametrize(
    "mask",
    ["sub-1_T1w_label-lesion_roi", "sub-1_label-lesion_dseg", "sub-1_label-WMH_mask",
     "sub-1_desc-tumor_mask", "sub-1_desc-T1lesion_mask"],
)  # fmt: skip
@pytest.mark.parametrize("place", ["sub-1/anat", "derivatives/x/sub-1/anat"])
def test_bids_labels_of_every_habit_are_seen(tmp_path, mask, place):
    bids(tmp_path, "sub-1/anat/sub-1_T1w", "sub-2/anat/sub-2_T1w")
    label(tmp_path / place / f"{mask}.nii.gz")
    first, second = find_raw(tmp_path, "T1w")
    assert (first.healthy, second.healthy) == (False, True)
    assert first.lesion_mask == tmp_path / place / f"{mask}.nii.gz"


def test_a_bids_brain_mask_on_the_scans_grid_is_used(tmp_path):
    bids(tmp_path, "sub-1/anat/sub-1_T1w", "sub-2/anat/sub-2_T1w")
    masks = tmp_path / "derivatives" / "fmriprep"
    good = masks / "sub-1" / "anat" / "sub-1_desc-brain_mask.nii.gz"
    label(good, np.ones((24, 28, 20), bool))
    label(masks / "sub-2" / "anat" / "sub-2_desc-brain_mask.nii.gz", _brain())
    first, second = find_raw(tmp_path, "T1w")
    assert first.brain_mask == good
    assert second.brain_mask is None


@pytest.mark.parametrize(
    ("column", "words"),
    [("group", ("patient", "control")), ("diagnosis", ("MS", "HC")), ("dx", ("glioma", "healthy")),
     ("group", ("PD", "CN")), ("healthy", ("no", "yes")), ("patient", ("1", "0"))],
)  # fmt: skip
def test_people_whom_the_table_calls_patients_are_not_trained_on(tmp_path, column, words):
    people = ("sub-01", "sub-02", "sub-03", "sub-04")
    bids(tmp_path, *(f"{s}/ses-1/anat/{s}_ses-1_T1w" for s in people))
    bids(tmp_path, "sub-01/ses-2/anat/sub-01_ses-2_T1w")
    mask = "derivatives/manual/sub-01/ses-2/anat/sub-01_ses-2_label-lesion_mask.nii.gz"
    label(tmp_path / mask)
    ill, well = words
    # Some tables leave out `sub-`, and zeros.
    table = [f"participant_id\t{column}", f"sub-01\t{well}", f"2\t{ill}", f"sub-03\t{well}"]
    (tmp_path / "participants.tsv").write_text("\n".join(table))
    found = {s.subject: s for s in find_raw(tmp_path, "T1w")}
    assert {name for name, s in found.items() if not s.healthy} == {"sub-01", "sub-02"}
    assert found["sub-01"].lesion_mask is None
    left = reasons(tmp_path)
    assert "further visit (ses-2)" in left["sub-01_ses-2_T1w.nii.gz"][0]
    assert Path(mask).name in left


def test_runs_and_visits_are_counted_as_numbers_and_contrast_is_a_sequence(tmp_path):
    bids(tmp_path, "sub-1/anat/sub-1_run-2_T1w", "sub-1/anat/sub-1_run-10_T1w",
         "sub-2/ses-2/anat/sub-2_ses-2_T1w", "sub-2/ses-10/anat/sub-2_ses-10_T1w",
         "sub-3/anat/sub-3_ce-gadolinium_T1w", "sub-3/anat/sub-3_run-1_T1w",
         "sub-4/anat/sub-4_part-phase_T1w", "sub-5/anat/sub-5_acq-a+b_T1w",
         "sub-6/anat/sub-6_rec-norm_T1w", "sub-6/anat/sub-6_T1w",
         "sub-7/fmap/sub-7_magnitude1", "sub-7/dwi/sub-7_dwi")  # fmt: skip
    assert set(taken(tmp_path)) == {
        ("sub-1", "T1w", "sub-1_run-2_T1w.nii.gz"),
        ("sub-2", "T1w", "sub-2_ses-2_T1w.nii.gz"),
        ("sub-3", "T1c", "sub-3_ce-gadolinium_T1w.nii.gz"),
        ("sub-3", "T1w", "sub-3_run-1_T1w.nii.gz"),
        ("sub-5", "T1w", "sub-5_acq-a+b_T1w.nii.gz"),
        ("sub-6", "T1w", "sub-6_T1w.nii.gz"),
    }
    left = reasons(tmp_path)
    assert len(left) == 6
    assert "sub-1_run-2_T1w.nii.gz is used" in left["sub-1_run-10_T1w.nii.gz"][0]
    assert "phase" in left["sub-4_part-phase_T1w.nii.gz"][0]


def test_people_are_told_by_the_folder_that_names_them(tmp_path):
    scans(tmp_path / "a", "01/anat/T1", "02/anat/T2", "03/mri/orig/T1", "04/visit1/scan_T1w")
    label(tmp_path / "a" / "01" / "anat" / "lesion.nii.gz")
    found = {s.subject: s for s in find_raw(tmp_path / "a", "T1w")}
    assert sorted(found) == ["01", "02", "03", "04"]
    assert {name for name, s in found.items() if not s.healthy} == {"01"}
    scans(tmp_path / "b", "controls/01/T1", "patients/01/FLAIR")
    label(tmp_path / "b" / "patients" / "01" / "lesion.nii.gz")
    found = {s.subject: s.healthy for s in find_raw(tmp_path / "b", "T1w")}
    assert found == {"controls_01": True, "patients_01": False}


@pytest.mark.parametrize("names", [("x/01/T1", "y/01/FLAIR"), ("x/s1_T1w", "y/s1_T1w"),
                                   ("01/foo/T1", "02/foo/T1")])  # fmt: skip
def test_one_name_in_two_folders_is_a_question_and_never_one_person(tmp_path, names):
    scans(tmp_path, *names)
    with pytest.raises(InputError, match="is this the person of"):
        find_raw(tmp_path, "T1w")
    # To predict, nobody has to know.
    assert len({s.subject for s in find_raw(tmp_path, "T1w", every=True)}) == 2


def test_patients_without_a_label_in_a_folder_of_theirs_are_not_healthy(tmp_path):
    scans(tmp_path, "controls/c1_T1w", "controls/c2_T1w", "patients/p1_T1w", "MS/m1_T1w")
    healthy = {s.subject for s in find_raw(tmp_path, "T1w") if s.healthy}
    assert healthy == {"c1", "c2"}


def test_the_end_of_a_word_is_no_sequence(tmp_path):
    scans(tmp_path, "pat1", "pat2", "pat3", "flairless", "visit2_x")
    label(tmp_path / "pat1_lesion.nii.gz")
    found = find_all(tmp_path, "T1w")
    assert {s.subject for s in found.scans} >= {"pat1", "pat2", "pat3", "flairless"}
    assert {s.sequence for s in found.scans} == {"T1w"}
    assert {s.subject for s in found.scans if not s.healthy} == {"pat1"}
    assert found.assumed == {s.image for s in found.scans}


@pytest.mark.parametrize(
    ("name", "subject", "sequence"),
    [
        ("A_20240105_t1_mprage_sag_4", "A", "T1w"),
        ("A_20240105_t2_flair_tra_6", "A", "FLAIR"),
        ("B_flair_to_SRI", "B", "FLAIR"),
        ("C_AX_T2_FLAIR", "C", "FLAIR"),
        ("D_t2_tirm_tra_dark-fluid", "D", "FLAIR"),
        ("E_t1_post_gd", "E", "T1c"),
        ("F_Ax_T1_FLAIR", "F", "T1w"),
        ("G_t2_star", "G", "T2star"),
        ("H_mprage", "H", "T1w"),
        ("IXI002-Guys-0828-T1", "IXI002-Guys-0828", "T1w"),
        ("OAS30001_MR_d0129_T1w", "OAS30001", "T1w"),
        ("OAS1_0001_MR1_mpr-1_anon", "OAS1_0001", "T1w"),
        ("1000011_20253_2_0", "1000011", "FLAIR"),
        ("BraTS-GLI-00005-001-t1n", "BraTS-GLI-00005", "T1w"),
        ("BraTS2021_00001_t1ce", "BraTS2021_00001", "T1c"),
        ("ADNI_002_S_0295_MR_MPR__GradWarp__N3_20060418193713091_S13408_I45107", "002_S_0295",
         "T1w"),
        ("T1w_sub03", "sub03", "T1w"),
        ("001T1w", "001", "T1w"),
        ("s #1 %d $x [a] 'q' übung_T2w", "s #1 %d $x [a] 'q' übung", "T2w"),
    ],
)  # fmt: skip
def test_names_of_every_maker_are_read_as_meant(tmp_path, name, subject, sequence):
    scans(tmp_path, name)
    assert rows(tmp_path) == [(subject, sequence)]


@pytest.mark.parametrize("kind", ["dwi", "ADC", "t1map", "localizer", "bold", "tof"])
def test_images_of_another_kind_are_left_aside_and_said(tmp_path, kind):
    scans(tmp_path, "p1_T1w", name := f"p1_{kind}")
    assert rows(tmp_path) == [("p1", "T1w")]
    assert "not a sequence that is asked for" in reasons(tmp_path)[f"{name}.nii.gz"][0]


def test_a_sequence_that_is_asked_for_is_taken_whatever_it_is(tmp_path):
    scans(tmp_path, "p1_T1w", "p1_dwi")
    assert rows(tmp_path, also=["DWI"]) == [("p1", "DWI"), ("p1", "T1w")]


def test_two_visits_of_one_person_are_never_in_two_splits(tmp_path):
    scans(tmp_path, *(f"{name}_T1w" for name in (
        "OAS30001_MR_d0129", "OAS30001_MR_d0757", "OAS30002_MR_d0010", "p3_ses-1", "p3_ses-2",
        "p4_20200101", "p4_20210101", "BraTS-GLI-00005-000", "BraTS-GLI-00005-001")))  # fmt: skip
    found = find_all(tmp_path, "T1w")
    people = [s.subject for s in found.scans]
    assert sorted(people) == ["BraTS-GLI-00005", "OAS30001", "OAS30002", "p3", "p4"]
    assert len(found.aside) == 4
    assert len(find_raw(tmp_path, "T1w", every=True)) == 9


def series(folder, description, patient=""):
    """A DICOM series of four slices."""
    folder.mkdir(parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    image = sitk.GetImageFromArray(np.ones((4, 5, 6), np.int16))
    for i in range(4):
        piece = image[:, :, i]
        tags = {"0008|0060": "MR", "0008|103e": description, "0010|0020": patient}
        tags |= {"0020|000e": f"1.2.3.{abs(hash(str(folder)))}", "0020|0013": str(i)}
        tags |= {"0020|0032": f"0\\0\\{i}", "0008|0018": f"1.2.3.4.{i}"}
        for key, value in tags.items():
            piece.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{i}.dcm"))
        with quiet_gdcm():
            writer.Execute(piece)


@pytest.mark.parametrize(
    ("description", "sequence"),
    [("AX T2 FLAIR", "FLAIR"), ("t2_tirm_tra_dark-fluid", "FLAIR"), ("Ax T1 FLAIR", "T1w"),
     ("t1_mprage_sag_p2_iso", "T1w"), ("SAG T1 +C", "T1c"), ("t2_tse_tra", "T2w"), ("", "T1w")],
)  # fmt: skip
def test_a_series_is_what_its_description_says(tmp_path, description, sequence):
    series(tmp_path / "P0" / "000", description, "PAT")
    assert rows(tmp_path) == [("P0", sequence)]


def test_a_series_belongs_to_its_folder_or_else_to_the_patient_in_its_files(tmp_path):
    series(tmp_path / "a" / "P0" / "003_AX_T2_FLAIR", "x", "PAT")
    series(tmp_path / "a" / "P1" / "1.2.840.1" / "SE000001", "t1", "PAT")
    assert rows(tmp_path / "a") == [("P0", "FLAIR"), ("P1", "T1w")]
    series(tmp_path / "b" / "t1", "t1 mprage", "PAT7")
    series(tmp_path / "b" / "flair", "flair", "PAT7")
    assert rows(tmp_path / "b") == [("PAT7", "FLAIR"), ("PAT7", "T1w")]
    series(tmp_path / "c" / "P0" / "t1", "t1", "PAT1")
    series(tmp_path / "c" / "P0" / "flair", "flair", "PAT2")
    with pytest.raises(InputError, match="of another patient"):
        find_raw(tmp_path / "c", "T1w")


def test_dicom_beside_nifti_counts_and_a_converted_series_does_not(tmp_path):
    scans(tmp_path, "P1/T1w", "s2_T1w")
    series(tmp_path / "P1" / "dicom", "t1 mprage")
    series(tmp_path / "P3" / "T1w", "")
    (tmp_path / "P3" / "T1w" / "report.txt").write_text("x")
    assert rows(tmp_path) == [("P1", "T1w"), ("P3", "T1w"), ("s2", "T1w")]
    assert reasons(tmp_path)["dicom"][0] == "the DICOM series of T1w.nii.gz"


def write_table(path, header, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]))
    return path


def test_without_a_column_subject_the_sequence_is_no_part_of_the_name(tmp_path):
    scans(tmp_path, *(f"s{i}_{s}" for i in range(3) for s in ("T1w", "FLAIR")))
    lines = [f"s{i}_{s}.nii.gz,{s}" for i in range(3) for s in ("T1w", "FLAIR")]
    table = write_table(tmp_path / "a.csv", "image,sequence", *lines)
    split = assign_splits(find_raw(table, "T1w"), 0, 0.3, 0.3)
    assert {s.subject for s in split} == {"s0", "s1", "s2"}
    assert len({(s.subject, s.split) for s in split}) == 3


@pytest.mark.parametrize("other", ["01", "sub-01", "1.0", "S01", "s1", "sub-1"])
def test_one_person_spelled_in_two_ways_is_a_question(tmp_path, other):
    scans(tmp_path, "a", "b")
    lines = ["a.nii.gz,1,T1w,train", f"b.nii.gz,{other},FLAIR,test"]
    table = write_table(tmp_path / "a.csv", "image,subject,sequence,split", *lines)
    with pytest.raises(InputError, match="one person"):
        find_raw(table, "T1w")
    found = find_raw(table, "T1w", every=True)
    with pytest.raises(InputError, match="in two splits"):
        check_scans([planned_scan(scan) for scan in found], table)


def test_linked_folders_are_read_and_hidden_ones_are_not(tmp_path):
    hidden = (".trash/sub9/T1", "@eaDir/sub8/T1", "__MACOSX/sub7_T1")
    scans(tmp_path, "store/sub2/T1", "scans/sub1/T1", *(f"scans/{name}" for name in hidden))
    os.symlink(tmp_path / "store" / "sub2", tmp_path / "scans" / "sub2")
    os.symlink(tmp_path / "scans", tmp_path / "scans" / "loop")
    assert rows(tmp_path / "scans") == [("sub1", "T1w"), ("sub2", "T1w")]
    left = reasons(tmp_path / "scans")
    assert set(left) == {".trash", "@eaDir", "__MACOSX", "loop"}


def test_brains_pairs_and_capital_endings_are_read(tmp_path):
    scans(tmp_path / "in", "s1_T1w", "s2_T1_brain", "s4_T1w")
    (tmp_path / "in" / "s4_T1w.nii.gz").rename(tmp_path / "in" / "s4_T1w.NII.GZ")
    scans(tmp_path / "fsl", "s1/T1_brain", "s2/T1", "s2/T1_brain", "s2/T1_orig_defaced")
    label(tmp_path / "fsl" / "s1" / "T1_brain_mask.nii.gz", np.ones((24, 28, 20), bool))
    assert rows(tmp_path / "in") == [("s1", "T1w"), ("s2", "T1w"), ("s4", "T1w")]
    names = {name for *_, name in taken(tmp_path / "fsl")}
    assert names == {"T1_brain.nii.gz", "T1.nii.gz"}
    names = {name for *_, name in taken(tmp_path / "fsl", extracted=True)}
    assert names == {"T1_brain.nii.gz"}
    (first, _) = find_raw(tmp_path / "fsl", "T1w")
    assert first.brain_mask is not None


TABLES = {
    "latin1": "image,site\ns1_T1w.nii.gz,Köln\n".encode("latin-1"),
    "utf16": "image,site\ns1_T1w.nii.gz,A\n".encode("utf-16"),
    "semicolon": b"image;healthy\ns1_T1w.nii.gz;true\n",
    "tab": b"image\thealthy\ns1_T1w.nii.gz\ttrue\n",
    "bar": b"image|healthy\ns1_T1w.nii.gz|true\n",
    "excel": b"sep=;\r\nimage;healthy\r\ns1_T1w.nii.gz;WAHR\r\n".replace(b"WAHR", b"ja"),
    "capital": b"Image,Healthy\ns1_T1w.nii.gz,TRUE\n",
    "spaces": b" Image , Subject \ns1_T1w.nii.gz, s1 \n",
    "more": b"image,age\ns1_T1w.nii.gz,44\n",
    "empty_row": b"image,healthy\ns1_T1w.nii.gz,true\n,\n",
    "one": b"image,healthy\ns1_T1w.nii.gz,1\n",
    "control": b"image,healthy\ns1_T1w.nii.gz,control\n",
    "na": b"image,subject,lesion_mask\ns1_T1w.nii.gz,s1,n/a\n",
    "nan": b"image,subject,lesion_mask,split\ns1_T1w.nii.gz,s1,NaN,NA\n",
    "t1": b"image,subject,sequence\ns1_T1w.nii.gz,s1,T1\n",
    "pathology": b"image,pathology\ns1_T1w.nii.gz,none\n",
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_spreadsheet_is_read_in_every_dialect(tmp_path, name, ending):
    scans(tmp_path, "s1_T1w")
    table = tmp_path / f"{name}.{ending}"
    table.write_bytes(TABLES[name])
    found = find_all(table, "T1w")
    (scan,) = found.scans
    assert (scan.subject, scan.sequence, scan.healthy) == ("s1", "T1w", True)
    assert scan.lesion_mask is None
    assert found.notes == (["columns left aside: age"] if name == "more" else [])
    assert scan.site == {"latin1": "Köln", "utf16": "A"}.get(name, "")


def test_patients_are_understood_in_a_table_and_guesses_are_refused(tmp_path):
    scans(tmp_path, "s1", "s2", "s3")
    lines = ["s1.nii.gz,patient", "s2.nii.gz,0", "s3.nii.gz,no"]
    found = find_raw(write_table(tmp_path / "a.csv", "image,healthy", *lines), "T1w")
    assert not any(s.healthy for s in found)
    with pytest.raises(InputError, match="healthy is 'perhaps'; write true or false"):
        find_raw(write_table(tmp_path / "b.csv", "image,healthy", "s1.nii.gz,perhaps"), "T1w")


def test_a_path_that_is_not_there_is_said_before_the_work(tmp_path, capsys):
    scans(tmp_path, "s1")
    table = write_table(tmp_path / "a.csv", "image,subject", "s1.nii.gz,a", "s2.nii.gz,b")
    with pytest.raises(InputError, match=r"s2\.nii\.gz: no such file; mend the path in the table"):
        refuse_missing(find_all(table, "T1w"))
    assert prepare([str(table), str(tmp_path / "out")]) == 2
    assert "s2.nii.gz: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line",
    ["s0.nii.gz,MS,,,train", "s0.nii.gz,,true,l1.nii.gz,train", "s0.nii.gz,,yes,l1.nii.gz,",
     "s0.nii.gz,MS,1,,", "s0.nii.gz,,,l1.nii.gz,train", "s0.nii.gz,glioma,control,,test"],
)  # fmt: skip
def test_a_patient_is_never_called_healthy(tmp_path, line):
    scans(tmp_path, "s0")
    label(tmp_path / "l1.nii.gz")
    header = "image,pathology,healthy,lesion_mask,split"
    table = write_table(tmp_path / "a.csv", header, line)
    with pytest.raises(InputError, match="line 2: ") as caught:
        find_raw(table, "T1w")
    assert "\n" not in str(caught.value)


def test_an_empty_label_and_a_healthy_person_agree(tmp_path):
    scans(tmp_path, "s0")
    label(tmp_path / "l1.nii.gz", np.zeros((24, 28, 20), bool))
    line = "s0.nii.gz,true,l1.nii.gz,train"
    table = write_table(tmp_path / "a.csv", "image,healthy,lesion_mask,split", line)
    (scan,) = find_raw(table, "T1w")
    assert scan.healthy


def test_our_own_results_are_no_scans(tmp_path, capsys):
    folder = tmp_path / "scans"
    scans(folder, "s0_T1w", "s1_T1w", "s2_T1w")
    words = ["preparation=extracted", "preparation.steps.spacing_mm=3"]
    out = folder / "cohort"
    assert prepare([str(folder), str(out), *words]) == 0
    first = read_cohort(out).scans
    assert prepare([str(folder), str(out), *words]) == 0
    assert read_cohort(out).scans == first
    assert rows(folder) == [("s0", "T1w"), ("s1", "T1w"), ("s2", "T1w")]
    assert reasons(folder) == {"cohort": ("a prepared cohort, made by brainuad", False)}
    model = write_tiny_model(tmp_path / "m.ckpt", sequence="T1w")
    assert predict([str(model), str(folder / "s0_T1w.nii.gz"), str(folder / "first")]) == 0
    found = find_wanted(folder, "T1w", tmp_path / "second")
    assert [item.scan_id for item in found.wanted] == ["s0_T1w", "s1_T1w", "s2_T1w"]
    assert set(reasons(folder)) == {"cohort", "first"}
    capsys.readouterr()
    assert predict([str(model), str(folder), str(folder)]) == 2
    assert "where the results go" in capsys.readouterr().err
    assert predict([str(model), str(folder / "first"), str(tmp_path / "x")]) == 2
    assert "is a folder of predictions" in capsys.readouterr().err


def test_a_dry_run_shows_what_was_taken_for_what_and_what_was_not(tmp_path, capsys):
    scans(tmp_path / "in", "p1_T1w", "p2_T1w", "p1_anomaly")
    label(tmp_path / "in" / "p1_lesion.nii.gz")
    (tmp_path / "in" / "notes.txt").write_text("x")
    assert prepare([str(tmp_path / "in"), str(tmp_path / "out"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines() if line}
    assert "p1_lesion.nii.gz" in lines["p1"]
    assert lines["p1"].split()[4] == "no"
    assert lines["p2"].split()[4] == "yes"
    assert "a map, and no scan" in said
    assert "notes.txt" in said
    assert not (tmp_path / "out").exists()
    model = write_tiny_model(tmp_path / "m.ckpt", sequence="T1w")
    assert predict([str(model), str(tmp_path / "in"), str(tmp_path / "o"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "p1_anomaly.nii.gz" in said
    assert "notes.txt" in said


def test_every_file_left_aside_is_listed_beside_the_results(tmp_path):
    scans(tmp_path / "in", "p1_T1w", "p2_T1w", "p1_anomaly")
    words = ["preparation=extracted", "preparation.steps.spacing_mm=3"]
    assert prepare([str(tmp_path / "in"), str(tmp_path / "out"), *words]) == 0
    with (tmp_path / "out" / "left_aside.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["path"].endswith("p1_anomaly.nii.gz")


def test_two_labels_of_one_scan_are_a_question(tmp_path):
    scans(tmp_path, "p1_T1w")
    label(tmp_path / "p1_lesion.nii.gz")
    label(tmp_path / "p1_seg.nii.gz")
    with pytest.raises(InputError, match="a second lesion label"):
        find_raw(tmp_path, "T1w")
    found = find_all(tmp_path, "T1w")
    assert not found.scans[0].healthy
    with pytest.raises(InputError):
        refuse_unused(found)


def test_a_label_of_one_sequence_is_not_anothers(tmp_path):
    scans(tmp_path, "p1_T1w", "p1_FLAIR")
    label(tmp_path / "p1_FLAIR_lesion.nii.gz")
    found = {s.sequence: s for s in find_raw(tmp_path, "T1w")}
    assert found["T1w"].lesion_mask is None
    assert found["FLAIR"].lesion_mask is not None
    assert not found["T1w"].healthy


NAMES_BY = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from brainuad.cohorts import records
seen = []
real = records.read_record
def counted(path, root):
    seen.append(path.name)
    return real(path, root)
records.read_record = counted
import brainuad.cohorts.find as find
find.read_record = counted
"""


@pytest.mark.parametrize("command", ["prepare", "predict", "train", "evaluate", "data_prep"])
def test_every_command_reads_names_by_one_function(tmp_path, command):
    bids(tmp_path / "in", *(f"sub-{i}/anat/sub-{i}_T1w" for i in range(3)))
    source, out = str(tmp_path / "in"), str(tmp_path / "out")
    model = write_tiny_model(tmp_path / "m.ckpt", sequence="T1w")
    data = ["data=folder", f"data.source={source}", "data.sequence=T1w"]
    calls = {
        "prepare": ("brainuad.cli.prepare", [source, out, "--dry-run"]),
        "predict": ("brainuad.cli.predict", [str(model), source, out, "--dry-run"]),
        "train": ("brainuad.cli.train", ["experiment=intensity_raw", *data, "trainer=smoke",
                                         "jobs=1", f"paths.output_dir={out}", "report=false"]),
        "evaluate": ("brainuad.cli.evaluate", [*data, f"maps={source}", f"paths.output_dir={out}"]),
        "data_prep": ("data_prep.__main__", ["rows", "bids_healthy", source, f"{tmp_path}/r.csv"]),
    }  # fmt: skip
    module, words = calls[command]
    code = f"import {module} as m\ntry:\n    m.main({words!r})\nexcept SystemExit:\n    pass\n"
    if command in ("train", "evaluate"):
        code = f"sys.argv = ['x', *{words!r}]\n" + code.replace(f"m.main({words!r})", "m.main()")
    code = NAMES_BY + code + "print('READ', sorted(set(seen)))"
    (tmp_path / "counting.py").write_text(code)
    done = call(tmp_path / "counting.py", cwd=tmp_path)
    assert "READ ['sub-0_T1w.nii.gz', 'sub-1_T1w.nii.gz'" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    "name", ["s1_T1w_lesionmask2", "s1_LesionSmooth", "s1_T1w_Läsion", "s1_tumorseg", "s1_T1w_ROI1",
             "labels/s1_T1w", "lesion_masks/s1", "s1_lesion_1"],
)  # fmt: skip
def test_a_label_in_glued_or_foreign_words_is_its_persons(tmp_path, name):
    scans(tmp_path, "s1_T1w", "s2_T1w")
    label(tmp_path / f"{name}.nii.gz")
    found = {s.subject: s for s in find_raw(tmp_path, "T1w")}
    assert found["s1"].lesion_mask == tmp_path / f"{name}.nii.gz"
    assert {s.subject for s in found.values() if s.healthy} == {"s2"}


@pytest.mark.parametrize(
    "name", ["s1_T1w_xyz", "s1_wibble", "mask_s1", "s1_T1w_final2", "q/s1_T1w"]
)
def test_a_drawing_whose_name_does_not_tell_of_what_stops_the_command(tmp_path, name):
    scans(tmp_path, "s1_T1w", "s2_T1w")
    label(tmp_path / f"{name}.nii.gz")
    with pytest.raises(InputError):
        find_raw(tmp_path, "T1w")


@pytest.mark.parametrize("name", ["s1_T1w_roi", "s1_T1w_standard", "s1_T1w_lesion_filled"])
def test_a_scan_with_a_masks_word_is_a_scan(tmp_path, name):
    scans(tmp_path, name, "s2_T1w")
    assert rows(tmp_path) == [("s1", "T1w"), ("s2", "T1w")]


@pytest.mark.parametrize("word", ["head", "probability", "all", "resampled", "label"])
def test_a_mask_follows_its_scans_own_name_whatever_that_means(tmp_path, word):
    scans(tmp_path, f"{word}_T1w", "s2_T1w")
    label(tmp_path / f"{word}_brain_mask.nii.gz", _brain())
    found = {s.subject: s for s in find_raw(tmp_path, "T1w")}
    assert found[word].brain_mask == tmp_path / f"{word}_brain_mask.nii.gz"


def test_images_that_spm_made_of_another_are_no_people(tmp_path):
    scans(tmp_path, "sub01_T1w", "c1sub01_T1w", "mwp1sub01_T1w", "wmsub01_T1w", "mri/rsub01_T1w")
    assert rows(tmp_path) == [("sub01", "T1w")]


@pytest.mark.parametrize("name", ["ADC", "DWI", "SWI", "TOF_3D", "localizer", "CT", "STIR"])
def test_a_file_that_is_called_like_another_image_is_no_t1w(tmp_path, name):
    scans(tmp_path, "p1/T1", f"p1/{name}", "p2/T1", f"p2/{name}")
    assert rows(tmp_path) == [("p1", "T1w"), ("p2", "T1w")]


@pytest.mark.parametrize("folders", [("HC", "Patienten"), ("controls", "SCZ"), ("healthy", "xyz"),
                                     ("ControlGroup", "PatientGroup"), ("non_lesion", "lesion"),
                                     ("Controls2020", "Patients2020")])  # fmt: skip
def test_who_lies_beside_the_controls_is_no_control(tmp_path, folders):
    well, ill = folders
    scans(tmp_path, f"{well}/a1_T1w", f"{ill}/b1_T1w")
    assert {s.subject: s.healthy for s in find_raw(tmp_path, "T1w")} == {"a1": True, "b1": False}


@pytest.mark.parametrize(
    ("column", "ill", "well"),
    [("group", "MDD", "HC"), ("Diagnose", "krank", "gesund"), ("is_patient", "1", "0"),
     ("status", "Demented", "Nondemented"), ("dx", "ASD", "typical"), ("has_lesion", "yes", "no"),
     ("Gesund", "nein", "ja"), ("type", "patient", "control")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["table", "participants"])
def test_a_column_that_tells_who_is_ill_is_read_in_its_own_words(tmp_path, kind, column, ill, well):
    if kind == "table":
        scans(tmp_path, "s1", "s2")
        lines = [f"s1.nii.gz,{ill}", f"s2.nii.gz,{well}"]
        source = write_table(tmp_path / "a.csv", f"image,{column}", *lines)
    else:
        bids(tmp_path, "sub-1/anat/sub-1_T1w", "sub-2/anat/sub-2_T1w")
        lines = [f"sub-1\t{ill}", f"sub-2\t{well}"]
        write_table(tmp_path / "participants.tsv", f"participant_id\t{column}", *lines)
        source = tmp_path
    assert [s.healthy for s in find_raw(source, "T1w")] == [False, True]


@pytest.mark.parametrize(
    "column", ["ID", "SubjectID", "patient_id", "participant", "sub", "Proband"]
)
def test_the_column_of_people_is_found_by_its_names(tmp_path, column):
    scans(tmp_path, "x_T1w", "y_FLAIR")
    table = write_table(tmp_path / "a.csv", f"image,{column}", "x_T1w.nii.gz,a", "y_FLAIR.nii.gz,a")
    assert rows(table) == [("a", "FLAIR"), ("a", "T1w")]


@pytest.mark.parametrize(
    "column", ["seg", "segmentation", "ground_truth", "LesionMask", "roi", "label"]
)
def test_the_column_of_labels_is_found_by_its_names(tmp_path, column):
    scans(tmp_path, "x_T1w")
    label(tmp_path / "l.nii.gz")
    table = write_table(tmp_path / "a.csv", f"image,{column}", "x_T1w.nii.gz,l.nii.gz")
    (scan,) = find_raw(table, "T1w")
    assert scan.lesion_mask == tmp_path / "l.nii.gz"
    assert not scan.healthy


def test_one_person_has_one_health_in_a_table(tmp_path):
    scans(tmp_path, "x_T1w", "x_FLAIR", "p1/T1", "p1/FLAIR", "p2/T1")
    label(tmp_path / "l.nii.gz")
    header = "image,subject,lesion_mask"
    table = write_table(tmp_path / "a.csv", header, "x_T1w.nii.gz,a,l.nii.gz", "x_FLAIR.nii.gz,a,")
    assert not any(s.healthy for s in find_raw(table, "T1w"))
    # Folders tell people in a table too.
    lines = ["p1/T1.nii.gz", "p1/FLAIR.nii.gz", "p2/T1.nii.gz"]
    assert rows(write_table(tmp_path / "b.csv", "image", *lines)) == [
        ("p1", "FLAIR"), ("p1", "T1w"), ("p2", "T1w")]  # fmt: skip
    header = "image,subject"
    table = write_table(tmp_path / "c.csv", header, "x_T1w.nii.gz,a", "x_T1w.nii.gz,b")
    with pytest.raises(InputError, match="listed for subjects a and b"):
        find_raw(table, "T1w")


@pytest.mark.parametrize("names", [("sub-A_1", "sub-A_2"), ("MS_19800101", "MS_19800102"),
                                   ("sub-1", "sub-01")])  # fmt: skip
def test_two_people_are_never_one_without_a_word(tmp_path, names):
    scans(tmp_path, *(f"{name}_T1w" for name in names))
    found = find_all(tmp_path, "T1w", every=True)
    assert len(found.scans) == 2
    try:
        people = {s.subject for s in find_raw(tmp_path, "T1w")}
    except InputError:
        return
    assert len(people) == 2


@pytest.mark.parametrize("names", [("ses-preop", "ses-postop"), ("ses-baseline", "ses-12m")])
def test_the_first_visit_is_the_first_in_time(tmp_path, names):
    first, later = names
    bids(tmp_path, *(f"sub-1/{v}/anat/sub-1_{v}_T1w" for v in names))
    (scan,) = find_raw(tmp_path, "T1w")
    assert first in scan.image.name
    assert later not in scan.image.name


def test_numbered_people_are_not_made_by_spm_and_no_two_get_one_name(tmp_path):
    scans(tmp_path / "a", *(f"{n}_T1w" for n in (1, 2, 10, 11, 12, 21)))
    assert {s.subject for s in find_raw(tmp_path / "a", "T1w")} == {
        "1",
        "2",
        "10",
        "11",
        "12",
        "21",
    }
    scans(tmp_path / "b", "controls/01_T1w", "patients/01_T1w", "patients/controls_01_T1w")
    found = find_raw(tmp_path / "b", "T1w")
    assert len({s.subject for s in found}) == 3
    assert sum(s.healthy for s in found) == 1


@pytest.mark.parametrize(
    ("folder", "healthy"),
    [("patients_pre", False), ("MS native", False), ("unhealthy", False), ("no_tumor", True),
     ("non-patients", True), ("HC", True), ("stroke, no surgery", False)],
)  # fmt: skip
def test_a_word_turns_only_what_it_stands_before(tmp_path, folder, healthy):
    scans(tmp_path, f"{folder}/a1_T1w", "controls/c1_T1w")
    found = {s.subject: s.healthy for s in find_raw(tmp_path, "T1w")}
    assert found == {"a1": healthy, "c1": True}


@pytest.mark.parametrize("column", ["PatientSex", "PatientAge", "disease_duration", "control_id"])
def test_a_column_of_something_else_makes_nobody_ill(tmp_path, column):
    scans(tmp_path, "s1", "s2")
    table = write_table(tmp_path / "a.csv", f"image,{column}", "s1.nii.gz,f", "s2.nii.gz,m")
    assert all(s.healthy for s in find_raw(table, "T1w"))


def test_a_column_that_is_called_lesion_mask_is_what_it_says(tmp_path):
    scans(tmp_path, "p1_T1w")
    label(tmp_path / "p1_seg.nii.gz", _brain())
    line = "p1_T1w.nii.gz,p1_seg.nii.gz"
    (scan,) = find_raw(write_table(tmp_path / "a.csv", "image,lesion_mask", line), "T1w")
    assert not scan.healthy
    (scan,) = find_raw(write_table(tmp_path / "b.csv", "image,mask", line), "T1w")
    assert scan.brain_mask is not None
    assert scan.healthy


def test_what_cannot_be_opened_is_left_aside_and_stops_nobody(tmp_path):
    scans(tmp_path / "in", "p1_T1w", "p2_T1w")
    (tmp_path / "in" / "self").symlink_to("self")
    (tmp_path / "in" / "up").symlink_to("..")
    scans(tmp_path / "other", "p9_T1w")
    assert rows(tmp_path / "in") == [("p1", "T1w"), ("p2", "T1w")]
    table = write_table(tmp_path / "a.csv", "image", "x" * 300 + ".nii.gz")
    with pytest.raises(InputError, match="no such file"):
        refuse_missing(find_all(table, "T1w"))
