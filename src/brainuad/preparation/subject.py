"""All steps on one subject's scans, in order: the file to read to see how a scan is prepared.

Read, reorient to RAS, find the brain, correct the bias field, register (each sequence rigidly to
the subject's reference, the reference affinely and then, where asked, by a warp to the atlas),
resample once, keep the way back.
Intensities are normalised after all subjects are done (`normalise`), because some normalisations
are fitted on the training split.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from brainuad.cohorts.find import RawScan
from brainuad.errors import InputError
from brainuad.machine.files import write_text
from brainuad.preparation.atlas import BrainAtlas, load_brain_atlas
from brainuad.preparation.bias import N4
from brainuad.preparation.clean import Cleaned, clean
from brainuad.preparation.quality import measures
from brainuad.preparation.register.demons import Deform, write_warp
from brainuad.preparation.register.linear import Register
from brainuad.preparation.skullstrip.contract import SkullStrip
from brainuad.types import Volume
from brainuad.volumes.native_space import world_matrix
from brainuad.volumes.nifti import write_volume
from brainuad.volumes.orient import turn_of
from brainuad.volumes.resample import crop_to_mask, resample_like, resample_spacing
from brainuad.volumes.warp import read_field

STRIPPED_AGAIN = 3
"""At most so often a brain is looked for anew, because its head was found to lie otherwise."""


@dataclass(frozen=True)
class Preparation:
    """The chain and its parameters; a step that is None is left out.

    Args:
        skullstrip: finds the brain where no mask is given.
        bias: corrects the bias field inside the brain.
        between: registers each sequence of a subject to the reference.
        atlas: registers the reference to the atlas; None stays in the reference's space.
        reference: sequences in order of preference; the first that a subject has is its reference.
        spacing_mm: edge length of the prepared voxels in mm.
        atlas_image: a brain-extracted template; None for MNI152.
        atlas_mask: of the template.
        deform: warps the reference to the atlas after `atlas`; None leaves it at that.
        margin_mm: around the brain on the prepared grid: no two brains have one size after an
            affine fit.
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

    def load_atlas(self) -> BrainAtlas | None:
        """The atlas of this chain, or None."""
        return load_brain_atlas(self.atlas_image, self.atlas_mask) if self.atlas else None


def reference_of(scans: Sequence[RawScan], preparation: Preparation) -> RawScan | None:
    """The scan that the subject's others are registered to; None where nothing is registered."""
    if preparation.atlas is None and preparation.between is None:
        return None
    order = {name: i for i, name in enumerate(preparation.reference)}
    return min(scans, key=lambda scan: order.get(scan.sequence, len(order)))


def prepare_subject(
    scans: Sequence[RawScan],
    preparation: Preparation,
    out: Path,
    wanted: Collection[str] | None = None,
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Prepares the sequences of one subject up to intensity normalisation.

    Args:
        scans: of one subject, a sequence each.
        preparation: the chain.
        out: cohort folder; gets `work/`, `masks/` and `transforms/`.
        wanted: sequences to do, the others are there already; None for all.

    Returns:
        A record a scan, to be kept as JSON beside it, and (subject, reason) of the scans that
        could not be prepared. Where the reference fails, the next in order takes its place.
    """
    names = {scan.sequence for scan in scans} if wanted is None else set(wanted)
    chosen = reference_of(scans, preparation)
    cleaned, failures = [], []
    for scan in scans:
        if scan.sequence not in names and scan is not chosen:
            continue
        try:
            cleaned.append(clean(scan, preparation.skullstrip, preparation.bias, out))
        except InputError as error:
            failures.append((scan.subject, str(error)))
    if not cleaned:
        return [], failures
    reference = next((c for c in cleaned if c.scan is chosen), None)
    if reference is None:
        left = reference_of([c.scan for c in cleaned], preparation)
        reference = next((c for c in cleaned if c.scan is left), cleaned[0])
    atlas = preparation.load_atlas()
    try:
        laid, to_reference, warp = _to_atlas(reference, names, atlas, preparation, out)
    except InputError as error:
        return [], [*failures, (reference.scan.subject, str(error))]
    except ValueError as error:
        line = f"{reference.scan.image}: {error}; check that it shows a brain"
        return [], [*failures, (reference.scan.subject, line)]
    cleaned = [laid if item is reference else item for item in cleaned]
    reference = laid
    # Sequences that nobody registered stay where they are, each on its own grid.
    apart = atlas is None and preparation.between is None
    records = []
    for item in cleaned:
        if item.scan.sequence not in names:
            continue
        to_scan = to_reference
        grid = prepared_grid(
            atlas, item if apart else reference, preparation.spacing_mm, preparation.margin_mm
        )
        try:
            laid = item
            if item is not reference:
                between = _between(item, reference, preparation)
                laid = _stood_up(item, between @ to_reference, preparation, out)
                if laid is not item:
                    between = _between(laid, reference, preparation, between)
                to_scan = between @ to_reference
            records.append(_write(laid, to_scan, warp, grid, atlas, reference.scan.sequence, out))
        except (InputError, ValueError) as error:
            failures.append((item.scan.subject, f"{item.scan.image}: {error}"))
    return records, failures


def _to_atlas(
    reference: Cleaned,
    wanted: Collection[str],
    atlas: BrainAtlas | None,
    preparation: Preparation,
    out: Path,
) -> tuple[Cleaned, np.ndarray, Path | None]:
    """The way from prepared world to the reference's: the matrix, and the file of the warp.

    The reference comes with it: stripped again, if its head was found to lie turned.
    """
    name = f"{reference.scan.subject}_{reference.scan.sequence}"
    warp = out / f"transforms/{name}_warp.nii.gz" if atlas and preparation.deform else None
    if reference.scan.sequence not in wanted:
        # Done in an earlier run: its way to the atlas is kept.
        matrix = world_matrix(out / f"transforms/{name}.txt")
        return _stood_up(reference, matrix, preparation, out), matrix, warp
    if atlas is None or preparation.atlas is None:
        return reference, np.eye(4), None
    start = time.perf_counter()
    matrix, similarity = preparation.atlas(atlas.image, reference.image, atlas.brain_mask)
    turn = np.eye(3)
    for _ in range(STRIPPED_AGAIN):
        # A brain that was looked for in a turned head is a poor one to tell how the head lies.
        degrees, seen = turn_of(matrix)
        if np.array_equal(seen, turn):
            break
        turn = seen
        reference = _stripped_upright(reference, degrees, turn, preparation, out)
        matrix, similarity = preparation.atlas(atlas.image, reference.image, atlas.brain_mask)
    linear = time.perf_counter()
    reference.record["atlas"] = {
        "template": atlas.name,
        "kind": preparation.atlas.kind,
        "similarity": similarity,
        "seconds": round(linear - start, 1),
    }
    if warp and preparation.deform:
        found, said = preparation.deform(atlas.image, reference.image, matrix)
        write_warp(warp, found)
        reference.record["deform"] = {
            **said,
            "seconds": round(time.perf_counter() - linear, 1),
        }
    return reference, matrix, warp


def _stood_up(item: Cleaned, to_scan: np.ndarray, preparation: Preparation, out: Path) -> Cleaned:
    """The scan itself, or cleaned again with its head upright where it was found to lie turned."""
    degrees, turn = turn_of(to_scan)
    if preparation.atlas is None or np.array_equal(turn, np.eye(3)):
        return item
    return _stripped_upright(item, degrees, turn, preparation, out)


def _stripped_upright(
    item: Cleaned, degrees: float, turn: np.ndarray, preparation: Preparation, out: Path
) -> Cleaned:
    found = clean(item.scan, preparation.skullstrip, preparation.bias, out, turn)
    found.record["notes"].append(
        f"the head lies turned by {degrees:.0f} degrees; its brain was looked for upright"
    )
    return found


def prepared_grid(
    atlas: BrainAtlas | None, own: Cleaned, spacing_mm: float, margin_mm: float
) -> Volume:
    """The grid that a scan is resampled to, empty.

    The atlas's brain with a margin, the same for all subjects; without an atlas a scan's own.
    """
    if atlas is not None:
        image, mask = atlas.image, atlas.brain_mask
    else:
        image, mask = own.image, own.brain_mask
    share = resample_spacing(Volume(mask.astype(np.float32), image.affine), spacing_mm)
    margin = int(np.ceil(margin_mm / spacing_mm))
    # A template may be cut close to its brain; another brain still needs the room.
    affine = share.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, margin)
    share = Volume(np.pad(share.array, margin), affine)
    cropped, _ = crop_to_mask(share, share.array >= 0.5, margin)
    return Volume(np.zeros(cropped.array.shape, np.float32), cropped.affine)


def _between(
    item: Cleaned, reference: Cleaned, preparation: Preparation, near: np.ndarray | None = None
) -> np.ndarray:
    """The matrix from the reference's world to a scan's, searched for around `near` if given."""
    if preparation.between is None:
        return np.eye(4)
    start = time.perf_counter()
    found = preparation.between(
        reference.image,
        item.image,
        ndimage.binary_dilation(reference.brain_mask, iterations=2),
        near,
    )
    item.record["between"] = {
        "reference": reference.scan.sequence,
        "similarity": found.similarity,
        "seconds": round(time.perf_counter() - start, 1),
    }
    return found.matrix


def _write(
    item: Cleaned,
    to_scan: np.ndarray,
    warp: Path | None,
    grid: Volume,
    atlas: BrainAtlas | None,
    reference: str,
    out: Path,
) -> dict[str, Any]:
    """Resamples once and writes; `warp` and then `to_scan` go from prepared world to the scan's."""
    name = f"{item.scan.subject}_{item.scan.sequence}"
    affine = np.linalg.inv(to_scan) @ item.image.affine
    field = read_field(warp) if warp else None

    def carried(array: np.ndarray) -> np.ndarray:
        smooth = smoothed(Volume(array.astype(np.float32), item.image.affine), grid.spacing_mm)
        return resample_like(smooth, affine, grid, field=field)

    image = carried(item.image.array)
    mask = carried(item.brain_mask) >= 0.5
    if not mask.any():
        raise ValueError("the brain came to lie outside the prepared grid; check its picture")
    paths: dict[str, str | None] = {
        "image": f"work/{name}.nii.gz",
        "brain_mask": f"masks/{name}_brain.nii.gz",
        "lesion_mask": None,
        "transform": f"transforms/{name}.txt",
        "warp": str(warp.relative_to(out)) if warp else None,
    }
    write_volume(out / f"work/{name}.nii.gz", image, grid.affine)
    write_volume(out / f"masks/{name}_brain.nii.gz", mask, grid.affine, np.uint8)
    if item.lesion is not None:
        found = carried(item.lesion) >= 0.5
        paths["lesion_mask"] = f"masks/{name}_lesion.nii.gz"
        write_volume(out / f"masks/{name}_lesion.nii.gz", found, grid.affine, np.uint8)
    rows = "\n".join(" ".join(repr(float(v)) for v in row) for row in to_scan)
    write_text(out / f"transforms/{name}.txt", rows + "\n")
    item.record["quality"] |= measures.measure_prepared(image, mask, atlas, grid)
    return {
        **paths,
        "subject": item.scan.subject,
        "sequence": item.scan.sequence,
        "space": atlas.name if atlas else f"the subject's {reference}",
        "spacing_mm": grid.spacing_mm[0],
        "shape": grid.array.shape,
        **item.record,
    }


def smoothed(volume: Volume, spacing_mm: Sequence[float]) -> np.ndarray:
    """The array blurred to the prepared voxel where that is coarser: no aliasing."""
    coarse, fine = max(spacing_mm), np.array(volume.spacing_mm)
    sigma = np.sqrt(np.maximum(coarse**2 - fine**2, 0)) / 2.355 / fine
    return ndimage.gaussian_filter(volume.array, sigma, mode="nearest")
