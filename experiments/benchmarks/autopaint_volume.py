"""AutoPaint's detection of a volume: hidden patterns batched, against one at a time.

    python experiments/benchmarks/autopaint_volume.py

runs each variant in a process of its own, in turn, and writes `autopaint_volume.json` beside this
file: seconds and peak memory, ratios against `one at a time`, which fills every pattern of every
slice in a forward pass of its own, in the memory layout that torch starts with, and accumulates
the residuals; once more in half precision, for the batches that are. Those two leave the allocator
as it is; all others keep freed memory, as our commands do (`brainuad.machine.memory`), and `one at
a time, memory kept` says how much of the difference that is. The network is the shipped one,
untrained; repainting is left out (`rounds=0`), for both would do the same of it.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_module

from brainuad.machine.memory import keep_memory
from brainuad.methods.autopaint import AutoPaint
from brainuad.model.detect import detect_volume
from brainuad.networks.memory_layout import fastest_layout
from brainuad.settings.instantiate import instantiate
from brainuad.types import Batch
from brainuad.volumes.template import load_template
from brainuad.volumes.tiling import SliceTiling

HERE = Path(__file__).parent
PLAIN = "one at a time"
KEPT = f"{PLAIN}, memory kept"
HALF = f"{PLAIN}, bf16"
VARIANTS = {
    **{PLAIN: 1, KEPT: 1, HALF: 1},
    **{"batches of 8": 8, "batches of 64": 64, "batches of 64, bf16": 64},
}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of which the fastest counts")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        print(json.dumps(measure(arguments.variant)))
        return
    found: dict[str, dict[str, float]] = {}
    for _ in range(arguments.rounds):
        for name in VARIANTS:
            command = [sys.executable, *sys.argv, "--variant", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            new = json.loads(done.stdout.splitlines()[-1])
            old = found.get(name, new)
            new["seconds"] = min(new["seconds"], old["seconds"])
            new["peak_gib"] = max(new["peak_gib"], old["peak_gib"])
            found[name] = new
            print(name, new, flush=True)
    for row in found.values():
        row["times_faster"] = found[PLAIN]["seconds"] / row["seconds"]
    setting = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    text = json.dumps({"setting": setting | {"rounds": arguments.rounds}, **found}, indent=2)
    (HERE / "autopaint_volume.json").write_text(text + "\n")
    print(text)


def measure(name: str) -> dict[str, float]:
    """Seconds of one volume, after a slice that is not timed, and the peak of this process."""
    if name not in (PLAIN, HALF):
        keep_memory()
    torch.manual_seed(0)
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        options = [
            "model.first_stage=null",
            "model.regions.rounds=0",
            f"model.chunk={VARIANTS[name]}",
        ]
        cfg = compose("train", ["experiment=autopaint", *options, "name=x", "paths.output_dir=x"])
    detector: AutoPaint = instantiate(cfg.model).eval()
    template = load_template(2.0)
    brain_mask = torch.from_numpy(template.brain > 0.5)[None]
    image = 0.9 * template.csf + 0.6 * template.grey + 0.4 * template.white
    volume = torch.from_numpy(np.float32(image))[None] * brain_mask
    tiling = SliceTiling("axial", tuple(cfg.data.slice_size))
    slices = tiling.split(volume)[0], tiling.split(brain_mask.to(torch.uint8))[0].bool()
    detector.measure([Batch(*slices)])
    run = one_at_a_time if name in (PLAIN, KEPT, HALF) else batched(detector)
    with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in name):
        run(detector, tiling, volume[..., 40:41], brain_mask[..., 40:41])
        start = time.perf_counter()
        run(detector, tiling, volume, brain_mask)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": seconds, "peak_gib": peak}


def batched(detector: AutoPaint) -> Callable[..., object]:
    """The shipped detection."""
    fastest_layout(detector, "cpu")
    return detect_volume


@torch.no_grad()
def one_at_a_time(
    detector: AutoPaint, tiling: SliceTiling, image: torch.Tensor, brain_mask: torch.Tensor
) -> None:
    """A loop over slices and patterns."""
    slices = tiling.split(image)[0]
    masks = tiling.split(brain_mask.to(torch.uint8))[0].bool()
    patterns = detector.patterns(slices)
    for one, brain in zip(slices, masks, strict=True):
        total, count = torch.zeros_like(one), torch.zeros_like(one)
        for pattern in patterns:
            hole = brain & pattern
            filled = detector.inpaint(one[None], hole[None])[0]
            total += torch.where(hole, (one - filled).abs(), 0)
            count += hole
        total / count.clamp_min(1)


if __name__ == "__main__":
    main()
