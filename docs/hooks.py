"""Hooks of the documentation site: links into the repository, and notebooks as pages.

mkdocs.yml names this file. Pages link to files outside `docs/` by relative paths, which GitHub
follows; on the site they become links to the repository. A notebook is executed, and becomes a
page of the same name.
"""

import logging
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

LOG = logging.getLogger("mkdocs.hooks.brainuad")
"""A logger below that of mkdocs, whose warnings end a strict build."""

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
"""Link to another file: text, path and anchor."""

_command = ""


def on_startup(command: str, **_: Any) -> None:
    """Remember the command: `serve` shows notebooks as they are, because it builds again often."""
    global _command  # noqa: PLW0603  (mkdocs calls functions of the module)
    _command = command


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace each notebook by a page in Markdown."""
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            files.remove(file)
            source = Path(config.docs_dir) / file.src_uri
            page = f"{file.src_uri.removesuffix('.ipynb')}.md"
            content = notebook_page(source, execute=_command != "serve")
            files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Turn links to files of the repository into links to its address, and check the files."""
    docs = Path(config.docs_dir)
    folder = (docs / page.file.src_uri).parent

    def resolved(match: re.Match[str]) -> str:
        text, path, anchor = match.groups()
        target = Path(os.path.normpath(folder / path))
        if target.is_relative_to(docs):
            path = re.sub(r"\.ipynb$", ".md", path)
            return f"[{text}]({path}{anchor or ''})"
        if not (target.is_relative_to(ROOT) and target.exists()):
            LOG.warning("%s: no such file of the repository: %s", page.file.src_uri, path)
        if not config.repo_url:
            return text
        address = f"{config.repo_url.rstrip('/')}/blob/main/{target.relative_to(ROOT).as_posix()}"
        return f"[{text}]({address}{anchor or ''})"

    # Odd parts are fenced code.
    parts = re.split(r"(^```.*?^```)", markdown, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [LINK.sub(resolved, part) for part in parts[::2]]
    return "".join(parts)


def notebook_page(path: Path, execute: bool) -> str:
    """Return a notebook as Markdown.

    Args:
        path: `.ipynb` file.
        execute: run its cells in an empty folder first.

    Raises:
        PluginError: a cell raised an error.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    if execute:
        _run(notebook, path)
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        shell = cell.source.startswith("%%bash")
        source = cell.source.removeprefix("%%bash\n")
        parts.append(f"```{'bash' if shell else 'python'}\n{source}\n```")
        parts += [_shown(output) for output in cell.outputs]
    return "\n\n".join(part for part in parts if part)


def _run(notebook: Any, path: Path) -> None:
    """Execute a notebook; outputs go into it, and files into a folder that is removed."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    # Shell cells find the commands of this environment.
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with tempfile.TemporaryDirectory(prefix="brainuad-") as folder:
        where = {"metadata": {"path": folder}}
        # A busy machine starts a kernel slowly.
        patience = {"timeout": 600, "startup_timeout": 600}
        client = NotebookClient(notebook, resources=where, coalesce_streams=True, **patience)
        try:
            client.execute(env={**os.environ, "PATH": commands})
        except CellExecutionError as error:
            raise PluginError(f"{path}: {error}") from None


def _shown(output: Any) -> str:
    """Return an output of a cell as Markdown: its HTML, or its text."""
    data = output.get("data", {})
    if "text/html" in data:
        return f'<div class="output">\n{data["text/html"]}\n</div>'
    text = output.get("text") or data.get("text/plain", "")
    return f"```{{ .text .output }}\n{text.rstrip()}\n```" if text.strip() else ""
