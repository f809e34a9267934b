"""Commands as a container runs them: nothing can be written but OUT, and the user has no name."""

import sys

import pytest
from bare_machine import refusal, run_bare
from tiny import AFFINE, ROOT, brain, write_tiny_model

from brainuad.volumes.nifti import write_volume


@pytest.mark.skipif(bool(refusal()), reason=refusal())
def test_a_prediction_needs_no_home_name_network_or_place_but_out(tmp_path):
    model = write_tiny_model(tmp_path / "model.ckpt")
    write_volume(tmp_path / "scans" / "a_T2w.nii.gz", 900 * brain(0)[0], AFFINE)
    out = tmp_path / "out"
    words = (model, tmp_path / "scans", out / "found", "preparation=extracted")
    done = run_bare([sys.executable, ROOT / "predict.py", *words], out)
    assert done.returncode == 0, done.stderr
    assert " 0 failed" in done.stdout
    assert not done.stderr
    assert (out / "found" / "index.html").is_file()
    assert [path.name for path in out.iterdir()] == ["found"]
    # Nothing unfinished and no temporary folder is left.
    assert not [path for path in (out / "found").iterdir() if path.name.startswith(".")]
    # The machine is as bare as it says.
    tried = run_bare(["sh", "-c", f"touch {tmp_path}/file /tmp/file || cat /proc/net/dev"], out)
    assert "Read-only file system" in tried.stderr
    assert {line.split(":")[0].strip() for line in tried.stdout.splitlines()[2:]} == {"lo"}
