"""Does training wait for its data? Samples a second of the data path, of the step, and of both.

    python experiments/benchmarks/throughput.py

makes a few brains at each experiment's resolution, and runs each experiment in a process of its
own, untrained: its loader alone, its training step on one batch alone, and the step on what the
loader hands out. Then two ranks against one: the same epochs of `experiment=strega` by
train.py, a thread each. Writes `throughput.json` beside this file.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_module

from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.methods.base import AnomalyDetector
from brainuad.networks.memory_layout import fastest_layout
from brainuad.settings.instantiate import RUN_PACKAGES, instantiate
from brainuad.training import fit
from brainuad.training.batches import EpochLoader
from brainuad.training.datamodule import HealthyDataModule
from brainuad.volumes.nifti import write_volume
from brainuad.volumes.template import load_template

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PAPER = ("strega_paper", "madad_paper", "autopaint_paper")
SMALL = ("strega", "madad", "autopaint", "autoencoder")
SUBJECTS = 2


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [*PAPER, *SMALL]
    parser.add_argument("--experiments", nargs="*", default=names, help="the others' rows are kept")
    parser.add_argument("--no-ranks", action="store_true", help="keep that row, too")
    parser.add_argument("--seconds", type=float, default=10.0, help="at least, of each part")
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    parser.add_argument("--one", nargs=2, metavar=("EXPERIMENT", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, folder = arguments.one
        print(json.dumps(measure(name, Path(folder), arguments.seconds, arguments.workers)))
        return
    path = HERE / "throughput.json"
    kept = json.loads(path.read_text()) if path.is_file() else {}
    found: dict[str, dict[str, float]] = kept.get("experiments", {})
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.experiments:
            command = [sys.executable, *sys.argv, "--one", name, folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name] = json.loads(done.stdout.splitlines()[-1])
            found[name] |= {"threads": torch.get_num_threads(), "workers": arguments.workers}
            found[name] |= {"load_average": os.getloadavg()[0]}
            print(name, found[name], flush=True)
    setting = {
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
        "torch": torch.__version__,
    }
    together = kept.get("ranks", {}) if arguments.no_ranks else ranks()
    text = json.dumps({"setting": setting, "experiments": found, "ranks": together}, indent=2)
    path.write_text(text + "\n")
    print(text)


def measure(name: str, folder: Path, seconds: float, workers: int) -> dict[str, float]:
    """Samples a second, and the peak of this process in GiB."""
    torch.manual_seed(0)
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        words = [f"experiment={name}", "paths.output_dir=x", f"paths.cache_dir={folder}"]
        cfg = compose("train", [*words, f"datamodule.num_workers={workers}"])
    detector: AnomalyDetector = instantiate(cfg.model).to(DEVICE)
    fastest_layout(detector, DEVICE)
    data = HealthyDataModule(
        cohort(folder, cfg.data.spacing_mm),
        "T2w",
        instantiate(cfg.tiling),
        folder,
        batch_size=cfg.datamodule.batch_size if DEVICE == "cuda" else 4,
        num_workers=workers,
        augment=instantiate(cfg.datamodule.augment, packages=RUN_PACKAGES),
    )
    data.setup()
    # Prototypes and atlases, without which a step is refused.
    fit.measure(detector, data, DEVICE)
    detector.to(DEVICE)
    data.training_set = detector.training_set
    loader = data.train_dataloader()
    batches = Endless(loader)
    trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-5, fused=True)
    half = cfg.trainer.precision == "bf16-mixed"
    detector.train()

    def step(batch) -> int:
        batch = type(batch)(*(part.to(DEVICE) for part in batch))
        with torch.autocast(DEVICE, torch.bfloat16, enabled=half):
            loss = detector.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return len(batch[0])

    one = next(batches)
    step(one)
    found = {
        "data": rate(lambda: len(next(batches)[0]), seconds),
        "step": rate(lambda: step(one), seconds),
        "both": rate(lambda: step(next(batches)), seconds),
    }
    found["data_over_step"] = found["data"] / found["step"]
    found["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if DEVICE == "cuda":
        found["peak_gpu_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return found


class Endless:
    """One epoch after the other."""

    def __init__(self, loader: EpochLoader) -> None:
        self.loader = loader
        self.epoch = 0
        self.iterator = iter(loader)

    def __next__(self):
        try:
            return next(self.iterator)
        except StopIteration:
            self.epoch += 1
            self.loader.batches.set_epoch(self.epoch)
            self.iterator = iter(self.loader)
            return next(self.iterator)


def rate(call: Callable[[], int], seconds: float) -> float:
    """Samples a second, over so many seconds and one call at least."""
    start, samples, calls = time.perf_counter(), 0, 0
    while calls < 1 or time.perf_counter() - start < seconds:
        samples += call()
        calls += 1
    return samples / (time.perf_counter() - start)


def cohort(folder: Path, spacing_mm: float) -> Cohort:
    """The average brain with noise, as healthy subjects to train on."""
    template = load_template(spacing_mm)
    inside = template.brain > 0.5
    image = 0.9 * template.csf + 0.6 * template.grey + 0.4 * template.white
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    place = folder / f"brains-{spacing_mm:g}"
    rng = np.random.default_rng(0)
    scans = []
    for index in range(SUBJECTS + 1):
        scan = Scan(
            subject=f"sub{index}",
            sequence="T2w",
            image=place / f"sub{index}.nii.gz",
            brain_mask=place / f"sub{index}_brain.nii.gz",
            healthy=True,
            split="train" if index < SUBJECTS else "val",
        )
        if not scan.image.is_file():
            noisy = np.clip(image + 0.03 * rng.standard_normal(image.shape), 0, 1) * inside
            write_volume(scan.image, noisy.astype(np.float32), affine)
            write_volume(scan.brain_mask, inside, affine, np.uint8)
        scans.append(scan)
    return Cohort(place, tuple(scans), {})


def ranks() -> dict[str, float]:
    """Seconds an epoch of the same samples, one process and two; a thread each."""
    found = {"load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        for trainer, batch in (("default", 32), ("ddp_cpu", 16)):
            seconds = {}
            for epochs in (1, 1, 5):  # the first makes the caches
                words = [f"max_epochs={epochs}", f"trainer={trainer}", "limit=8"]
                words += [f"datamodule.batch_size={batch}", "predict=false", "report=false"]
                words += [f"paths.output_dir={folder}/{trainer}-{epochs}-{len(seconds)}"]
                words += [f"paths.cache_dir={folder}/cache", "trainer.accelerator=cpu"]
                line = [sys.executable, str(ROOT / "train.py"), "experiment=strega", *words]
                begun = time.perf_counter()
                subprocess.run(
                    line,
                    check=True,
                    capture_output=True,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                )
                seconds[epochs] = time.perf_counter() - begun
            found[f"{trainer}_s_an_epoch"] = (seconds[5] - seconds[1]) / 4
    found["times_faster"] = found["default_s_an_epoch"] / found["ddp_cpu_s_an_epoch"]
    return found


if __name__ == "__main__":
    main()
