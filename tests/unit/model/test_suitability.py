from dataclasses import replace

import numpy as np
import pytest
from tiny import a_record, write_tiny_cohort

from brainuad.cohorts.load import load_scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.evaluation.score_maps import ScoreMaps
from brainuad.model.suitability import (
    contrasts,
    measures_of,
    percentile_of,
    pooled,
    training_statistics,
    unsuitable,
)
from brainuad.preparation.recipes import default
from brainuad.records.statistics import TrainingStatistics
from brainuad.settings.instantiate import instantiate
from brainuad.synthetic.phantom import tiny_subject
from brainuad.types import Volume
from brainuad.volumes.nifti import write_volume

POSTPROCESS = instantiate(
    {
        "_target_": "brainuad.postprocess.pipeline.Postprocess",
        "map_steps": [],
        "threshold": {"_target_": "brainuad.postprocess.threshold.HealthyThreshold"},
        "mask_steps": [],
    }
)


@pytest.fixture
def cohort(tmp_path):
    return write_tiny_cohort(tmp_path / "cohort", train=8, val=4)


@pytest.fixture
def statistics(cohort, tmp_path):
    maps = tmp_path / "maps"
    for index, scan in enumerate(cohort.select("val", "T2w")):
        mask = load_scan(scan)[1][0].numpy()
        score = (index + 1) * mask.astype(np.float32)
        write_volume(maps / f"{scan.subject}_anomaly.nii.gz", score, np.diag([3, 3, 3, 1]))
    return training_statistics(cohort, "T2w", ScoreMaps(MapFolder(maps), POSTPROCESS), False)


def _told(statistics, image, brain_mask):
    measures = measures_of(Volume(image, np.diag([3, 3, 3, 1])), brain_mask, None, False)
    return unsuitable(statistics, image, brain_mask, measures)


def test_statistics_are_of_the_healthy_training_and_validation_scans(statistics):
    assert len(statistics.measures["prepared_ml"]) == 12
    assert len(statistics.measures["distance"]) == 12
    assert statistics.scores == [1, 2, 3, 4]
    assert statistics.spacing_mm == 3
    assert statistics.quantiles[0] < statistics.quantiles[25] < statistics.quantiles[50]
    # Nothing is known of registration and native voxels here, so nothing is compared.
    assert set(statistics.measures) == {"prepared_ml", "distance"}


def test_scans_of_the_cohorts_kind_pass_and_others_do_not(cohort, statistics):
    for scan in cohort.select("test", "T2w", healthy=True):
        image, mask = (item[0].numpy() for item in load_scan(scan))
        assert not _told(statistics, image, mask), scan.subject
    turned = np.where(mask, 1 - image, 0)
    (said,) = _told(statistics, turned.astype(np.float32), mask)
    assert "histogram" in said
    assert "Check the sequence" in said
    half = mask.copy()
    half[:12] = False
    assert any("brain volume after registration" in s for s in _told(statistics, image, half))


def test_small_cohorts_and_old_models_raise_nothing(cohort, statistics):
    image, mask = (item[0].numpy() for item in load_scan(cohort.scans[0]))
    turned = np.where(mask, 1 - image, 0).astype(np.float32)
    assert _told(None, turned, mask) == []
    few = {key: values[:2] for key, values in statistics.measures.items()}
    assert _told(replace(statistics, measures=few), turned, mask) == []


@pytest.mark.parametrize(
    ("native", "flagged"), [((1, 1, 3), False), ((0.5, 0.5, 6.5), True), ((3, 3, 3), False)]
)
def test_coarse_scans_are_flagged_and_no_finer_ones_than_the_grid(
    cohort, statistics, native, flagged
):
    image, mask = (item[0].numpy() for item in load_scan(cohort.scans[0]))
    known = {**statistics.measures, "voxel_mm": [1.0, 1.0, 1.1, 0.9]}
    record = a_record(native_spacing_mm=native)
    own = measures_of(Volume(image, np.diag([3, 3, 3, 1])), mask, record, False)
    said = unsuitable(replace(statistics, measures=known), image, mask, own)
    assert any("too coarse" in reason for reason in said) == flagged


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_statistics_that_are_no_numbers_are_a_flag(cohort, statistics, bad):
    image, mask = (item[0].numpy() for item in load_scan(cohort.scans[0]))
    measures = {key: [*values, bad] for key, values in statistics.measures.items()}
    said = _told(replace(statistics, measures=measures), image, mask)
    assert len(said) == 2
    assert all("no finite number" in reason for reason in said)
    said = _told(replace(statistics, quantiles=[bad] * 51), image, mask)
    assert ["no finite number" in reason for reason in said] == [True]


def test_contrasts_tell_the_sequences_apart():
    signs = {}
    subject = tiny_subject("suitable", seed=0)
    for sequence in ("T1w", "T2w", "FLAIR"):
        image = Volume(subject.images[sequence], subject.affine)
        found = contrasts(image, subject.brain_mask)
        signs[sequence] = found["grey_white"] > 0, found["fluid_white"] > 0
    assert signs == {"T1w": (False, False), "T2w": (True, True), "FLAIR": (True, False)}
    assert contrasts(Volume(image.array, np.eye(4) + 1e6 * np.eye(4)), subject.brain_mask) == {}
    assert default(2.0).in_mni


def test_percentiles_count_ties_by_half():
    known = TrainingStatistics(scores=[1.0, 2.0, 2.0, 3.0])
    found = [percentile_of(known, score) for score in (0.5, 2.0, 2.5, 9.0)]
    assert found == [0, 50, 75, 100]
    assert percentile_of(None, 1.0) is None
    assert percentile_of(TrainingStatistics(), 1.0) is None
    folds = pooled([known, TrainingStatistics(scores=[0.0])])
    assert folds.scores == [0, 1, 2, 2, 3]
    assert pooled([None, known]) is None
