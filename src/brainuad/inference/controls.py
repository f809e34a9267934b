"""Controls scored beside every method (docs/protocol.md#controls), as maps in a run folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from brainuad.cohorts.load import load_scan
from brainuad.cohorts.manifest import Scan
from brainuad.inference.maps import write_maps
from brainuad.machine.guard import Failures, guarded
from brainuad.model.detect import model_score
from brainuad.settings.instantiate import instantiate, resolve
from brainuad.types import Detection
from brainuad.volumes.nifti import read_volume


def write_controls(
    controls: Mapping[str, Any],
    scans: Sequence[Scan],
    out: Path,
    method: str,
    failures: Failures,
) -> dict[str, Path]:
    """Writes the maps of every control, and of the oracle reconstruction where twins are.

    Args:
        controls: name to configuration with `model` and `tiling`.
        scans: validation and test scans of one sequence, or of the same channels.
        out: a folder a control is made here.
        method: what the controls stand beside; a control of this name is the method itself.
        failures: gets the name of a control that could not be computed, with the reason: it costs
            its own rows alone.

    Returns:
        Control to folder.
    """
    folders: dict[str, Path] = {}
    for name, control in controls.items():
        if name != method:
            with guarded(failures, f"({name})", out / name):
                score = model_score(instantiate(control.model), instantiate(control.tiling), 1)
                write_maps(scans, out / name, score, repr(resolve(control)), f"control {name}")
                folders[name] = out / name
    if any(scan.twin and scan.split == "test" for scan in scans):
        with guarded(failures, "(oracle_reconstruction)", out / "oracle_reconstruction"):
            write_maps(scans, out / "oracle_reconstruction", oracle_score, "twin", "control oracle")
            folders["oracle_reconstruction"] = out / "oracle_reconstruction"
    return folders


def fixed_thresholds(controls: Mapping[str, Any]) -> dict[str, float]:
    """The thresholds that controls bring along, by name, of those that do."""
    own = {name: instantiate(control.model).fixed_threshold for name, control in controls.items()}
    return {name: value for name, value in own.items() if value is not None}


def oracle_score(scan: Scan) -> Detection:
    """The control that reconstructs perfectly: the lesion-free twin of a synthetic case.

    A healthy scan is its own twin. Uses the truth, so it is never a method.
    """
    image, brain_mask = load_scan(scan)
    twins = [
        own if row.twin is None else torch.from_numpy(read_volume(row.twin).array)
        for own, row in zip(image, scan.rows, strict=True)
    ]
    twin = torch.stack(twins)
    found = (image - twin).abs().mean(0, keepdim=True)
    return Detection(torch.where(brain_mask, found, torch.zeros(())), twin)
