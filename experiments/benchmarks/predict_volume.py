"""Measure time and memory of brainuad-predict for a prepared volume at 1 mm.

    python experiments/benchmarks/predict_volume.py

runs each method's CPU preset, at 1 mm and untrained (what is measured before training is, on this
scan), in a process of its own, and writes `predict_volume.json` beside this file: seconds of each
stage and their shares, and the peak memory of the process. The scan is made of the MNI152 tissue
maps, with its native grid the same as the prepared one; the threshold marks 1 % of the brain. The
first pass, whose seconds are given apart, finds the threshold and loads what is loaded once a
process, the atlas.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from brainuad.cohorts.scans import RawScan
from brainuad.inference.find_scans import Wanted
from brainuad.inference.outputs import write_prediction
from brainuad.model.model import Model
from brainuad.model.prepared_scan import PreparedScan
from brainuad.preparation.recipes import default
from brainuad.settings.instantiate import instantiate, resolve
from brainuad.types import Batch, Space, Volume
from brainuad.volumes.nifti import write_volume
from brainuad.volumes.template import load_template

HERE = Path(__file__).parent
METHODS = ("strega", "strega input=intensity", "intensity", "autoencoder", "autopaint",
           "madad")  # fmt: skip


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--rounds", type=int, default=2, help="of which the shortest stages count")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.rounds, *arguments.one.split())))
        return
    path = HERE / "predict_volume.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    found["setting"] = {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "spacing_mm": 1.0,
        "load_average_before": os.getloadavg()[0],
    }
    for name in arguments.methods:
        command = [sys.executable, __file__, "--one", name, "--rounds", str(arguments.rounds)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, found[name], flush=True)
        path.write_text(json.dumps(found, indent=2) + "\n")


def configuration(experiment: str, options: list[str]) -> DictConfig:
    """Return the configuration of this experiment at 1 mm."""
    words = [f"experiment={experiment}", "data.spacing_mm=1", "data.slice_size=[192,224]"]
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        return compose("train", [*words, "name=x", "paths.output_dir=x", *options])


def measure(rounds: int, experiment: str, *options: str) -> dict[str, object]:
    """Seconds of each stage of one volume, and the peak of this process in GiB."""
    torch.manual_seed(0)
    cfg = configuration(experiment, list(options))
    detector = instantiate(cfg.model)
    recipe = default(1.0)
    card = {
        **{key: resolve(cfg[key]) for key in ("model", "tiling", "postprocess", "input")},
        "sequence": "T2w",
        "preparation": recipe.to_json(),
        "statistics": None,
        "threshold": np.inf,
    }
    template = load_template(1.0)
    brain_mask = template.brain > 0.5
    noise = 0.02 * np.random.default_rng(0).standard_normal(brain_mask.shape)
    image = np.float32(0.9 * template.csf + 0.55 * template.grey + 0.35 * template.white + noise)
    image = np.where(brain_mask, np.clip(image, 0, 1), np.float32(0))
    tiling = instantiate(cfg.tiling)
    tiles = tiling.split(torch.from_numpy(image)[None])[0]
    masks = tiling.split(torch.from_numpy(brain_mask)[None].byte())[0].bool()
    inside = masks.flatten(1).any(1)
    detector.measure([Batch(tiles[inside], masks[inside])])
    with tempfile.TemporaryDirectory() as folder:
        native = Path(folder) / "scan.nii.gz"
        write_volume(native, image, template.affine)
        scan = PreparedScan(
            Volume(image, template.affine), brain_mask, Space(native, ()), in_mni=True
        )
        model = Model(detector, card, instantiate(cfg.tiling)).on_device()
        start = time.perf_counter()
        first = model.predict_prepared(scan)
        warm = time.perf_counter() - start
        known = model.known
        known.threshold = float(np.quantile(first.anomaly_map[brain_mask], 0.99))
        known.thresholds = [known.threshold]
        if not first.mask.any():
            # Findings were none: the atlas is still to be read.
            load_template(2.0)
        wanted = Wanted("scan", "scan", RawScan("scan", "T2w", native, True), "scan")
        seconds: dict[str, float] = {}
        cpu = np.inf
        for _ in range(rounds):
            began = time.process_time()
            found = model.predict_prepared(scan)
            start = time.perf_counter()
            write_prediction(Path(folder) / "out", wanted, "T2w", found, "")
            now = {**found.seconds, "writing": time.perf_counter() - start}
            # The shortest of each stage: what else the machine does only adds to it.
            seconds = {name: min(value, seconds.get(name, value)) for name, value in now.items()}
            cpu = min(cpu, time.process_time() - began)
    del seconds["preparation"]
    total = sum(seconds.values())
    return {
        "seconds": round(total, 2),
        # Of all threads: on a busy machine the seconds are longer, these are not.
        "cpu_seconds": round(cpu, 2),
        "first_pass_seconds": round(warm, 2),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "rounds": rounds,
        "batch_size": model.runtime.batch_size,
        "findings": len(found.findings),
        "stages_s": {name: round(value, 2) for name, value in seconds.items()},
        "share_percent": {name: round(100 * v / total, 1) for name, v in seconds.items()},
    }


if __name__ == "__main__":
    main()
