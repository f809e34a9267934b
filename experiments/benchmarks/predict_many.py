"""A thousand files, one in twenty broken: does brainuad-predict do the others, in flat memory?

    python experiments/benchmarks/predict_many.py

writes tiny scans with one bright box each, of which `--broken` are broken in ten ways in turn, runs
`predict.py` on the folder, watches its memory, runs it again, and prints (and with `--json` writes)
how many results and reasons there are, the exit status, the seconds, and the resident memory when a
tenth, half and all of the scans were done. The model is the intensity baseline, without
registration.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from tiny import AFFINE, SHAPE, brain, lesion, write_tiny_model  # noqa: E402


def _save(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    nib.save(nib.nifti1.Nifti1Image(array, affine), path)


def _empty(path: Path, image: np.ndarray) -> None:
    path.write_bytes(b"")


def _text(path: Path, image: np.ndarray) -> None:
    path.write_text("see you later")


def _truncated(path: Path, image: np.ndarray) -> None:
    _save(image, AFFINE, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _nan(path: Path, image: np.ndarray) -> None:
    image[12, 14, 10] = np.nan
    _save(image, AFFINE, path)


def _zeros(path: Path, image: np.ndarray) -> None:
    _save(np.zeros_like(image), AFFINE, path)


def _four_dimensions(path: Path, image: np.ndarray) -> None:
    _save(np.stack([image, image], axis=-1), AFFINE, path)


def _colours(path: Path, image: np.ndarray) -> None:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    _save(np.zeros(SHAPE, kind), AFFINE, path)


def _flat_voxels(path: Path, image: np.ndarray) -> None:
    _save(image, AFFINE, path)
    content = bytearray(gzip.decompress(path.read_bytes()))
    # The third row of the sform and the third edge of a voxel: neither form tells the size.
    content[312:328], content[88:92] = bytes(16), bytes(4)
    path.write_bytes(gzip.compress(bytes(content), 1))


def _labels(path: Path, image: np.ndarray) -> None:
    _save((image > 0.5).astype(np.int16) * 3, AFFINE, path)


def _constant(path: Path, image: np.ndarray) -> None:
    _save(np.where(image > 0, np.float32(0.5), image), AFFINE, path)


BROKEN: tuple[Callable[[Path, np.ndarray], None], ...] = (
    *(_empty, _text, _truncated, _nan, _zeros),
    *(_four_dimensions, _colours, _flat_voxels, _labels, _constant),
)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="files, the broken ones included")
    parser.add_argument("--broken", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments.count, arguments.broken, arguments.jobs)
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


def measure(folder: Path, count: int, broken: int, jobs: int) -> dict[str, object]:
    """Runs the command twice on `count` files."""
    scans, out = folder / "scans", folder / "out"
    scans.mkdir()
    every = count // max(broken, 1)
    kinds: dict[str, str] = {}
    for index in range(count):
        path = scans / f"s{index:05d}_T2w.nii.gz"
        image = (brain(index)[0] + 0.4 * lesion()).astype(np.float32)
        if broken and index % every == 0 and index // every < broken:
            make = BROKEN[index // every % len(BROKEN)]
            make(path, image)
            kinds[f"s{index:05d}_T2w"] = make.__name__.strip("_")
        else:
            _save(image, AFFINE, path)
    model = write_tiny_model(folder / "model.ckpt")
    command = [sys.executable, ROOT / "predict.py", model, scans, out, "--jobs", jobs, "--no-page"]
    start = time.perf_counter()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*map(str, command)], stdout=log, stderr=log)
        memory = _watch(process, out / "records")
    seconds = time.perf_counter() - start
    table = pd.read_csv(out / "subjects.csv").set_index("scan_id")
    failed = table[table.status == "failed"]
    done = table[table.status != "failed"]
    start = time.perf_counter()
    again = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    return {
        "files": count,
        "results": int(sum((out / name).is_file() for name in done["mask"])),
        "with_a_finding": int((done.n_findings > 0).sum()),
        "reasons": int(failed.reason.notna().sum()),
        "kinds": {
            kinds[name]: str(row.reason).split(": ", 1)[-1] for name, row in failed.iterrows()
        },
        "only_the_broken_failed": set(failed.index) == set(kinds),
        "exit_status": process.returncode,
        "seconds": round(seconds, 1),
        "jobs": jobs,
        "resident_mib": {share: _at(memory, share, count) for share in (0.1, 0.5, 1.0)},
        "second_run": {
            "exit_status": again.returncode,
            "seconds": round(time.perf_counter() - start, 1),
            "to_do": next(line for line in again.stdout.splitlines() if "to do" in line),
        },
    }


def _watch(process: subprocess.Popen, records: Path) -> list[tuple[int, float]]:
    """Records there are and resident memory in MiB, from the first record until the end.

    Before it the process starts up, and has no memory at all at first.
    """
    found = []
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status")
        try:
            lines = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
        except OSError:
            break
        count = sum(1 for _ in records.glob("*.json")) if records.is_dir() else 0
        if lines and count:
            found.append((count, int(lines[0].split()[1]) / 1024))
        time.sleep(0.05)
    process.wait()
    return found


def _at(memory: list[tuple[int, float]], share: float, count: int) -> float:
    """Resident memory when a share of the scans was done."""
    near = min(memory, key=lambda item: abs(item[0] - share * count))
    return round(near[1], 1)


if __name__ == "__main__":
    main()
