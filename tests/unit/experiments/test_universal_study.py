"""The study of the shipped models on synthetic scans: what is left out, drawn and chosen."""

import pandas as pd
import pytest
import torch
from tiny import ROOT
from torch import Tensor, nn


@pytest.fixture
def study(monkeypatch):
    """The module of the study; studies are no part of the package."""
    monkeypatch.syspath_prepend(ROOT)
    from experiments.universal import synthetic

    return synthetic


@pytest.fixture
def tables(monkeypatch):
    """The module of its tables."""
    monkeypatch.syspath_prepend(ROOT)
    from experiments.universal import synthetic_tables

    return synthetic_tables


class Counted(nn.Module):
    """Returns its input and counts its calls."""

    calls = 0

    def forward(self, given: Tensor) -> Tensor:
        self.calls += 1
        return given


def test_a_part_of_the_input_is_left_out_and_the_rest_stays(study):
    given = torch.arange(6.0).reshape(1, 6, 1, 1, 1) + 1
    channels = study.Channels(Counted())
    assert channels(given).flatten().tolist() == [1, 2, 3, 4, 5, 6]
    channels.without = "mirror"
    assert channels(given).flatten().tolist() == [1, 1, 3, 4, 5, 6]
    channels.without = "priors"
    assert channels(given).flatten().tolist() == [1, 2, 3, 0, 0, 0]
    assert given.flatten().tolist() == [1, 2, 3, 4, 5, 6]


def test_an_input_that_comes_twice_is_computed_once(study):
    network = Counted()
    channels = study.Channels(network)
    given = torch.rand(1, 6, 2, 2, 2)
    assert torch.equal(channels(given), channels(given.clone()))
    assert network.calls == 1
    channels(given + 1)
    assert network.calls == 2


def test_no_person_of_the_validation_is_one_of_the_test(study):
    found = study.jobs(8)
    assert len(found) == len({job.name for job in found}) == 4 + 8 + 4
    assert {job.person for job in found if job.disease == "none"} == {100, 101, 102, 103}


def row(score: str, ap: float, dice: float, **other: object) -> dict[str, object]:
    """Of a FLAIR scan."""
    about = {"sequence": "FLAIR", "model": "FLAIR", "split": "val", "scan": "a", "person": 0}
    return {**about, "disease": "ms", "lesion_ml": 2.0, "marked_ml": 1.0} | {
        "score": score,
        "ap": ap,
        "dice": dice,
        **other,
    }


SCORES = [
    row("lesion head", 0.9, 0.9),
    row("residual 0.1", 0.3, 0.1),
    row("residual 0.2", 0.3, 0.2),
    row("mean 0.1", 0.5, 0.4),
    row("product 0.1", 0.6, 0.1),
]


def test_the_residual_is_chosen_by_dice_and_the_fusion_by_ap(tables):
    assert tables.choices(pd.DataFrame(SCORES)) == {"FLAIR": ("residual 0.2", "product 0.1")}


def test_the_tables_say_what_was_chosen_on_the_validation(tables, tmp_path):
    test = [row(str(s["score"]), 0.25, 0.125, split="test", scan="b") for s in SCORES]
    parts = ("without mirror", "without priors", "off the atlas")
    test += [row(name, 0.25, 0.125, split="test", scan="b") for name in parts]
    none = {"split": "test", "scan": "c", "disease": "none"}
    test += [row(name, 0.5, 0.5, **none) for name in ("painted ellipsoids", "painted mixture")]
    nothing = float("nan")
    test += [row("lesion head", nothing, nothing, **{**none, "lesion_ml": 0.0, "marked_ml": 3.0})]
    test += [row("lesion head", 0.75, 0.5, sequence="PD", split=s) for s in ("val", "test")]
    tables.write_tables(pd.DataFrame([*SCORES, *test]), tmp_path)
    text = (tmp_path / "synthetic.md").read_text()
    fusion = next(line for line in text.splitlines() if line.startswith("| fusion"))
    assert "0.250 [0.250, 0.250], 0.125" in fusion
    assert "(product 0.1); p = 1" in fusion
    assert "| FLAIR | FLAIR | 3.00 | 3.00 | 0 of 1 |" in text
    assert "| FLAIR | 0.750 [0.750, 0.750], 0.500 [0.500, 0.500] (1)" in text
