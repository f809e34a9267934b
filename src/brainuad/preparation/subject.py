"""Preparation of one subject: from raw files to prepared files.

The steps are MONAI transforms (`brainuad.preparation.pipeline`). Intensities are normalised after
all subjects are done (`normalise`), because some normalisations are fitted on the training split.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainuad.cohorts.scans import RawScan
from brainuad.machine.failures import Failures
from brainuad.preparation.pipeline import FAILURES, FIELD, POSTFIXES, Preparation
from brainuad.preparation.register.linear import Registration
from brainuad.preparation.slices import SlicePreparation, prepare_slices
from brainuad.records.scan import STEPS, ScanRecord, Step
from brainuad.types import WorldWarp
from brainuad.volumes.native_space import parts, read_way, way_of, write_way
from brainuad.volumes.nifti import write_volume
from brainuad.volumes.read import read_scan

# MONAI takes seconds to import.
if TYPE_CHECKING:
    from brainuad.preparation.transforms.base import Data

STRIPPED_AGAIN = 3
"""Largest number of repeated skull strips after the head's orientation was corrected."""


def reference_of(scans: Sequence[RawScan], preparation: Preparation) -> RawScan | None:
    """The scan that the subject's others are registered to; None where nothing is registered."""
    if preparation.atlas is None and preparation.between is None:
        return None
    ordered = preparation.ordered([scan.sequence for scan in scans])
    return next(scan for scan in scans if scan.sequence == ordered[0])


def prepare_subject(
    scans: Sequence[RawScan],
    preparation: Preparation | SlicePreparation,
    out: Path,
    wanted: Collection[str] | None = None,
) -> tuple[list[ScanRecord], Failures]:
    """Prepare the sequences of one subject up to intensity normalisation.

    Args:
        scans: scans of one subject, one per sequence.
        preparation: the steps.
        out: cohort folder; gets `work/`, `masks/`, `transforms/` and, of DICOM series, `native/`.
        wanted: sequences to do, the others are there already; None for all.

    Returns:
        One record per scan, to be kept as JSON beside it, and (subject, reason) of the scans that
        could not be prepared. Where the reference fails, the next in order takes its place.
    """
    if isinstance(preparation, SlicePreparation):
        return prepare_slices(scans, preparation, out, wanted)
    names = {scan.sequence for scan in scans} if wanted is None else set(wanted)
    chosen = reference_of(scans, preparation)
    used = [scan for scan in scans if scan.sequence in names or scan is chosen]
    data: Data = {FIELD: out / "transforms" / scans[0].subject}
    for scan in used:
        if "." in scan.sequence:
            line = (
                f"{scan.image}: a sequence named '{scan.sequence}'; leave the '.' out of its name"
            )
            return [], Failures([(scan.subject, line)])
        files = (scan.image, scan.brain_mask, scan.lesion_mask)
        for postfix, path in zip(POSTFIXES, files, strict=True):
            if path is not None:
                data[scan.sequence + postfix] = path
    if preparation.atlas and chosen is not None and chosen.sequence not in names:
        data |= _known(chosen, out)
    found = upright_run(preparation, [scan.sequence for scan in used], data)
    failed = found.get(FAILURES, {})
    failures = Failures(
        (scan.subject, failed[scan.sequence]) for scan in used if scan.sequence in failed
    )
    left = [scan for scan in used if scan.sequence in found]
    records = [_write(scan, found, out) for scan in left if scan.sequence in names]
    return records, failures


def _known(reference: RawScan, out: Path) -> "Data":
    """Return the registration of a reference that was prepared before, which is not repeated."""
    from brainuad.preparation.transforms.base import KNOWN

    path = out / "transforms" / f"{reference.subject}_{reference.sequence}.json"
    if not path.is_file():
        return {}
    _, _, matrix = parts(read_way(path))
    return {KNOWN: {reference.sequence: Registration(matrix, float("nan"))}}


def upright_run(preparation: Preparation, sequences: Sequence[str], data: "Data") -> "Data":
    """Run the steps, again where a head lies turned: brains are found in upright heads alone.

    All steps are run again: each after the first two needs the brain mask.
    """
    from brainuad.preparation.transforms.base import report, reported
    from brainuad.preparation.transforms.brain import TURNS
    from brainuad.preparation.transforms.register import HeadTurned

    degrees: dict[Any, float] = {}
    for left in reversed(range(STRIPPED_AGAIN + 1)):
        try:
            found = run(preparation.compose(sequences, stop_if_turned=left > 0), data)
            break
        except HeadTurned as turned:
            data = data | {TURNS: {key: turn for key, (_, turn) in turned.lie.items()}}
            degrees = {
                key: angle
                for key, (angle, turn) in turned.lie.items()
                if not np.array_equal(turn, np.eye(3))
            }
    for key in set(degrees) & set(found):
        note = (
            f"the head lies turned by {degrees[key]:.0f} degrees; its brain was looked for upright"
        )
        found[key] = reported(found[key], notes=[*report(found[key])["notes"], note])
    return found


def run(pipeline: Any, data: "Data") -> "Data":
    """Apply a `Compose`; an error comes as it was, without MONAI's around it."""
    try:
        return pipeline(data)
    except RuntimeError as error:
        raise (error.__cause__ or error) from None


def _write(scan: RawScan, data: "Data", out: Path) -> ScanRecord:
    """Write a prepared scan with its masks and its way back, and return its record."""
    from brainuad.preparation.transforms.base import records, report
    from brainuad.volumes.meta_tensor import volume_of

    name = f"{scan.subject}_{scan.sequence}"
    image = data[scan.sequence]
    volume = volume_of(image)
    native = scan.image
    if native.is_dir():
        # The way back needs a file to go back to.
        native = out / "native" / f"{name}.nii.gz"
        raw, _ = read_scan(scan.image)
        write_volume(native, raw.array, raw.affine)
    write_volume(out / f"work/{name}.nii.gz", volume.array, volume.affine)
    masks: dict[str, Any] = {"lesion_mask": None}
    for kind in ("brain", "lesion"):
        if (mask := data.get(f"{scan.sequence}.{kind}")) is not None:
            masks[f"{kind}_mask"] = f"masks/{name}_{kind}.nii.gz"
            inside = volume_of(mask).array > 0.5
            write_volume(out / masks[f"{kind}_mask"], inside, volume.affine, np.uint8)
    way = records(image)
    write_way(out / f"transforms/{name}.json", way)
    warps = [one.field.name for one in way_of(way) if isinstance(one, WorldWarp)]
    said = report(image)
    return ScanRecord(
        subject=scan.subject,
        sequence=scan.sequence,
        image=f"work/{name}.nii.gz",
        **masks,
        transform=f"transforms/{name}.json",
        warp=f"transforms/{warps[-1]}" if warps else None,
        native_image=str(native),
        native_spacing_mm=tuple(said["native_spacing_mm"]),
        steps={step: Step.of(said[step]) for step in STEPS if step in said},
        quality=said["quality"],
        notes=tuple(said["notes"]),
        sides_known=said.get("sides_known", True),
    )
