"""Write docs/options.md: every key of the configurations, its value and its meaning.

    python docs/write_options.py

A meaning is the comment beside the key or, without one, the argument's line in the docstring of the
class that the key configures. `tests/test_options.py` fails if the page lacks a key.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
PAGE = ROOT / "docs" / "options.md"

FILES = {"Training": "train", "Evaluation": "evaluate", "Preparation": "prepare"}

GROUPS = {
    "preparation": "steps of brainuad-prepare",
    "preparation/skullstrip": "brain extraction",
    "preparation/normalise": "intensity normalisation",
    "data": "the cohort",
    "input": "what the method sees",
    "tiling": "slices or volumes",
    "datamodule": "batches of a training",
    "datamodule/augment": "random changes of the training tiles",
    "model": "the method",
    "model/residual": "from image and reconstruction to anomaly map",
    "model/network": "the network",
    "model/size": "sizes of MAD-AD's network",
    "model/corruption": "synthetic lesions of a training",
    "model/lesion_weights": "weights of synthetic lesions",
    "model/holes": "regions that AutoPaint fills",
    "model/weights": "loss weights of AutoPaint",
    "first_stage": "a model that is trained before the method",
    "relative": "scores relative to healthy brains",
    "postprocess": "from anomaly map to mask",
    "protocol": "volumes, or the 2D numbers of papers; for evaluate.py",
    "controls": "baselines in every table",
    "lesion_sides": "sign of lesions by sequence",
    "painted": "lesions of val/painted_AP",
    "trainer": "device and precision",
    "callbacks": "actions during a training",
    "logger": "tracking",
    "paths": "folders",
    "sweep": "several runs from one command, with -m",
    "hydra/launcher": "where the runs of -m are started",
}

INTRO = """# Options

Written by `python docs/write_options.py`; do not edit.

Set a key on the command line as `key=value`, and choose a file of a group as `group=option`:

```
python train.py experiment=strega data.sequence=FLAIR max_epochs=50
python train.py experiment=strega model/residual=ssim
python train.py experiment=strega --cfg job      # prints all settings of this run
```

`python train.py --help` prints the groups and the keys of the first level. Start with an \
experiment, because it sets the rest. The values below are those of the files in `configs/`; an \
experiment may set others. Further arguments of a class named by `_target_` can be added as \
`+key=value`.
"""


@dataclass(frozen=True)
class Key:
    """A key of a configuration file.

    Attributes:
        path: full name on the command line.
        value: as it is written.
        comment: beside or above it.
        file: name of the file without ending.
        classes: paths of this file to the class that each one configures.
    """

    path: str
    value: str
    comment: str
    file: str
    classes: dict[str, str]


def first(text: str) -> str:
    """Return the first sentence of a comment."""
    return re.split(r", published but for|(?<!al)\. ", text)[0].strip(". ") + "."


def package(file: Path) -> str:
    """Return the prefix of a file's keys."""
    named = re.match(r"# @package (\S+)", file.read_text())
    if named:
        return "" if named[1] == "_global_" else named[1]
    return ".".join(file.parent.relative_to(CONFIGS).parts)


def head(file: Path) -> str:
    """Return the comment at the start of a file."""
    found = []
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            found.append(line[1:].strip())
    return " ".join(found)


def keys_of(file: Path, targets: dict[str, list[str]]) -> Iterator[Key]:
    """Yield the keys of a file, and collect the classes that they configure."""
    lines = file.read_text().splitlines()
    classes: dict[str, str] = {}

    def comment(line: int) -> str:
        if " # " in lines[line]:
            return lines[line].split(" # ", 1)[1].strip()
        above: list[str] = []
        indent = re.match(r"\s*", lines[line])[0]
        while line and lines[line - 1].startswith(f"{indent}#") and line > head_lines:
            line -= 1
            above.insert(0, lines[line].strip(" #"))
        return " ".join(above)

    head_lines = next((i for i, line in enumerate(lines) if not line.startswith("#")), 0)

    def walk(node: yaml.Node, path: str) -> Iterator[Key]:
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                if isinstance(item, yaml.MappingNode):
                    named = {key.value: value.value for key, value in item.value}
                    yield from walk(item, f"{path}[{named.get('_target_', '').split('.')[-1]}]")
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            name = f"{path}.{key.value}".strip(".")
            if key.value == "_target_":
                targets.setdefault(path, []).append(value.value)
                classes[path] = value.value
            if key.value.startswith("_") or key.value in ("defaults", "<<", "params", "help"):
                continue
            text = lines[value.start_mark.line][value.start_mark.column :].split(" # ")[0].strip()
            said = comment(key.start_mark.line)
            inner = [one for one in value.value if not isinstance(one, yaml.ScalarNode)]
            flat = isinstance(value, yaml.ScalarNode) or (value.flow_style and not inner)
            if said or (flat and not text.startswith("${")):
                yield Key(name, text if flat else "", said, file.stem, classes)
            yield from walk(value, name)

    tree = yaml.compose(file.read_text())
    if tree is not None:
        yield from walk(tree, package(file))


def argument(target: str, name: str) -> str:
    """Return what the docstring of a class or function says of an argument."""
    module, _, kind = target.rpartition(".")
    file = ROOT / "src" / Path(*module.split(".")).with_suffix(".py")
    if not file.is_file():
        return f"argument of `{kind}` ({target.partition('.')[0]})"
    line = rf"^ +{re.escape(name)}: (.+?)(?=^ +\w+(?:, \w+)*: |^\s*$|\Z)"
    found = re.search(line, docstrings(file).get(kind, ""), re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""


@cache
def docstrings(file: Path) -> dict[str, str]:
    """Return the docstrings of a module's classes and functions by name."""
    nodes = ast.parse(file.read_text()).body
    kinds = (ast.ClassDef, ast.FunctionDef)
    return {node.name: ast.get_docstring(node) or "" for node in nodes if isinstance(node, kinds)}


def meaning(key: Key, targets: dict[str, list[str]]) -> str:
    """Return the comment of a key, or what the class that it configures says of it."""
    if key.comment:
        return key.comment
    above, name = key.path.rpartition(".")[::2]
    while above:
        own = [key.classes[above]] if above in key.classes else []
        others = sorted(targets.get(above, ()), key=lambda name: not name.startswith("brainuad"))
        for target in (*own, *others):
            if said := argument(target, name):
                return said
        above, name = above.split("[")[0].rpartition(".")[::2]
    return ""


def cell(text: str) -> str:
    """Return a text that may stand in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def table(keys: list[Key], targets: dict[str, list[str]]) -> list[str]:
    """Return a table of keys; one that several files have in one meaning is one row."""
    rows: dict[tuple[str, str], list[Key]] = {}
    for key in keys:
        rows.setdefault((key.path, meaning(key, targets)), []).append(key)
    if not rows:
        return []
    lines = ["| key | value | meaning | in |", "| --- | --- | --- | --- |"]
    for (path, said), found in rows.items():
        values = shortened([f"`{cell(key.value)}`" for key in found if key.value])
        files = shortened([f"`{key.file}`" for key in found])
        lines.append(f"| `{path}` | {values} | {cell(said)} | {files} |")
    return ["", *lines]


def shortened(texts: list[str], most: int = 3) -> str:
    """Return a list of different texts, its first ones if they are many."""
    texts = list(dict.fromkeys(texts))
    return ", ".join(texts[:most] + ["…"] * (len(texts) > most))


def files_of(group: str) -> list[Path]:
    """Return the options of a group, without old names."""
    return [
        file
        for file in sorted((CONFIGS / group).glob("*.yaml"))
        if not head(file).startswith("Old name of")
    ]


@cache
def page() -> str:
    """Return the text of the page."""
    targets: dict[str, list[str]] = {}
    groups = {group: {file: list(keys_of(file, targets)) for file in files_of(group)}
              for group in (*GROUPS, "experiment")}  # fmt: skip
    lines = [INTRO]
    for title, name in FILES.items():
        lines += [f"## {title}", *table(list(keys_of(CONFIGS / f"{name}.yaml", targets)), targets)]
        lines.append("")
    lines += ["## Experiments", "",
              "[Presets and their papers](explanation/presets.md) "
              "lists how each differs from its paper.", "",
              "| `experiment=` | what it is |", "| --- | --- |"]  # fmt: skip
    lines += [f"| `{file.stem}` | {cell(first(head(file)))} |" for file in groups["experiment"]]
    known = {key.path for group in GROUPS for keys in groups[group].values() for key in keys}
    known |= {key.path for name in FILES.values() for key in keys_of(CONFIGS / f"{name}.yaml", {})}
    own = [key for keys in groups["experiment"].values() for key in keys if key.path not in known]
    lines += ["", "Keys that only experiments set:", *table(own, targets), "", "## Groups", ""]
    for group, what in GROUPS.items():
        lines += [f"### {group}", "", f"{what[0].upper()}{what[1:]}.", ""]
        lines += ["| option | what it is |", "| --- | --- |"]
        lines += [f"| `{file.stem}` | {cell(head(file))} |" for file in groups[group]]
        lines += table([key for keys in groups[group].values() for key in keys], targets)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
