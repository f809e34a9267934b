"""Scans synthesised from an anatomy: geometry, contrast, lesions, and their masks."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny_head import write_tiny_bank

from brainuad.synthetic.anatomies.classes import CLASSES
from brainuad.synthetic.anatomies.contrast import RELATIVE, SEQUENCES, draw_contrast, render
from brainuad.synthetic.anatomies.draws import Draws
from brainuad.synthetic.anatomies.lesions import DISEASES, LesionSettings, gain_by_volume
from brainuad.synthetic.anatomies.mass_effect import push
from brainuad.synthetic.anatomies.scan import ScanGenerator
from brainuad.synthetic.anatomies.scanner import ScannerSettings, slice_matrix
from brainuad.synthetic.anatomies.stream import MOST_WEIGHT, ScanStream, lesion_weights
from brainuad.synthetic.anatomies.warp import Warp, WarpSettings, apply_warp

STILL = WarpSettings(
    turn=0,
    stretch=0,
    shear=0,
    shift_mm=0,
    bend_mm=((0, 0), (0, 0)),
    ventricles=(1, 1),
    sulci=(1, 1),
    flip=0,
)
CLEAN = ScannerSettings(
    slices=0, blur_mm=(0, 0), bias=(0, 0), uncorrected=0, noise=(0, 0), motion=0
)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_tiny_bank(tmp_path_factory.mktemp("bank"))


@pytest.fixture(scope="module")
def generator(bank):
    return ScanGenerator(bank)


@pytest.fixture(scope="module")
def plain(bank):
    """A generator that leaves anatomy and image as they are, but for lesions."""
    return ScanGenerator(bank, warp=STILL, scanner=CLEAN)


def test_the_same_seeds_give_the_same_voxels_and_others_do_not(generator):
    first, again, other = (
        generator.draw(*seeds, sequence="FLAIR", disease="stroke")
        for seeds in ((3, 1), (3, 1), (3, 2))
    )
    for name in ("image", "healthy", "lesion", "brain_mask"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
        assert not torch.equal(getattr(first, name), getattr(other, name)), name


@pytest.mark.slow
@pytest.mark.parametrize("sequence", [*SEQUENCES, "free"])
def test_scans_of_every_sequence_and_disease_are_finite_and_their_masks_fit(generator, sequence):
    anatomy = generator.anatomy(5)
    for number, disease in enumerate(DISEASES):
        scan = generator.scan(anatomy, 5, number, sequence=sequence, disease=disease)
        assert torch.isfinite(scan.image).all()
        assert scan.image.min() >= 0
        assert not (scan.lesion & ~scan.brain_mask).any()
        assert (scan.disease, scan.sequence) == (disease, sequence)
        if disease == "none":
            assert torch.equal(scan.image, scan.healthy)
            assert not scan.lesion.any()


@pytest.mark.slow
@pytest.mark.parametrize("disease", ["ms", "wmh", "stroke", "tumour"])
def test_the_mask_is_what_was_painted(plain, disease):
    anatomy, changed, outlined = plain.anatomy(1), 0, 0
    for seed in range(4):
        scan = plain.scan(anatomy, 1, seed, sequence="FLAIR", disease=disease)
        change = (scan.image - scan.healthy).abs() / 0.5
        # Far from every lesion nothing changed; inside the mask nearly all did, visibly.
        near = torch.from_numpy(ndimage.binary_dilation(scan.share > 0, iterations=4))
        assert change[~near].max() < 0.04
        changed += int((change[scan.lesion] > 0.02).sum())
        outlined += int(scan.lesion.sum())
    assert outlined > 0
    assert changed / outlined > 0.9


def test_lesions_are_bright_on_flair_and_dark_on_t1w(plain):
    anatomy = plain.anatomy(1)
    settings = LesionSettings(dark=0)
    of = dataclasses.replace(plain, lesions=settings)
    for sequence, sign in (("FLAIR", 1), ("T2w", 1), ("T1w", -1)):
        scan = of.scan(anatomy, 4, sequence=sequence, disease="stroke")
        white = scan.lesion & (scan.anatomy.tissues[0] > 0.9)
        assert white.any()
        change = (scan.image - scan.healthy)[white].median()
        assert sign * float(change) > 0, sequence


def test_a_person_has_the_same_lesions_in_every_sequence(plain):
    anatomy = plain.anatomy(1)
    scans = [
        plain.scan(anatomy, 6, sequence=sequence, disease="stroke") for sequence in ("FLAIR", "T2w")
    ]
    both = (scans[0].lesion & scans[1].lesion).sum()
    assert both > 0.8 * max(scan.lesion.sum() for scan in scans) > 0


def test_small_lesions_are_fainter():
    share = torch.zeros(20, 20, 20)
    share[2:3, 2:3, 2:4] = 1  # 16 mm^3 at 2 mm.
    share[8:16, 8:16, 8:16] = 1  # 4,096 mm^3.
    gains = gain_by_volume(share, 0.5, 2.0, Draws.of(0))
    expected = 0.5 - 0.12 * np.log10(200 / 16)
    assert float(gains[2, 2, 2]) == pytest.approx(expected, rel=0.2)
    assert float(gains[10, 10, 10]) == pytest.approx(0.5, rel=0.2)
    assert float(gains[2, 2, 2]) < float(gains[10, 10, 10])


def test_left_is_tied_to_right(plain):
    """The mirror image of a symmetric anatomy has the mirrored intensities."""
    anatomy = plain.anatomy(1)
    mirrored = dataclasses.replace(
        anatomy,
        **{
            name: getattr(anatomy, name).flip(-3)
            for name in ("tissues", "brain", "lesions", "ventricle_mm")
        },
    )
    for seed, sequence in enumerate((*SEQUENCES, "free")):
        contrast = draw_contrast(Draws.of(seed), anatomy.size, 4.0, sequence)
        smooth = dataclasses.replace(contrast, deviations=((0, 0), (0, 0)), tracts=0.0)
        one, other = render(anatomy, smooth), render(mirrored, smooth)
        inside = mirrored.brain > 0.99
        assert torch.allclose(one.flip(0)[inside], other[inside], atol=1e-5), sequence


def test_contrasts_stay_near_the_measured_ranges():
    for sequence in SEQUENCES:
        drawn = torch.stack(
            [draw_contrast(Draws.of(seed), (8, 8, 8), 4.0, sequence).means for seed in range(40)]
        )
        relative = drawn / drawn[:, :1]
        for name, (low, _, high) in RELATIVE[sequence].items():
            column = relative[:, CLASSES.index(name)]
            assert column.min() > 0.88 * low, (sequence, name)
            assert column.max() < 1.12 * high, (sequence, name)


def test_a_healthy_anatomy_holds_none_of_the_map_s_lesions(plain):
    """The map's own lesion is white matter, at a value that white matter has elsewhere."""
    anatomy = plain.anatomy(1)
    inside = anatomy.lesions > 0.9
    assert inside.any()
    assert (anatomy.tissues[0][inside] > 0.95).all()
    scan = plain.scan(anatomy, 1, sequence="FLAIR", disease="none")
    assert not scan.share[inside].any()


@pytest.mark.parametrize("factor", [0.8, 1.5, 2.2])
def test_ventricles_grow_by_the_factor_and_sulci_stay(bank, generator, factor):
    stored = bank.anatomy("tiny")
    zero = torch.zeros(3, *stored.brain.shape)
    ventricles, sulci = CLASSES.index("ventricles"), CLASSES.index("sulcal CSF")
    warp = Warp(torch.eye(3), torch.zeros(3), zero, ventricles=factor)
    aged = apply_warp(stored, warp, generator.affine, 4.0)
    volume = stored.tissues[ventricles].sum(dtype=float) / 255
    assert float(aged.tissues[ventricles].sum()) == pytest.approx(factor * volume, rel=0.25)
    outer = stored.tissues[sulci].sum(dtype=float) / 255
    assert float(aged.tissues[sulci].sum()) == pytest.approx(outer, rel=0.02)


def test_sulci_grow_into_tissue_and_leave_the_skull(bank, generator):
    stored = bank.anatomy("tiny")
    zero = torch.zeros(3, *stored.brain.shape)
    names = {name: CLASSES.index(name) for name in ("sulcal CSF", "bone")}
    before = {name: stored.tissues[i].sum(dtype=float) / 255 for name, i in names.items()}
    aged = apply_warp(
        stored, Warp(torch.eye(3), torch.zeros(3), zero, sulci=1.3), generator.affine, 4.0
    )
    after = {name: float(aged.tissues[i].sum()) for name, i in names.items()}
    assert after["sulcal CSF"] > 1.05 * before["sulcal CSF"]
    assert after["bone"] == pytest.approx(before["bone"], rel=0.05)


def test_a_warp_without_change_is_the_anatomy(bank, generator):
    stored = bank.anatomy("tiny")
    still = Warp(torch.eye(3), torch.zeros(3), torch.zeros(3, *stored.brain.shape))
    found = apply_warp(stored, still, generator.affine, 4.0)
    assert torch.allclose(found.tissues, torch.from_numpy(stored.tissues) / 255, atol=1e-3)
    middle = tuple(n // 2 for n in stored.brain.shape)
    world = bank.affine() @ [*middle, 1]
    assert np.allclose(found.places[(slice(None), *middle)], world[:3], atol=1e-2)


def test_a_push_moves_tissue_outwards_and_keeps_the_skull(plain):
    anatomy = plain.anatomy(1)
    centre = torch.tensor([16.0, 28.0, 26.0])
    pushed = push(anatomy, centre, 30.0, 0.5)
    bone = CLASSES.index("bone")
    assert torch.allclose(pushed.tissues[bone], anatomy.tissues[bone], atol=0.05)
    assert torch.allclose(pushed.tissues.sum(0), anatomy.tissues.sum(0), atol=0.05)
    # The anatomical places seen around the centre are closer to it: tissue was magnified.
    spots = (slice(None), 16, slice(26, 31), 26)
    spread = [
        float((a.places[spots][1, -1] - a.places[spots][1, 0]).abs()) for a in (anatomy, pushed)
    ]
    assert spread[1] < 0.8 * spread[0]


def test_slices_keep_the_mean_and_blur_one_axis():
    matrix = slice_matrix(44, 2.0, 6.0, 0.3)
    assert torch.allclose(matrix.sum(1), torch.ones(44), atol=1e-5)
    line = torch.zeros(44)
    line[20] = 1
    spread = matrix @ line
    assert float(spread.max()) < 0.5
    assert float(spread.sum()) == pytest.approx(1, abs=0.35)


def test_thick_slices_are_in_image_and_mask(bank):
    thick = dataclasses.replace(CLEAN, slices=1, slice_mm=(12, 12), axial=1)
    of = ScanGenerator(bank, warp=STILL, scanner=thick)
    anatomy = of.anatomy(1)
    scan = of.scan(anatomy, 2, sequence="FLAIR", disease="stroke")
    whole = ScanGenerator(bank, warp=STILL, scanner=CLEAN).scan(
        anatomy, 2, sequence="FLAIR", disease="stroke"
    )
    assert scan.slice_mm == 12

    def steps(volume):
        return float((volume[..., 1:] - volume[..., :-1]).abs().mean())

    assert steps(scan.image) < 0.8 * steps(whole.image)
    assert steps(scan.share) < steps(whole.share)


def test_masks_of_the_brain_differ_from_it_a_little(generator):
    anatomy = generator.anatomy(2)
    for seed in range(3):
        scan = generator.scan(anatomy, 2, seed, sequence="T1w", disease="none")
        truth = anatomy.brain > 0.5
        dice = 2 * (scan.brain_mask & truth).sum() / (scan.brain_mask.sum() + truth.sum())
        assert 0.85 < float(dice) < 1


def test_other_names_are_refused(generator, bank):
    anatomy = generator.anatomy(1)
    with pytest.raises(ValueError, match="sequence is 'DWI'; use one of FLAIR"):
        generator.scan(anatomy, 1, sequence="DWI")
    with pytest.raises(ValueError, match="disease is 'flu'; use one of ms"):
        generator.scan(anatomy, 1, sequence="T1w", disease="flu")
    with pytest.raises(ValueError, match="someone: no such anatomy; the bank has tiny"):
        ScanGenerator(bank, names=["someone"])


@pytest.mark.slow
def test_the_healthy_tail_is_that_of_real_brains(generator):
    """Values of real scans, see experiments/anatomies; a coarse head, so with some room."""
    for sequence, low, high in (("FLAIR", 1.15, 1.7), ("T2w", 2.3, 5.0), ("T1w", 1.03, 1.35)):
        tails = []
        for seed in range(4):
            scan = generator.draw(8, seed, sequence=sequence, disease="none")
            white = scan.image[scan.brain_mask & (scan.anatomy.tissues[0] > 0.95)].median()
            tails.append(float(scan.image[scan.brain_mask].quantile(0.995) / white))
        assert low < np.median(tails) < high, (sequence, tails)


def test_a_stream_gives_the_same_scan_for_a_key_in_any_order(generator):
    settings = {"sequences": ("FLAIR", "T1w"), "count": 4, "per_anatomy": 2, "seed": 1}
    stream = ScanStream(generator, **settings)
    samples = [stream[0, index] for index in range(3)]
    again = ScanStream(generator, **settings)[0, 1]
    for one, other in zip(samples[1], again, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(samples[0].image, samples[1].image)
    assert not torch.equal(samples[1].image, ScanStream(generator, **settings)[1, 1].image)
    for sample in samples:
        assert {part.shape for part in sample} == {(1, 48, 56, 44)}
        assert (sample.image[~sample.brain_mask] == 0).all()
        assert ((sample.tissue >= 0) == sample.brain_mask).all()
    with pytest.raises(ValueError, match="needs a sequence"):
        ScanStream(generator, (), 4)


def test_small_lesions_weigh_more():
    lesion = torch.zeros(20, 20, 20, dtype=torch.bool)
    lesion[1, 1, 1] = True  # 8 mm^3.
    lesion[8:13, 8:13, 8:13] = True  # 1,000 mm^3.
    weights = lesion_weights(lesion, 2.0)
    assert float(weights[0, 0, 0]) == 1
    assert float(weights[1, 1, 1]) == MOST_WEIGHT
    assert float(weights[10, 10, 10]) == pytest.approx(2 ** (2 / 3))
