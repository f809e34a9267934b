"""DICOM files for tests: one slice per file, an enhanced file of many frames, or a mosaic."""

import struct
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED = "1.2.840.10008.5.1.4.1.1.4.1"
MOSAIC = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]


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


def write_csa(fields):
    """The bytes of a Siemens private header (CSA2): `{name: (VR, values)}`."""
    found = b"SV10\4\3\2\1" + struct.pack("<2I", len(fields), 77)
    for name, (vr, values) in fields.items():
        # Scanners write six items or more, of which some are empty.
        texts = [str(value).encode() for value in values]
        texts += [b""] * (6 - len(texts))
        vm = len(values)
        found += struct.pack("<64si4s3i", name.encode(), vm, vr.encode(), 0, len(texts), 77)
        for text in texts:
            found += struct.pack("<4i", *[len(text)] * 2, 77, len(text))
            found += text + bytes(-len(text) % 4)
    return found


def mosaic_fields(count, normal):
    """Fields of the private header that tell the slices of a mosaic."""
    return {
        "EchoLinePosition": ("IS", [64]),
        "NumberOfImagesInMosaic": ("US", [count]),
        "SliceNormalVector": ("FD", [f"{x:.8f}" for x in normal]),
        "PixelSpacing": ("DS", []),
    }


def mosaic_of(slices, grid=None):
    """Pixels of a mosaic: `(N, rows, columns)` slices row by row in a square grid, zeros behind.

    Args:
        slices: the slices.
        grid: tiles down and across; the least square one by default.
    """
    count, rows, columns = slices.shape
    down, across = grid or [int(np.ceil(np.sqrt(count)))] * 2
    pixels = np.zeros((down * rows, across * columns), slices.dtype)
    for k, one in enumerate(slices):
        top, left = k // across * rows, k % across * columns
        pixels[top : top + rows, left : left + columns] = one
    return pixels


def mosaic_corner(corner, orientation, spacing, tile, whole):
    """The position that the scanner writes: of the corner of one slice as large as the mosaic.

    Its centre is that of the first slice. By hand, so as not to ask the library under test.
    """
    right, down = np.array(orientation, float).reshape(2, 3)
    centre = corner + (tile[0] / 2) * spacing[0] * down + (tile[1] / 2) * spacing[1] * right
    return centre - (whole[0] / 2) * spacing[0] * down - (whole[1] / 2) * spacing[1] * right


def write_mosaic(path, pixels, tags, csa=None, count=None):
    """Write pixels of a mosaic with a private header, and their number in (0019,100A)."""
    write_slice(path, pixels, tags)
    file = pydicom.dcmread(path)
    if csa is not None:
        file.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa)
    if count is not None:
        file.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", count)
    file.save_as(path)
