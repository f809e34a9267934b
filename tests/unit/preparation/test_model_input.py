"""What a method sees: intensities, or tissue maps made on the way."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import AFFINE, brain

from brainuad.cohorts.map_folder import MapFolder
from brainuad.inference.maps import fill
from brainuad.machine.failures import Failures
from brainuad.methods.parts.residuals import signed
from brainuad.methods.strega import StRegA
from brainuad.model.model import Model
from brainuad.model.runtime import Runtime
from brainuad.networks.context_vae import ContextVAE
from brainuad.preparation import model_input
from brainuad.preparation.model_input import as_input
from brainuad.preparation.tissue.segment import TissueInput
from brainuad.volumes.nifti import read_mask, read_volume, write_volume
from brainuad.volumes.tiling import SliceTiling


def test_intensities_are_the_scans_themselves(tiny_cohort, tmp_path):
    assert as_input(tiny_cohort.scans, None, tmp_path) == (tiny_cohort.scans, [])
    assert not (tmp_path / "tissue").exists()


@pytest.mark.slow
def test_tissue_maps_are_those_of_the_segmentation(tiny_cohort, tmp_path):
    scans = tiny_cohort.scans[:2]
    seen, failures = as_input(scans, TissueInput(soft=False), tmp_path, jobs=2)
    assert failures == []
    assert [s.subject for s in seen] == [s.subject for s in scans]
    for scan, shown in zip(scans, seen, strict=True):
        assert replace(shown, view=()) == scan
        volume, found = read_volume(scan.image), read_volume(shown.view[0])
        mask = read_mask(scan.brain_mask)
        expected = TissueInput().segment(volume.array, mask, (3.0, 3.0, 3.0)).labels / 3
        np.testing.assert_allclose(found.array, expected, atol=1e-6)
        np.testing.assert_allclose(found.affine, volume.affine)


def test_maps_are_made_once_and_anew_when_something_changes(tiny_cohort, tmp_path, monkeypatch):
    scan = tiny_cohort.scans[0]

    def made(tissue):
        return as_input([scan], tissue, tmp_path)[0][0].view[0]

    first = made(TissueInput())
    time = first.stat().st_mtime_ns
    assert made(TissueInput()) == first
    assert first.stat().st_mtime_ns == time
    assert made(TissueInput(classes=2)) != first
    with monkeypatch.context() as patch:
        patch.setattr(model_input, "VERSION", model_input.VERSION + 1)
        assert made(TissueInput()) != first
    write_volume(scan.image, brain(99)[0], AFFINE)
    assert made(TissueInput()) != first


def test_a_scan_without_tissues_is_listed_and_the_others_go_on(tiny_cohort, tmp_path):
    good, bad = tiny_cohort.scans[:2]
    image, mask = brain(1)
    write_volume(bad.image, np.where(mask, 0.5, 0), AFFINE)
    seen, failures = as_input([bad, good], TissueInput(), tmp_path)
    assert [s.subject for s in seen] == [good.subject]
    assert failures[0][0] == bad.subject
    assert str(bad.image) in failures[0][1]
    assert "distinct values" in failures[0][1]
    assert image.shape == mask.shape


@pytest.mark.parametrize("samples", [0, 3])
def test_what_was_seen_and_how_sure_it_is_lie_beside_the_map(tiny_cohort, tmp_path, samples):
    torch.manual_seed(0)
    detector = StRegA(ContextVAE((32, 32), 1, (4, 8), 6), signed, n_samples=samples)
    runtime = Runtime(batch_size=8, cache=tmp_path)
    tiling = SliceTiling("axial", (32, 32))
    model = Model(detector, None, tiling, TissueInput(), runtime=runtime)
    seen, _ = as_input(tiny_cohort.scans[:1], TissueInput(), tmp_path)
    out, failures = tmp_path / "maps", Failures()
    fill(MapFolder(out), tiny_cohort.scans[:1], model, failures, "title")
    assert not failures
    name = seen[0].subject
    kept = read_volume(out / f"{name}_input.nii.gz").array
    np.testing.assert_allclose(kept, read_volume(seen[0].view[0]).array, atol=1e-6)
    uncertainty = out / f"{name}_uncertainty.nii.gz"
    assert uncertainty.is_file() == (samples > 0)
    if samples:
        mask = read_mask(seen[0].brain_mask)
        values = read_volume(uncertainty).array
        assert (values[mask] > 0).mean() > 0.99
        assert not values[~mask].any()
