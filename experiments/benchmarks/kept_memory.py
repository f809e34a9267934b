"""Measure a training step on a CPU when freed memory stays with the process.

    python experiments/benchmarks/kept_memory.py

Each experiment's untrained network on one batch of healthy brains, with its optimiser, in a process
of its own: as glibc does by itself (`BRAINUAD_KEEP_MEMORY=0`), and as every command of ours does
(`brainuad.machine.memory`); in turns, the fastest of each. Writes `kept_memory.json` beside this
file.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from hydra import compose, initialize_config_module

from brainuad.machine.memory import SWITCH, keep_memory
from brainuad.methods.base import AnomalyDetector
from brainuad.networks.memory_layout import fastest_layout
from brainuad.settings.instantiate import instantiate
from brainuad.types import Batch
from brainuad.volumes.template import load_template

HERE = Path(__file__).parent
on_cpu = partial(fastest_layout, place="cpu")
NAMES = ("vae", "dae", "fpi", "fpi_3d", "dae_3d", "autopaint")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", nargs="*", default=NAMES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="at least, of each turn")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.seconds)))
        return
    found: dict[str, dict[str, float]] = {}
    for name in arguments.experiments:
        best: dict[str, dict[str, float]] = {}
        for _ in range(arguments.rounds):
            for kind, switch in (("given_back", "0"), ("kept", "1")):
                command = [sys.executable, *sys.argv, "--one", name]
                environment = os.environ | {SWITCH: switch}
                done = subprocess.run(
                    command, env=environment, check=True, capture_output=True, text=True
                )
                new = json.loads(done.stdout.splitlines()[-1])
                old = best.get(kind, new)
                best[kind] = {
                    "step_s": min(new["step_s"], old["step_s"]),
                    "peak_gib": max(new["peak_gib"], old["peak_gib"]),
                }
        row = {f"{part}_{kind}": best[kind][part] for kind in best for part in best[kind]}
        row["times_faster"] = best["given_back"]["step_s"] / best["kept"]["step_s"]
        found[name] = row | {"load_average": os.getloadavg()[0]}
        print(name, found[name], flush=True)
    setting = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    text = json.dumps({"setting": setting, "experiments": found}, indent=2)
    (HERE / "kept_memory.json").write_text(text + "\n")


def measure(name: str, seconds: float) -> dict[str, float]:
    """Seconds of the fastest step, and the peak of this process in GiB."""
    step = training_step(name, 8)[1]
    fastest, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < seconds or fastest == float("inf"):
        begun = time.perf_counter()
        step()
        fastest = min(fastest, time.perf_counter() - begun)
    return {"step_s": fastest, "peak_gib": peak_gib()}


def training_step(
    name: str, most: int, lay_out: Callable[[torch.nn.Module], None] = on_cpu
) -> tuple[AnomalyDetector, Callable[[], None]]:
    """An experiment's untrained detector, and one training step of it on one batch.

    Args:
        name: of the experiment.
        most: tiles in the batch, at most.
        lay_out: memory layout of the weights.
    """
    keep_memory()
    torch.manual_seed(0)
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose("train", [f"experiment={name}", "name=x", "paths.output_dir=x"])
    detector: AnomalyDetector = instantiate(cfg.model)
    lay_out(detector)
    batch = brains(instantiate(cfg.tiling), min(cfg.datamodule.batch_size, most))
    detector.measure([batch])
    trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-5, fused=True)
    detector.train()

    def step() -> None:
        loss = detector.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return detector, step


def peak_gib() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def brains(tiling, count: int) -> Batch:
    """So many tiles of the average brain at 2 mm with some noise, the fullest ones first."""
    template = load_template(2.0)
    brain_mask = torch.from_numpy(template.brain > 0.5)[None]
    image = torch.from_numpy(0.9 * template.csf + 0.6 * template.grey + 0.4 * template.white)
    image = torch.where(brain_mask, image[None].float(), 0)
    tiles = tiling.split(image)[0]
    masks = tiling.split(brain_mask.to(torch.uint8))[0].bool()
    index = masks.flatten(1).sum(1).argsort(descending=True).repeat(count)[:count]
    tiles, masks = tiles[index], masks[index]
    noisy = (tiles + 0.02 * torch.randn_like(tiles)).clamp(0, 1)
    return Batch(torch.where(masks, noisy, 0), masks)


if __name__ == "__main__":
    main()
