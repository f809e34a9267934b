"""The parts of the shipped models, judged on synthetic scans of heads that training never saw.

    python -m experiments.universal.synthetic BANK

draws scans of the bank's validation and test anatomies, in FLAIR, T2w, T1w and PD, and writes
`synthetic.csv` (a row per scan and way of scoring) and `synthetic.md`. What was measured is kept in
`--kept`, a file per sequence, and not measured again; stop the command and call it again. `--scans`
is the number of test scans with lesions per sequence, a multiple of eight.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

import brainuad
from brainuad.machine.files import write_text
from brainuad.machine.text import csv_text
from brainuad.methods.universal import Universal
from brainuad.metrics.voxel import average_precision, dice
from brainuad.model.detect import detect_volume
from brainuad.settings.instantiate import instantiate
from brainuad.shipped import DEFAULT
from brainuad.synthetic.anatomies.bank import read_bank
from brainuad.synthetic.anatomies.cohort import PATHOLOGIES, split_names
from brainuad.synthetic.anatomies.scan import ScanGenerator, SyntheticScan
from brainuad.synthetic.painted import paint
from experiments.universal.synthetic_tables import write_tables

HERE = Path(__file__).parent
PAINTED = HERE.parents[1] / "configs" / "painted"
SEED = 4040
SHIPPED = ("FLAIR", "T2w", "T1w")
UNTRAINED = "PD"
"""A sequence that no model was trained on: all of them are tried."""

HALVES = (0.1, 0.2, 0.4)
"""Residuals, as shares of white matter's intensity, that count as 0.5 when squashed."""

MIRROR, PRIORS = 1, slice(3, 6)
"""Channels of the network's input."""


class Channels(nn.Module):
    """A network whose input lacks a part; an input that comes twice is computed once.

    Attributes:
        without: `` for nothing, `mirror` (the scan stands in its place), or `priors` (zeros).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.without = network, ""
        self._last: tuple[Tensor, Tensor] | None = None

    def forward(self, given: Tensor) -> Tensor:
        """`(B, 6, *S)` to `(B, 2, *S)`."""
        given = given.clone()
        if self.without == "mirror":
            given[:, MIRROR] = given[:, 0]
        elif self.without == "priors":
            given[:, PRIORS] = 0
        if self._last is None or not torch.equal(self._last[0], given):
            self._last = given, self.network(given)
        return self._last[1]


class Judge:
    """Score scans that are on the atlas already by a shipped model.

    Args:
        sequence: that it was trained on.
        affine: of the scans' grid.
    """

    def __init__(self, sequence: str, affine: np.ndarray) -> None:
        self.model = brainuad.load(DEFAULT, sequence=sequence, device="cpu")
        detector = self.model.method
        assert isinstance(detector, Universal)
        self.postprocess = self.model.postprocess
        self.channels = Channels(detector.network)
        detector.network, detector.sign = self.channels, sign(sequence)
        self.detector, self.sequence, self.affine = detector, sequence, affine

    def seen(self, image: np.ndarray, brain: np.ndarray) -> np.ndarray:
        """The scan as the model's preparation normalises it, `(D, H, W)` in [0, 1]."""
        assert self.model.view is not None
        return self.model.view.of(np.where(brain, image, 0), brain, (2.0, 2.0, 2.0))

    def map(
        self,
        image: np.ndarray,
        brain: np.ndarray,
        scores_by: Any = "lesion",
        without: str = "",
        placed: bool = True,
    ) -> np.ndarray:
        """Return the anomaly map of a normalised scan, `(D, H, W)`.

        Args:
            image: as `seen` returns it.
            brain: brain mask, bool.
            scores_by: as in `Universal`.
            without: as in `Channels`.
            placed: whether the model is told where the scan lies.
        """
        self.detector.scores_by, self.channels.without = scores_by, without
        given = torch.from_numpy(image.astype(np.float32))[None], torch.from_numpy(brain)[None]
        where = self.affine if placed else None
        found = detect_volume(self.detector, self.model.tiling, *given, affine=where)
        return found.anomaly_map[0].numpy()

    def scored(self, name: str, score: np.ndarray, brain: np.ndarray, truth: np.ndarray) -> dict:
        """A row of the table: the map above 0.5, small components removed, against the truth."""
        ml = abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000
        mask = self.postprocess.segment(score, brain, (2.0, 2.0, 2.0), 0.5)
        sick = bool(truth.any())
        return {
            "model": self.sequence,
            "score": name,
            "lesion_ml": truth.sum() * ml,
            "ap": average_precision(score[brain], truth[brain]) if sick else np.nan,
            "dice": dice(mask, truth) if sick else np.nan,
            "marked_ml": mask.sum() * ml,
        }


class Job(NamedTuple):
    """A scan to draw: of `val` or `test`; a person's diseases are separate scans."""

    split: str
    disease: str
    person: int

    @property
    def name(self) -> str:
        """In the table."""
        return f"{self.split}{self.person:02d}-{self.disease}"


def sign(sequence: str) -> Literal["positive", "negative"]:
    """The side on which a sequence's lesions lie, in the words of `Universal`."""
    return "negative" if sequence == "T1w" else "positive"


def jobs(scans: int) -> list[Job]:
    """Return the scans of a sequence: half as many for validation, and without a lesion."""
    people = {"val": scans // 8, "test": scans // 4}
    sick = [Job(s, d, p) for s, n in people.items() for p in range(n) for d in PATHOLOGIES]
    return [*sick, *(Job("test", "none", 100 + p) for p in range(scans // 2))]


def rows(job: Job, scan: SyntheticScan, judges: Sequence[Judge]) -> Iterator[dict[str, Any]]:
    """Score one scan in every way that is asked of it."""
    brain, truth = scan.brain_mask.numpy(), scan.lesion.numpy()
    for judge in judges:
        image = judge.seen(scan.image.numpy(), brain)
        lesion = judge.map(image, brain)
        yield judge.scored("lesion head", lesion, brain, truth)
        if scan.sequence == UNTRAINED:
            continue
        if job.disease == "none":
            for number, (name, corruption) in enumerate(corruptions(judge.sequence).items()):
                seed = 10 * job.person + number
                painted, there = paint(image, brain, (2.0,) * 3, corruption, seed)
                yield judge.scored(name, judge.map(painted, brain), brain, there)
            continue
        residual = judge.map(image, brain, scores_by="residual")
        for half in HALVES:
            other = residual / (residual + half)
            yield judge.scored(f"residual {half}", other, brain, truth)
            yield judge.scored(f"mean {half}", (lesion + other) / 2, brain, truth)
            yield judge.scored(f"light mean {half}", 0.8 * lesion + 0.2 * other, brain, truth)
            # The root leaves the order, and so AP, as it is, and gives 0.5 its meaning back.
            yield judge.scored(f"product {half}", np.sqrt(lesion * other), brain, truth)
        if job.split == "test":
            for without in ("mirror", "priors"):
                found = judge.map(image, brain, without=without)
                yield judge.scored(f"without {without}", found, brain, truth)
            found = judge.map(image, brain, placed=False)
            yield judge.scored("off the atlas", found, brain, truth)


@lru_cache
def corruptions(sequence: str) -> dict[str, Any]:
    """Return lesions of another kind than the generator's, as `brainuad.label_free` paints them."""
    alone = OmegaConf.load(PAINTED / "ellipsoids.yaml")
    alone.bright = float(sign(sequence) == "positive")
    mixture = OmegaConf.load(PAINTED / "mixture.yaml")
    return {"painted ellipsoids": instantiate(alone), "painted mixture": instantiate(mixture)}


def measure(
    generators: dict[str, ScanGenerator], sequence: str, scans: int, kept: Path
) -> pd.DataFrame:
    """Score the scans of a sequence that `kept` lacks, add them to it, and return all of them."""
    table = pd.read_csv(kept) if kept.is_file() else pd.DataFrame({"scan": []})
    asked = jobs(scans)
    todo = [job for job in asked if job.name not in set(table.scan)]
    affine = generators["test"].bank.affine()
    names = SHIPPED if sequence == UNTRAINED else (sequence,)
    judges = [Judge(name, affine) for name in names] if todo else []
    person, anatomy = None, None
    for number, job in enumerate(todo):
        seeds = (SEED, int(job.split == "test"), job.person)
        if person != seeds:
            person, anatomy = seeds, generators[job.split].anatomy(*seeds)
        assert anatomy is not None
        code = (*PATHOLOGIES, "none").index(job.disease)
        draw = generators[job.split].scan
        scan = draw(anatomy, *seeds, code, sequence=sequence, disease=job.disease)
        about = {"sequence": sequence, "split": job.split, "scan": job.name, "person": job.person}
        found = [{**about, "disease": job.disease, **row} for row in rows(job, scan, judges)]
        table = pd.concat([table, pd.DataFrame(found)], ignore_index=True)
        write_text(kept, csv_text(table[list(found[0])], float_format="%.4g"))
        print(f"{sequence}: {number + 1} of {len(todo)}", flush=True)
    return table[table.scan.isin([job.name for job in asked])]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bank", type=Path, help="folder that python -m data_prep anatomies made")
    parser.add_argument("--scans", type=int, default=32, help="test scans with lesions")
    parser.add_argument("--kept", type=Path, default=Path("runs/universal_synthetic"))
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the tables")
    arguments = parser.parse_args(argv)
    bank = read_bank(arguments.bank)
    _, val, test = split_names(bank.names)
    generators = {"val": ScanGenerator(bank, val), "test": ScanGenerator(bank, test)}
    arguments.kept.mkdir(parents=True, exist_ok=True)
    files = [arguments.kept / f"{sequence}.csv" for sequence in (*SHIPPED, UNTRAINED)]
    tables = [measure(generators, path.stem, arguments.scans, path) for path in files]
    write_tables(pd.concat(tables), arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
