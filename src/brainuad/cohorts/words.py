"""The words of file names, folders and tables: sequences, roles, groups, sessions."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def _named(**names: str) -> dict[str, str]:
    return {word: name for name, words in names.items() for word in words.split()}


def word_set(words: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(words.split())


PLAIN = _named(
    T1w="t1 t1w t1n t1wi t1weighted 3dt1 3dt1w 2dt1 t1pre",
    T1c="t1c t1ce t1gd t1post t1km t1ca t1wce t1cont t1contrast t1gad t1postgd ct1 cet1 cet1w gdt1",
    T2w="t2 t2w t2wi t2n t2weighted 3dt2 3dt2w 2dt2 st2w et2w",
    FLAIR="flair fla t2f t2flair flairw 3dflair 2dflair flair3d sflair darkfluid",
    PDw="pd pdw",
    T2star="t2s t2star t2starw",
)
"""Words (lower case) and the sequence that they name by themselves."""

OTHERS = _named(
    DWI="dwi dti dmri tracew bval trace diff diffusion tensor fa md b1000",
    ADC="adc eadc dadc",
    SWI="swi swan",
    BOLD="bold fmri func rest rsfmri restingstate task resting epi",
    ASL="asl dsc perf perfusion pwi dce cbf cbv mtt ttp rcbv rcbf tmax",
    MRA="mra tof angio mrv mip venography",
    localizer="localizer localiser scout survey aahead aahscout loc phoenix",
    map="t1map t2map t2starmap t1rho qsm mtr r1map r2map pdmap b0map b1map fieldmap",
    part="mag magnitude pha phase",
    MP2RAGE="uni unit1 inv1 inv2",
    CT="ct cta",
    PET="pet spect spectroscopy mrs",
    STIR="stir",
    DIR="dir",
)
"""Words of images that no preset is made for."""

_WEAK_T1 = word_set("mprage mpr mp2rage bravo fspgr spgr memprage mpr1 mpr2")
"""Techniques by which T1-weighted images are taken."""

_CONTRAST = word_set(
    "post gd gad gadolinium contrast ce km c enhanced dotarem gadovist postgd postgad "
    "postcontrast gado contraste kontrastmittel civ mdc injection gadavist prohance magnevist "
    "multihance"
)
_NONE = word_set("no non not without wo pre nativ native ohne vor before sans sin")
_TOWARDS = word_set("to in on into")
"""What follows names the target of a registration."""

TECHNIQUE = word_set(
    "ax axial tra trans transverse sag sagittal cor coronal obl 2d 3d tse fse se gre tfe ffe "
    "vista cube iso isotropic fs fatsat blade propeller tirm dark fluid darkfluid ir fl2d fl3d "
    "n4 n3 bc biascorrected biascorr bfc unbiased corrected denoised norm normalized normalised "
    "reg registered coreg coregistered warped resampled resliced reoriented aligned rigid "
    "affine std mni mni152 sri sri24 1mm 2mm 3mm 1x1x1 07mm orig original defaced deface anon "
    "anonymized anonymised raw preproc preprocessed processed final head whole cropped nd dis2d "
    "dis3d nu weighted image img scan vol volume 3t 7t 1t5 15t wip cs"
).union(_WEAK_T1, _TOWARDS, _CONTRAST - {"c"}, _NONE)
"""Words that describe how an image was made, and not whose it is."""

CONTAINER = word_set(
    "anat anatomical anatomy structural struct scan scans image images img imgs mri mr nifti "
    "niftis nii dicom dicoms data dataset raw rawdata source sourcedata derivatives derivative "
    "volumes volume vol files input inputs study project sub subjects subject ses sessions "
    "train training tr ts val valid validation test testing imagestr imagests all "
    "sequences series recon results head t1s t2s flairs"
).union(TECHNIQUE)
"""Names of folders that are nobody's."""

NOBODY = word_set("n/a #n/a na nan none null unknown - -- . ? / no nein non kein 0") | {""}
"""How tables say nothing."""

LESION = word_set(
    "lesion lesions les lesionmask lesionmasks lesionseg lesionroi tumor tumors tumour tumours "
    "stroke strokes infarct infarcts infarction wmh wmhs wml lacune lacunes metastasis "
    "metastases edema oedema haemorrhage hemorrhage abnormality pathology msles"
)
_DRAWN = word_set(
    "seg segm segmentation segmentations label labels labelmap labelmaps gt groundtruth truth "
    "gold goldstandard standard annotation annotations annot consensus manual roi rois voi mask "
    "masks msk labelstr labelsts defacemask"
)
_BRAIN = word_set(
    "brain brains bet brainmask brainmasks skullstrip skullstripped stripped ss hdbet deepbet "
    "synthstrip brainextracted extracted betted"
)
_BRAIN_MASK = frozenset({"brainmask", "brainmasks"})
_MAP = word_set(
    "anomaly anomalies anomalymap residual residuals reconstruction uncertainty heatmap "
    "saliency zmap prob probability probabilities probmap probseg pve warp field fieldmap "
    "deformation displacement jacobian jac biasfield xfm transform"
)
_TISSUE = word_set(
    "dseg aparc aseg aparcaseg wmparc ribbon tissue tissues pveseg parc parcellation atlas gm "
    "wm csf synthseg ventricle ventricles hippocampus cortex thalamus fast subcort "
    "mixeltype parenchyma filled thickness"
)
_REGIONS = word_set(
    "dseg aparc aseg aparcaseg wmparc ribbon pveseg synthseg tissue tissues parc parcellation "
    "mixeltype parenchyma"
)
"""Of these, the words that no scan has in its name."""

_NO_LESION = word_set(
    "nonlesion nolesion nonlesional healthytissue skull skullmask head defacemask"
)
ROLES = LESION | _DRAWN | _BRAIN | _MAP | _TISSUE | _NO_LESION

_SESSION = re.compile(
    r"(?:ses|session|visit|timepoint|time|tp|day|week|wk|month|year|yr|wave|exam|fu|mr|run|scan|study|v)\d+"
    r"|d\d{4}|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{6})?"
    r"|baseline|bl|followup|fu|preop|postop|initial|screening|acute|chronic|zeitpunkt\d+"
    r"|t0|[yw]\d{1,2}|m(?:0[036]|12|18|24|36|48|60)|\d{1,2}(?:m|mo|months?)",
)
_SESSION_KEYS = word_set("ses session visit timepoint tp day week month year wave exam run")

_WORD = re.compile(r"[^\W_]+")
# `sub1T1w` and `003FLAIR`, but not `pat1`: only forms that end no word of their own.
_GLUED = re.compile(r"(?<=[a-z0-9])(?=(?:T1w|T2w|T1c|T1ce|FLAIR|PDw)(?![a-z]))")
_SPECIAL = (
    (re.compile(r"t2w?\s?\*", re.IGNORECASE), "t2star"),
    (re.compile(r"mp[ _-]rage", re.IGNORECASE), "mprage"),
    (re.compile(r"\bw/o\b", re.IGNORECASE), "without"),
    (re.compile(r"(t1\w?)(?: -c\b|[ _-]c-)", re.IGNORECASE), r"\1 "),
    (re.compile(r"\+\s?c\b|\bc\s?\+", re.IGNORECASE), " ce "),
    (re.compile(r"\b(t[12])[ _-]?(weighted|wtd)\b", re.IGNORECASE), r"\1w"),
    (re.compile(r"(dark|da)[ _-]?fl(uid)?(?![a-z])", re.IGNORECASE), "darkfluid"),
)


@dataclass(frozen=True)
class Word:
    """A word of a name.

    Attributes:
        text: lower case.
        start: of its first letter in the name.
        end: behind its last one.
    """

    text: str
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """The words of a name: what lies between characters that are no letter and no digit."""
    found = []
    for match in _WORD.finditer(text):
        cuts = [match.start(), *(m.start() for m in _GLUED.finditer(text, *match.span()))]
        for start, end in zip(cuts, [*cuts[1:], match.end()], strict=True):
            if end > start:
                found.append(Word(text[start:end].lower(), start, end))
    return found


_LOOSE = {
    "lesion": (
        *(
            "lesion",
            "läsion",
            "laesion",
            "lésion",
            "lesión",
            "tumor",
            "tumour",
            "tumeur",
            "infarct",
        ),
        *("stroke", "metast", "edema", "ödem", "resection", "cavity", "hemorr"),
    ),
    "mask": ("mask", "masque", "mascara", "máscara"),
    "seg": (
        *("segm", "label", "annot", "drawn", "outline", "contour", "tracing", "truth"),
        *("consensus", "rater", "expert", "bianca"),
    ),
    "brain": ("brain", "hirn", "cerveau", "cerebro"),
}
"""Pieces of words, in several languages, and the word that they stand for."""


_SHORT = {
    "lesion": word_set("wmh fcd"),
    "seg": word_set("seg roi core scar"),
    "brain": word_set("icv tiv"),
}
"""Words that count whole, or with a number behind, or at the end of another."""


def loosened(words: Iterable[str]) -> list[str]:
    """Words and what is within them: `lesionmask2` is `lesion` and `mask`, too."""
    found = []
    for word in words:
        found += [plain for plain, pieces in _LOOSE.items() if any(p in word for p in pieces)]
        bare = word.rstrip("0123456789")
        found += [plain for plain, whole in _SHORT.items() if bare in whole]
        found += ["seg"] if bare.endswith("seg") else []
        found.append(word)
    return found


def sequence_of(text: str) -> str:
    """The sequence that a text names: `AX T2 FLAIR` is `FLAIR`; empty where it names none.

    Images of other kinds have their own names, such as `DWI`, so that nobody takes them for one of
    ours.
    """
    for pattern, plain in _SPECIAL:
        text = pattern.sub(plain, text)
    words = [word.text for word in words_of(text)]
    first = next((i for i, word in enumerate(words) if word in PLAIN), None)
    target = next((i for i, w in enumerate(words) if w in _TOWARDS and i > (first or 0)), None)
    words = words[:target]
    if other := next((OTHERS[word] for word in words if word in OTHERS), ""):
        return other
    if first is not None:
        return _told(words, first)
    if not _WEAK_T1.intersection(words):
        return ""
    return "T1c" if _enhanced(words, -1) else "T1w"


def _told(words: Sequence[str], first: int) -> str:
    """What the first word of a sequence means beside the others."""
    found = PLAIN[words[first]]
    rest = [PLAIN[word] for word in words[first + 1 :] if word in PLAIN]
    if found in ("T1w", "T2w") and words[first + 1 : first + 2] == ["map"]:
        found = "map"
    elif found == "T1w":
        # A T1 FLAIR is weighted by T1.
        found = "T1c" if _enhanced(words, first) else "T1w"
    elif found in ("T2w", "PDw") and {"flair", "darkfluid"}.intersection(words):
        found = "FLAIR"
    elif found == "PDw" and rest:
        # `PD` may be Parkinson's disease.
        found = rest[0]
    elif found == "T2w" and "tirm" in words:
        found = "STIR"
    elif found == "T2w" and {"star", "gre"}.intersection(words):
        found = "T2star"
    return found


def canonical(sequence: str) -> str:
    """Our name of a sequence that a setting, a card or a table names; others as they are.

    `t1` is `T1w`, `T1` of a table and `T1w` of a model are one.
    """
    text = sequence.strip()
    return PLAIN.get(text.lower(), OTHERS.get(text.lower(), text))


def is_session(words: Sequence[Word], i: int) -> int:
    """How many words from `i` on name a visit: 0, 1 (`visit2`) or 2 (`ses-2`)."""
    word = words[i].text
    if word in _SESSION_KEYS and i + 1 < len(words):
        behind = words[i + 1].text
        described = behind in PLAIN or behind in OTHERS or behind in ROLES or behind in TECHNIQUE
        return 0 if described else 2
    return 1 if _SESSION.fullmatch(word) else 0


def role_of(words: Iterable[str]) -> str:
    """What the words say that a file is.

    Returns:
        `map`, `tissue`, `no lesion`, `lesion`, `brain mask`; `brain`, where the file is a mask or
        a brain without its skull; `mask`, where the name does not tell of what; empty for a scan.
    """
    found = set(words)
    drawn = found & _DRAWN
    # The first that holds.
    readings = {
        "no lesion": found & _NO_LESION and drawn,
        "map": found & _MAP,
        "lesion": found & LESION,
        "tissue": found & _REGIONS or (found & _TISSUE and drawn),
        "brain mask": found & _BRAIN_MASK or (found & _BRAIN and drawn),
        "brain": found & _BRAIN,
        "mask": drawn and drawn <= {"mask", "masks", "msk"},
    }
    other = "lesion" if drawn else ""
    return next((role for role, holds in readings.items() if holds), other)


def _enhanced(words: Sequence[str], at: int) -> bool:
    """Whether words around a T1 say that a contrast agent was given."""
    for i, word in enumerate(words):
        told = word in _CONTRAST and (word != "c" or i == at + 1)
        if told and not (i and words[i - 1] in _NONE):
            return True
    return False
