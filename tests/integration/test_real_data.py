"""The whole pipe on real scans: healthy T1 slabs in, a glioma and two multiple sclerosis cases out.

What must hold is asserted, not a tuned figure.
"""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow


def _row(subject: str, image: Path, **more: object) -> dict[str, object]:
    return {"subject": subject, "image": image, "sequence": "T1w", **more}


@pytest.fixture(scope="module")
def listing(real_data, tmp_path_factory) -> Path:
    """A CSV of twelve healthy slabs and three pathological heads, all T1."""
    slabs = sorted((real_data / "t1_slabs_1mm").iterdir())[:12]
    rows = []
    for index, slab in enumerate(slabs):
        image = next(path for path in slab.glob("*.nii.gz") if path.name != "labels.nii.gz")
        split = "train" if index < 8 else "val" if index < 10 else "test"
        rows.append(
            _row(slab.name, image, brain_mask=slab / "labels.nii.gz", healthy="true", split=split)
        )
    tumour = next((real_data / "tumour_brats_space").iterdir())
    rows.append(
        _row(
            "glioma",
            next(tumour.glob("*t1.nii.gz")),
            lesion_mask=tumour / "fused_simple.nii.gz",
            healthy="false",
            pathology="tumour",
        )
    )
    for case in sorted((real_data / "openms_mni_1mm").iterdir()):
        rows.append(
            _row(
                case.name,
                case / "T1.nii.gz",
                lesion_mask=case / "GOLD_STANDARD.nii.gz",
                healthy="false",
                pathology="ms",
            )
        )
    path = tmp_path_factory.mktemp("real") / "scans.csv"
    with path.open("w", newline="") as file:
        names = list(dict.fromkeys(name for row in rows for name in row))
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def _options(listing: Path, out: Path) -> list[str]:
    return [
        "data=folder",
        f"data.source={listing}",
        "data.sequence=T1w",
        f"paths.cache_dir={listing.parent / 'cache'}",
        f"paths.output_dir={out}",
    ]


def test_real_scans_end_to_end(listing, tmp_path, run):
    out = tmp_path / "run"
    arguments = ["experiment=strega", "max_epochs=20", *_options(listing, out)]
    done = run("train.py", *arguments)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(listing.open()))
    for row in (row for row in rows if row["split"] not in ("train", "val")):
        scan = nib.load(row["image"])
        for name in ("anomaly", "mask"):
            found = nib.load(out / f"{row['subject']}_{name}.nii.gz")
            assert found.shape == scan.shape[:3]
            assert np.allclose(found.affine, scan.affine, atol=1e-4)
    # An alignment that the affines alone cannot fake: the map lies where the brain is.
    head = nib.load(next(row["image"] for row in rows if row["subject"] == "glioma")).get_fdata()
    found = nib.load(out / "glioma_anomaly.nii.gz").get_fdata()
    assert found[head == 0].sum() < 0.05 * found.sum()

    scores = pd.read_csv(out / "scores.csv")
    assert np.isfinite(scores[scores.metric.isin(["auprc", "auroc", "dice"])].value).all()
    own = scores[(scores.method == "strega") & (scores.subject == "glioma")]
    label = nib.load(
        next(row["lesion_mask"] for row in rows if row["subject"] == "glioma")
    ).get_fdata()
    prevalence = (label > 0).sum() / (head > 0).sum()
    assert own[own.metric == "auprc"].value.item() > 1.2 * prevalence
    assert own[own.metric == "auroc"].value.item() > 0.5

    again = tmp_path / "again"
    done = run("train.py", *arguments[:-1], f"paths.output_dir={again}", "report=false")
    assert done.returncode == 0, done.stderr
    assert (again / "scores.csv").read_bytes() == (out / "scores.csv").read_bytes()
