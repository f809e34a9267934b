"""A real label map, from the file to scans: volumes, healthy tail, lesion contrast."""

import numpy as np
import pytest

from brainuad.synthetic.anatomies.bank import read_bank, write_arrays, write_bank_index
from brainuad.synthetic.anatomies.classes import CLASSES
from brainuad.synthetic.anatomies.scan import ScanGenerator
from brainuad.volumes.template import load_template
from data_prep.anatomies import anatomy_of

TAILS = {"FLAIR": (1.2, 1.6), "T2w": (2.6, 4.7), "T1w": (1.07, 1.30)}
"""99.5th percentile of the lesion-free brain over white matter, measured on real scans: 1.3 to
1.55, 3.0 to 4.5, 1.10 to 1.27, and some room for the median of a few draws of one head."""

LESIONS = {"FLAIR": (1.2, 1.9), "T2w": (1.3, 2.3), "T1w": (0.45, 0.92)}
"""Medians of lesions over white matter: 1.35 to 1.9, 1.5 to 2.25, 0.58 to 0.85, likewise."""


@pytest.fixture(scope="module")
def generator(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    path = real_data / "anatomical_labels_1mm" / "seg_01.nii.gz"
    write_arrays(folder / "seg_01.npz", anatomy_of(path, 2.0)._asdict())
    write_bank_index(folder, 2.0, [{"name": "seg_01"}], lesions=[])
    return ScanGenerator(read_bank(folder))


def test_a_real_head_lies_on_the_template(generator):
    anatomy = generator.bank.anatomy("seg_01")
    template = load_template(2.0)
    brain, average = anatomy.brain > 127, template.brain > 0.5
    assert 2 * (brain & average).sum() / (brain.sum() + average.sum()) > 0.92
    white = anatomy.tissues[0] / 255
    assert np.corrcoef(white.ravel(), template.white.ravel())[0, 1] > 0.7
    assert 800 < anatomy.tissues[:14].sum() / 255 * 8 / 1000 < 2200
    # Registration makes a head as large as the average one.
    assert anatomy.lesions.sum() / 255 * 8 / 1000 > 0.5
    assert anatomy.tissues[CLASSES.index("ventricles")].sum() / 255 * 8 / 1000 > 5


@pytest.mark.parametrize("sequence", TAILS)
def test_tail_and_lesions_are_those_of_real_scans(generator, sequence):
    tails, lesions = [], []
    for seed in range(2):
        anatomy = generator.anatomy(11, seed)
        for number, disease in enumerate(("wmh", "stroke", "tumour")):
            scan = generator.scan(anatomy, 11, seed, number, sequence=sequence, disease=disease)
            healthy = scan.brain_mask & (scan.share < 0.05)
            white = scan.image[healthy & (scan.anatomy.tissues[0] > 0.95)].median()
            tails.append(float(np.percentile(scan.image[healthy].numpy(), 99.5) / white))
            if int(scan.lesion.sum()) > 50:
                lesions.append(float(scan.image[scan.lesion].median() / white))
    low, high = TAILS[sequence]
    assert low < np.median(tails) < high
    low, high = LESIONS[sequence]
    assert low < np.median(lesions) < high
