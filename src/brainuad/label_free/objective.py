"""Label-free objective: detection of lesions painted into healthy validation brains.

Sweeps maximise it. The validation loss would not do: it says how well healthy brains are
reconstructed, and a model that reconstructs lesions too has the best one. The healthy threshold's
share of false positives would not do either: a map of zeros is perfect. The labelled test subjects
must not. So lesions of `brainuad.synthetic.lesions`, by default a mixture of kinds
(`configs/painted`), are painted into the scans of healthy *validation* subjects, and the mean over
them of the average precision of the post-processed map ranks models and settings. It is not an
estimate of the AP on real lesions.
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
    """Return the mean average precision over painted scans, and how sure it is.

    Args:
        model: trained.
        scans: healthy ones of the validation.
        corruption: paints a lesion.
        draws: copies of each scan.
        postprocess: applied to each map.
        maps: keeps the maps.
        failures: gets the scans that could not be painted or scored.

    Returns:
        `draws` and the fields of `Summary`.
    """
    copies, bad = painted_scans(scans, draws, model.runtime.cache, corruption)
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
