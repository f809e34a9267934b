"""Real healthy scans as anatomies: their classes, their image, other sequences, and refusals."""

import dataclasses

import numpy as np
import pytest
import torch
from test_anatomy_scans import CLEAN, STILL
from tiny_head import write_tiny_bank

from brainuad.cohorts.manifest import Scan, write_cohort
from brainuad.errors import InputError
from brainuad.synthetic.anatomies.backgrounds import Backgrounds, make_backgrounds
from brainuad.synthetic.anatomies.classes import CLASSES, CSF, GREY, WHITE
from brainuad.synthetic.anatomies.contrast import RELATIVE, draw_contrast
from brainuad.synthetic.anatomies.draws import Draws
from brainuad.synthetic.anatomies.mass_effect import push
from brainuad.synthetic.anatomies.real_image import real_image
from brainuad.synthetic.anatomies.scan import ScanGenerator
from brainuad.volumes.nifti import write_volume

WHITE_VALUE = 0.6
"""White matter of the scan that stands in for a real one, in the unit of its file."""

BRAIN = [index for index, name in enumerate(CLASSES) if name not in ("vessels", "bone")][:-1]


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_tiny_bank(tmp_path_factory.mktemp("bank"))


@pytest.fixture(scope="module")
def head(bank):
    """The brain of the tiny head, as T1w shows it: image, mask, and the true shares."""
    stored = bank.anatomy("tiny")
    inside = stored.brain > 127
    shares = stored.tissues[BRAIN] / 255.0
    shares = shares / np.maximum(shares.sum(0), 1e-3)
    usual = np.array([RELATIVE["T1w"][CLASSES[index]][1] for index in BRAIN])
    image = WHITE_VALUE * np.tensordot(usual, shares, 1) * inside
    return image.astype(np.float32), inside, shares


@pytest.fixture(scope="module")
def cohort(bank, head, tmp_path_factory):
    """Return a function that writes a cohort of copies of the head."""
    image, inside, _ = head

    def made(people, sequence="T1w", shift_mm=0.0):
        root = tmp_path_factory.mktemp("cohort")
        affine = bank.affine()
        affine[1, 3] += shift_mm
        scans = []
        for number, (subject, split, healthy) in enumerate(people):
            path, mask = root / f"{subject}.nii.gz", root / f"{subject}_brain.nii.gz"
            # Copies of one scan under two names are refused elsewhere.
            write_volume(path, image * (1 + 0.01 * number), affine)
            write_volume(mask, inside, affine, np.uint8)
            scans.append(Scan(subject, sequence, path, mask, healthy, split))
        write_cohort(root, scans, {"name": "real"})
        return root

    return made


@pytest.fixture(scope="module")
def backgrounds(bank, cohort, tmp_path_factory):
    folder = cohort([("a", "train", True), ("b", "val", True)])
    return make_backgrounds(folder, bank, ["tiny"], "T1w", "train", tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="module")
def plain(bank, backgrounds):
    """A generator whose anatomies are all real, and that changes nothing but for lesions."""
    return ScanGenerator(
        bank, warp=STILL, scanner=CLEAN, backgrounds=backgrounds, backgrounds_share=1
    )


def test_shares_sum_to_the_brain_and_are_those_of_its_tissues(backgrounds, head):
    _, inside, truth = head
    volumes, real = backgrounds.read(0)
    total = volumes.tissues.sum(0, dtype=int)
    assert (total == np.where(inside, 255, 0)).all()
    assert ((volumes.brain == 255) == inside).all()
    for group in (WHITE, GREY, CSF):
        own = volumes.tissues[list(group)].sum(0)[inside] / 255.0
        expected = truth[[BRAIN.index(index) for index in group]].sum(0)[inside]
        # At 4 mm most voxels hold several tissues.
        assert np.abs(own - expected).mean() < 0.08
    # Voxels with up to 15 % of tissue count as fluid, whose mean is a little high therefore.
    for name, value in (("cortex", 0.72), ("ventricles", 0.20), ("putamen", 0.93)):
        assert float(real.means[CLASSES.index(name)]) == pytest.approx(value, abs=0.08), name


def test_without_lesion_and_scanner_it_is_the_image_up_to_scale(plain, head):
    image, inside, _ = head
    scan = plain.draw(1, sequence="T1w", disease="none")
    ratio = scan.image.numpy()[inside] / image[inside]
    assert np.ptp(ratio) < 1e-3 * ratio.mean()
    white = scan.image.numpy()[scan.anatomy.tissues[0].numpy() > 0.95]
    assert np.median(white) == pytest.approx(0.8, rel=0.02)
    assert not (scan.brain_mask.numpy() & ~inside).any()


@pytest.mark.parametrize("sequence", ["FLAIR", "T2w", "free"])
def test_a_remapped_scan_has_the_means_of_the_drawn_contrast(plain, sequence):
    anatomy = plain.anatomy(1)
    contrast = draw_contrast(Draws.of(2), anatomy.size, 4.0, sequence)
    image, found = real_image(anatomy, anatomy.real, contrast)
    assert torch.equal(found.means, contrast.means)
    assert image.min() >= 0
    assert not image[anatomy.brain == 0].any()
    for name in ("white", "cortex", "ventricles", "sulcal CSF"):
        pure = anatomy.tissues[CLASSES.index(name)] > 0.97
        assert pure.any(), name
        expected = float(contrast.means[CLASSES.index(name)])
        assert float(image[pure].median()) == pytest.approx(expected, abs=0.03), name


def test_texture_is_kept_turned_round_and_never_below_zero(plain):
    """One voxel of white matter, two of its spreads darker than the rest on T1w."""
    anatomy = plain.anatomy(1)
    spot = tuple(np.argwhere(anatomy.tissues[0].numpy() == 1)[0])
    image = anatomy.real.image.clone()
    image[spot] -= 0.1
    real = dataclasses.replace(anatomy.real, image=image, spreads=(0.05, 0.05))
    before = dataclasses.replace(anatomy.real, spreads=(0.05, 0.05))
    contrast = dataclasses.replace(
        draw_contrast(Draws.of(2), anatomy.size, 4.0, "FLAIR"),
        deviations=((0.06, 0.06), (0.08, 0.08)),
    )
    # The spread of white is 0.1 of its value on FLAIR: twice the one on T1w.
    change = real_image(anatomy, real, contrast)[0] - real_image(anatomy, before, contrast)[0]
    assert float(change[spot]) == pytest.approx(2 * 0.1 * contrast.white, rel=0.02)
    assert int((change != 0).sum()) == 1


def test_lesions_are_painted_into_the_real_scan(plain):
    anatomy, painted = plain.anatomy(1), 0
    for seed in range(3):
        scan = plain.scan(anatomy, 1, seed, sequence="T1w", disease="stroke")
        change = scan.image - scan.healthy
        assert not change[scan.share == 0].abs().gt(0.05).any()
        painted += int((change[scan.lesion].abs() > 0.02).sum())
        own = anatomy.real.image[scan.brain_mask] * 0.8
        assert torch.allclose(scan.healthy[scan.brain_mask], own, atol=1e-4)
    assert painted > 0


def test_a_push_moves_the_real_image_with_its_tissues(plain):
    anatomy = plain.anatomy(1)
    pushed = push(anatomy, torch.tensor([16.0, 28.0, 26.0]), 30.0, 0.5)
    assert not torch.equal(pushed.real.image, anatomy.real.image)
    means = anatomy.real.means
    away = pushed.real.image - torch.tensordot(means, pushed.tissues, 1)
    before = anatomy.real.image - torch.tensordot(means, anatomy.tissues, 1)
    inside = pushed.brain > 0.99
    assert float(away[inside].abs().mean()) < float(before[inside].abs().mean()) + 0.01


@pytest.mark.slow
def test_a_share_of_the_anatomies_is_real_and_seeds_decide(bank, backgrounds):
    generator = ScanGenerator(bank, backgrounds=backgrounds, backgrounds_share=0.5)
    real = [generator.anatomy(seed).real is not None for seed in range(8)]
    assert 0 < sum(real) < 8
    seed = real.index(True)
    first, again = (generator.draw(seed, sequence="FLAIR", disease="tumour") for _ in range(2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.lesion, again.lesion)
    assert ScanGenerator(bank).anatomy(seed).real is None


def test_each_split_has_its_own_people_and_the_cohorts_sequence_comes_first(bank, cohort, tmp_path):
    people = [("a", "train", True), ("b", "val", True), ("c", "test", True), ("d", "val", False)]
    folder = cohort(people)
    found = {
        split: make_backgrounds(folder, bank, ["tiny"], "FLAIR", split, tmp_path)
        for split in ("train", "val")
    }
    assert found["train"].subjects == ("a",)
    assert found["val"].subjects == ("b",)
    assert found["val"].sequence == "T1w"
    times = [path.stat().st_mtime_ns for path in found["val"].files]
    again = make_backgrounds(folder, bank, ["tiny"], "T1w", "val", tmp_path)
    assert [path.stat().st_mtime_ns for path in again.files] == times
    flair = cohort(people, "FLAIR")
    assert make_backgrounds(flair, bank, ["tiny"], "FLAIR", "val", tmp_path).sequence == "FLAIR"


def test_cohorts_that_cannot_be_used_are_refused_with_the_remedy(bank, cohort, tmp_path):
    people = [("a", "train", True), ("d", "val", False)]

    def refused(message, folder, sequence="T1w", split="train"):
        with pytest.raises(InputError, match=message) as caught:
            make_backgrounds(folder, bank, ["tiny"], sequence, split, tmp_path)
        assert "\n" not in str(caught.value)
        assert "datamodule.backgrounds" in str(caught.value) or "brainuad-prepare" in str(
            caught.value
        )

    refused("no healthy T1w scan in split 'val'", cohort(people), split="val")
    refused("has T2w; backgrounds for FLAIR are made from FLAIR or T1w", cohort(people, "T2w"),
            "FLAIR")  # fmt: skip
    refused("does not lie where the atlas's does", cohort(people, shift_mm=60.0))
    refused("no such file; make a cohort with brainuad-prepare", tmp_path / "nothing")


def test_a_damaged_file_is_named(backgrounds, tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"broken\.npz"):
        Backgrounds((tmp_path / "broken.npz",), ("a",), "T1w").read(0)
