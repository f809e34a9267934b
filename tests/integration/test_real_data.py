"""The whole pipe on real scans: healthy T1 slabs in, lesions out.

What must hold is asserted, not a tuned figure. Eight slabs of ten slices teach one level of the
brain, so "better than chance" is asked of lesions at that level: a real glioma's shape, dark as
gliomas are on T1, painted into held-out subjects. The whole heads of a glioma and of multiple
sclerosis patients must come back aligned and finite.
"""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest


def _row(subject: str, image: Path, **more: object) -> dict[str, object]:
    return {"subject": subject, "image": image, "sequence": "T1w", **more}


def _paint(slab: Path, shape: np.ndarray, out: Path) -> dict[str, object]:
    """Writes a copy of a slab, in RAS axes, with a lesion of that shape beside the midline."""
    scan, labels = (
        nib.as_closest_canonical(nib.load(slab / name)) for name in ("T1.nii.gz", "labels.nii.gz")
    )
    image, brain = scan.get_fdata(dtype=np.float32), labels.get_fdata() > 0
    centre = np.argwhere(brain).mean(axis=0).astype(int) + np.array([28, 0, 0])
    corner = centre - np.array(shape.shape) // 2
    lesion = np.zeros(image.shape, bool)
    lesion[tuple(slice(c, c + n) for c, n in zip(corner, shape.shape, strict=True))] = shape
    lesion &= brain
    image[lesion] *= 0.45
    paths = {}
    for name, array in (("image", image), ("brain_mask", brain), ("lesion_mask", lesion)):
        paths[name] = out / f"{slab.name}_painted_{name}.nii.gz"
        nib.save(nib.Nifti1Image(array.astype(np.float32), scan.affine), paths[name])
    image_path = paths.pop("image")
    return _row(f"painted{slab.name}", image_path, healthy="false", pathology="painted", **paths)


@pytest.fixture(scope="module")
def listing(real_data, tmp_path_factory) -> Path:
    """A CSV of twelve healthy slabs, two painted ones and three pathological heads, all T1."""
    out = tmp_path_factory.mktemp("real")
    slabs = sorted((real_data / "t1_slabs_1mm").iterdir())[:14]
    rows = []
    for index, slab in enumerate(slabs[:12]):
        image = slab / "T1.nii.gz"
        split = "train" if index < 8 else "val" if index < 10 else "test"
        rows.append(
            _row(slab.name, image, brain_mask=slab / "labels.nii.gz", healthy="true", split=split)
        )
    tumour = next((real_data / "tumour_brats_space").iterdir())
    label = nib.as_closest_canonical(nib.load(tumour / "fused_simple.nii.gz")).get_fdata() > 0
    levels = np.sort(label.sum(axis=(0, 1)).argsort()[-6:])
    shape = label[:, :, levels]
    shape = shape[
        np.ix_(*(shape.any(axis=other).nonzero()[0] for other in ((1, 2), (0, 2), (0, 1))))
    ]
    rows += [_paint(slab, shape, out) for slab in slabs[12:]]
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
    path = out / "scans.csv"
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
        # Processes of their own take longer to start than the tissue maps take here.
        "jobs=1",
        f"paths.cache_dir={listing.parent / 'cache'}",
        f"paths.output_dir={out}",
    ]


def test_real_scans_end_to_end(listing, tmp_path, run):
    out = tmp_path / "run"
    arguments = ["experiment=strega", "max_epochs=20", "postprocess=default"]
    arguments += _options(listing, out)
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
    numbers = scores[scores.metric.isin(["auprc", "auroc", "dice"])]
    # A scan of which more than half is 0 has no threshold of its own.
    numbers = numbers[~((numbers.threshold == "scan") & numbers.threshold_value.isna())]
    assert np.isfinite(numbers.value).all()
    painted = scores[(scores.method == "strega") & (scores.pathology == "painted")]
    assert len(painted[painted.metric == "auprc"]) == 2
    for row in painted[painted.metric == "auprc"].itertuples():
        truth = nib.load(next(r["lesion_mask"] for r in rows if r["subject"] == row.subject))
        brain = nib.load(next(r["brain_mask"] for r in rows if r["subject"] == row.subject))
        chance = (truth.get_fdata() > 0).sum() / (brain.get_fdata() > 0).sum()
        assert row.value > 1.3 * chance
    assert painted[painted.metric == "auroc"].value.min() > 0.55
