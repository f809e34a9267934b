"""A real browser, for the tests of pages."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox")
DESKTOP = (1000, 640)  # small: the graphics are computed by the CPU
RESET = """() => {
  location.hash = '';
  for (const form of document.forms) {
    form.reset();
    for (const field of form.elements) field.dispatchEvent(new Event('input'));
  }
}"""


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    """Starts Chromium with given arguments; skips where the machine has none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        yield partial(driver.chromium.launch, executable_path=CHROMIUM)


@pytest.fixture(scope="module")
def browser(launch) -> Iterator[Any]:
    """Chromium with graphics."""
    with launch(args=SOFTWARE_GL) as browser:
        yield browser


@pytest.fixture(scope="module")
def new_page(browser) -> Iterator[Callable[[tuple[int, int]], Any]]:
    """A page of a size, the same one each time: the graphics take a second to start."""
    pages: dict[tuple[int, int], Any] = {}

    def make(size: tuple[int, int]) -> Any:
        if size not in pages:
            width, height = size
            pages[size] = browser.new_page(viewport={"width": width, "height": height})
            pages[size].set_default_timeout(30_000)
        return pages[size]

    yield make
    for page in pages.values():
        page.close()


@pytest.fixture
def visit(new_page, index: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page of predictions `index`, at a scan when one is given, and watches it.

    The test fails on an error or a warning in the console, on a dialog, and on a request to the
    network.
    """
    from playwright.sync_api import expect

    trouble, requests, visited = [], [], []
    watchers = {
        "console": lambda message: trouble.append(message.text) if message.type != "log" else None,
        "pageerror": lambda error: trouble.append(str(error)),
        "dialog": lambda dialog: (trouble.append(dialog.message), dialog.dismiss()),
        "request": lambda request: requests.append(request.url),
    }

    def go(scan: str = "", size: tuple[int, int] = DESKTOP) -> Any:
        page = new_page(size)
        visited.append(page)
        for event, watcher in watchers.items():
            page.on(event, watcher)
        if page.url == "about:blank":
            page.goto(f"{index.as_uri()}#{scan}")
        else:
            page.evaluate(RESET)
            expect(page.locator("#scan")).to_be_hidden()
            page.evaluate(f"location.hash = '{scan}'")
        if scan:
            expect(page.locator("#title")).to_have_text(scan)
            page.locator("#viewer:not(.waiting)").wait_for()
        return page

    yield go
    for page in visited:
        for event, watcher in watchers.items():
            page.remove_listener(event, watcher)
    assert not trouble
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
