"""2D images through the real commands: every method of slices, and the whole chain."""

import json
import sys
from pathlib import Path

import golden
import numpy as np
import pandas as pd
import pytest
from commands import call
from PIL import Image
from tiny import NARROW, ROOT, brain, lesion

from brainuad.cli.train import main as train
from brainuad.volumes.nifti import read_volume
from brainuad.volumes.planes import image_of

VOLUMES = ("dae_3d", "fpi_3d", "strega_3d")


def write_images(folder: Path) -> Path:
    """A table of eight people with two slices each, the last two with a lesion in one."""
    rows = []
    plan = ["train"] * 3 + ["val"] * 2 + ["test"] * 3
    marked = image_of((lesion()[:, :, 10:11] * 255).astype(np.uint8))
    Image.fromarray(marked).save(folder / "lesion.png")
    for person, split in enumerate(plan):
        for number, height in enumerate((8, 10)):
            image = image_of(brain(person)[0][:, :, height : height + 1])
            sick = person > 5 and number == 1
            if sick:
                image = np.where(marked > 0, np.minimum(image + 0.4, 1), image)
            name = f"p{person}_{number}"
            Image.fromarray((image * 65535).astype(np.uint16)).save(folder / f"{name}.png")
            label = "lesion.png" if sick else ""
            rows.append(f"{name},p{person},{name}.png,{label},{split},{'stroke' if sick else ''}")
    header = "subject,person,image,lesion_mask,split,pathology\n"
    (folder / "slices.csv").write_text(header + "\n".join(rows) + "\n")
    return folder / "slices.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


def words_of(case: golden.Case, table: Path, cache: Path) -> list[str]:
    words = golden.words_of(case, table, cache)
    words = [word for word in words if word not in ("data=folder", "data.spacing_mm=3")]
    return [*words, "data=slices", "data.spacing_mm=null", "data.pixel_mm=3"]


def run(words: list[str], out: Path) -> int:
    with golden.alone():
        sys.argv = ["train.py", *words, f"paths.output_dir={out}"]
        return train()


@pytest.mark.parametrize("name", golden.OF_ANY_COHORT)
def test_every_method_trains_and_detects_on_slices(name, table, tmp_path) -> None:
    out = tmp_path / "run"
    cache = table.parent / "cache"
    words = [*words_of(golden.CASES[name], table, cache), *NARROW.get(name, ())]
    assert run(words, out) == 0
    scores = pd.read_csv(out / "scores.csv")
    own = scores[(scores.metric == "auprc") & (scores.subject != "(pooled)")]
    assert dict(zip(own.subject, own.person, strict=True)) == {"p6_1": "p6", "p7_1": "p7"}
    anomaly = read_volume(out / "p6_1_anomaly.nii.gz").array
    assert anomaly.shape == (24, 28, 1)
    with Image.open(out / "p6_1_anomaly.png") as image:
        top = float(image.info["Description"].split("*")[1].split("/")[0])
        levels = np.asarray(image)
    np.testing.assert_allclose(levels * top / 65535, image_of(anomaly), atol=top / 65535)
    mask = read_volume(out / "p6_1_mask.nii.gz").array
    np.testing.assert_array_equal(
        np.asarray(Image.open(out / "p6_1_mask.png")) / 255, image_of(mask)
    )


def test_what_stands_beside_a_run_takes_slices(table, tmp_path, capsys) -> None:
    """Painted lesions, mirror images, scores relative to healthy ones."""
    words = words_of(golden.CASES["zscore"], table, table.parent / "cache")
    words += ["painted_draws=1", "flips=true", "relative=healthy"]
    assert run(words, tmp_path / "run") == 0
    assert "val/painted_AP" in capsys.readouterr().out


@pytest.mark.parametrize("name", VOLUMES)
def test_a_network_of_volumes_is_refused_in_one_line(name, table, tmp_path, capsys) -> None:
    case = golden.CASES.get(f"volumes_{name.removesuffix('_3d')}", golden.Case(name))
    assert run(words_of(case, table, table.parent / "cache"), tmp_path / "run") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "its scans are slices, and this method's network takes volumes" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("tiling", ["coronal", "planes"])
def test_slices_of_other_planes_are_refused(tiling, table, tmp_path, capsys) -> None:
    words = words_of(golden.CASES["dae"], table, table.parent / "cache")
    words += [f"tiling={tiling}"]
    assert run(words, tmp_path / "run") == 2
    assert "set tiling=axial" in capsys.readouterr().err


def command(*words: str, status: int = 0, said: str = "") -> str:
    done = call(*words, cwd=ROOT)
    assert done.returncode == status, done.stdout + done.stderr
    if said:
        assert said in done.stderr.strip().splitlines()[-1]
    return done.stdout


def test_from_images_to_a_report_and_predictions(table, tmp_path) -> None:
    words = words_of(golden.CASES["vae"], table, tmp_path / "cache")
    words = [word for word in words if word not in ("report=false", "controls=none")]
    run_folder, out = tmp_path / "run", tmp_path / "out"
    command("train.py", *words, f"paths.output_dir={run_folder}")
    summary = json.loads((run_folder / "summary.json").read_text())
    healthy = next(
        row
        for row in summary["results"]
        if (row["method"], row["group"], row["metric"]) == ("vae", "healthy", "fpr_healthy")
        and row["threshold"] == "healthy"
    )
    # Four healthy slices of test, of three people.
    assert healthy["n"] == 3
    page = (run_folder / "report.html").read_text()
    assert page.count("data:image/jpeg") >= 2
    assert "which side is the patient" in page
    # The same images by the model: what it needs is in its card.
    images = tmp_path / "images"
    images.mkdir()
    for name in ("p6_1.png", "p5_0.png"):
        (images / name).write_bytes((table.parent / name).read_bytes())
    command("predict.py", str(run_folder), str(images), str(out), "--device", "cpu",
            "--keep-maps")  # fmt: skip
    rows = pd.read_csv(out / "subjects.csv")
    assert sorted(rows.scan_id) == ["p5_0", "p6_1"]
    assert not (rows.status == "failed").any()
    for kind in ("anomaly", "mask"):
        mine = np.asarray(Image.open(out / "p6_1" / f"p6_1_{kind}.png"))
        run_s = np.asarray(Image.open(run_folder / f"p6_1_{kind}.png"))
        np.testing.assert_allclose(mine.astype(float), run_s, atol=1)
    assert (out / "index.html").is_file()
    findings = pd.read_csv(out / "findings.csv")
    assert findings.side.isna().all()
    assert findings.region.isna().all()
    # Once more: nothing to do.
    said = command("predict.py", str(run_folder), str(images), str(out), "--device",
                   "cpu", "--keep-maps")  # fmt: skip
    assert "2 are done already" in said
    # One image, and the maps of the run scored again.
    single = tmp_path / "single"
    command("predict.py", str(run_folder), str(images / "p6_1.png"), str(single),
            "--device", "cpu", "--no-page")  # fmt: skip
    assert len(pd.read_csv(single / "subjects.csv")) == 1
    # The chain of the experiment.
    place = ["postprocess=baur"]
    place += [word for word in words if word.startswith(("data.", "data=", "paths.cache"))]
    again = tmp_path / "again"
    command("evaluate.py", f"maps={run_folder / 'prepared'}", "name=vae", *place,
            f"paths.output_dir={again}")  # fmt: skip
    first, second = (pd.read_csv(folder / "scores.csv") for folder in (run_folder, again))
    pair = [one[(one.method == "vae") & (one.metric == "auprc")].value for one in (first, second)]
    np.testing.assert_allclose(*pair, rtol=1e-6)
    command("src/brainuad/cli/report.py", str(again))
    command("src/brainuad/cli/report.py", "compare", str(run_folder), str(again), "--out",
            str(tmp_path / "compared"))  # fmt: skip


def test_commands_for_volumes_say_who_takes_images(table, tmp_path) -> None:
    words = [word for word in words_of(golden.CASES["vae"], table.parent, tmp_path / "cache")
             if word not in ("data=slices", "data.pixel_mm=3", "data.spacing_mm=null")]  # fmt: skip
    command("train.py", *words, "data=folder", status=2, said="data=slices takes 2D images")
