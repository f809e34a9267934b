"""A training step of StRegA's released network: ours against one written as its code reads.

    python experiments/benchmarks/strega_step.py

runs each variant in a process of its own, in turn, and writes `strega_step.json` beside this file.
`plain` follows the description of the released code: squares painted by NumPy in a Python loop
over the batch, the clean and the corrupted batch through the network one after the other, fp32,
Adam as it comes. The others are the shipped step with one thing more each. Seconds of the clock
and of the processor are the fastest step's; only the latter mean something on a busy machine.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from brainuad.methods.parts.residuals import signed
from brainuad.methods.strega import StRegA
from brainuad.networks.context_vae import ContextVAE, gaussian_kl
from brainuad.types import Batch

HERE = Path(__file__).parent
VARIANTS = ("plain", "ours", "ours, channels last", "ours, bf16", "ours, channels last and bf16")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--features", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--latent-dim", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--steps", type=int, default=3, help="that are timed, after one that is not"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        print(json.dumps(measure(arguments)))
        return
    names = list(dict.fromkeys(["plain", *arguments.variants]))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            command = [sys.executable, *sys.argv, "--variant", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(name, found[name][-1], flush=True)
    rows = {
        name: {
            "seconds_per_step": min(row["seconds"] for row in rows),
            "cpu_seconds_per_step": min(row["cpu"] for row in rows),
            "peak_gib": max(row["gib"] for row in rows),
        }
        for name, rows in found.items()
    }
    for name in ("seconds_per_step", "cpu_seconds_per_step"):
        plain = rows["plain"][name]
        for row in rows.values():
            row[f"times_fewer_{name}"] = plain / row[name]
    setting = {k: v for k, v in vars(arguments).items() if k not in ("variant", "variants")}
    setting |= {"threads": torch.get_num_threads(), "cpu": _cpu(), "torch": torch.__version__}
    text = json.dumps({"setting": setting, "variants": rows}, indent=2)
    (HERE / "strega_step.json").write_text(text + "\n")
    print(text)


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds a step, the fastest, by the clock and the processor; the peak of this process."""
    torch.manual_seed(0)
    size = (arguments.size, arguments.size)
    network = ContextVAE(size, 1, arguments.features, arguments.latent_dim)
    image = torch.rand(arguments.batch, 1, *size)
    detector = StRegA(network, signed).train()
    if "channels last" in arguments.variant:
        detector.to(memory_format=torch.channels_last)
    # As the preset has it; the plain one as torch has it.
    fused = None if arguments.variant == "plain" else True
    optimizer = torch.optim.Adam(detector.parameters(), lr=1e-4, fused=fused)
    seconds, cpu = [], []
    for _ in range(arguments.steps + 1):
        start, start_cpu = time.perf_counter(), time.process_time()
        if arguments.variant == "plain":
            loss = plain_loss(network, image)
        else:
            batch = Batch(image, torch.ones_like(image, dtype=torch.bool))
            with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in arguments.variant):
                loss = detector.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"seconds": min(seconds[1:]), "cpu": min(cpu[1:]), "gib": peak}


def plain_loss(network: ContextVAE, image: torch.Tensor) -> torch.Tensor:
    """The objective in two passes, the squares by NumPy, slice by slice."""
    rng = np.random.default_rng(0)
    array = image.numpy()
    low, high = array.min(), array.max()
    corrupted = array.copy()
    for row in corrupted:
        mask = np.zeros(row.shape, bool)
        values = np.zeros_like(row)
        for _ in range(rng.integers(0, 4)):
            side = rng.integers(0, row.shape[-1] // 2 + 1)
            y, x = rng.integers(0, row.shape[-1] - side + 1, 2)
            mask[:, y : y + side, x : x + side] = True
            values[:, y : y + side, x : x + side] = rng.uniform(low, high)
        row[mask] = values[mask]
    mu, log_sigma = network.encode(image)
    decoded = network.decode(mu + torch.exp(log_sigma) * torch.randn_like(mu))
    vae = 0.01 * gaussian_kl(mu, log_sigma).mean() + (decoded - image).abs().mean()
    context_mu, context_log_sigma = network.encode(torch.from_numpy(corrupted))
    noise = torch.randn_like(context_mu)
    again = network.decode(context_mu + torch.exp(context_log_sigma) * noise)
    return 0.5 * vae + 0.5 * (again - image).abs().mean()


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else []
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


if __name__ == "__main__":
    main()
