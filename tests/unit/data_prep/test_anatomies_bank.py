"""`python -m data_prep anatomies`: from label maps as they come to a bank in MNI152 space."""

import numpy as np
import pytest
from tiny_head import tiny_labels

from brainuad.synthetic.anatomies.bank import read_bank
from brainuad.volumes.nifti import write_volume
from brainuad.volumes.template import load_template
from data_prep.__main__ import main


def _write_turned(path, shift_mm=(6.0, -5.0, 4.0), scale=1.06):
    """The tiny head with axes L, I, A, larger and elsewhere."""
    labels = tiny_labels()
    array = labels.array[::-1, :, ::-1].transpose(0, 2, 1)
    affine = labels.affine.copy()
    last = np.array([labels.array.shape[0] - 1, 0, labels.array.shape[2] - 1, 1])
    affine[:, 3] = labels.affine @ last
    affine[:, 0], affine[:, 1], affine[:, 2] = (
        -labels.affine[:, 0],
        -labels.affine[:, 2],
        labels.affine[:, 1],
    )
    grow = np.diag([scale, scale, scale, 1.0])
    grow[:3, 3] = shift_mm
    write_volume(path, array, grow @ affine, np.uint16)


@pytest.fixture
def maps(tmp_path):
    folder = tmp_path / "maps"
    _write_turned(folder / "head.nii.gz")
    return folder


@pytest.mark.slow
def test_a_bank_is_made_and_one_bad_map_stops_nothing(maps, tmp_path, capsys):
    labels = tiny_labels()
    write_volume(maps / "odd.nii.gz", labels.array * 0 + 999, labels.affine, np.uint16)
    masks = tmp_path / "masks"
    mask = np.zeros(labels.array.shape)
    mask[30:36, 50:56, 50:56] = 1
    write_volume(masks / "one.nii.gz", mask, labels.affine, np.uint8)
    out = tmp_path / "bank"
    words = ["anatomies", str(maps), str(out), "--spacing-mm", "4", "--lesions", f"ms={masks}"]
    assert main(words) == 3
    assert "odd.nii.gz: label 999 is neither" in capsys.readouterr().err
    bank = read_bank(out)
    assert (bank.names, bank.kinds) == (("head",), ("ms",))
    assert bank.info["anatomies"][0]["brain_ml"] > 1000
    template = load_template(4.0)
    white = bank.anatomy("head").tissues[0] / 255
    # Registered: its white matter lies on the template's, in the same axes.
    assert np.corrcoef(white.ravel(), template.white.ravel())[0, 1] > 0.9
    shape = bank.shapes("ms").full(0)
    assert shape.sum() * 4**3 == pytest.approx(6**3 * 8, rel=0.1)
    # What is done is not done again.
    before = (out / "head.npz").stat().st_mtime_ns
    (maps / "odd.nii.gz").unlink()
    assert main(words[:5]) == 0
    assert (out / "head.npz").stat().st_mtime_ns == before
    assert read_bank(out).kinds == ("ms",)


def test_wrong_words_are_refused(maps, tmp_path, capsys):
    out = str(tmp_path / "bank")
    for words, message in (
        (["--lesions", "ms"], "write KIND=FOLDER"),
        (["--lesions", f"flu={maps}"], "unknown kind; use one of stroke"),
        (["--spacing-mm", "0.2"], "use 1 or more"),
    ):
        assert main(["anatomies", str(maps), out, *words]) == 2
        assert message in capsys.readouterr().err
    assert main(["anatomies", str(tmp_path / "nowhere"), out]) == 2
    assert "no such folder" in capsys.readouterr().err
