"""Cohorts of slices: a person's slices together, and what each rule adds, worked out by hand."""

import os
import resource
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from test_maps import PLAIN

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.errors import InputError
from brainuad.evaluation.maps import evaluate_maps
from brainuad.evaluation.results import write_evaluation
from brainuad.evaluation.slices import SliceProtocol, evaluate_slices
from brainuad.records.run import RunRecord
from brainuad.records.summary import Result
from brainuad.reporting.tables import flatter_table, summary_table
from brainuad.volumes.nifti import write_volume

PLAIN_SLICES = SliceProtocol("plain", None, 0.0, False, "pooled", None)
SIDE = 16


def box(top, left, height, width, side=SIDE):
    plane = np.zeros((side, side), bool)
    plane[top : top + height, left : left + width] = True
    return plane


class Slices:
    """A cohort of single slices and a folder of their maps."""

    def __init__(self, root):
        self.root, self.scans, self.maps = root, [], root / "maps"
        self.affine = np.diag([1.0, 1.0, 1.0, 1.0])

    def add(self, name, person, score, lesion=None, healthy=None, split="test", brain=None):
        """A slice; `lesion` None for no label."""
        brain = np.ones(score.shape, bool) if brain is None else brain
        write_volume(self.maps / f"{name}_anomaly.nii.gz", self.plane(score), self.affine)
        paths = {"image": score, "brain_mask": brain} | (
            {} if lesion is None else {"lesion_mask": lesion}
        )
        for what, array in paths.items():
            write_volume(self.root / f"{name}_{what}.nii.gz", self.plane(array), self.affine)
            paths[what] = self.root / f"{name}_{what}.nii.gz"
        healthy = (lesion is None or not lesion.any()) if healthy is None else healthy
        scan = Scan(name, "FLAIR", healthy=healthy, split=split, **paths)
        object.__setattr__(scan, "person", person)
        self.scans.append(scan)

    @staticmethod
    def plane(array):
        return np.asarray(array, np.float32)[..., None]

    def evaluate(self, protocol=PLAIN_SLICES):
        cohort = Cohort(self.root, tuple(self.scans), {"name": "slices"})
        return evaluate_slices(cohort, "FLAIR", {"own": self.maps}, PLAIN, protocol)


@pytest.fixture
def slices(tmp_path):
    return Slices(tmp_path)


NOTHING = np.zeros((SIDE, SIDE), bool)


def by_hand(slices):
    """Two people with lesions, one without, in five slices; the healthy threshold is 0.5."""
    slices.add("v", "V", np.full((SIDE, SIDE), 0.5, np.float32), split="val")
    found = box(2, 2, 4, 4)
    # A: 16 of 16 pixels, and one wrong pixel in another slice of hers.
    slices.add("a1", "A", found, found)
    slices.add("a2", "A", box(9, 9, 1, 1), NOTHING)
    # B: 12 pixels found, 20 in the other slice missed.
    slices.add("b1", "B", box(2, 2, 3, 4), box(2, 2, 3, 4))
    slices.add("b2", "B", NOTHING, box(8, 8, 4, 5))
    slices.add("c1", "C", NOTHING, NOTHING)
    return slices


def table(evaluation, metric="dice"):
    part = evaluation.flatter[evaluation.flatter.metric == metric]
    return part.set_index("rule")


def test_every_rule_by_hand(slices):
    found = by_hand(slices).evaluate()
    assert found.failures == []
    rows = table(found)
    a, b = 32 / 33, 24 / 44
    expected = {
        "ours": (a + b) / 2,
        "oracle threshold": (a + b) / 2,
        # A's first slice is perfect, the larger lesion of B was missed.
        "largest slice only": 0.5,
        "64 x 64 maps": rows.value["64 x 64 maps"],
        "all pixels pooled": 2 * 28 / (29 + 48),
        "mean over lesion slices": 2 / 3,
        # a1 1, a2 0, b1 1, b2 0, c1 1.
        "empty slices count 1": 3 / 5,
        # Ten pixels and more are kept: A loses the wrong one.
        "filter by oracle": (1 + b) / 2,
        "all of plain": 2 * 28 / (29 + 48),
    }
    assert rows.value.to_dict() == pytest.approx(expected)
    assert rows.threshold_value["ours"] == 0.5
    assert 0.99 < rows.threshold_value["oracle threshold"] < 1
    assert rows.n.to_dict() == dict.fromkeys(rows.index, 2) | {
        "all pixels pooled": 5,
        "mean over lesion slices": 3,
        "empty slices count 1": 5,
        "all of plain": 5,
    }
    for rule, row in rows.iterrows():
        if rule != "ours":
            assert row.difference == pytest.approx(row.value - rows.value[row.against])


def test_small_lesions_vanish_at_64_pixels(slices):
    """Of 128 pixels every second is kept by a mask, and a mean of four by a map."""
    side = 128
    slices.add("v", "V", np.full((side, side), 0.5, np.float32), split="val")
    slices.add("a", "A", box(10, 10, 4, 4, side), box(10, 10, 4, 4, side))
    slices.add("b", "B", np.zeros((side, side), bool), box(31, 31, 1, 1, side))
    rows = table(slices.evaluate())
    assert rows.value["ours"] == 0.5
    assert rows.value["64 x 64 maps"] == 1
    assert rows.n["64 x 64 maps"] == 1
    # The wrong half is not in its own place.
    assert rows.value["largest slice only"] == 0.5


def test_areas_are_those_of_the_pixels(slices):
    rng = np.random.default_rng(1)
    brain = box(3, 3, 10, 10)
    score, truth = {}, {}
    for name, person in (("a1", "A"), ("a2", "A"), ("b1", "B"), ("c1", "C")):
        truth[name] = box(5, 5, 3, 3) if name != "c1" else NOTHING
        score[name] = np.where(brain, rng.random((SIDE, SIDE)) + truth[name], 0).astype(np.float32)
        slices.add(name, person, score[name], truth[name], brain=brain)
    found = slices.evaluate()

    def pixels(names, inside):
        return [np.concatenate([x[n][inside] for n in names]) for x in (truth, score)]

    everything = np.ones_like(brain)
    for metric, function in (("auroc", roc_auc_score), ("ap", average_precision_score)):
        rows = table(found, metric)
        people = [function(*pixels(names, brain)) for names in (["a1", "a2"], ["b1"])]
        assert rows.value["ours"] == pytest.approx(np.mean(people))
        pooled = function(*pixels(score, brain))
        assert rows.value["brains pooled"] == pytest.approx(pooled)
        whole = function(*pixels(score, everything))
        assert rows.value["with background"] == pytest.approx(whole)
        assert rows.value["all of plain"] == pytest.approx(whole)
        assert rows.difference["with background"] == pytest.approx(whole - pooled)
    # Nobody healthy in val: the table starts from the oracle, and says so.
    assert set(table(found).threshold) == {"oracle", ""}
    assert "oracle threshold" not in table(found).index


def test_without_masks_images_are_scored_alone(slices):
    """MedIAnomaly's BrainTumor has labels of images only."""
    for n in range(3):
        slices.add(f"h{n}", f"H{n}", np.full((SIDE, SIDE), 0.1 * n, np.float32))
        bright = np.full((SIDE, SIDE), 0.15 + 0.1 * n, np.float32)
        slices.add(f"s{n}", f"S{n}", bright, healthy=False)
    found = slices.evaluate(replace(PLAIN_SLICES, dice="quantiles"))
    assert found.failures == []
    values = found.scores.set_index("metric").value
    # 0, 0.1, 0.2 against 0.15, 0.25, 0.35: one pair of nine is in the wrong order.
    assert values["slice_auroc"] == pytest.approx(8 / 9)
    assert values["slices"] == 6
    assert np.isnan(values["auprc_pooled"])
    assert np.isnan(values["dice_pooled"])
    assert found.flatter.empty


def test_a_volume_without_its_mask_is_still_a_failure(slices):
    by_hand(slices)
    thick = np.zeros((SIDE, SIDE, 2), np.float32)
    for what in ("image", "brain_mask"):
        write_volume(slices.root / f"t_{what}.nii.gz", thick + 1, slices.affine)
    write_volume(slices.maps / "t_anomaly.nii.gz", thick, slices.affine)
    paths = {what: slices.root / f"t_{what}.nii.gz" for what in ("image", "brain_mask")}
    slices.scans.append(Scan("t", "FLAIR", healthy=False, split="test", **paths))
    ((name, reason),) = slices.evaluate().failures
    assert name == "t"
    assert "pathological without a lesion mask" in reason


def test_an_image_counts_as_its_folder_says(slices):
    """BMAD's Ungood holds slices with an empty mask."""
    slices.add("good", "A", np.zeros((SIDE, SIDE), np.float32))
    slices.add("ungood", "B", box(0, 0, 1, 1), NOTHING, healthy=False)
    slices.add("tumour", "C", box(0, 0, 8, 8), box(0, 0, 8, 8))
    protocol = replace(PLAIN_SLICES, image_score="max", pro=True)
    values = slices.evaluate(protocol).scores.set_index("metric").value
    assert values["slice_auroc"] == 1
    assert values["pro_pooled"] > 0.99


def test_the_largest_slice_of_each_person(slices):
    protocol = SliceProtocol("largest", None, 0.0, False, "shared", None, largest_only=True)
    found = by_hand(slices).evaluate(protocol).scores
    assert found[found.metric == "slices"].value.tolist() == [2]
    dice = found[found.metric == "dice_slice"].set_index("threshold").value
    # b2 has 20 pixels of 256 and no score at all.
    assert dice["oracle"] == pytest.approx(0.5)
    assert dice["oracle_subject"] == pytest.approx((1 + 40 / 276) / 2)


def test_filters_are_chosen_on_pathological_val_slices(slices):
    protocol = SliceProtocol("folds", (SIDE, SIDE), 0.0, False, "folds", None)
    by_hand(slices)
    without = slices.evaluate(protocol).scores.set_index("metric").value
    assert (without["tuned_on_val"], without["smallest_pixels"]) == (0, 10)
    # Here a lesion of one pixel forbids both filters.
    slices.add("w", "W", box(4, 4, 1, 1), box(4, 4, 1, 1), split="val")
    values = slices.evaluate(protocol).scores.set_index("metric").value
    assert (values["tuned_on_val"], values["median_pixels"], values["smallest_pixels"]) == (1, 0, 0)


def test_the_table_is_written_and_printed(slices, tmp_path, capsys):
    from rich.console import Console

    found = by_hand(slices).evaluate()
    write_evaluation(found, tmp_path / "out", RunRecord())
    text = (tmp_path / "out" / "flatter.csv").read_text()
    assert text.startswith("method,rule,against,metric,threshold,threshold_value,value,difference")
    Console(width=100).print(flatter_table(found.flatter))
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if "largest slice" in line)
    assert "0.500 (-0.258)" in line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_score": "median"}, "image_score is 'median'; use mean or max"),
        ({"dice": "folds"}, "dice is 'folds', which filters slices of one size"),
    ],
)
def test_bad_protocols_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        replace(PLAIN_SLICES, **change)


def test_volumes_protocol_opens_no_file_for_each_slice(slices):
    """Benchmarks have thousands of slices, most systems 1,024 open files a program."""
    for n in range(30):
        slices.add(f"v{n}", f"v{n}", np.full((SIDE, SIDE), 0.5, np.float32), split="val")
        slices.add(f"t{n}", f"t{n}", box(2, 2, 4, 4), box(2, 2, 4, 4))
    cohort = Cohort(slices.root, tuple(slices.scans), {"name": "slices"})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    try:
        found = evaluate_maps(cohort, "FLAIR", {"own": slices.maps}, PLAIN)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found.failures == []


def test_no_map_at_all_is_refused(slices):
    by_hand(slices)
    for path in slices.maps.iterdir():
        path.unlink()
    with pytest.raises(InputError, match="no slice could be scored"):
        slices.evaluate()


def test_the_scores_of_slices_fit_a_terminal(capsys):
    from rich.console import Console

    keys = [("oracle_201", "dice_slice"), ("oracle", "dice_pooled")] + [
        ("none", name) for name in ("auprc_pooled", "auroc_pooled", "slice_auroc", "slices")
    ]
    results = [Result("oracle_reconstruction", "pooled", t, m, mean=0.5) for t, m in keys]
    Console(width=80).print(summary_table(results, "slice:madad"))
    said = capsys.readouterr().out
    assert "⌈slice Dice⌉" in said
    assert "…" not in said
