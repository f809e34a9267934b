"""How well a model finds lesions painted into healthy validation brains: no label is needed.

What sweeps maximise. The validation loss would not do: it says how well healthy brains are
reconstructed, and a model that reconstructs lesions too has the best one. The healthy threshold's
share of false positives would not do either: a map of zeros is perfect. The labelled test subjects
must not. So lesions of `brainuad.synthetic.lesions`, by default a mixture of kinds
(`configs/painted`), are painted into the scans of healthy *validation* subjects, and the mean over
them of the average precision of the post-processed map ranks models and settings. It is not an
estimate of the AP on real lesions.
"""

from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.inference.maps import write_maps
from brainuad.machine.text import say
from brainuad.methods.base import AnomalyDetector
from brainuad.metrics.statistics import summarise
from brainuad.metrics.voxel import average_precision
from brainuad.model.checkpoint import weights_hash
from brainuad.model.detect import model_score
from brainuad.postprocess.pipeline import Postprocess
from brainuad.preparation.model_input import as_input, input_of
from brainuad.settings.instantiate import instantiate
from brainuad.synthetic.painted import painted_scans
from brainuad.volumes.nifti import read_mask, read_volume


def measure(
    cfg: DictConfig,
    detector: AnomalyDetector,
    cohort: Cohort,
    out: Path,
    record: dict[str, Any],
) -> list[tuple[str, str]]:
    """Puts the objective of a run, its mean over painted scans and how sure it is, into `record`.

    Args:
        cfg: of the run; `painted_draws` is the number of copies of a scan, `painted` what is
            painted.
        detector: trained.
        cohort: of the run.
        out: run folder; the maps are kept in `painted/` there.
        record: gets `painted`: `draws` and the fields of `Summary`.

    Returns:
        (subject, reason) of what failed.
    """
    from brainuad.model.detect import device

    scans = cohort.select("val", cfg.data.sequence, healthy=True)
    corruption = instantiate(cfg.painted)
    copies, failures = painted_scans(scans, cfg.painted_draws, cfg.paths.cache_dir, corruption)
    postprocess = instantiate(cfg.postprocess)
    seen, bad = as_input(copies, input_of(cfg.input), cfg.paths.cache_dir, cfg.jobs)
    how = cfg.predict_batch_size, device(cfg.device), cfg.predict_precision
    score = model_score(detector, instantiate(cfg.tiling), *how)
    stamp = f"{weights_hash(detector)} {cfg.predict_precision}"
    written = write_maps(seen, out / "painted", score, stamp, "painted")
    maps = [(scan, out / "painted" / f"{scan.subject}_anomaly.nii.gz") for scan in seen]
    values = [painted_ap(scan, path, postprocess) for scan, path in maps if path.is_file()]
    found = summarise(np.array(values, float))
    record["painted"] = {"draws": cfg.painted_draws, **found._asdict()}
    say(f"val/painted_AP: {found.mean:.4f} [{found.ci_low:.4f}, {found.ci_high:.4f}]")
    return [*failures, *bad, *written.failures]


def painted_ap(scan: Scan, anomaly_map: Path, postprocess: Postprocess) -> float:
    """Average precision of a painted scan's map, inside the brain and after post-processing."""
    volume = read_volume(anomaly_map)
    inside = read_mask(scan.brain_mask, like=volume)
    score = postprocess.score(volume.array, inside, volume.spacing_mm)
    assert scan.lesion_mask is not None
    return average_precision(score[inside], read_mask(scan.lesion_mask, like=volume)[inside])
