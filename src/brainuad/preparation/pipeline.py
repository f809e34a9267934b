"""A preparation: its parameters, and the MONAI `Compose` that they make.

In order: read, reorient to RAS, find the brain, correct the bias field, register (each sequence
rigidly to the subject's reference, the reference affinely and then, where asked, by a warp to the
atlas), resample once. `brainuad-prepare --explain` prints it.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainuad.errors import InputError
from brainuad.preparation.atlas import BrainAtlas, load_brain_atlas
from brainuad.preparation.bias import N4
from brainuad.preparation.register.demons import Deform
from brainuad.preparation.register.linear import Register
from brainuad.preparation.shared_grid import SharedGrid
from brainuad.preparation.skullstrip.contract import SkullStrip

# MONAI takes seconds to import.
if TYPE_CHECKING:
    from monai.transforms.compose import Compose

FAILURES = ".failures"
"""Key of `{sequence: reason}` in the data, of scans that could not be prepared."""

FIELD = ".warp"
"""Key of the start of the path that a warp is written to."""

POSTFIXES = ("", ".brain", ".lesion")
"""Postfixes of the keys of a scan, its brain mask and its lesion label."""

GRID_CHANGES = ("monai.transforms.spatial.", "monai.transforms.croppad.")
"""Packages of transforms that masks must go through too."""

STEPS = (
    "load",
    "orient",
    "skullstrip",
    "bias",
    "measure",
    "extract",
    "between",
    "atlas",
    "deform",
    "grid",
)
"""Steps in their order."""


LIMITS_MM = {"spacing_mm": (0.1, 50.0), "margin_mm": (0.0, 200.0)}
"""Smallest and largest values of a grid for a head."""


@dataclass(frozen=True)
class Preparation:
    """The steps and their parameters; a step that is None is left out.

    Args:
        skullstrip: finds the brain where no mask is given (`SkullStripd`).
        bias: corrects the bias field inside the brain (`N4BiasFieldCorrectiond`).
        between: registers each sequence of a subject to the reference (`RegisterBetweend`).
        atlas: registers the reference to the atlas (`AffineToAtlasd`); None stays in the
            reference's space.
        reference: sequences in order of preference; the first that a subject has is its reference.
        spacing_mm: edge length of the prepared voxels in mm (`PreparedGridd`).
        atlas_image: a brain-extracted template; None for MNI152.
        atlas_mask: brain mask of the template.
        deform: warps the reference to the atlas after `atlas` (`DeformToAtlasd`); None leaves it
            at that.
        margin_mm: margin around the brain on the prepared grid; brains differ in size after an
            affine fit.
        after: MONAI transforms of your own by the step that they follow (`STEPS`), each a partial
            that lacks its `keys`. They get all scans, those that change the grid the masks too.
        shared: grids of sequences whose scans share a space, found by
            `brainuad.preparation.shared_grid`; where nothing is registered.
    """

    skullstrip: SkullStrip
    bias: N4 | None
    between: Register | None
    atlas: Register | None
    reference: Sequence[str]
    spacing_mm: float
    atlas_image: Path | None = None
    atlas_mask: Path | None = None
    deform: Deform | None = None
    margin_mm: float = 8.0
    after: Mapping[str, Sequence[Callable[..., Any]]] = field(default_factory=dict)
    # Left out of the text by which prepared scans are found again, where there is none.
    shared: Mapping[str, SharedGrid] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.after) - set(STEPS)):
            raise InputError(f"preparation.steps.after: no step {unknown}; use one of {STEPS}")
        for name, (low, high) in LIMITS_MM.items():
            # Not `value < low`: NaN is outside, too.
            if not low <= (value := getattr(self, name)) <= high:
                raise InputError(
                    f"preparation.steps.{name} is {value}; use a number from {low:g} to {high:g}"
                )

        for name, own in self.shared.items():
            if not np.allclose(own.grid.empty.spacing_mm, self.spacing_mm, rtol=1e-3):
                size = max(own.grid.empty.spacing_mm)
                raise InputError(
                    f"preparation.steps.spacing_mm is {self.spacing_mm}, but the grid that the "
                    f"{name} scans share has voxels of {size:.4g} mm; leave the spacing as it is"
                )

    def load_atlas(self) -> BrainAtlas | None:
        """The atlas, or None where nothing is registered to one."""
        return load_brain_atlas(self.atlas_image, self.atlas_mask) if self.atlas else None

    def ordered(self, sequences: Sequence[str]) -> list[str]:
        """The sequences with those that are preferred as reference first."""
        order = {name: i for i, name in enumerate(self.reference)}
        return sorted(sequences, key=lambda name: order.get(name, len(order)))

    def compose(self, sequences: Sequence[str], stop_if_turned: bool = False) -> "Compose":
        """The MONAI transforms for a dictionary with these sequences of one subject.

        Its input has the path of each scan under the sequence's name, those of its masks under
        `<sequence>.brain` and `<sequence>.lesion`. Its output has `(1, D, H, W)` images.

        Args:
            sequences: keys; one may be missing.
            stop_if_turned: see `AffineToAtlasd`.
        """
        from monai.transforms.compose import Compose

        named = self.transforms(sequences, stop_if_turned)
        return Compose([transform for _, transform, _ in named], lazy=None)

    def transforms(
        self, sequences: Sequence[str], stop_if_turned: bool = False
    ) -> list[tuple[str, Any, Mapping[str, Any] | None]]:
        """The transforms of `compose` in order, each with the step that it is or follows.

        Those of `after` come with the parameters that they were given, which MONAI's transforms do
        not keep; ours with None.
        """
        from monai.transforms.spatial.dictionary import Orientationd

        from brainuad.preparation.transforms.brain import (
            ExtractBraind,
            MeasureScand,
            N4BiasFieldCorrectiond,
            SkullStripd,
        )
        from brainuad.preparation.transforms.grid import DeformToAtlasd, PreparedGridd
        from brainuad.preparation.transforms.load import LoadScand
        from brainuad.preparation.transforms.register import AffineToAtlasd, RegisterBetweend

        keys = self.ordered(sequences)
        own: dict[str, Any] = {
            "keys": keys,
            "allow_missing_keys": True,
            "failures_key": FAILURES,
        }
        every = [key + postfix for key in keys for postfix in POSTFIXES]
        atlas = {"atlas_image": self.atlas_image, "atlas_mask": self.atlas_mask}
        grid = {**own, "spacing_mm": self.spacing_mm, "margin_mm": self.margin_mm, **atlas}
        space = "atlas" if self.atlas else "reference" if self.between else "own"
        grid["shared"] = self.shared
        steps: dict[str, Any] = {
            "load": LoadScand(**own),
            "orient": Orientationd(every, axcodes="RAS", labels=None, allow_missing_keys=True),
            "skullstrip": SkullStripd(by=self.skullstrip, **own),
            "bias": N4BiasFieldCorrectiond(by=self.bias, **own) if self.bias else None,
            "measure": MeasureScand(**own),
            "extract": ExtractBraind(**own),
            "between": RegisterBetweend(by=self.between, **own) if self.between else None,
            "atlas": AffineToAtlasd(by=self.atlas, stop_if_turned=stop_if_turned, **atlas, **own)
            if self.atlas
            else None,
            "deform": DeformToAtlasd(by=self.deform, field_key=FIELD, **grid)
            if self.atlas and self.deform
            else None,
            "grid": PreparedGridd(space=space, **grid),
        }
        found: list[tuple[str, Any, Mapping[str, Any] | None]] = []
        for name in STEPS:
            if steps[name] is not None:
                found.append((name, steps[name], None))
            for make in self.after.get(name, ()):
                found.append((name, _foreign(make, keys, name), getattr(make, "keywords", {})))
        return found


def _foreign(make: Callable[..., Any], keys: Sequence[str], name: str) -> Any:
    """A transform of the user's: of intensities on the scans, of the grid on their masks too."""
    given: dict[str, Any] = {"keys": list(keys), "allow_missing_keys": True}
    kind = getattr(make, "func", make)
    if getattr(kind, "__module__", "").startswith(GRID_CHANGES):
        given["keys"] = [key + postfix for key in keys for postfix in POSTFIXES]
        if "mode" in inspect.signature(kind).parameters:
            scan = getattr(make, "keywords", {}).get("mode", "bilinear")
            given["mode"] = [scan, "nearest", "nearest"] * len(keys)
    try:
        return make(**given)
    except TypeError as error:
        raise InputError(
            f"preparation.steps.after.{name}: {error}; give a MONAI dictionary transform with "
            "_partial_: true and without keys"
        ) from None
