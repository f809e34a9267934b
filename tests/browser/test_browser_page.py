"""The page for the browser in headless Chromium, as `make try` builds it.

Run by `make try-test`: the models are exported once, which takes minutes. The real scans are found
by `BRAINUAD_REAL_DATA`.
"""

import gzip
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_files import tags_of, write_slice
from playwright.sync_api import expect, sync_playwright
from tiny import ROOT

import brainuad
from brainuad.formats.example import LESIONS_ML, example_scan
from brainuad.model.model import Model
from brainuad.model.predict import predict_prepared
from brainuad.model.prediction import Prediction
from brainuad.model.prepared_scan import PreparedScan
from brainuad.preparation.skullstrip.extracted import extracted_brain_mask
from brainuad.types import Space, Volume
from brainuad.volumes.nifti import read_volume
from brainuad.volumes.orient import to_ras

pytestmark = [pytest.mark.browser, pytest.mark.uncounted]

NEEDED = {
    "npm": shutil.which("npm"),
    "chromium": next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    ),
}
DRAWING = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox")
PLAIN = ("--disable-3d-apis", "--no-sandbox")
"""Arguments of Chromium; on a machine without a graphics card volumes are drawn slowly."""
LEAST_DICE = 0.99
MOST_SECONDS = 30.0
"""Most seconds from the choice of a prepared 1 mm scan to its mask, on two idle cores."""

PATIENCE_MS = 240_000
"""Most milliseconds that a busy machine may take for one thing."""

MARKUP = "<img src=x onerror=alert(1)>"


class _Quiet(SimpleHTTPRequestHandler):
    """A plain web server; the types of modules are missing in older versions of Python."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """Address of the built page."""
    missing = [name for name, path in NEEDED.items() if path is None]
    if missing:
        assert "npm" not in missing or not os.environ.get("BRAINUAD_REQUIRE_NODE"), (
            "npm is required"
        )
        pytest.skip(f"no {' and no '.join(missing)} here; apt-get install npm chromium")
    web = ROOT / "web"
    if not (web / "node_modules").is_dir():
        subprocess.run([NEEDED["npm"], "ci", "--ignore-scripts"], cwd=web, check=True)
    out = tmp_path_factory.mktemp("try")
    subprocess.run([sys.executable, web / "build.py", out], check=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(out)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browsers() -> Iterator[dict[tuple[str, ...], Any]]:
    """Chromium that draws, and one that cannot."""
    with sync_playwright() as driver:
        launch = partial(driver.chromium.launch, executable_path=NEEDED["chromium"])
        found = {words: launch(args=words) for words in (DRAWING, PLAIN)}
        yield found
        for one in found.values():
            one.close()


@pytest.fixture
def visit(address, browsers) -> Iterator[Callable[..., Any]]:
    """Opens the page; fails on trouble in the console and on a request to another host."""
    trouble: list[str] = []
    requests: list[str] = []
    contexts = []

    def go(words: tuple[str, ...] = PLAIN, size: tuple[int, int] = (1000, 700)) -> Any:
        viewport = {"width": size[0], "height": size[1]}
        context = browsers[words].new_context(viewport=viewport)
        contexts.append(context)
        # Of the context: those of its worker too.
        context.on("request", lambda request: requests.append(request.url))
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
        page.goto(f"{address}index.html")
        return page

    yield go
    for context in contexts:
        context.close()
    assert not trouble
    own = (address, f"blob:{address}", "data:", "blob:null")
    assert requests
    assert not [url for url in requests if not url.startswith(own)]


def _choose(page: Any, *files: Path, sequence: str = "FLAIR") -> None:
    page.get_by_label(sequence, exact=True).check()
    page.locator("#file").set_input_files(files)


def _seconds(page: Any) -> float:
    """Wait for the result, and return the seconds that the page took."""
    page.locator("#result:visible, #trouble:visible").first.wait_for()
    assert page.locator("#trouble").is_hidden(), page.locator("#trouble").inner_text()
    expect(page.locator("#title")).to_be_focused(timeout=PATIENCE_MS)
    return float(page.locator("#facts").inner_text().split("·")[-1].split()[0])


def _saved(page: Any, button: str, folder: Path) -> nib.Nifti1Image:
    with page.expect_download() as waited:
        page.get_by_role("button", name=button).click()
    path = folder / waited.value.suggested_filename
    waited.value.save_as(path)
    return nib.load(path)


def _reference(model: Model, path: Path) -> Prediction:
    """Return what Python finds in a prepared scan with the brain that it shows."""
    volume = read_volume(path)
    inside = extracted_brain_mask(volume.array)
    shown = Volume(np.where(inside, np.maximum(volume.array, 0), 0), volume.affine)
    image = to_ras(shown)
    brain = to_ras(Volume(inside.astype(np.float32), volume.affine)).array > 0.5
    seen = model.view.of(image.array, brain, image.spacing_mm)
    return predict_prepared(model, PreparedScan(Volume(seen, image.affine), brain, Space(path)))


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    both = one.sum() + other.sum()
    return float(2 * (one & other).sum() / both) if both else 1.0


def _load_factor() -> float:
    """Return how many times as long as alone a process takes on this machine now."""
    return max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0)


def _agrees(page: Any, path: Path, sequence: str, folder: Path, write_property: Any) -> None:
    factor = _load_factor()
    _choose(page, path, sequence=sequence)
    seconds = _seconds(page)
    mask, found = _saved(page, "Save the mask", folder), _saved(page, "Save the map", folder)
    scan = nib.load(path)
    expected = _reference(brainuad.load("universal", sequence=sequence), path)
    assert mask.shape == scan.shape
    np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-4)
    dice = _dice(np.asarray(mask.dataobj) > 0, expected.mask)
    apart = float(np.abs(found.get_fdata() - expected.anomaly_map).max())
    volume = expected.mask.sum() * abs(np.linalg.det(scan.affine[:3, :3])) / 1000
    said = {"ml": round(volume, 2), "dice": round(dice, 5), "apart": apart, "seconds": seconds}
    write_property("browser", said | {"load": factor})
    assert dice >= LEAST_DICE, said
    assert seconds <= MOST_SECONDS * max(factor, _load_factor()), said
    assert page.locator("#findings tbody tr").count() == len(expected.findings)


@pytest.mark.parametrize("sequence", ["FLAIR", "T1w", "T2w"])
@pytest.mark.parametrize("patient", ["patient07", "patient26"])
def test_masks_of_real_scans_are_python_s(
    visit, real_data, tmp_path, record_property, patient, sequence
):
    name = sequence.removesuffix("w")
    path = real_data / "openms_mni_1mm" / patient / f"{name}.nii.gz"
    _agrees(visit(), path, sequence, tmp_path, record_property)


@pytest.mark.parametrize("lesion_ml", LESIONS_ML)
def test_masks_of_painted_lesions_are_python_s(visit, tmp_path, record_property, lesion_ml):
    model = brainuad.load("universal", sequence="FLAIR")
    scan = example_scan(model, lesion_ml)
    path = tmp_path / "painted_FLAIR.nii.gz"
    nib.save(nib.Nifti1Image(scan.image[0], scan.grid.affine), path)
    _agrees(visit(), path, "FLAIR", tmp_path, record_property)


def test_a_brain_off_the_atlas_is_registered(visit, tmp_path):
    source = nib.load(_example(visit, tmp_path))
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.25), -np.sin(0.25)], [np.sin(0.25), np.cos(0.25)]]
    turn[:3, 3] = 30, -25, 40
    path = tmp_path / "moved_FLAIR.nii.gz"
    nib.save(nib.Nifti1Image(source.get_fdata(dtype=np.float32), turn @ source.affine), path)
    page = visit()
    _choose(page, path)
    _seconds(page)
    assert "registered here" in page.locator("#warnings").inner_text()
    mask = _saved(page, "Save the mask", tmp_path)
    np.testing.assert_allclose(mask.affine, turn @ source.affine, atol=1e-3)
    expected = _reference(brainuad.load("universal", sequence="FLAIR"), tmp_path / "example.nii.gz")
    assert _dice(np.asarray(mask.dataobj) > 0, expected.mask) > 0.9


def _example(visit: Callable[..., Any], folder: Path) -> Path:
    """Return the example of the page as a file."""
    page = visit()
    path = folder / "example.nii.gz"
    path.write_bytes(
        page.request.get(page.url.replace("index.html", "assets/example.nii.gz")).body()
    )
    page.context.close()
    return path


def test_a_dicom_series_is_the_same_scan(visit, tmp_path):
    source = nib.as_closest_canonical(nib.load(_example(visit, tmp_path)))
    array = source.get_fdata()
    array = np.rint(array / array.max() * 4000).astype(np.uint16)
    # DICOM counts to the patient's left and back.
    folder = tmp_path / "series"
    flipped = array[::-1, ::-1]
    first = source.affine @ [array.shape[0] - 1, array.shape[1] - 1, 0, 1]
    for k in range(array.shape[2]):
        place = (-first[0], -first[1], first[2] + 2 * k)
        tags = tags_of(k + 1, place, spacing=(2, 2), SliceThickness=2, SeriesNumber=1)
        write_slice(folder / f"{k:03d}.dcm", flipped[:, :, k].T, tags)
    page = visit()
    page.locator("#folder").set_input_files(folder)
    _seconds(page)
    mask = nib.as_closest_canonical(_saved(page, "Save the mask", tmp_path))
    np.testing.assert_allclose(mask.affine, source.affine, atol=1e-3)
    path = tmp_path / "plain.nii.gz"
    nib.save(nib.Nifti1Image(array, source.affine), path)
    expected = _reference(brainuad.load("universal", sequence="FLAIR"), path)
    assert _dice(np.asarray(mask.dataobj) > 0, expected.mask) >= LEAST_DICE


def test_the_example_is_shown_and_the_controls_work(visit):
    page = visit(DRAWING)
    page.get_by_role("button", name="Try the example").click()
    _seconds(page)
    rows = page.locator("#findings tbody tr")
    assert rows.count() > 1
    before = page.locator("#position").inner_text()
    rows.nth(1).click()
    assert page.locator("#position").inner_text() != before
    assert "here" in rows.nth(1).get_attribute("class")
    many = rows.count()
    page.get_by_role("button", name="marks less").click()
    expect(rows).not_to_have_count(many, timeout=PATIENCE_MS)
    assert rows.count() < many
    assert page.locator("#threshold-value").inner_text() == "0.70"
    page.get_by_label("Mark from probability").fill("50")
    expect(rows).to_have_count(many, timeout=PATIENCE_MS)
    # The picture fills its panel, and there is a coloured lesion in it.
    box, around = (page.locator(one).bounding_box() for one in ("#canvas", ".stage"))
    assert box["width"] == pytest.approx(around["width"], abs=2)
    page.get_by_role("button", name="Another scan").click()
    assert page.locator("#drop").is_visible()


def test_a_phone_shows_all_of_it_without_pictures_too(visit):
    page = visit(size=(390, 800))
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(fits)
    page.get_by_role("button", name="Try the example").click()
    _seconds(page)
    assert page.locator("#no-pictures").is_visible()
    assert page.evaluate(fits)


def test_what_is_no_scan_is_refused_in_words(visit, tmp_path):
    rng = np.random.default_rng(0)
    head = rng.random((40, 48, 40)).astype(np.float32) + 1
    nib.save(nib.Nifti1Image(head, np.diag([4.0, 4, 4, 1])), tmp_path / "head_FLAIR.nii.gz")
    series = np.zeros((40, 48, 40, 3), np.float32)
    nib.save(nib.Nifti1Image(series, np.eye(4)), tmp_path / "series.nii.gz")
    damaged = bytearray((tmp_path / "head_FLAIR.nii.gz").read_bytes())
    damaged[2000:3000] = bytes(1000)
    (tmp_path / "damaged.nii.gz").write_bytes(damaged)
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"no scan" * 200))
    (tmp_path / f"{MARKUP.replace('/', '')}.nii").write_bytes(b"no scan" * 200)
    page = visit()
    for name, words in {
        "head_FLAIR.nii.gz": "brainuad-prepare",
        "series.nii.gz": "series of volumes",
        "damaged.nii.gz": "Damaged",
        "text.nii.gz": "Not a NIfTI",
        f"{MARKUP}.nii": MARKUP,
    }.items():
        page.evaluate("document.getElementById('trouble').hidden = true")
        _choose(page, tmp_path / name)
        page.locator("#trouble:visible").wait_for()
        assert words in page.locator("#trouble").inner_text()
        assert page.locator("#drop").is_visible()
    assert page.locator("img").count() == 0


SEND = "address => fetch(address).then(() => 'sent', () => 'refused')"

SEND_FROM_WORKER = """address => new Promise(done => {
  const said = "postMessage('sent'), () => postMessage('refused')";
  const words = [`fetch('${address}').then(() => ${said})`];
  const source = new Blob(words, { type: 'text/javascript' });
  const worker = new Worker(URL.createObjectURL(source), { type: 'module' });
  worker.onmessage = ({ data }) => done(data);
  worker.onerror = () => done('no worker');
})"""


def test_nothing_can_be_sent_elsewhere(address, browsers):
    """The page's policy refuses it, in workers of blobs such as the page's own, too."""
    page = browsers[PLAIN].new_page()
    page.goto(f"{address}index.html")
    with _listening() as (elsewhere, came):
        for send in (SEND, SEND_FROM_WORKER):
            assert page.evaluate(send, page.url) == "sent"
            assert page.evaluate(send, elsewhere) == "refused"
        assert not came
    page.close()


@contextmanager
def _listening() -> Iterator[tuple[str, list[str]]]:
    """Address of a server that any page may ask, and what it was asked."""
    came: list[str] = []

    class Open(_Quiet):
        def do_GET(self) -> None:
            came.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Open)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", came
    server.shutdown()
