"""A training step and a volume's detection of MAD-AD: ours against one written as its script reads.

    python experiments/benchmarks/madad_step.py

runs each variant in a process of its own, in turn, and writes `madad_step.json` beside this file.
`plain` follows the description of the released code: the encoder in every step, masks drawn slice
by slice in Python, fp32, AdamW and the memory of the process as they come; detection of every slice
of the volume, empty ones included. Network and autoencoder are the same for all variants,
untrained; every cell is moved and every slice decoded twice (`mask_threshold` above 1), which is
the slowest case of ours.

On a CUDA device the size is L behind the public autoencoder; on a CPU XS behind a small one with
the same latent of 4 x 32 x 32, because there the public one alone takes seconds a slice.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_module
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from brainuad.diffusion.masks import PROBABILITIES, SIZES, brain_share
from brainuad.machine.memory import keep_memory
from brainuad.methods.madad import MADAD
from brainuad.model.detect import detect_volume
from brainuad.networks.memory_layout import fastest_layout
from brainuad.settings.instantiate import instantiate
from brainuad.tiles.latents import Latents
from brainuad.volumes.template import load_template
from brainuad.volumes.tiling import SliceTiling

HERE = Path(__file__).parent
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STEPS = ("plain", "ours, encoding in every step", "ours, fp32", "ours")
VOLUMES = ("plain", "ours, fp32", "ours")
SMALL = [
    "first_stage.model.autoencoder.network.channels=[32,64]",
    "first_stage.model.autoencoder.network.num_res_blocks=[1,1]",
    "first_stage.model.autoencoder.network.attention_levels=[false,false]",
]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="L" if DEVICE == "cuda" else "XS")
    parser.add_argument("--batch", type=int, default=96 if DEVICE == "cuda" else 8)
    parser.add_argument("--slices", type=int, default=182 if DEVICE == "cuda" else 8)
    parser.add_argument("--steps", type=int, default=2, help="timed, after one that is not")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--variant", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        print(json.dumps(measure(*arguments.variant, arguments)))
        return
    found: dict[str, dict[str, dict[str, float]]] = {"step": {}, "volume": {}}
    for _ in range(arguments.rounds):
        for job, names in (("step", STEPS), ("volume", VOLUMES)):
            for name in names:
                command = [sys.executable, *sys.argv, "--variant", job, name]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                new = json.loads(done.stdout.splitlines()[-1])
                old = found[job].get(name, new)
                new["seconds"] = min(new["seconds"], old["seconds"])
                new["peak_gib"] = max(new["peak_gib"], old["peak_gib"])
                found[job][name] = new
                print(job, name, new, flush=True)
    for rows in found.values():
        for row in rows.values():
            row["times_faster"] = rows["plain"]["seconds"] / row["seconds"]
    limits = device_limits()
    best = found["step"]["ours"]
    best["share_of_matmul_limit"] = best["tflop"] / best["seconds"] / limits["bf16_tflop_per_s"]
    # AdamW reads weight, gradient and two moments and writes weight and moments.
    traffic = 7 * 4 * best["parameters"] / 1e9
    best["optimizer_bandwidth_limit_s"] = traffic / limits["copy_gb_per_s"]
    setting = {k: v for k, v in vars(arguments).items() if k != "variant"}
    setting |= {"device": _name(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    record = {"setting": setting, "limits": limits, **found}
    text = json.dumps(record, indent=2)
    (HERE / "madad_step.json").write_text(text + "\n")
    print(text)


def measure(job: str, name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds, the fastest, and the peak of this process."""
    torch.manual_seed(0)
    detector = build(arguments.size)
    if name != "plain":
        keep_memory()
        fastest_layout(detector, DEVICE)
    half = torch.autocast(DEVICE, torch.bfloat16) if name == "ours" else nullcontext()
    image, brain_mask = volume(arguments.slices)
    count = sum(p.numel() for p in detector.parameters() if p.requires_grad)
    found: dict[str, float] = {"parameters": count}
    if job == "step":
        run = step(detector, name, arguments.batch, image, brain_mask)
    else:
        run = detection(detector, name, image, brain_mask)
    seconds = []
    for turn in range(arguments.steps + 1):
        start = time.perf_counter()
        with half:
            run()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        if turn:
            seconds.append(time.perf_counter() - start)
    found["seconds"] = min(seconds)
    if DEVICE == "cuda":
        found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    else:
        found["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # The counter does not know the CPU's fused attention.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), half:
        run()
    found["tflop"] = counter.get_total_flops() / 1e12
    return found


def build(size: str) -> MADAD:
    """The paper's geometry, untrained, on the device."""
    small = ["first_stage=autoencoder", *SMALL] if DEVICE == "cpu" else []
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        overrides = [
            "experiment=madad_paper",
            f"model/size={size}",
            "model.sampling.mask_threshold=1.1",
        ]
        cfg = compose("train", [*overrides, *small, "name=x", "paths.output_dir=x"])
    return instantiate(cfg.model).to(DEVICE)


def volume(slices: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The average brain at 1 mm, so many of its axial slices evenly spread: `(1, D, H, W)`.

    Each stands for the slices around it, so that as many are empty as in the whole volume.
    """
    template = load_template(1.0)
    keep = ((np.arange(slices) + 0.5) * template.brain.shape[2] / slices).astype(int)
    brain_mask = template.brain[..., keep] > 0.5
    image = (0.9 * template.csf + 0.6 * template.grey + 0.4 * template.white)[..., keep]
    image = np.where(brain_mask, image, 0).astype(np.float32)
    return torch.from_numpy(image)[None], torch.from_numpy(brain_mask)[None]


def step(
    detector: MADAD, name: str, count: int, image: torch.Tensor, brain_mask: torch.Tensor
) -> Callable[[], None]:
    """One training step, data at hand in memory."""
    tiling = SliceTiling("axial", (256, 256))
    tiles = tiling.split(image)[0]
    masks = tiling.split(brain_mask.to(torch.uint8))[0].bool()
    index = masks.flatten(1).sum(1).argsort(descending=True).repeat(count)[:count]
    tiles, masks = tiles[index].to(DEVICE), masks[index].to(DEVICE)
    trained = [p for p in detector.parameters() if p.requires_grad]
    fused = None if name == "plain" else True
    optimizer = torch.optim.AdamW(trained, lr=4e-5, weight_decay=1e-4, fused=fused)
    detector.train()
    cells = (len(tiles), 4, 32, 32)
    # What the cache would hold; encoding here would count in this process's peak.
    kept = [torch.randn(cells), torch.full(cells, 0.1), brain_share(masks, 8)]
    latents = Latents(*(part.half().float().to(DEVICE) for part in kept))

    def run() -> None:
        if name == "plain":
            loss = plain_loss(detector, tiles, masks)
        elif name == "ours, encoding in every step":
            loss = detector.loss(detector.encode(tiles, masks))["loss"]
        else:
            loss = detector.loss(latents)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def plain_loss(detector: MADAD, tiles: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The objective with everything in the step, masks by loops over slices and blocks."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        mean, std = detector.first_stage.encode(tiles)
        x_0 = mean + std * torch.randn_like(std)
    height, width = rng.choice(SIZES, 2, p=PROBABILITIES)
    cells = tuple(x_0.shape[2:])
    brain = masks.cpu().numpy()[:, 0]
    mask = np.ones((len(x_0), 1, *cells), np.float32)
    for row, inside in zip(mask[:, 0], brain, strict=True):
        grid = [(y, x) for y in range(0, cells[0], height) for x in range(0, cells[1], width)]
        noised = len(grid) - int(len(grid) * (1 - rng.uniform(0, 0.4)))
        for i in rng.permutation(len(grid))[:noised]:
            y, x = grid[i]
            row[y : y + height, x : x + width] = 0
        for y in range(0, cells[0], 2):
            for x in range(0, cells[1], 2):
                if inside[8 * y : 8 * y + 16, 8 * x : 8 * x + 16].mean() < 0.9:
                    row[y : y + 2, x : x + 2] = 1
    kept = torch.from_numpy(mask).to(x_0.device)
    t = torch.randint(len(detector.alpha_bar), (len(x_0),), device=x_0.device)
    share = detector.alpha_bar[t].view(-1, 1, 1, 1)
    noisy = share.sqrt() * x_0 + (1 - share).sqrt() * torch.randn_like(x_0)
    clean, found = detector.network(kept * x_0 + (1 - kept) * noisy, t)
    return functional.mse_loss(clean, x_0) + 0.001 * functional.mse_loss(found, kept)


def detection(
    detector: MADAD, name: str, image: torch.Tensor, brain_mask: torch.Tensor
) -> Callable[[], None]:
    """A whole volume, to the anomaly map on the CPU."""
    tiling = SliceTiling("axial", (256, 256))

    def ours() -> None:
        detect_volume(detector, tiling, image, brain_mask)

    @torch.no_grad()
    def plain() -> None:
        for batch in tiling.split(image)[0].split(32):
            z = detector.first_stage.encode(batch.to(DEVICE))[0]
            restored = next(detector._healthy(z, torch.zeros_like(batch, device=DEVICE)))
            (detector.first_stage.decode(z) - restored).abs().cpu()

    detector.eval()
    return plain if name == "plain" else ours


def device_limits() -> dict[str, float]:
    """Measure a large matrix product and a copy on the device."""
    found = {}
    side = 8192 if DEVICE == "cuda" else 2048
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(side, side, device=DEVICE, dtype=dtype)
        found[f"{name}_tflop_per_s"] = 2 * side**3 / 1e12 / _fastest(lambda a=a: a @ a)
    b = torch.empty(2**27 if DEVICE == "cuda" else 2**26, device=DEVICE)
    found["copy_gb_per_s"] = 2 * b.numel() * 4 / 1e9 / _fastest(b.clone)
    return found


def _fastest(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        call()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _name() -> str:
    if DEVICE == "cuda":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else []
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


if __name__ == "__main__":
    main()
