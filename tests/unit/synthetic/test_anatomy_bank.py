"""Banks of anatomies: partial volumes of label maps, files, and what they refuse."""

import numpy as np
import pytest
from tiny_head import LESION, tiny_labels, write_tiny_bank

from brainuad.errors import InputError
from brainuad.synthetic.anatomies.bank import read_bank, write_bank_index
from brainuad.synthetic.anatomies.classes import CLASSES, LABELS
from brainuad.synthetic.anatomies.grid import head_grid, margin
from brainuad.synthetic.anatomies.partial_volumes import partial_volumes, read_labels
from brainuad.synthetic.anatomies.shapes import Shapes
from brainuad.types import Volume
from brainuad.volumes.template import load_template


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_tiny_bank(tmp_path_factory.mktemp("bank"))


def test_no_label_is_in_two_classes():
    labels = [label for own in LABELS.values() for label in own]
    assert len(labels) == len(set(labels))
    assert len(CLASSES) == 16


def test_volumes_of_the_classes_are_those_of_the_labels(bank):
    labels = tiny_labels().array
    anatomy = bank.anatomy("tiny", "head")
    for name in ("white", "cortex", "ventricles", "bone"):
        voxels = np.isin(labels, LABELS[name]).sum() * 2**3
        share = anatomy.tissues[CLASSES.index(name)].sum(dtype=float) / 255 * 4**3
        assert share == pytest.approx(voxels, rel=0.02), name
    assert anatomy.tissues.sum(0, dtype=int).max() <= 257  # Rounding of up to 16 shares.


def test_the_brain_is_the_template_s_with_its_csf_and_without_the_skull(bank):
    brain = bank.anatomy("tiny").brain > 127
    template = load_template(4.0).brain > 0.5
    overlap = 2 * (brain & template).sum() / (brain.sum() + template.sum())
    assert overlap > 0.93
    bone = bank.anatomy("tiny").tissues[CLASSES.index("bone")]
    assert not (brain & (bone > 200)).any()


def test_the_map_s_own_lesions_are_white_matter_and_kept_apart(bank):
    anatomy = bank.anatomy("tiny")
    kept = anatomy.lesions.sum(dtype=float) / 255 * 4**3
    assert kept == pytest.approx(np.prod([s.stop - s.start for s in LESION]) * 8, rel=0.1)
    where = anatomy.lesions > 250
    assert where.any()
    assert (anatomy.tissues[0][where] > 250).all()


def test_a_matrix_moves_the_map(bank):
    matrix = np.eye(4)
    matrix[0, 3] = 8.0
    moved = partial_volumes(tiny_labels(), matrix, head_grid(4.0), "tiny")
    still = bank.anatomy("tiny", "head")
    # What lies at x in the grid's world is at x + 8 mm in the map's.
    assert np.array_equal(moved.tissues[:, :-2], still.tissues[:, 2:])


def test_brain_and_head_share_their_voxels(bank):
    brain, head = bank.anatomy("tiny"), bank.anatomy("tiny", "head")
    first = np.array(margin(4.0))
    part = tuple(slice(a, a + n) for a, n in zip(first, brain.brain.shape, strict=True))
    assert np.array_equal(head.brain[part], brain.brain)
    world = bank.affine("head") @ [*first, 1]
    assert np.allclose(bank.affine("brain")[:, 3], world)
    assert np.allclose(bank.affine("brain"), load_template(4.0).affine)


def test_shapes_come_back_as_they_were(bank):
    masks = [np.zeros((9, 8, 7), np.uint8) for _ in range(2)]
    masks[0][2:4, 3:6, 1:2] = 200
    masks[1][0, 7, 6] = 255
    shapes = Shapes.of([*masks, np.zeros((9, 8, 7), np.uint8)], (9, 8, 7))
    assert len(shapes) == 2
    for first, size in (((0, 0, 0), (9, 8, 7)), ((1, 2, 1), (7, 5, 6))):
        read = Shapes.from_arrays(shapes.to_arrays(), first, size)
        for index, mask in enumerate(masks):
            part = mask[tuple(slice(a, a + n) for a, n in zip(first, size, strict=True))]
            assert np.allclose(read.full(index), part / 255)
    assert len(bank.shapes("stroke")) == 2
    assert len(bank.shapes("ms")) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: np.where(a == 51, 999, a), "label 999 is neither"),
        (lambda a: np.where(a == 24, 0, a), "has no sulcal CSF"),
        (lambda a: a + 0.5, "other values than labels"),
    ],
)
def test_other_maps_are_refused_in_one_line(change, message):
    labels = tiny_labels()

    def make():
        volume = Volume(change(labels.array), labels.affine)
        read = Volume(read_labels(volume, "seg.nii.gz"), labels.affine)
        return partial_volumes(read, np.eye(4), head_grid(8.0), "seg.nii.gz")

    with pytest.raises(InputError, match=f"^seg.nii.gz: .*{message}") as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_bank_that_is_none_or_damaged_is_refused(tmp_path):
    with pytest.raises(InputError, match="no bank of anatomies"):
        read_bank(tmp_path)
    bank = write_tiny_bank(tmp_path, 8.0)
    path = tmp_path / "tiny.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"tiny.npz: damaged .*data_prep anatomies"):
        bank.anatomy("tiny")
    write_bank_index(tmp_path, 8.0, [{"name": "../tiny"}], lesions=[])
    with pytest.raises(InputError, match="not the list of a bank"):
        read_bank(tmp_path)
    # An anatomy of another spacing.
    write_tiny_bank(tmp_path, 8.0)
    write_bank_index(tmp_path, 4.0, [{"name": "tiny"}], lesions=[])
    with pytest.raises(InputError, match="other arrays than an anatomy's"):
        read_bank(tmp_path).anatomy("tiny")
