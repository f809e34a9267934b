"""BIDS datasets for tests, and the official validator."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from tiny import brain, lesion

AFFINE = np.diag([-3.0, 3, 3, 1])


def write_description(root: Path, **more: object) -> None:
    """Write the description of a raw dataset."""
    root.mkdir(parents=True, exist_ok=True)
    about = {"Name": "tiny", "BIDSVersion": "1.10.0", "DatasetType": "raw", **more}
    (root / "dataset_description.json").write_text(json.dumps(about))


def write_bids_scan(root: Path, name: str, seed: int = 0) -> Path:
    """Write a tiny brain with a lesion on the left, at the place that its BIDS name has."""
    parts = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
    path = root.joinpath(*parts, "anat", f"{name}.nii.gz")
    path.parent.mkdir(parents=True, exist_ok=True)
    scan = nib.Nifti1Image(np.rint(900 * (brain(seed)[0] + 0.4 * lesion())).astype("i2"), AFFINE)
    scan.set_sform(AFFINE, 1)
    nib.save(scan, path)
    return path


def errors_of_validator(root: Path) -> list[tuple[str, str]] | None:
    """Return code and place of each error of the official validator; None where it is not there.

    It runs without a network: the schema comes with it.
    """
    own = Path(sys.executable).with_name("bids-validator-deno")
    program = str(own) if own.is_file() else shutil.which("bids-validator-deno")
    if program is None:
        return None
    done = subprocess.run(
        [program, "--json", str(root)], capture_output=True, text=True, check=False, timeout=120
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    found = [(one["code"], one.get("location", "")) for one in issues if one["severity"] == "error"]
    assert (done.returncode == 0) == (not found), done.stderr
    return found


def files_of(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file below a folder."""
    return {
        str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
    }
