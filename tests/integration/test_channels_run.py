"""Runs of the real command on two sequences at once, for every method."""

import json
import sys
from pathlib import Path

import golden
import pandas as pd
import pytest
from tiny import NARROW, write_tiny_channels

from brainuad.cli.evaluate import main as evaluate
from brainuad.cli.report import main as report
from brainuad.cli.train import main as train
from brainuad.model.model import Model
from brainuad.volumes.nifti import read_volume

ONE, BOTH = "data.sequence=T2w", "data.sequence=[T2w,T1w]"
VOLUMES = {"dae_3d": golden.VOLUMES, "fpi_3d": golden.VOLUMES}
WORDS = {"strega": ["input=intensity"], "madad": ["model.sampling.mask_threshold=1.1"], **VOLUMES}
"""Every cell moves: a mask head that was trained for one step may let none go."""
LACKING = "has no T1w scan, where the channels are T2w+T1w; add it, or use fewer sequences"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort in which a training subject lacks a sequence."""
    base = tmp_path_factory.mktemp("channels")
    write_tiny_channels(base / "cohort", lacking="sub02")
    return base


def run(place: Path, name: str, *words: str) -> int:
    """The status of a run in `place/name`."""
    # One chain, behind which the perfect reconstruction is perfect.
    chain = () if name in VOLUMES else ("postprocess=default",)
    words = (*WORDS.get(name, ()), *NARROW.get(name, ()), BOTH, *chain, *words)
    case = golden.Case(name, words)
    own = [w for w in golden.words_of(case, place / "cohort", place / "cache") if w != ONE]
    with golden.alone():
        # One step and one look at validation tiles: what is learned is no matter here.
        short = ["++trainer.limit_train_batches=1", "++trainer.limit_val_batches=1"]
        sys.argv = ["train.py", *own, *short, f"paths.output_dir={place / name}"]
        return train()


@pytest.mark.parametrize("name", [*golden.OF_ANY_COHORT, *VOLUMES])
def test_every_method_takes_the_sequences_of_a_subject_at_once(place: Path, name: str) -> None:
    assert run(place, name) == 3
    out = place / name
    failures = json.loads((out / "provenance.json").read_text())["failures"]
    assert failures == [["sub02", LACKING]]
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores.sequence) == {"T2w+T1w"}
    assert {"sub05", "sub06", "sub07"} <= set(scores.subject)
    found = read_volume(out / "sub06_anomaly.nii.gz").array
    assert found.shape == read_volume(place / "cohort" / "sub06.nii.gz").array.shape
    assert found.max() > 0
    perfect = scores[(scores.method == "oracle_reconstruction") & (scores.metric == "auprc")]
    assert perfect.value.min() == 1
    card = Model.load(out).card
    assert card.sequence == "T2w+T1w"
    assert card.run["data"]["sequence"] == ["T2w", "T1w"]


def test_what_stands_beside_a_run_knows_its_channels(place: Path, capsys) -> None:
    words = ["relative=healthy", "flips=true", "painted_draws=1", "model/residual=l1_side"]
    words += ["report=true", "controls=default"]
    assert run(place, "vae", *words) == 3
    said = capsys.readouterr().out
    assert "val/painted_AP" in said
    out = place / "vae"
    assert Model.load(out).card.model["residual"]["sign"] == ["positive", "negative"]
    page = (out / "report.html").read_text()
    assert "T2w+T1w" in page
    assert page.count("<img") > 2
    scores = place / "scored"
    with golden.alone():
        sys.argv = [
            *("evaluate.py", "data=folder", f"data.source={place / 'cohort'}", BOTH),
            *(f"maps={out / 'prepared'}", f"paths.output_dir={scores}"),
        ]
        assert evaluate() == 3
    own, again = (pd.read_csv(folder / "scores.csv") for folder in (out, scores))
    key = ["subject", "threshold", "metric"]
    own, again = (
        table[table.method.isin([method]) & (table.metric == "auprc")].set_index(key).value
        for table, method in ((own, "vae"), (again, "method"))
    )
    assert len(own) == 2
    pd.testing.assert_series_equal(own, again)
    with golden.alone():
        assert report(["difficulty", str(out), "--draws", "1"]) == 0


@pytest.mark.parametrize(
    ("name", "words", "reason"),
    [
        ("strega", ["input=tissue"], "tissue maps are made of one sequence; set data.sequence"),
        ("vae", ["model.network.channels=1"], "takes 1 channels and got 2; data.sequence has 2"),
        (
            "vae",
            ["data.sequence=T1w", "model.network.channels=2"],
            "takes 2 channels and got 1; data.sequence has",
        ),
        ("madad", ["model.first_stage=ONE"], "takes 1 channels, data.sequence names 2; leave"),
    ],
)
def test_what_takes_one_sequence_says_so_in_one_line(
    place: Path, capsys, name: str, words: list[str], reason: str
) -> None:
    if name == "madad":
        case = golden.Case("autoencoder")
        one = golden.words_of(case, place / "cohort", place / "cache")
        stage = golden.train(one, place / "one") / "model.ckpt"
        words = [word.replace("ONE", str(stage)) for word in words]
        capsys.readouterr()
    assert run(place, name, *words, f"name=refused_{name}") == 2
    said = capsys.readouterr().err.strip().splitlines()
    # The names of experiments have changed, and each run says so for a release.
    (line,) = [line for line in said if not line.startswith("note: ")]
    assert line.startswith("error: ")
    assert reason in line
