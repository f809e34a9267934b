"""Measure quality and time of the preparation of real heads.

    BRAINUAD_REAL_DATA=FOLDER python experiments/preparation/study.py

writes `results.md`: skull stripping against reference masks, registration of known transforms,
and where the time of a whole head goes on one core. What runs is what the configurations say.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from hydra import compose, initialize_config_module

from brainuad.cohorts.scans import RawScan
from brainuad.machine.files import write_text
from brainuad.preparation.atlas import BrainAtlas, load_brain_atlas
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.register.linear import Register
from brainuad.preparation.skullstrip.deepbet import Deepbet
from brainuad.preparation.subject import prepare_subject
from brainuad.reporting.tables import to_markdown
from brainuad.settings.instantiate import PREPARATION, instantiate
from brainuad.types import Volume
from brainuad.volumes.itk import matrix_of, to_sitk
from brainuad.volumes.nifti import read_mask, read_volume
from brainuad.volumes.orient import to_ras
from brainuad.volumes.resample import resample_like

HERE = Path(__file__).parent
BACKENDS = ("deepbet", "hdbet", "template")
CHAINS = ("default", "deformable")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="known transforms to recover")
    parser.add_argument("--head", type=Path, help="time this head alone, in this process")
    parser.add_argument("--chain", default="default", help="its preparation=NAME")
    arguments = parser.parse_args()
    # Seconds of one thread do not depend on what else the machine does.
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if arguments.head:
        print(json.dumps(time_head(arguments.head, arguments.chain)))
        return
    root = os.environ.get("BRAINUAD_REAL_DATA")
    if not root:
        sys.exit("BRAINUAD_REAL_DATA is not set: give the folder of real scans")
    text = "# Results\n\nWritten by `study.py`; do not edit. Seconds are CPU time of one thread.\n"
    known = partial(registration, seeds=arguments.seeds)
    for part in (known, beside_the_example, times, stripping):
        found = part(Path(root))
        print(found, flush=True)
        text += found
        write_text(HERE / "results.md", text)


def steps(*words: str) -> Preparation:
    """The chain of `brainuad-prepare ... WORDS`."""
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        config = compose("prepare", list(words))
    return instantiate(config.preparation.steps, packages=PREPARATION)


def heads(root: Path) -> Iterator[tuple[str, str, Path, Path]]:
    """Name, sequence, head and reference mask."""
    folder = root / "raw_heads" / "TCGA-FG-6692"
    for sequence, name in (("T1w", "t1"), ("T1c", "t1c"), ("T2w", "t2"), ("FLAIR", "fla")):
        head = folder / f"{'FLAIR' if name == 'fla' else name.replace('t', 'T')}.nii.gz"
        yield "glioma (HD-BET)", sequence, head, folder / f"brain_mask_hdbet_{name}.nii.gz"
    for folder in sorted((root / "ixi_t1_2mm").iterdir())[:2]:
        yield "IXI (parcellation)", "T1w", folder / "T1.nii.gz", folder / "parcellation.nii.gz"
    for folder in sorted((root / "nichart_elderly_2mm").iterdir())[:2]:
        parcels = sorted(folder.glob("*parcellation_on_T1*"))
        t1 = [path for path in sorted(folder.glob("*T1*.nii.gz")) if path not in parcels]
        if parcels and t1:
            yield "elderly (parcellation)", "T1w", t1[0], parcels[0]


def stripping(root: Path) -> str:
    """Dice with the reference and seconds, each head and back end."""
    backends = [steps(f"preparation/skullstrip={name}").skullstrip for name in BACKENDS]
    rows = []
    for group, sequence, head, reference in heads(root):
        raw = read_volume(head)
        truth = to_ras(Volume(read_mask(reference, like=raw).astype(np.float32), raw.affine))
        volume = to_ras(raw)
        row = [group, sequence, head.parent.name]
        for backend in backends:
            start = time.process_time()
            found = backend(volume)
            seconds = time.process_time() - start
            wanted = truth.array > 0.5
            dice = 2 * (found & wanted).sum() / (found.sum() + wanted.sum())
            row.append(f"{dice:.3f} ({seconds:.1f} s)")
        rows.append(row)
    header = ["reference", "sequence", "subject", *(f"{name}, Dice" for name in BACKENDS)]
    return "\n## Skull stripping\n\n" + to_markdown(header, rows)


def registration(root: Path, seeds: int) -> str:
    """Mean landmark error of known affine transforms of a real head."""
    atlas = load_brain_atlas()
    folder = sorted((root / "ixi_t1_2mm").iterdir())[0]
    head = to_ras(read_volume(folder / "T1.nii.gz"))
    brain = Volume(np.where(Deepbet()(head), head.array, 0), head.affine)
    register = default_register()
    base = register(atlas.image, brain, atlas.brain_mask)
    points = np.argwhere(atlas.brain_mask)[::2000]
    world = np.c_[points, np.ones(len(points))] @ atlas.image.affine.T
    errors, seconds = [], []
    for seed in range(seeds):
        known = random_affine(seed)
        start = time.process_time()
        moved = Volume(brain.array, known @ brain.affine)
        found = register(atlas.image, moved, atlas.brain_mask)
        seconds.append(time.process_time() - start)
        gap = world @ (found.matrix - known @ base.matrix).T
        errors.append(float(np.linalg.norm(gap[:, :3], axis=1).mean()))
    good = sum(error < 1.5 for error in errors)
    rows = [
        [
            str(seeds),
            f"{good}",
            f"{np.median(errors):.2f}",
            f"{max(errors):.2f}",
            f"{np.mean(seconds):.1f}",
        ]
    ]
    header = ["seeds", "under 1.5 mm", "median error, mm", "largest, mm", "seconds"]
    text = "\n## Registration of known transforms\n\nA brain turned by up to 20° about each axis, "
    text += "moved by 20 mm and scaled by 0.85 to 1.15 along each, registered to MNI152; the error "
    text += "is against the unmoved brain's registration, over landmarks in the whole brain.\n\n"
    return text + to_markdown(header, rows)


def beside_the_example(root: Path) -> str:
    """Overlap and seconds beside the way of SimpleITK's registration examples, same scans."""
    atlas, register = load_brain_atlas(), default_register()
    rows = []
    for folder in sorted((root / "ixi_t1_2mm").iterdir()):
        head = to_ras(read_volume(folder / "T1.nii.gz"))
        mask = Deepbet()(head)
        brain = Volume(np.where(mask, head.array, 0), head.affine)
        row = [folder.name]
        for method in (lambda a, b: register(a.image, b, a.brain_mask).matrix, example):
            start = time.process_time()
            matrix = method(atlas, brain)
            seconds = time.process_time() - start
            share = np.linalg.inv(matrix) @ brain.affine
            laid = resample_like(mask.astype(np.float32), share, atlas.image) > 0.5
            wanted = atlas.brain_mask
            dice = 2 * (laid & wanted).sum() / (laid.sum() + wanted.sum())
            image = resample_like(brain.array, share, atlas.image)
            fit = np.corrcoef(image[wanted], atlas.image.array[wanted])[0, 1]
            row += [f"{dice:.3f}", f"{fit:.3f}", f"{seconds:.1f}"]
        rows.append(row)
    names = ("brainuad", "SimpleITK example")
    columns = [f"{name}: {what}" for name in names for what in ("Dice", "correlation", "s")]
    ratio = np.mean([float(row[6]) / float(row[3]) for row in rows])
    text = (
        "\n## Beside SimpleITK's example\n\nAffine to MNI152 of brains that were stripped alike: "
    )
    text += "overlap of the brains, correlation of the images inside, seconds. The example takes "
    text += f"{ratio:.1f} times as long on average.\n\n"
    return text + to_markdown(["subject", *columns], rows)


def default_register() -> Register:
    """Measure the registration of `preparation=default` to the atlas."""
    register = steps("preparation=default").atlas
    assert register is not None
    return register


def example(atlas: BrainAtlas, brain: Volume) -> np.ndarray:
    """SimpleITK's documented recipe (ImageRegistrationMethod, its notebook 60) at full resolution.

    Geometric centring, Mattes mutual information on a random percent, gradient descent for 100
    iterations over shrink factors 4, 2, 1.
    """
    fixed, moving = to_sitk(atlas.image), to_sitk(brain)
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(50)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.01, seed=1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsGradientDescent(1.0, 100, 1e-6, 10)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=False)
    return matrix_of(method.Execute(fixed, moving))


def random_affine(seed: int) -> np.ndarray:
    """Rotation up to 20 degrees and shift up to 20 mm an axis, scales 0.85 to 1.15."""
    rng = np.random.default_rng(seed)
    euler = sitk.Euler3DTransform()
    euler.SetRotation(*np.deg2rad(rng.uniform(-20, 20, 3)).tolist())
    matrix = np.eye(4)
    rotation = np.array(euler.GetMatrix()).reshape(3, 3)
    matrix[:3, :3] = rotation @ np.diag(rng.uniform(0.85, 1.15, 3))
    matrix[:3, 3] = rng.uniform(-20, 20, 3)
    return matrix


def times(root: Path) -> str:
    """Measure the time of each step for two whole heads on one core."""
    rows = []
    for name, chain in product(("chris", "spm152_template"), CHAINS):
        head = root / "raw_heads" / name / "T1.nii.gz"
        command = ["taskset", "-c", "0", sys.executable, __file__, "--head", str(head)]
        command += ["--chain", chain]
        one = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=one, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append([name, chain, *(str(value) for value in found.values())])
        header = ["head", "preparation", *found]
    text = "\n## Where the time goes\n\nOne core, the start of Python left out. The steps' seconds "
    text += "are by the clock, other work on the machine included.\n\n"
    return text + to_markdown(header, rows)


def time_head(head: Path, chain: str) -> dict[str, object]:
    """Seconds of each step and the peak of memory of one head."""
    preparation = steps(f"preparation={chain}")
    load_brain_atlas()
    clock, start = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as out:
        (record,), failures = prepare_subject(
            [RawScan("s", "T1w", head, healthy=True)], preparation, Path(out)
        )
    if failures:
        sys.exit(str(failures))
    clock, seconds = time.perf_counter() - clock, time.process_time() - start
    names = {"skullstrip": "skull strip", "bias": "N4", "atlas": "atlas", "deform": "warp"}
    took = {name: step.seconds for name, step in record.steps.items()}
    parts = {f"{said}, s": took.get(name, 0.0) for name, said in names.items()}
    return {
        "grid": " × ".join(str(n) for n in read_volume(head).array.shape),
        **parts,
        "rest, s": round(clock - sum(parts.values()), 1),
        "all, s": round(clock, 1),
        "all, CPU s": round(seconds, 1),
        "peak, GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


if __name__ == "__main__":
    main()
