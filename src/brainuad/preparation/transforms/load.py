"""Scans, brain masks and lesion labels from files."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader
from monai.transforms.io.array import LoadImage

from brainuad.errors import InputError
from brainuad.preparation.transforms.base import Data, ScanTransform, reported
from brainuad.types import Volume
from brainuad.volumes.meta_tensor import meta_tensor, volume_of
from brainuad.volumes.nifti import read_label, read_mask
from brainuad.volumes.read import is_label_map, read_scan


class ScanReader(ImageReader):
    """MONAI's reader for scans as people have them: odd NIfTI headers, folders of a DICOM series.

    What is odd is noted in the metadata, what cannot be read is one line that names the file.
    """

    def verify_suffix(self, filename: Sequence[Any] | Any) -> bool:
        """Whether it is a folder or a NIfTI file."""
        path = Path(_one(filename))
        return path.is_dir() or path.name.endswith((".nii", ".nii.gz"))

    def read(self, data: Sequence[Any] | Any, **kwargs: Any) -> tuple[Volume, list[str]]:
        """The scan, and notes on what was odd; see `brainuad.volumes.read.read_scan`."""
        return read_scan(Path(_one(data)))

    def get_data(self, img: tuple[Volume, list[str]]) -> tuple[np.ndarray, dict[str, Any]]:
        """`(D, H, W)` float32, and its metadata."""
        volume, notes = img
        meta = {
            "affine": volume.affine,
            "original_affine": volume.affine.copy(),
            "spatial_shape": np.array(volume.array.shape),
            "original_channel_dim": "no_channel",
            "space": "RAS",
            "notes": notes,
        }
        return volume.array, meta


class LoadScand(ScanTransform):
    """MONAI's `LoadImaged` by `ScanReader`, with the brain masks and lesion labels of the scans.

    A mask on another grid than its scan is refused, and a label map in place of a scan.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._load = LoadImage(image_only=True, ensure_channel_first=True, expanduser=False)

    def __call__(self, data: Mapping[Hashable, Any]) -> Data:
        """Replace each path by its image.

        Raises:
            InputError: unreadable, not a scan, or a mask on another grid.
        """
        found = dict(data)
        reader = ScanReader()
        for key in self.key_iterator(found):
            with self.scan(found, key):
                path = Path(found[key])
                image = self._load(path, reader=reader)
                volume = volume_of(image)
                if is_label_map(volume.array):
                    raise InputError(
                        f"{path}: looks like a label map, not a scan; name a lesion mask "
                        "*_lesion.nii.gz, a brain mask *_brain_mask.nii.gz, or list the scans in "
                        "a CSV"
                    )
                notes = image.meta.pop("notes")
                image = reported(image, notes=notes, native_spacing_mm=volume.spacing_mm)
                own = {self.mask_key(key): read_mask, f"{key}{self.label_postfix}": read_label}
                for name, read in own.items():
                    if name in found:
                        mask = read(Path(found[name]), like=volume)
                        found[name] = meta_tensor(mask.astype(np.uint8), image)
                found[key] = image
        return found


def _one(filename: Sequence[Any] | Any) -> Any:
    return filename[0] if isinstance(filename, list | tuple) else filename
