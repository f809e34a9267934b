"""A circle in a latent space of one dimension, and in one of two."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import write_tiny_cohort, write_tiny_model
from torch import nn

pytest.importorskip("ripser", reason="the extra `topology` is not installed")

from brainuad.cli.report import main
from brainuad.label_free.topology import compare, encoded, latent_network
from brainuad.machine.files import write_json
from brainuad.reporting.pages.report import make_report
from brainuad.reporting.pages.topology import topology, verdict
from brainuad.reporting.run_folder import read_run

TURN = np.linspace(0, 2 * np.pi, 60, endpoint=False)
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], axis=1)


@pytest.fixture(scope="module")
def cut():
    """The circle by its angle, which is cut at 0."""
    # Trained decoders are smooth, and blur what lies at the two ends.
    end = TURN[-1]
    back = np.interp(TURN, [0, 0.05 * end, 0.95 * end, end], [1, 0.05 * end, 0.95 * end, end - 1])
    return compare(CIRCLE, TURN[:, None], np.stack([np.cos(back), np.sin(back)], axis=1))


def test_a_circle_does_not_fit_on_a_line(cut):
    numbers, arrays = cut
    assert (numbers["loops/data"], numbers["loops/latent"]) == (1, 0)
    assert numbers["distance/latent"] > 0.5
    assert numbers["torn"] > 1.5
    words = " ".join(verdict(numbers))
    assert "The data have 1 loop, the latent vectors none" in words
    assert "expect a seam" in words
    assert "chance" not in words
    assert len(arrays["loops/latent"]) == 0


def test_a_circle_fits_in_a_plane():
    numbers, _ = compare(CIRCLE, 2 * CIRCLE[:, ::-1], CIRCLE)
    assert (numbers["loops/data"], numbers["loops/latent"]) == (1, 1)
    assert numbers["distance/latent"] == pytest.approx(0, abs=1e-6)
    assert "Both have 1 loop" in verdict(numbers)[0]
    assert "inside of a loop" in verdict(numbers)[0]


def test_one_piece_without_a_loop_fits_anywhere():
    shape = {f"{kind}/{cloud}": kind == "pieces" for kind in ("pieces", "loops")
             for cloud in ("data", "latent")}  # fmt: skip
    assert "holds the shape" in verdict(shape)[0]
    assert "3 separate pieces" in " ".join(verdict({**shape, "pieces/data": 3}))


def test_the_report_says_what_the_shape_forces(cut, tmp_path):
    numbers, arrays = cut
    (tmp_path / "provenance.json").write_text("{}")
    assert topology(read_run(tmp_path)) is None
    write_json(tmp_path / "topology.json", numbers)
    np.savez(tmp_path / "topology.npz", **arrays)
    page = make_report(tmp_path).read_text()
    assert 'id="topology"' in page
    assert "expect a seam" in page
    found = topology(read_run(tmp_path))
    assert found is not None
    assert not found.fits


class _Half(nn.Module):
    def encode(self, image):
        return image.flatten(1)[:, :2] / 2, None

    def decode(self, z):
        return 2 * z


def test_latent_vectors_are_the_means_and_methods_without_them_are_named(tmp_path, capfd):
    network = _Half()
    assert latent_network(SimpleNamespace(network=network)) is network
    assert latent_network(SimpleNamespace(network=nn.Identity())) is None
    tiles = torch.rand(5, 2)
    data, latent, decoded = encoded(network, tiles, torch.device("cpu"))
    np.testing.assert_allclose(latent, data / 2)
    np.testing.assert_allclose(decoded, data)
    cohort = write_tiny_cohort(tmp_path / "cohort", train=1, val=1, test=0, sick=0)
    write_tiny_model(tmp_path / "model.ckpt")
    (tmp_path / "provenance.json").write_text(json.dumps({"cohort": {"path": str(cohort.root)}}))
    lines = [f"paths: {{cache_dir: {tmp_path}}}", "jobs: 1", "predict_batch_size: 8"]
    (tmp_path / "config.yaml").write_text("\n".join([*lines, "predict_precision: 32-true"]))
    assert main(["topology", str(tmp_path)]) == 2
    assert "no latent vectors" in capfd.readouterr().err
