"""Does the label-free objective rank models as labelled lesions do?

    python -m experiments.label_free.study runs/study/autopaint/* runs/study/madad/*

measures the AP on lesions painted into healthy validation brains, which needs no label, and the
AP, Dice and ⌈Dice⌉ on the test lesions, of every checkpoint of finished runs (`model.ckpt` and
`checkpoints/*.ckpt`; `callbacks=keep` keeps those of every epoch), and writes `results.md`,
`results.csv` and `scatter.png`. A checkpoint that was measured is not measured again.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainuad.benchmark.groups import METRICS, read_subjects
from brainuad.benchmark.runs import embedded
from brainuad.benchmark.tables import write_results
from brainuad.cohorts.manifest import Cohort, Scan
from brainuad.cohorts.map_folder import MapFolder
from brainuad.evaluation.maps import evaluate_maps
from brainuad.inference.maps import fill
from brainuad.label_free.objective import ap_of
from brainuad.machine.failures import Failures
from brainuad.machine.files import write_json, write_text
from brainuad.metrics.statistics import summarise
from brainuad.model.checkpoint import read_checkpoint
from brainuad.model.device import device
from brainuad.model.model import Model
from brainuad.model.runtime import Runtime
from brainuad.reporting.run_folder import read_run
from brainuad.settings.instantiate import instantiate
from brainuad.synthetic.painted import painted_scans
from brainuad.training.fit import calibrate
from experiments.label_free.choose import option_of
from experiments.label_free.ranks import draw_scatter, report

HERE = Path(__file__).parent
LABELLED = tuple(METRICS.values())


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="finished run folders")
    parser.add_argument(
        "--painted", nargs="+", default=["mixture", "ellipsoids"], help="of configs/painted"
    )
    parser.add_argument("--draws", type=int, default=2, help="painted lesions a subject and kind")
    parser.add_argument("--limit", type=int, default=None, help="val and test subjects at most")
    parser.add_argument("--work", type=Path, default=Path("runs/study/label_free"))
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    arguments = parser.parse_args()
    rows = [
        row
        for run in arguments.runs
        if (run / "model.ckpt").is_file()
        for row in measured(run, arguments)
    ]
    if not rows:
        parser.error("none of the folders holds a model.ckpt")
    table = pd.DataFrame(rows)
    objectives = [f"painted {kind}" for kind in arguments.painted]
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_results(arguments.out / "results.csv", table)
    text = report(table, objectives, LABELLED)
    write_text(arguments.out / "results.md", text)
    draw_scatter(table, objectives, LABELLED, arguments.out / "scatter.png")
    print(text)


def measured(run: Path, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row a checkpoint of a run; of two with the same weights, one."""
    seen = set()
    for path in [run / "model.ckpt", *sorted((run / "checkpoints").glob("*.ckpt"))]:
        checkpoint = read_checkpoint(path)
        card = checkpoint["brainuad"]
        cohort = read_run(run).cohort or embedded(path)
        scans = {
            split: [
                scan
                for scan in cohort.scans
                if scan.sequence == card["sequence"] and scan.split == split
            ]
            for split in ("train", "val", "test")
        }
        model = ready(path, scans, arguments.cache)
        digest = model.weights_hash
        if digest in seen:
            continue
        seen.add(digest)
        about = {
            "run": f"{run.resolve().parent.name}/{run.name}",
            "method": card["name"],
            "sequence": card["sequence"],
            "checkpoint": path.stem,
            "epoch": checkpoint.get("epoch"),
        }
        out = arguments.work / f"{digest[:16]}-{arguments.draws}-{arguments.limit or 'all'}"
        print(f"{about['run']} {path.stem}", flush=True)
        values = {
            f"painted {kind}": objective(model, scans["val"], kind, out, arguments)
            for kind in arguments.painted
        }
        yield about | values | labelled(model, cohort, scans, out, arguments)


def ready(path: Path, scans: dict[str, list[Scan]], cache: Path) -> Model:
    """Return the model of a checkpoint, with what a training run sets after its last step."""
    model = Model.load(path, Runtime(device("auto"), batch_size=32, cache=cache)).on_device()
    if path.name != "model.ckpt":
        failures = Failures()
        train, val = (
            model.views([scan for scan in scans[split] if scan.healthy], failures)
            for split in ("train", "val")
        )
        with tempfile.TemporaryDirectory(prefix="brainuad-") as out:
            calibrate(model, {"train": train, "val": val}, Path(out))
    return model


def objective(
    model: Model,
    val: list[Scan],
    kind: str,
    out: Path,
    arguments: argparse.Namespace,
) -> float:
    """The mean AP on painted lesions, kept in `out`."""
    corruption = instantiate(option_of("painted", kind))
    file = out / f"painted_{kind}.json"
    if not file.is_file():
        healthy = [scan for scan in val if scan.healthy][: arguments.limit]
        copies, failures = painted_scans(healthy, arguments.draws, arguments.cache, corruption)
        maps = detected(model, copies, out / "maps")
        chain = model.postprocess
        found = {scan.subject: ap_of(scan, MapFolder(maps), chain) for scan in copies}
        for subject, reason in failures:
            print(f"left out: {subject}: {reason}")
        write_json(file, {"corruption": repr(corruption), "ap": found})
        shutil.rmtree(maps)
    kept = json.loads(file.read_text())
    if kept["corruption"] != repr(corruption):
        raise SystemExit(f"{file}: of another configs/painted/{kind}.yaml; delete it")
    return summarise(np.array(list(kept["ap"].values()), float)).mean


def labelled(
    model: Model,
    cohort: Cohort,
    scans: dict[str, list[Scan]],
    out: Path,
    arguments: argparse.Namespace,
) -> dict[str, float]:
    """Mean AP, Dice at the healthy threshold and ⌈Dice⌉ over test lesions, kept in `out`."""
    if not (out / "scores.csv").is_file():
        kept = [
            *[scan for scan in scans["val"] if scan.healthy][: arguments.limit],
            *[scan for scan in scans["test"] if not scan.healthy][: arguments.limit],
        ]
        maps, card = detected(model, kept, out / "maps"), model.card
        evaluation = evaluate_maps(
            Cohort(cohort.root, tuple(kept), cohort.info),
            card.sequence,
            {card.name: maps},
            model.postprocess,
            space=card.space,
        )
        text = evaluation.scores.to_csv(index=False, lineterminator="\n")
        write_text(out / "scores.csv", text)
        shutil.rmtree(maps)
    means = read_subjects(out).groupby("metric").value.mean()
    return {name: float(means[name]) for name in LABELLED}


def detected(model: Model, scans: list[Scan], maps: Path) -> Path:
    """Return the folder of the maps of scans."""
    failures = Failures()
    fill(MapFolder(maps), scans, model, failures, "detecting")
    if failures:
        raise SystemExit(f"{failures[0][0]}: {failures[0][1]}")
    return maps


if __name__ == "__main__":
    main()
