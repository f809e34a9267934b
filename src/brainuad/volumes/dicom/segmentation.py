"""DICOM Segmentation objects: a labelled volume, written back onto the series that it came from."""

import hashlib
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy, deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, MRImageStorage
from pydicom.valuerep import DA, TM

from brainuad.errors import InputError
from brainuad.machine.files import atomic_path
from brainuad.types import Volume
from brainuad.volumes.dicom.headers import PER_FRAME, SHARED, lenient
from brainuad.volumes.dicom.read import Stack, quiet_gdcm, stack_of
from brainuad.volumes.grids import require_same_grid
from brainuad.volumes.itk import FLIP

# highdicom is imported where an object is made: it comes with the extra alone.
if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

NEEDED = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"),
    "FrameOfReferenceUID",
)
"""Attributes of a source file without which nothing can refer to it."""

_SAME = ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
"""Identifiers that the slices of a series share."""

_GROUPS = {SHARED, PER_FRAME}
"""Sequences that describe the frames of a file, which may be thousands."""

_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)
"""Attributes of patient and study that a Segmentation object has even where they are empty."""

_FORMS: dict[str, Callable[[Any], Any]] = {
    "PatientBirthDate": DA,
    "StudyDate": DA,
    "StudyTime": TM,
    "PatientSex": {"M": "M", "F": "F", "O": "O"}.__getitem__,
}
"""Readers of the values that have a form; each raises an error where a value lacks it."""

_SERIES_NUMBER = 1000
"""Added to the number of the source series."""

_TEXT = 64
"""Largest number of characters of a short text (LO)."""


_REMEDY = "export the series again, or leave --dicom-seg out"


class Algorithm(NamedTuple):
    """The algorithm that made the labels, as a Segmentation object identifies it.

    Attributes:
        name: name of the model.
        version: version of brainuad.
        parameters: choices that decide the labels.
        stamp: text that differs wherever weights or choices do.
    """

    name: str
    version: str
    parameters: dict[str, str]
    stamp: str


def write_segmentation(
    path: Path, folder: Path, labels: Volume, names: Sequence[str], algorithm: Algorithm
) -> None:
    """Write labels as segments of the DICOM series that they lie on, atomically.

    Patient and study are those of the source. Needs the extra `dicom`. The same labels by the same
    algorithm get the same identifiers.

    Args:
        path: ends in `.dcm`.
        folder: folder of the series, as `read_dicom` takes it.
        labels: whole numbers on the grid of `read_dicom`, at least one above 0.
        names: name of each label from 1 up.
        algorithm: the algorithm that made them.

    Raises:
        InputError: as `read_dicom`; labels on another grid; a header without an identifier.
    """
    with quiet_gdcm():
        stack = stack_of(folder)
    like = Volume(
        np.broadcast_to(np.float32(0), (*stack.slices[0].size[::-1], len(stack.slices))),
        FLIP @ stack.affine,
    )
    require_same_grid(folder, labels, like)
    with lenient():
        headers = {image.file: _header(image.file) for image in stack.slices}
        _require_identifiers(folder, headers)
        made = _segmentation(stack, headers, labels.array, names, algorithm)
        with atomic_path(path) as temporary:
            made.save_as(temporary)


def _header(file: Path) -> Dataset:
    return pydicom.dcmread(file, stop_before_pixels=True, force=True)


def _require_identifiers(folder: Path, headers: dict[Path, Dataset]) -> None:
    for file, header in headers.items():
        for name in NEEDED:
            if not isinstance(header.get(name), UID) or not header.get(name):
                raise InputError(
                    f"{file}: tells no {name}, which a DICOM Segmentation object refers to; "
                    f"{_REMEDY}"
                )
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if (count := len({header[name].value for header in headers.values()})) > 1:
            raise InputError(
                f"{folder}: slices of {count} {name}s, of which a DICOM Segmentation object has "
                f"one; {_REMEDY}"
            )
    instances = {header.SOPInstanceUID for header in headers.values()}
    if len(instances) < len(headers):
        raise InputError(
            f"{folder}: {len(headers)} files with {len(instances)} SOPInstanceUIDs, by which a "
            f"DICOM Segmentation object refers to them; {_REMEDY}"
        )


def _segmentation(
    stack: Stack,
    headers: dict[Path, Dataset],
    labels: np.ndarray,
    names: Sequence[str],
    algorithm: Algorithm,
) -> Dataset:
    from highdicom.seg import Segmentation

    first = headers[stack.slices[0].file]
    pixels = np.ascontiguousarray(labels.transpose(2, 1, 0), np.uint16)
    instances = [str(header.SOPInstanceUID) for header in headers.values()]
    parts = (algorithm.version, algorithm.stamp, *instances, *map(str, pixels.shape))
    key = hashlib.sha256("\n".join(parts).encode() + pixels.tobytes()).hexdigest()
    described = stack.slices[0].description
    made = Segmentation(
        source_images=_sources(stack, first),
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=_segments(names, algorithm, key),
        series_instance_uid=_uid(key, "series"),
        series_number=_number(first) + _SERIES_NUMBER,
        sop_instance_uid=_uid(key, "instance"),
        instance_number=1,
        manufacturer="brainuad",
        manufacturer_model_name="brainuad",
        software_versions=algorithm.version,
        device_serial_number="none",
        content_label="ANOMALIES",
        content_description="Anomalies marked by brainuad, for research, not for diagnosis",
        series_description=_short("brainuad: anomalies" + f" of {described}" * bool(described)),
    )
    dimensions = _uid(key, "dimensions")
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    _refer(made, stack, headers)
    return made


def _segments(names: Sequence[str], algorithm: Algorithm, key: str) -> "list[SegmentDescription]":
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    made_by = AlgorithmIdentificationSequence(
        name=_short(algorithm.name),
        family=codes.DCM.ArtificialIntelligence,
        version=algorithm.version,
        source="brainuad",
        parameters=algorithm.parameters,
    )
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=_short(name),
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Lesion,
            algorithm_type="AUTOMATIC",
            algorithm_identification=made_by,
            tracking_uid=_uid(key, f"segment {number}"),
            tracking_id=f"brainuad {key[:16]} {number}",
            anatomic_regions=[codes.SCT.Brain],
        )
        for number, name in enumerate(names, 1)
    ]


def _sources(stack: Stack, first: Dataset) -> list[Dataset]:
    """Return each slice as a file of its own, on the regular grid of the volume.

    highdicom takes no frames of several files, no mosaics and no rounded directions. `_refer` puts
    the true references in place of these.
    """
    affine = stack.affine
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    axes = (affine[:3, :3] / lengths).T
    header = _patient_and_study(first)
    found = []
    for k, image in enumerate(stack.slices):
        # highdicom copies patient and study of the first.
        slice_ = header if k == 0 else Dataset()
        for name in _SAME:
            setattr(slice_, name, header[name].value)
        slice_.SOPClassUID, slice_.SOPInstanceUID = MRImageStorage, _placeholder(k)
        slice_.Rows, slice_.Columns = image.size
        slice_.ImageOrientationPatient = _decimals(axes[:2].ravel())
        slice_.ImagePositionPatient = _decimals(affine[:3, 3] + k * affine[:3, 2])
        slice_.PixelSpacing = _decimals(lengths[[1, 0]])
        slice_.SpacingBetweenSlices = float(_decimals(lengths[2:])[0])
        slice_.SliceThickness = image.thickness or slice_.SpacingBetweenSlices
        found.append(slice_)
    return found


def _decimals(values: np.ndarray) -> list[float]:
    """Round to what fits the 16 characters of a decimal string; no negative zeros."""
    return [round(float(value), 10) + 0.0 for value in values]


def _placeholder(k: int) -> str:
    """Return the identifier of slice `k` until `_refer` replaces it."""
    return f"2.25.{k + 1}"


def _patient_and_study(first: Dataset) -> Dataset:
    """Return a header whose values of patient and study are there, in their form, and in UTF-8."""
    header = Dataset()
    for tag in first.keys() - _GROUPS:
        # Broken values raise errors of every kind.
        with suppress(Exception):
            header.add(deepcopy(first[tag]))
    header.remove_private_tags()
    header.SpecificCharacterSet = "ISO_IR 192"
    for name in _MAY_BE_EMPTY:
        try:
            value = header[name].value
            if not isinstance(value, str | pydicom.valuerep.PersonName | DA | TM):
                raise ValueError("several values, or none")
            if value:
                _FORMS.get(name, str)(value)
        except Exception:
            # As above.
            setattr(header, name, "")
    return header


def _short(text: str) -> str:
    """Return a text that fits a short string (LO), which has no backslash and no line breaks."""
    plain = "".join(c if c.isprintable() and c != "\\" else " " for c in text)
    return plain[:_TEXT].strip()


def _number(header: Dataset) -> int:
    try:
        return max(int(header.SeriesNumber), 0) % 10**6
    except (AttributeError, TypeError, ValueError):
        return 0


def _refer(made: Dataset, stack: Stack, headers: dict[Path, Dataset]) -> None:
    """Refer each frame to its slice: a file, a frame of one, or the mosaic that it is a tile of."""
    slices = {_placeholder(k): image for k, image in enumerate(stack.slices)}
    sources = [
        item.DerivationImageSequence[0].SourceImageSequence[0]
        for item in made.PerFrameFunctionalGroupsSequence
    ]
    # Segments on one slice share the object.
    for source, image in [(one, slices[one.ReferencedSOPInstanceUID]) for one in sources]:
        _name_instance(source, headers[image.file])
        if image.multi_frame and not image.mosaic:
            source.ReferencedFrameNumber = image.frame + 1
        if image.mosaic:
            source.SpatialLocationsPreserved = "NO"
    instances = [_name_instance(Dataset(), header) for header in headers.values()]
    made.SourceImageSequence = instances
    (series,) = made.ReferencedSeriesSequence
    series.ReferencedInstanceSequence = [copy(one) for one in instances]


def _name_instance(reference: Dataset, header: Dataset) -> Dataset:
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return reference


def _uid(*parts: str) -> str:
    """Return a UID that is the same for the same parts (DICOM PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, ' '.join(parts)).int}"
