"""A walk through a folder's files: linked folders once, hidden ones and results of ours not."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from brainuad.errors import InputError

DEPTH = 32
"""Folders below the source that are looked into; people's are less deep than ten."""

_FOREIGN = frozenset(
    {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)
"""Folders that other programs leave among one's data."""


@dataclass(frozen=True)
class Aside:
    """A file or a folder that is not used.

    Attributes:
        path: path of the file, or of a folder with all that is in it.
        reason: reason, in words.
        wanted: whether its owner wants it to be used, such as a mask without a scan.
    """

    path: Path
    reason: str
    wanted: bool = False


@dataclass
class Tree:
    """The files below a folder.

    Attributes:
        root: the folder.
        folders: that were entered, each with its files in natural order.
        aside: folders and files that were passed over.
    """

    root: Path
    folders: dict[Path, list[Path]] = field(default_factory=dict)
    aside: list[Aside] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """All files, folder by folder."""
        return [path for files in self.folders.values() for path in files]


def walk(root: Path, out: Path | None = None) -> Tree:
    """List the files below a folder.

    Args:
        root: a folder. A linked folder below it is entered once, after all others.
        out: folder of this command's results, which are no input.

    Raises:
        InputError: the folder itself holds results of ours, or lies in `out`.
    """
    if own := own_results(set(_names(root))):
        raise InputError(f"{root}: is {own}, and not a folder of scans; give the scans themselves")
    if out is not None and root.resolve().is_relative_to(out.resolve()):
        raise InputError(
            f"{root}: lies in {out}, where the results go; give another folder for them"
        )
    tree = Tree(root)
    entered: set[tuple[int, int]] = set()
    links = [root]
    # Linked folders after the real ones, so that a folder is listed where it lies.
    while links:
        later: list[Path] = []
        for link in links:
            _enter(tree, link, out, entered, later)
        links = later
    return tree


def _enter(
    tree: Tree, top: Path, out: Path | None, entered: set[tuple[int, int]], links: list[Path]
) -> None:
    """Add what lies below one folder; linked folders are added to `links`."""
    stack = [top]
    while stack:
        here = stack.pop()
        try:
            state = here.stat()
            with os.scandir(here) as entries:
                found = sorted(entries, key=lambda entry: natural(entry.name))
        except OSError as error:
            tree.aside.append(Aside(here, f"cannot be opened ({error.strerror})"))
            continue
        if (state.st_dev, state.st_ino) in entered:
            if here != tree.root:
                tree.aside.append(Aside(here, "the same folder again, by a link"))
            continue
        entered.add((state.st_dev, state.st_ino))
        own = own_results({entry.name for entry in found})
        if own and here != tree.root:
            tree.aside.append(Aside(here, f"{own}, made by brainuad"))
            continue
        files = tree.folders.setdefault(here, [])
        below: list[Path] = []
        for entry in found:
            path = here / entry.name
            kind, reason = _kind(entry, path, tree.root, out)
            if reason:
                tree.aside.append(Aside(path, reason))
            else:
                {"file": files, "link": links, "folder": below}[kind].append(path)
        stack += reversed(below)


def _kind(entry: "os.DirEntry[str]", path: Path, root: Path, out: Path | None) -> tuple[str, str]:
    """`file`, `folder` or `link`, to a folder; and why it is passed over, empty where it is not."""
    try:
        if not entry.is_dir():
            return "file", "a hidden file" if entry.name.startswith(".") else ""
    except OSError as error:
        return "link", f"cannot be opened ({error.strerror})"
    reason = _passed_over(path, root, out)
    if not entry.is_symlink():
        return "folder", reason
    return "link", reason or ("a link to a folder above" if _is_above(path, root) else "")


def _is_above(path: Path, root: Path) -> bool:
    """Return whether a folder holds the source, or is the source."""
    return root.resolve().is_relative_to(path.resolve())


def is_there(path: Path) -> bool:
    """Return whether a file exists; a name that no file system takes does not."""
    try:
        return path.exists() or path.is_symlink()
    except OSError:
        return False


def _passed_over(path: Path, root: Path, out: Path | None) -> str:
    if path.name.startswith("."):
        return "a hidden folder"
    if path.name in _FOREIGN:
        return "a folder of another program"
    if out is not None and path.resolve() == out.resolve():
        return "the folder of the results"
    return "too deep" if len(path.parts) - len(root.parts) > DEPTH else ""


def own_results(names: set[str]) -> str:
    """Return the kind of brainuad's folder that has these names; empty for any other folder."""
    if "cohort.json" in names or {"manifest.csv", "scans"} <= names:
        return "a prepared cohort"
    if "records" in names and names & {"subjects.csv", "findings.csv"}:
        return "a folder of predictions"
    if "provenance.json" in names or (
        "config.yaml" in names and names & {"model.ckpt", "checkpoints"}
    ):
        return "a run folder"
    return "a folder of anomaly maps" if "maps.json" in names else ""


def natural(text: str) -> list[tuple[bool, int, str]]:
    """Sorting key by which case 10 comes after case 9."""
    # Every second piece is a number.
    pieces = re.split(r"([0-9]+)", text)
    return [
        (bool(i % 2), int(piece[:300]) if i % 2 else 0, piece) for i, piece in enumerate(pieces)
    ]


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be opened ({error.strerror})") from None
