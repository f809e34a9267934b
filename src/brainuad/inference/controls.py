"""Controls scored beside every method (docs/explanation/protocol.md#controls)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.inference.maps import Scorer, fill
from brainuad.machine.failures import Failures
from brainuad.model.card import Card
from brainuad.model.model import Model, Runtime
from brainuad.settings.instantiate import instantiate
from brainuad.types import Detection
from brainuad.volumes.nifti import read_volume

ORACLE = "oracle_reconstruction"


class Oracle:
    """The control that reconstructs perfectly: the lesion-free counterpart of a synthetic case.

    A healthy scan is its own counterpart. The control uses the truth, so it is never a method.
    """

    fingerprint = "twin"

    def views(self, scans: Sequence[Scan], failures: Failures) -> Sequence[Scan]:
        """Return the scans: the input is the cohort's intensities."""
        return scans

    def detect_scan(self, scan: Scan) -> Detection:
        """Return the distance from the counterpart, and the counterpart.

        Raises:
            InputError: an unreadable file.
        """
        image, brain_mask = load_scan(scan)
        twins = [
            own if row.twin is None else torch.from_numpy(read_volume(row.twin).array)
            for own, row in zip(image, scan.rows, strict=True)
        ]
        twin = torch.stack(twins)
        found = (image - twin).abs().mean(0, keepdim=True)
        return Detection(torch.where(brain_mask, found, torch.zeros(())), twin)


def untrained_controls(controls: Mapping[str, Any]) -> dict[str, Model]:
    """Return the controls as models.

    Args:
        controls: name to configuration with `model` and `tiling`, in plain values.
    """
    return {
        name: Model(
            instantiate(control["model"]),
            Card(control["model"], control["tiling"], {}, "", None),
            instantiate(control["tiling"]),
            # Finding the largest batch takes a trial run, and controls have no network.
            runtime=Runtime(batch_size=1),
        )
        for name, control in controls.items()
    }


def write_controls(
    controls: Mapping[str, Model], scans: Sequence[Scan], out: Path, method: str, failures: Failures
) -> dict[str, MapFolder]:
    """Write the maps of every control, and of the oracle where lesion-free counterparts are.

    Args:
        controls: controls by name.
        scans: validation and test scans of one sequence, or of the same channels.
        out: folder that gets one folder per control.
        method: name of the method; a control of this name is left out.
        failures: gets the name and reason of a control that could not be computed; only its own
            rows are lost.

    Returns:
        Control to folder.
    """
    scorers: dict[str, Scorer] = {name: own for name, own in controls.items() if name != method}
    if any(scan.twin and scan.split == "test" for scan in scans):
        scorers[ORACLE] = Oracle()
    folders: dict[str, MapFolder] = {}
    for name, scorer in scorers.items():
        folder = MapFolder(out / name)
        with failures.catching(f"({name})", folder.path):
            # An unreadable scan is a failure of the method, too, and is listed there.
            fill(folder, scans, scorer, Failures(), f"control {name}")
            folders[name] = folder
    return folders


def fixed_thresholds(controls: Mapping[str, Model]) -> dict[str, float]:
    """Return the controls' own thresholds by name, where they have one."""
    own = {name: control.fixed_threshold for name, control in controls.items()}
    return {name: value for name, value in own.items() if value is not None}
