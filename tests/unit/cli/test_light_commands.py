"""What the commands import: Lightning for a training alone, torch not for a dry run."""

import shutil
import subprocess
import sys

import pytest
from tiny import write_tiny_cohort, write_tiny_model

COMMANDS = """
import sys
from brainuad.cli import evaluate, export, inpaint, predict, report
folder = sys.argv[1]
model, cohort = folder + "/model.ckpt", folder + "/cohort"
assert predict.main([model, cohort, folder + "/out"]) == 0
assert export.main([model, folder + "/bundle"]) == 0
assert predict.main([folder + "/bundle", cohort, folder + "/out"]) == 0
image, mask = cohort + "/sub06.nii.gz", cohort + "/sub06_lesion.nii.gz"
assert inpaint.main([image, mask, folder + "/filled.nii.gz", "--model", model]) == 2
sys.argv = ["evaluate.py", "maps=" + folder + "/maps", "data=folder", "data.source=" + cohort,
            "data.sequence=T2w", "paths.output_dir=" + folder + "/scores"]
assert evaluate.main() == 0
assert report.main([folder + "/scores"]) == 0
print("HEAVY", {"lightning", "pytorch_lightning", "wandb"} & set(sys.modules))
"""

DRY_RUN = """
import sys
from brainuad.cli import predict
folder = sys.argv[1]
for out in ("/out", "/new"):
    for model in ("/model.ckpt", "/bundle"):
        words = [folder + model, folder + "/cohort", folder + out, "--dry-run"]
        assert predict.main(words) == 0
print("HEAVY", {"torch", "lightning", "hydra", "SimpleITK", "pandas"} & set(sys.modules))
"""


def said(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_lightning_is_for_training_and_torch_not_for_a_dry_run(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINUAD_CACHE", str(tmp_path / "kept"))
    cohort = write_tiny_cohort(tmp_path / "cohort")
    write_tiny_model(tmp_path / "model.ckpt")
    (tmp_path / "maps").mkdir()
    for scan in cohort.scans:
        shutil.copy(scan.image, tmp_path / "maps" / f"{scan.subject}_anomaly.nii.gz")
    assert said(COMMANDS, tmp_path).endswith("HEAVY set()\n")
    found = said(DRY_RUN, tmp_path)
    assert found.count("to do: 0 scans, 8 are done already") == 2
    assert found.count("to do: 8 scans;") == 2
    assert found.endswith("HEAVY set()\n")
