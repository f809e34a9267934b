"""DICOM files for tests: one slice per file, or an enhanced file of many frames."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"


def tags_of(number, position, orientation=(1, 0, 0, 0, 1, 0), spacing=(4, 4), **more):
    """Tags of one slice; `None` in place of a value leaves a tag out."""
    tags = {
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "SOPInstanceUID": f"1.2.3.4.{number}",
        "Modality": "MR",
        "SeriesDescription": "T1w",
        "PatientID": "P1",
        "SliceThickness": 4,
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "InstanceNumber": number,
        "ImagePositionPatient": [round(float(x), 9) for x in position],
        "ImageOrientationPatient": [round(float(x), 9) for x in orientation],
        "PixelSpacing": [float(x) for x in spacing],
    }
    return {name: value for name, value in (tags | more).items() if value is not None}


def write_slice(path, pixels, tags, sop_class=MR):
    """Write `(rows, columns)` or `(frames, rows, columns)` pixels, 0 to 65535."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.SOPClassUID = sop_class
    for name, value in tags.items():
        setattr(file, name, value)
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.Rows, file.Columns = pixels.shape[-2:]
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 0
    file.PixelData = np.ascontiguousarray(pixels, "<u2").tobytes()
    file.file_meta.MediaStorageSOPClassUID = sop_class
    file.file_meta.MediaStorageSOPInstanceUID = tags.get("SOPInstanceUID", "1.2.3.9")
    file.save_as(path, enforce_file_format=True)


def write_series(folder, volume, **more):
    """Write `(D, H, W)` as axial slices 4 mm apart, from -80 mm up."""
    for k in range(volume.shape[2]):
        tags = tags_of(k + 1, (-80, -96, -80 + 4 * k), **more)
        write_slice(Path(folder) / f"{k:03d}.dcm", volume[:, :, k].T, tags)


_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "FrameType": "MRImageFrameTypeSequence",
    "TemporalPositionIndex": "FrameContentSequence",
}


def write_enhanced(path, slices, shared=("ImageOrientationPatient", "PixelSpacing"), **more):
    """Write slices, `(pixels, tags)` each, into one file; `shared` tags are those of the first."""

    def groups(tags):
        found = {}
        for name, value in tags.items():
            found.setdefault(_GROUPS[name], Dataset())
            setattr(found[_GROUPS[name]], name, value)
        item = Dataset()
        for name, group in found.items():
            setattr(item, name, [group])
        return item

    first = slices[0][1]
    own = [name for name in _GROUPS if name not in shared]
    frames = [groups({n: tags[n] for n in own if n in tags}) for _, tags in slices]
    top = {name: value for name, value in first.items() if name not in _GROUPS}
    top |= {
        "NumberOfFrames": len(slices),
        "SharedFunctionalGroupsSequence": [groups({n: first[n] for n in shared if n in first})],
        "PerFrameFunctionalGroupsSequence": frames,
    }
    write_slice(path, np.stack([pixels for pixels, _ in slices]), top | more, ENHANCED)
