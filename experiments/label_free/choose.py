"""Choose options of detection for a trained model without a lesion label.

    python -m experiments.label_free.choose runs/autopaint/model.ckpt --variant rounds=0

paints lesions (configs/painted) into healthy *validation* brains of the embedded cohort and prints
the mean AP of the model's maps over them, as trained and with each variant of its options, behind
several chains of post-processing.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hydra import compose, initialize_config_module

from brainuad.benchmark.runs import changed, embedded
from brainuad.cohorts.load import load_scan
from brainuad.metrics.statistics import summarise
from brainuad.metrics.voxel import average_precision
from brainuad.model.checkpoint import read_checkpoint
from brainuad.reporting.tables import to_markdown
from brainuad.settings.instantiate import instantiate, resolve
from brainuad.synthetic.painted import painted_scans
from brainuad.volumes.nifti import read_mask, read_volume


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--variant", nargs="+", action="append", default=[], metavar="key=value")
    parser.add_argument("--chains", nargs="+", default=["default"], help="of configs/postprocess")
    parser.add_argument("--painted", default="mixture", help="of configs/painted")
    parser.add_argument("--draws", type=int, default=2, help="painted lesions a subject")
    parser.add_argument("--limit", type=int, default=None, help="at most so many subjects")
    arguments = parser.parse_args()
    card = read_checkpoint(arguments.checkpoint)["brainuad"]
    cohort = embedded(arguments.checkpoint)
    cases = []
    scans = cohort.select("val", card["sequence"], healthy=True)[: arguments.limit]
    corruption = instantiate(option_of("painted", arguments.painted))
    for scan in painted_scans(scans, arguments.draws, Path("cache"), corruption)[0]:
        image, brain_mask = load_scan(scan)
        spacing_mm = read_volume(scan.image).spacing_mm
        lesion = read_mask(scan.lesion_mask, like=read_volume(scan.image))
        cases.append((image, brain_mask, lesion, spacing_mm))
    options: dict[str, dict[str, Any]] = {"as trained": {}}
    for variant in arguments.variant:
        pairs = (pair.split("=", 1) for pair in variant)
        options[" ".join(variant)] = {key: yaml.safe_load(value) for key, value in pairs}
    chains = {name: instantiate(option_of("postprocess", name)) for name in arguments.chains}
    rows = []
    for name, option in options.items():
        started = time.perf_counter()
        model = changed(arguments.checkpoint, option).on_device()
        values: dict[str, list[float]] = {chain: [] for chain in chains}
        for image, brain_mask, lesion, spacing_mm in cases:
            found = model.detect(image, brain_mask).anomaly_map[0].numpy()
            inside = brain_mask[0].numpy()
            for key, postprocess in chains.items():
                score = postprocess.score(found, inside, spacing_mm)
                values[key].append(average_precision(score[inside], lesion[inside]))
        means = [summarise(np.array(value)) for value in values.values()]
        seconds = (time.perf_counter() - started) / len(cases)
        rows.append(
            [
                name,
                f"{seconds:.1f}",
                *(f"{m.mean:.3f} ({m.ci_low:.3f} to {m.ci_high:.3f})" for m in means),
            ]
        )
        print(*rows[-1], flush=True)
    print(f"AP of {len(cases)} painted validation scans, by postprocess:\n")
    print(to_markdown(["", "s a scan", *chains], rows))


def option_of(group: str, name: str) -> dict[str, Any]:
    """The configuration that an option of a group of train.yaml stands for."""
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose("train", [f"{group}={name}", "name=x", "paths.output_dir=x"])
    return resolve(cfg[group])


if __name__ == "__main__":
    main()
