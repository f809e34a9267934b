"""A synthetic scan of a synthetic person: anatomy, contrast, lesions, scanner."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from brainuad.synthetic.anatomies.backgrounds import Backgrounds
from brainuad.synthetic.anatomies.bank import Bank
from brainuad.synthetic.anatomies.contrast import SEQUENCES, draw_contrast, render
from brainuad.synthetic.anatomies.draws import Draws
from brainuad.synthetic.anatomies.healthy import add_structures, draw_structures, skull_strip
from brainuad.synthetic.anatomies.lesions import (
    LesionSettings,
    RealShapes,
    draw_lesions,
)
from brainuad.synthetic.anatomies.paint import paint
from brainuad.synthetic.anatomies.partial_volumes import PartialVolumes
from brainuad.synthetic.anatomies.real_image import quieter, real_image
from brainuad.synthetic.anatomies.scanner import ScannerSettings, draw_scanner
from brainuad.synthetic.anatomies.warp import Anatomy, WarpSettings, apply_warp, draw_warp


class SyntheticScan(NamedTuple):
    """A scan, and all that is known about it. Arrays are `(D, H, W)`, RAS axes.

    Attributes:
        image: float32, 0 or more; a healthy brain lies in about 0 to 1.
        healthy: the same scan without the lesions: the same noise, the same push of a tumour.
        lesion: bool, what a rater would outline.
        share: share of lesion in each voxel.
        brain_mask: bool, with the errors of skull stripping.
        anatomy: anatomy of the healthy head.
        sequence: sequence of the contrast.
        disease: kind of the lesions.
        slice_mm: thickness of the slices, 0 for those of the grid.
    """

    image: Tensor
    healthy: Tensor
    lesion: Tensor
    share: Tensor
    brain_mask: Tensor
    anatomy: Anatomy
    sequence: str
    disease: str
    slice_mm: float


@dataclass(frozen=True)
class ScanGenerator:
    """Scans of any sequence from a bank of anatomies.

    Args:
        bank: anatomies and lesion shapes.
        names: anatomies that are used; None for all. Hold some back for validation.
        extent: `brain`, or `head` for the whole head.
        warp: ranges of the anatomy.
        lesions: ranges of the lesions.
        scanner: ranges of the scanner.
        jitter: jitter of each class's intensity, see `contrast.draw_contrast`.
        outlined: share of lesion from which a voxel is in the mask.
        device: device that makes the scans.
        backgrounds: real healthy scans that are further anatomies; None for none.
        backgrounds_share: probability that an anatomy is one of these.
    """

    bank: Bank
    names: Sequence[str] | None = None
    extent: str = "brain"
    warp: WarpSettings = field(default_factory=WarpSettings)
    lesions: LesionSettings = field(default_factory=LesionSettings)
    scanner: ScannerSettings = field(default_factory=ScannerSettings)
    jitter: float = 0.03
    outlined: float = 0.5
    device: str = "cpu"
    backgrounds: Backgrounds | None = None
    backgrounds_share: float = 0.3

    def __post_init__(self) -> None:
        if self.backgrounds is not None and self.extent != "brain":
            raise ValueError("backgrounds are prepared brains without a skull; use extent 'brain'")
        unknown = set(self.names or ()) - set(self.bank.names)
        if unknown:
            raise ValueError(
                f"{sorted(unknown)[0]}: no such anatomy; the bank has {', '.join(self.bank.names)}"
            )

    @cached_property
    def affine(self) -> Tensor:
        """Voxel to MNI152 RAS mm, `(4, 4)`."""
        return torch.from_numpy(self.bank.affine(self.extent)).float()

    @cached_property
    def real(self) -> RealShapes:
        """The bank's lesion shapes."""
        kinds = {kind: self.bank.shapes(kind, self.extent) for kind in self.bank.kinds}
        return RealShapes(kinds, self.affine)

    def anatomy(self, *seeds: int) -> Anatomy:
        """Draw a healthy anatomy; the same seeds give the same voxels."""
        draws = Draws.of(*seeds, 0, device=self.device)
        names = tuple(self.names or self.bank.names)
        real = None
        # Without backgrounds nothing is drawn, and the scans stay those of earlier versions.
        if self.backgrounds is not None and draws.chance(self.backgrounds_share):
            stored, real = self.backgrounds.read(draws.number(0, len(self.backgrounds) - 1))
        else:
            stored = self._stored(names[draws.number(0, len(names) - 1)])
        spacing = self.bank.spacing_mm
        warp = draw_warp(draws, stored, spacing, self.warp)
        return apply_warp(stored, warp, self.affine, spacing, self.device, real)

    def scan(
        self, anatomy: Anatomy, *seeds: int, sequence: str, disease: str | None = None
    ) -> SyntheticScan:
        """Draw a scan of an anatomy; the same seeds give the same voxels.

        An anatomy can be scanned several times: warping it takes most of the time. Lesions are
        drawn first, so one person has the same ones in every sequence.

        Args:
            anatomy: result of `anatomy`.
            seeds: whole numbers from 0.
            sequence: `FLAIR`, `T2w`, `T1w`, `PD`, or `free` for any contrast.
            disease: see `lesions.DISEASES`; None to draw it.

        Raises:
            ValueError: an unknown sequence or disease.
        """
        draws = Draws.of(*seeds, 1, device=self.device)
        size, spacing = anatomy.size, anatomy.spacing_mm
        disease, anatomy, parts = draw_lesions(draws, anatomy, self.real, self.lesions, disease)
        contrast = draw_contrast(draws, size, spacing, sequence, self.jitter)
        real, settings = anatomy.real, self.scanner
        if real is None:
            clean = render(anatomy, contrast)
        else:
            clean, contrast = real_image(anatomy, real, contrast)
            settings = quieter(settings)
        # A real scan of this sequence has its own.
        if real is None or real.sequence != sequence:
            structures = draw_structures(draws, anatomy, contrast, draws.uniform(0, 1))
            clean = add_structures(clean, anatomy, contrast, structures)
        painted = paint(draws, clean, anatomy, contrast, parts)
        scanner = draw_scanner(draws, size, spacing, contrast.white, settings)
        brain_mask = skull_strip(draws, anatomy)
        if real is not None:
            # Nothing is known outside a prepared brain.
            brain_mask &= anatomy.brain > 0.5
        share = scanner.sliced(painted.share)
        return SyntheticScan(
            image=scanner.scan(painted.image),
            healthy=scanner.scan(clean),
            lesion=(share > self.outlined) & brain_mask,
            share=share,
            brain_mask=brain_mask,
            anatomy=anatomy,
            sequence=sequence,
            disease=disease,
            slice_mm=scanner.slice_mm,
        )

    def draw(
        self, *seeds: int, sequence: str | None = None, disease: str | None = None
    ) -> SyntheticScan:
        """Draw anatomy and scan; a sequence of `SEQUENCES` where none is given."""
        if sequence is None:
            sequence = SEQUENCES[Draws.of(*seeds, 2).number(0, len(SEQUENCES) - 1)]
        return self.scan(self.anatomy(*seeds), *seeds, sequence=sequence, disease=disease)

    def _stored(self, name: str) -> PartialVolumes:
        if name not in self._kept:
            self._kept[name] = self.bank.anatomy(name, self.extent)
        return self._kept[name]

    @cached_property
    def _kept(self) -> dict[str, PartialVolumes]:
        """Return the anatomies, kept in memory: 17 MB each for brains at 2 mm, 33 MB for heads."""
        return {}
