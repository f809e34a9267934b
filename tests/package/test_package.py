"""The wheel as a user has it: built, installed in an empty environment, used outside the checkout.

Run by `make package`. The environment takes minutes and the network.
"""

import configparser
import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import nibabel as nib
import numpy as np
import pytest
from bare_machine import refusal, run_bare
from tiny import ROOT

pytestmark = [pytest.mark.package, pytest.mark.uncounted]

setup = configparser.ConfigParser()
setup.read(ROOT / "setup.cfg")
SCRIPTS = re.findall(r"^([\w-]+) =", setup["options.entry_points"]["console_scripts"], re.MULTILINE)
MODULES = ("brainuad.benchmark", "brainuad.data_prep")
COMMANDS = [
    *([name] for name in SCRIPTS),
    *(["brainuad-report", name] for name in ("compare", "folds", "difficulty")),
    ["brainuad-prepare", "phantom"],
    *(["python", "-m", name] for name in MODULES),
]

SCAN_S = 60.0
"""Most seconds of a processor that a scan may take."""


def _run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, timeout=1500, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """The source distribution, and the wheel that is built from it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = _run("git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z").stdout
    for name in filter(None, listed.split("\0")):
        # What is there to be committed; a link to a folder is none of it.
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    _run(sys.executable, "-m", "build", "--outdir", out, source)
    return out


@pytest.fixture(scope="module")
def wheel(dist) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Iterator[Path]:
    """The folder of commands of an empty environment with the wheel, as docs/how-to/install.md."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    began = time.monotonic()
    _run(sys.executable, "-m", "venv", folder)
    constraints = ROOT / os.environ.get("CONSTRAINTS", "constraints.txt")
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "-c", constraints]
    # Where the usual index has no CPU build of torch for this machine.
    index = os.environ.get("BRAINUAD_TORCH_INDEX")
    if index:
        _run(*pip, "--index-url", index, "torch")
    _run(*pip, wheel)
    print(f"\ninstalled in {time.monotonic() - began:.0f} s")
    yield folder / "bin"
    # Two gigabytes, which pytest would keep.
    shutil.rmtree(folder)


@pytest.fixture
def use(installed):
    """Runs a command of the environment on a bare machine, or outside the checkout at least."""

    def call(words: list[object], out: Path) -> subprocess.CompletedProcess[str]:
        words = [installed / str(words[0]), *words[1:]]
        if refusal():
            return _run(*words, cwd=out.parent)
        done = run_bare(words, out, path=f"{installed}:/usr/bin:/bin")
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return call


def test_metadata_and_description_are_what_pypi_takes(dist):
    files = sorted(dist.iterdir())
    assert [path.suffix for path in files] == [".whl", ".gz"]
    _run(sys.executable, "-m", "twine", "check", "--strict", *files)


def test_the_repository_passes_the_review_of_scientific_python():
    _run(sys.executable, "-m", "repo_review", ROOT)


def test_the_wheel_holds_all_that_a_user_needs_and_no_more(wheel):
    held = set(ZipFile(wheel).namelist())
    for name in ("niivue.js", "niivue.LICENSE.txt", "page.js"):
        assert f"brainuad/reporting/viewer/static/{name}" in held
    places = {"src/brainuad": "brainuad", **{f: f"brainuad/{f}" for f in ("configs", "data_prep")}}
    listed = _run("git", "-C", ROOT, "ls-files", "-z", *places).stdout.split("\0")
    for path in map(Path, filter(None, listed)):
        (place,) = (place for place in places if path.is_relative_to(place))
        inside = f"{places[place]}/{path.relative_to(place).as_posix()}"
        assert inside in held or path.name == "README.md", path
    assert {name.split("/")[0] for name in held if ".dist-info" not in name} == {"brainuad"}
    for licence in ("LICENSE", "NOTICE"):
        assert any(name.endswith(f"licenses/{licence}") for name in held)


def test_the_source_distribution_holds_documentation_tests_and_constraints(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    for name in ("docs/how-to/install.md", "tests/package/test_package.py", "constraints.txt"):
        assert name in held
    for name in ("containers/install.sh", "data_prep/README.md", "CHANGELOG.md", ".ci/lock.txt"):
        assert name in held
    assert not [name for name in held if name.startswith(("runs", "experiments", ".github"))]


def test_the_version_is_the_same_everywhere(wheel, installed):
    said = _run(installed / "brainuad-predict", "--version").stdout.split()[1]
    assert wheel.name.startswith(f"brainuad-{said}-")
    code = "from importlib.metadata import version; print(version('brainuad'))"
    assert _run(installed / "python", "-c", code).stdout.strip() == said


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_its_help_with_an_example(words, installed, tmp_path):
    done = _run(installed / words[0], *words[1:], "--help", cwd=tmp_path)
    assert "example" in done.stdout.lower()
    assert " ".join(words) in done.stdout


def test_data_sets_are_described_without_the_repository(installed, tmp_path):
    said = _run(installed / "python", "-m", "brainuad.data_prep", "show", "ixi", cwd=tmp_path)
    assert "CC BY-SA" in said.stdout


def _predict(use, words: list[object], out: Path) -> np.ndarray:
    """Return the voxels of the one mask that a prediction writes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = use(["brainuad-predict", *words, out / "found"], out)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"\na scan in {took:.0f} s of a processor")
    # Done or flagged: a scan of a patient may be unlike those of the training.
    assert " 0 failed" in done.stdout
    (mask,) = (out / "found").glob("*/*_mask.nii.gz")
    assert (out / "found" / "index.html").is_file()
    assert took <= SCAN_S
    return np.asanyarray(nib.load(mask).dataobj)


def test_the_shipped_model_marks_the_head_of_the_package(use, tmp_path):
    mask = _predict(use, ["demo"], tmp_path / "out")
    assert 0 < mask.sum() < 0.1 * mask.size


def test_the_shipped_model_marks_a_real_head(use, real_data, tmp_path):
    scan = sorted((real_data / "raw_heads").rglob("*FLAIR*.nii.gz"))[0]
    mask = _predict(use, [scan, "--sequence", "FLAIR"], tmp_path / "out")
    assert mask.shape == nib.load(scan).shape
    assert mask.any()


def test_a_training_runs_from_cohort_to_report(use, tmp_path):
    out = tmp_path / "out"
    places = [f"paths.output_dir={out / 'run'}", f"paths.cache_dir={out / 'cache'}"]
    use(["brainuad-train", "experiment=madad", "trainer=smoke", *places], out)
    assert (out / "run" / "model.ckpt").is_file()
    assert (out / "run" / "report.html").is_file()
