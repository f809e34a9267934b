"""The methods of a prediction as a paragraph to cite: the steps as they ran, and the references."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from brainuad import __version__
from brainuad.machine.text import markdown
from brainuad.model.known import Known
from brainuad.records.recipe import Recipe
from brainuad.settings.build import TARGET
from brainuad.shipped import is_shipped

PACKAGES = ("torch", "monai", "SimpleITK", "nibabel", "numpy", "scipy")

INTRODUCTION = """# Methods

This text was written by brainuad to be copied into a manuscript as it is, and is released under
the [CC0](https://creativecommons.org/publicdomain/zero/1.0/) licence. It describes the last run
of `brainuad-bids` in this folder.
"""

REFERENCES = {
    "MONAI": "Cardoso MJ, et al. (2022). MONAI: An open-source framework for deep learning in "
    "healthcare. arXiv:2211.02701",
    "PyTorch": "Paszke A, et al. (2019). PyTorch: An imperative style, high-performance deep "
    "learning library. Advances in Neural Information Processing Systems 32",
    "SimpleITK": "Lowekamp BC, Chen DT, Ibáñez L, Blezek D (2013). The design of SimpleITK. "
    "Frontiers in Neuroinformatics 7:45. doi:10.3389/fninf.2013.00045",
    "BIDS": "Gorgolewski KJ, et al. (2016). The brain imaging data structure, a format for "
    "organizing and describing outputs of neuroimaging experiments. Scientific Data 3:160044. "
    "doi:10.1038/sdata.2016.44",
    "N4": "Tustison NJ, et al. (2010). N4ITK: Improved N3 bias correction. IEEE Transactions on "
    "Medical Imaging 29(6):1310-1320. doi:10.1109/TMI.2010.2046908",
    "MNI152": "Fonov V, et al. (2011). Unbiased average age-appropriate atlases for pediatric "
    "studies. NeuroImage 54(1):313-327. doi:10.1016/j.neuroimage.2010.07.033",
    "Mattes": "Mattes D, et al. (2003). PET-CT image registration in the chest using free-form "
    "deformations. IEEE Transactions on Medical Imaging 22(1):120-128. "
    "doi:10.1109/TMI.2003.809072",
    "demons": "Vercauteren T, Pennec X, Perchant A, Ayache N (2009). Diffeomorphic demons: "
    "Efficient non-parametric image registration. NeuroImage 45(1):S61-S72. "
    "doi:10.1016/j.neuroimage.2008.10.040",
    "deepbet": "Fisch L, et al. (2024). deepbet: Fast brain extraction of T1-weighted MRI using "
    "convolutional neural networks. Computers in Biology and Medicine 179:108845. "
    "doi:10.1016/j.compbiomed.2024.108845",
    "HD-BET": "Isensee F, et al. (2019). Automated brain extraction of multisequence MRI using "
    "artificial neural networks. Human Brain Mapping 40(17):4952-4964. doi:10.1002/hbm.24750",
    "SynthSeg": "Billot B, et al. (2023). SynthSeg: Segmentation of brain MRI scans of any "
    "contrast and resolution without retraining. Medical Image Analysis 86:102789. "
    "doi:10.1016/j.media.2023.102789",
}
"""Name in the text to the publication."""

SKULL_STRIPS = {
    "Auto": "with deepbet [deepbet], unless they were extracted already",
    "Deepbet": "with deepbet [deepbet]",
    "HdBet": "with HD-BET [HD-BET]",
    "TemplateBrain": "by registration of the MNI152 template [MNI152]",
    "Given": "by the brain masks that came with them",
    "Extracted": "before; voxels that differ from the background are the brain",
}
"""Class of a skull stripper to its words."""


def methods_text(models: Sequence[Known]) -> str:
    """Return the methods of a run in Markdown.

    Args:
        models: models of the run, one per sequence.
    """
    software = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    said = [
        f"Lesions were marked by brainuad {__version__} ({software}), which uses PyTorch "
        "[PyTorch], MONAI [MONAI] and SimpleITK [SimpleITK]. The scans were organised as a BIDS "
        "dataset [BIDS]."
    ]
    for recipe, sequences in _recipes(models):
        said.append(" ".join([f"**Preparation of {sequences} scans.**", *_preparation(recipe)]))
    said += [_model(known) for known in models]
    said.append(
        "Masks were made on each scan's own grid. Connected components (26 neighbours) of a mask "
        "are the findings. The output is for research and is not a diagnosis."
    )
    text = "\n\n".join(said)
    used = [name for name in REFERENCES if f"[{name}]" in text]
    listed = "\n".join(f"- [{name}] {REFERENCES[name]}" for name in used)
    return f"{INTRODUCTION}\n{text}\n\n## References\n\n{listed}\n"


def _recipes(models: Sequence[Known]) -> list[tuple[Recipe, str]]:
    """Return the different preparations, each with its sequences."""
    found: list[tuple[Recipe, list[str]]] = []
    for known in models:
        same = [names for recipe, names in found if recipe == known.recipe]
        if same:
            same[0].append(known.sequence)
        else:
            found.append((known.recipe, [known.sequence]))
    return [(recipe, markdown(" and ".join(names))) for recipe, names in found]


def _preparation(recipe: Recipe) -> list[str]:
    """Return a sentence per step that ran, in their order."""
    steps = recipe.steps
    if recipe.of_slices:
        return ["The 2D images were prepared at their own pixels."]
    strip = _class(steps.get("skullstrip"))
    said = [f"Brains were extracted {SKULL_STRIPS.get(strip, f'by {strip}')}."]
    if bias := steps.get("bias"):
        levels = ", ".join(map(str, bias.get("iterations", ()))) or "the default number of"
        said.append(f"The bias field was corrected by N4 [N4] with {levels} iterations per level.")
    if atlas := steps.get("atlas"):
        target = "an atlas of the user" if recipe.atlas_image else "the MNI152 template [MNI152]"
        kind = atlas.get("kind", "affine")
        said.append(
            f"The brain was registered to {target} by {'an' if kind == 'affine' else 'a'} {kind} "
            "transform that maximises mutual information [Mattes]."
        )
        if steps.get("deform"):
            said.append("A diffeomorphic warp by demons [demons] followed.")
    if recipe.spacing_mm is not None:
        said.append(f"Scans were resampled once, to voxels of {recipe.spacing_mm:g} mm.")
    for sequence, own in recipe.normalisers.items():
        whose = f" of {sequence} scans" if sequence else ""
        said.append(f"Intensities{whose} were normalised by {_values(own)}.")
    if steps.get("after"):
        said.append(f"Further steps: {', '.join(sorted(steps['after']))}.")
    return [_safe(sentence) for sentence in said]


def _model(known: Known) -> str:
    card = known.card
    name = markdown(card.name or _class(card.model))
    about = markdown(card.about or card.cohort or "an unknown cohort")
    said = [f"**Model for {markdown(known.sequence)} scans.** `{name}` was trained on {about}."]
    if is_shipped(known.paths[0]):
        said.append(
            "It is a 3D U-Net that was trained without scans of patients on synthetic scans "
            "[SynthSeg], and comes with brainuad."
        )
    else:
        method = markdown(_class(card.model))
        said.append(f"Its method is {method}; `docs/explanation/methods.md` names the paper.")
    if known.untested:
        said.append("It was not tested on this sequence.")
    if len(known.cards) > 1:
        said.append(f"Maps of {len(known.cards)} models were averaged.")
    rule = {"": "given", "fixed": "fixed"}.get(known.variant, known.variant)
    said.append(f"Voxels with a score above {known.how_marked} ({rule} threshold) were marked.")
    hashes = ", ".join(found[:16] for found in known.weights)
    said.append(f"The SHA-256 of the weights begins with {hashes}.")
    return " ".join(said)


def _class(configuration: Any) -> str:
    """Return the name of the class of a configuration."""
    target = configuration.get(TARGET, "") if isinstance(configuration, dict) else ""
    return str(target).rpartition(".")[2] or "nothing"


def _values(configuration: dict[str, Any]) -> str:
    """Return the class of a configuration with its numbers."""
    numbers = [
        f"{name} {value:g}"
        for name, value in configuration.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return f"{_class(configuration)} ({', '.join(numbers)})" if numbers else _class(configuration)


def _safe(text: str) -> str:
    """Return text that Markdown shows as it is, except for references in square brackets."""
    return markdown(text).replace("&#91;", "[").replace("&#93;", "]")
