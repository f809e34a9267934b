"""Docstrings name their subject (CONTRIBUTING, plain English)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tiny import ROOT

MODULES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "data_prep").rglob("*.py")])

OPENINGS = {"What", "Of", "Where", "How", "From", "Whether"}
"""Words that no docstring begins with: they begin a question or a half sentence."""

OF = re.compile(r"^\s+[*\w]+(, [*\w]+)*( \([^)]*\))?: of\b", re.MULTILINE)
"""A line of `Args` or `Attributes` that leaves its noun out."""


def _docstrings(path: Path) -> Iterator[str]:
    """Docstrings of a file, those below constants and fields included."""
    for node in ast.walk(ast.parse(path.read_text())):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            value = getattr(statement, "value", None)
            if isinstance(statement, ast.Expr) and isinstance(value, ast.Constant):
                yield str(value.value)


def test_docstrings_name_their_subject():
    found = []
    for path in MODULES:
        for text in _docstrings(path):
            first = re.match(r"\w*", text.strip())[0]
            half = [match[0].strip() for match in OF.finditer(text)]
            if first in OPENINGS or half:
                found.append(f"{path.relative_to(ROOT)}: {half or text.splitlines()[0]}")
    assert not found, "\n".join(found)
