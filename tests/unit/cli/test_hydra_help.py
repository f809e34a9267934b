"""Help and version answer at once, and the help names all that can be set."""

import subprocess
import sys

import pytest
from tiny import ROOT

from brainuad import __version__
from brainuad.cli.hydra_help import help_page

COMMANDS = ("train", "predict", "evaluate", "prepare", "inpaint", "report", "export")
HEAVY = ("torch", "monai", "hydra", "omegaconf", "numpy", "lightning", "SimpleITK", "nibabel")
CODE = """
import sys
from brainuad.cli.{command} import main
sys.argv = ["{command}", "{word}"]
try:
    main()
except SystemExit as end:
    assert not end.code
print("HEAVY", [name for name in {heavy} if name in sys.modules])
"""


@pytest.mark.parametrize("config", ["train", "evaluate"])
def test_the_page_names_groups_options_and_keys(config):
    page = help_page(config)
    assert "$" not in page.split("Configuration:")[0]
    assert "model/residual: hyperbolic, l1, " in page
    assert "experiment: ae, ae_paper, " in page
    assert "dae_small" not in page
    assert "space: native" in page
    assert f"python {config}.py " in page
    # Old names are not offered, and Hydra's own settings are not ours.
    assert "context_vae_small" in page
    assert " small," not in page
    assert "launcher" not in page


@pytest.mark.slow
@pytest.mark.parametrize("word", ["--help", "--version"])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_heavy_import_is_needed(command, word):
    code = CODE.format(command=command, word=word, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ("usage" in done.stdout or "Examples" in done.stdout) == (word == "--help")
    assert (f"brainuad {__version__}" in done.stdout) == (word == "--version")
    assert done.stdout.endswith("HEAVY []\n")


def test_help_beside_other_words_is_hydras():
    words = [sys.executable, ROOT / "train.py", "experiment=intensity", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "name: intensity" in done.stdout
