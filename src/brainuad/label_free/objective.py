"""Label-free objective: detection of lesions painted into healthy validation brains.

Sweeps maximise it. Other objectives fail: the validation loss is lowest for a model that
reconstructs lesions too, the false-positive share of the healthy threshold is lowest for a map of
zeros, and labelled test subjects must not be used. So lesions of `brainuad.synthetic.lesions`, by
default a mixture of kinds (`configs/painted`), are painted into the scans of healthy *validation*
subjects. The mean average precision of the post-processed maps ranks models and settings. It does
not estimate the AP on real lesions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from brainuad.cohorts.manifest import Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.evaluation.score_maps import postprocessed
from brainuad.inference.maps import fill
from brainuad.machine.failures import Failures
from brainuad.machine.text import say
from brainuad.metrics.statistics import summarise
from brainuad.metrics.voxel import average_precision
from brainuad.model.model import Model
from brainuad.postprocess.pipeline import Postprocess
from brainuad.synthetic.lesions.contract import Corruption
from brainuad.synthetic.painted import painted_scans
from brainuad.volumes.nifti import read_mask


def painted_ap(
    model: Model,
    scans: Sequence[Scan],
    corruption: Corruption,
    draws: int,
    postprocess: Postprocess,
    maps: MapFolder,
    failures: Failures,
) -> dict[str, Any]:
    """Return the mean average precision over painted scans, and its uncertainty.

    Args:
        model: trained.
        scans: healthy validation scans.
        corruption: paints a lesion.
        draws: number of copies per scan.
        postprocess: applied to each map.
        maps: keeps the maps.
        failures: gets the scans that could not be painted or scored.

    Returns:
        `draws` and the fields of `Summary`.
    """
    copies, bad = painted_scans(scans, draws, model.runtime.folder, corruption)
    failures += bad
    fill(maps, copies, model.on_device(), failures, "painted")
    done = [scan for scan in copies if maps.has(scan.subject)]
    values = [ap_of(scan, maps, postprocess) for scan in done]
    found = summarise(np.array(values, float))
    say(f"val/painted_AP: {found.mean:.4f} [{found.ci_low:.4f}, {found.ci_high:.4f}]")
    return {"draws": draws, **found._asdict()}


def ap_of(scan: Scan, maps: MapFolder, postprocess: Postprocess) -> float:
    """Return the average precision of a painted scan's map, in the brain, post-processed."""
    score, inside = postprocessed(scan, maps, postprocess)
    assert scan.lesion_mask is not None
    lesion = read_mask(scan.lesion_mask, like=score)
    return average_precision(score.array[inside], lesion[inside])
