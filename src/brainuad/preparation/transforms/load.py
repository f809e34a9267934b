"""Scans, brain masks and lesion labels from files."""

import logging
import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader
from monai.transforms.io.array import LoadImage

from brainuad.errors import InputError
from brainuad.preparation.background import cleared
from brainuad.preparation.transforms.base import Data, EachScanTransform, reported
from brainuad.volumes.lost import head_of, require_outside
from brainuad.volumes.masks import read_brain_mask
from brainuad.volumes.meta_tensor import meta_tensor
from brainuad.volumes.nifti import read_label
from brainuad.volumes.read import RawVolume, is_label_map, read_raw

ENDINGS = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")
"""Endings of NIfTI files, in lower case."""

# Of its readers MONAI makes each that it can, and one wants a plugin of pydicom's.
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)

FILE = "label_file"
"""Key in a label's metadata: the file that it was read from."""

EMPTY = 0.5
"""Share of a brain mask that may lie where its scan is 0."""


class ScanReader(ImageReader):
    """MONAI's reader for scans as people have them: odd NIfTI headers, folders of a DICOM series.

    Oddities are noted in the metadata. An unreadable scan is refused in one line with its path.

    Attributes:
        raw: scan that was read last; MONAI's metadata takes plain values alone.
    """

    raw: RawVolume

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Return whether it is a folder or a NIfTI file."""
        path = Path(_one(filename))
        return path.is_dir() or path.name.lower().endswith(ENDINGS)

    def read(self, data: Sequence[Any] | Any, **kwargs: Any) -> RawVolume:
        """The scan; see `brainuad.volumes.read.read_raw`."""
        self.raw = read_raw(Path(_one(data)))
        return self.raw

    def get_data(self, img: RawVolume) -> tuple[np.ndarray, dict[str, Any]]:
        """`(D, H, W)` float32, and its metadata."""
        affine = img.volume.affine
        meta = {
            "affine": affine,
            "original_affine": affine.copy(),
            "spatial_shape": np.array(img.volume.array.shape),
            "original_channel_dim": "no_channel",
            "space": "RAS",
            "native_shape": np.array(img.volume.array.shape),
            "world": img.world,
            "notes": list(img.notes),
        }
        return img.volume.array, meta


class LoadScand(EachScanTransform):
    """MONAI's `LoadImaged` by `ScanReader`, with the brain masks and lesion labels of the scans.

    Its intensities get a background of 0 (`brainuad.preparation.background`). A mask on another
    grid than its scan is refused, one that is no brain, and a label map in place of a scan.
    """

    effects = ("the scan's own", "as in the file, with a background of 0")

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        with warnings.catch_warnings():
            # As above.
            warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
            self._load = LoadImage(image_only=True, ensure_channel_first=True, expanduser=False)

    def apply(self, data: Data, key: Hashable) -> None:
        """Replace each path by its image.

        Raises:
            InputError: unreadable, not a scan, NaN in its head or brain, or a mask that is none or
                on another grid.
        """
        reader = ScanReader()
        path = Path(data[key])
        image = self._load(path, reader=reader)
        raw, notes = reader.raw, image.meta.pop("notes")
        if is_label_map(raw.volume.array):
            raise InputError(
                f"{path}: looks like a label map, not a scan; name a lesion mask "
                "*_lesion.nii.gz, a brain mask *_brain_mask.nii.gz, or list the scans in "
                "a CSV"
            )
        clear, note = cleared(raw.volume.array)
        notes += [note] if note else []
        image = meta_tensor(clear, image)
        brain = self._brain(data, key, raw, clear, notes)
        if brain is not None:
            data[self.mask_key(key)] = meta_tensor(brain.astype(np.uint8), image)
        label = f"{key}{self.label_postfix}"
        if label in data:
            file = Path(data[label])
            lesion = read_label(file, raw.volume, notes)
            data[label] = meta_tensor(lesion.astype(np.uint8), image)
            data[label].meta[FILE] = str(file)
        said = {} if raw.sides_known else {"sides_known": False}
        spacing = raw.volume.spacing_mm
        data[key] = reported(image, notes=notes, native_spacing_mm=spacing, **said)

    def _brain(
        self, data: Data, key: Hashable, raw: RawVolume, clear: np.ndarray, notes: list[str]
    ) -> np.ndarray | None:
        """The brain mask that the source gives; None where it gives none.

        Raises:
            InputError: it is no mask of this scan's brain, or the scan has lost a part of it.
        """
        path, name = Path(data[key]), self.mask_key(key)
        if name not in data:
            if raw.lost is not None:
                require_outside(path, raw.lost, head_of(raw.volume.array, raw.lost))
            return None
        brain = read_brain_mask(Path(data[name]), raw.volume, notes)
        if raw.lost is not None:
            require_outside(path, raw.lost, brain)
            # Voxels that were never scanned are not searched for lesions.
            brain &= ~raw.lost
        empty = (clear[brain] == 0).mean()
        if empty > EMPTY:
            raise InputError(
                f"{data[name]}: {empty:.0%} of it lies where its scan is empty; check whose mask "
                "it is, and its header"
            )
        return brain


def _one(filename: Sequence[Any] | Any) -> Any:
    return filename[0] if isinstance(filename, list | tuple) else filename
