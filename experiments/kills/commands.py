"""Kills the commands of the pipe at random moments, gives each again, and compares the files.

    python -m experiments.kills.commands

The commands are prepare, train, predict, export and report, of a tiny cohort, one after the other
and left alone. Then, as often as asked, the folder is put back to where it was before one of them
(in turn), the command is started and killed by SIGKILL at a random moment of its CPU time. Its
process begins as a copy of one that has imported everything, which would take most of its life.
What lies there must be whole.
The same command is given again, and must leave what the one left alone did, byte by byte but for
times. Every fifth round starts the command twice at once and kills one of the two. Writes
`commands.md` beside this file.
"""

import argparse
import atexit
import hashlib
import json
import os
import random
import re
import secrets
import shutil
import sys
import time
import zipfile
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.process import BaseProcess as Process
from pathlib import Path
from pkgutil import walk_packages

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load

import brainuad
from brainuad.machine import ranks
from brainuad.machine.files import MARK
from brainuad.model.bundle import HASHES
from brainuad.reporting.tables import to_markdown
from brainuad.volumes.nifti import write_volume

HERE = Path(__file__).parent
SHAPE = (24, 28, 20)
GRID = np.diag([3.0, 3.0, 3.0, 1.0])

SPLITS = [("train", True)] * 3 + [("val", True)] * 2 + [("test", True), ("test", False)]

NETWORK = ["model.network.features=[4,8,16,16]", "model.network.latent_dim=8"]

COMMANDS = {
    "prepare": [
        *("prepare", "raw.csv", "cohort", "sequence=T2w"),
        *("preparation=extracted", "preparation.steps.spacing_mm=3"),
    ],
    "train": [
        *("train", "experiment=strega", "data=folder", "data.source=cohort", "data.sequence=T2w"),
        *("data.spacing_mm=3", "data.slice_size=[32,32]", "input=intensity", "max_epochs=4"),
        *("callbacks.preemption.every=1", "ckpt=last", "paths.output_dir=run"),
        *("postprocess=default", "datamodule.num_workers=0", "jobs=1", "report=false", *NETWORK),
    ],
    "predict": ["predict", "run/model.ckpt", "new", "found", "--sequence", "T2w"],
    "export": ["export", "run", "bundle", "--licence", "CC0-1.0"],
    "report": ["report", "run"],
}
"""Inputs in the folder of the study, by the module of `brainuad.cli` that reads them."""

TIMES = re.compile(
    r'"(seconds|time_started|fit_s|duration_s|wall_time_per_volume_s|peak_memory_bytes|dirty)": '
    r"(\{[^}]*\}|[^,\n}]+)"
    # The folder that a run would have had; and of which files, by their times, a script was made.
    r"|\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d|^// [0-9a-f]{64}$",
    re.MULTILINE,
)
"""Values that differ between any two runs."""

TEXTS = (".json", ".yaml", ".js")

PATIENCE_S = 300


@dataclass
class Trial:
    """A kill: of one of two at once or not, at which CPU second, and what came of it."""

    command: str
    twice: bool
    at_s: float
    written: int
    damaged: list[str]
    other: list[str]
    status: int | None

    @property
    def good(self) -> bool:
        """Return whether nothing was damaged and the second run ended as the one left alone."""
        return not self.damaged and not self.other and self.status == 0


@dataclass
class Alone:
    """The command left alone: its CPU seconds until it first wrote and ended, and what it left."""

    first_s: float
    life_s: float
    files: dict[str, str]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs/study/kills_commands"))
    arguments = parser.parse_args()
    os.environ["BRAINUAD_CACHE"] = str(arguments.runs.absolute() / "cache")
    import_all()
    rng = random.Random(arguments.seed)
    folder = arguments.runs.absolute() / "work"
    shutil.rmtree(arguments.runs, ignore_errors=True)
    write_scans(folder)
    alone = {name: left_alone(name, folder) for name in COMMANDS}
    trials: list[Trial] = []
    while len(trials) < arguments.kills:
        name = list(COMMANDS)[len(trials) % len(COMMANDS)]
        twice = len(trials) // len(COMMANDS) % 5 == 4
        trial = kill(name, folder, alone[name], rng, twice)
        if trial is None:
            print(f"{name} had ended before it could be killed: another one", flush=True)
            continue
        print(trial, flush=True)
        trials.append(trial)
        write(trials, alone, arguments.seed)


def write_scans(folder: Path) -> None:
    """Tiny brains: a CSV of those with splits, and a folder of two new ones."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.8
    rows = []
    for index, (split, healthy) in enumerate([*SPLITS, ("new", True), ("new", False)]):
        noise = np.random.default_rng(index).standard_normal(SHAPE)
        image = np.where(inside, 100 + 20 * np.cos(4 * axes[0]) + 2 * noise, 0)
        lesion = np.zeros(SHAPE, bool)
        lesion[14:18, 12:16, 8:12] = not healthy
        path = folder / ("new" if split == "new" else "raw") / f"s{index}_T2w.nii.gz"
        write_volume(path, image + 60 * lesion, GRID)
        if split != "new":
            mask = path.with_name(f"s{index}_lesion.nii.gz")
            if not healthy:
                write_volume(mask, lesion, GRID, np.uint8)
            rows.append(
                {
                    **{"subject": f"s{index}", "sequence": "T2w", "split": split},
                    "image": path.relative_to(folder),
                    "lesion_mask": "" if healthy else mask.relative_to(folder),
                }
            )
    pd.DataFrame(rows).to_csv(folder / "raw.csv", index=False)


def left_alone(name: str, folder: Path) -> Alone:
    """Runs a command to its end; keeps the folder as it was before.

    Once before it counts, for what the user's cache then holds.
    """
    shutil.copytree(folder, kept(name, folder))
    start(name, folder).join(PATIENCE_S)
    put_back(name, folder)
    before = {path: path.stat().st_mtime_ns for path in below(folder)}
    process, used = start(name, folder), [(time.time(), 0.0)]
    while process.is_alive():
        used.append((time.time(), max(used[-1][1], cpu_s(process.pid))))
        time.sleep(0.005)
    if process.exitcode != 0:
        raise SystemExit(f"{name}: status {process.exitcode}; see the log")
    written = min(
        path.stat().st_mtime
        for path in below(folder)
        if before.get(path) != path.stat().st_mtime_ns
    )
    first = max(cpu for at, cpu in used if at <= written)
    return Alone(first, used[-1][1], hashes(folder))


def kept(name: str, folder: Path) -> Path:
    """Return the place of the folder as it was before a command."""
    return folder.with_name(f"before_{name}")


def put_back(name: str, folder: Path) -> None:
    """The folder as it was before a command, with its times: by them commands tell what is done."""
    shutil.rmtree(folder)
    shutil.copytree(kept(name, folder), folder)


def start(name: str, folder: Path) -> Process:
    """The command, in a process that begins as a copy of this one: all is imported already."""
    # Nothing here computes, so there are no threads that a copy would lack.
    process = get_context("fork").Process(target=run, args=(name, folder))
    process.start()
    return process


def run(name: str, folder: Path) -> None:
    """Run a command in this process."""
    atexit._clear()
    ranks._OWN = secrets.token_hex(8)
    os.chdir(folder)
    log = folder.with_name(f"{name}.log").open("ab")
    for stream in (1, 2):
        os.dup2(log.fileno(), stream)
    module, *words = COMMANDS[name]
    sys.argv = [module, *words]
    status = import_module(f"brainuad.cli.{module}").main()
    atexit._run_exitfuncs()
    os._exit(status)


def import_all() -> None:
    """Imports what the commands need, which would take most of their lives."""
    for module in walk_packages(brainuad.__path__, "brainuad."):
        import_module(module.name)
    for name in ("monai.transforms", "lightning.pytorch.callbacks", "skimage.measure"):
        import_module(name)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process: by them it is at one place, whatever else the machine does."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def kill(name: str, folder: Path, alone: Alone, rng: random.Random, twice: bool) -> Trial | None:
    """One trial; None where the command ended by itself before its moment."""
    put_back(name, folder)
    after_s = rng.uniform(0, alone.life_s)
    processes = [start(name, folder) for _ in range(2 if twice else 1)]
    at_s = 0.0
    while at_s < after_s and processes[0].is_alive():
        time.sleep(0.005)
        at_s = max(at_s, cpu_s(processes[0].pid))
    if not processes[0].is_alive():
        for process in processes:
            process.join(PATIENCE_S)
        return None
    processes[0].kill()
    for process in processes:
        process.join(PATIENCE_S)
    written, damaged = len(below(folder)) - len(below(kept(name, folder))), corrupt(folder)
    if twice and processes[1].exitcode != 0:
        damaged.append(f"the other command ended with {processes[1].exitcode}")
    again = start(name, folder)
    again.join(PATIENCE_S)
    now, left = hashes(folder), alone.files
    other = sorted(path for path in now.keys() | left.keys() if now.get(path) != left.get(path))
    return Trial(name, twice, at_s, written, damaged, other, again.exitcode)


def below(folder: Path) -> list[Path]:
    """All files of the study, less locks."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")
    )


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file, without the times in it."""
    found = {}
    for path in below(folder):
        content = path.read_bytes()
        if path.suffix in TEXTS:
            content = TIMES.sub("", content.decode()).encode()
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def corrupt(folder: Path) -> list[str]:
    """Files that are not whole, of all that have their final names."""
    found = []
    for path in below(folder):
        if MARK in str(path.relative_to(folder)):
            continue
        try:
            read(path)
        except Exception as error:
            found.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}"[:200])
    return found


def read(path: Path) -> None:
    """Reads a file whole, as its kind asks for; raises an error where it is not."""
    if path.name.endswith(".nii.gz"):
        np.asarray(nib.load(path).dataobj)
    elif path.name == HASHES:
        for name, digest in json.loads(path.read_text()).items():
            if hashlib.sha256(path.with_name(name).read_bytes()).hexdigest() != digest:
                raise ValueError(f"{name} is another")
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".csv":
        pd.read_csv(path)
    elif path.suffix == ".ckpt":
        torch.load(path, weights_only=True)
    elif path.suffix in (".npz", ".zip"):
        with zipfile.ZipFile(path) as file:
            if name := file.testzip():
                raise ValueError(name)
    elif path.suffix == ".npy":
        np.load(path)
    elif path.suffix == ".safetensors":
        load(path.read_bytes())
    elif path.suffix == ".html" and "</html>" not in path.read_text():
        raise ValueError("ends too early")


def write(trials: list[Trial], alone: dict[str, Alone], seed: int) -> None:
    """The table so far."""
    rows = []
    for name, one in alone.items():
        own = [trial for trial in trials if trial.command == name]
        rows.append(
            [
                *(name, f"{one.first_s:.1f}", f"{one.life_s:.1f}", str(len(own))),
                str(sum(trial.written > 0 for trial in own)),
                str(sum(bool(trial.damaged) for trial in own)),
                str(sum(not trial.other and trial.status == 0 for trial in own)),
            ]
        )
    good = sum(trial.good for trial in trials)
    text = "# Results of commands.py\n\nWritten by it; do not edit.\n\n"
    text += f"{good} of {len(trials)} kills (seed {seed}) left no damaged file, and the command "
    text += "given again left what the one left alone did, byte by byte but for times. In "
    text += f"{sum(trial.twice for trial in trials)} of them two commands ran at once, and the "
    text += "other one ended well.\n\n"
    titles = [
        "command",
        "first write after CPU s",
        "ended after",
        "kills",
        "files there",
        "with damage",
    ]
    text += to_markdown([*titles, "same in the end"], rows)
    bad = [trial for trial in trials if not trial.good]
    text += "".join(f"\n- {trial}" for trial in bad) + ("\n" if bad else "")
    (HERE / "commands.md").write_text(text)


if __name__ == "__main__":
    main()
