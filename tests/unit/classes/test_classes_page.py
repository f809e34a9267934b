"""The command on results with known findings."""

import numpy as np
import pandas as pd
import pytest
from predicted import BOXES, HOSTILE, VOXEL_MM3, write_predictions
from tiny import write_tiny_cohort

from brainuad.classes.results import marked_scans
from brainuad.cli.report import main
from brainuad.errors import InputError
from brainuad.machine.files import write_json
from brainuad.volumes.nifti import read_volume, write_volume


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = write_predictions(tmp_path_factory.mktemp("results"))
    assert main(["classes", str(out), str(out / "kinds"), "--classes", "2"]) == 0
    return out


def test_each_finding_has_its_class_and_its_number(results):
    table = pd.read_csv(results / "kinds" / "classes.csv")
    assert len(table) == 4
    assert set(table.scan_id) == {"sick", HOSTILE}
    # The first finding is that of the highest score, as in findings.csv.
    volumes = table[table.scan_id == "sick"].sort_values("finding").volume_mm3
    sizes = [np.prod(size) * VOXEL_MM3 for _, size, _ in BOXES]
    np.testing.assert_allclose(volumes, sizes, rtol=1e-3)
    assert set(table["class"]) == {1, 2}
    assert table.groupby("finding")["class"].nunique().max() == 1


def test_the_page_escapes_names(results):
    page = (results / "kinds" / "classes.html").read_text()
    assert "<script>alert" not in page
    assert page.count("data:image/jpeg") == 2
    assert "A class is no diagnosis" in page
    assert 'id="class-2"' in page


def test_a_run_folder_gives_the_masks_of_its_test_scans(tmp_path):
    cohort = write_tiny_cohort(tmp_path / "cohort", train=1, val=0, test=1, sick=2)
    write_json(tmp_path / "provenance.json", {"cohort": {"path": "cohort"}, "sequence": "T2w"})
    sick = [scan for scan in cohort.scans if scan.lesion_mask]
    for scan in sick:
        lesion = read_volume(scan.lesion_mask)
        for kind in ("anomaly", "mask"):
            path = tmp_path / "prepared" / f"{scan.subject}_{kind}.nii.gz"
            write_volume(path, lesion.array, lesion.affine)
    found = marked_scans(tmp_path)
    assert [one.scan_id for one in found] == sorted(scan.subject for scan in sick)
    truth = read_volume(sick[0].lesion_mask).array > 0
    np.testing.assert_array_equal(found[0].read().labels > 0, truth)


def test_a_folder_without_results_and_bad_numbers_are_refused(tmp_path, capfd, results):
    with pytest.raises(InputError, match="not a run folder"):
        marked_scans(tmp_path)
    assert main(["classes", str(results), str(tmp_path), "--classes", "1"]) == 2
    assert "--classes" in capfd.readouterr().err
    assert main(["classes", str(results), str(tmp_path), "--classes", "9"]) == 2
    assert "4 findings are too few for 9 classes" in capfd.readouterr().err
