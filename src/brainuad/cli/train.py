"""Trains a method on healthy subjects, then predicts, scores and reports: one run folder.

python train.py experiment=madad
"""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from brainuad.cli.error_line import run_hydra

# OmegaConf and all that a run needs are imported where the work starts: --help answers at once.
if TYPE_CHECKING:
    from omegaconf import DictConfig


def main() -> int:
    """Entry point of `train.py` and `brainuad-train`; returns the exit status."""
    return run_hydra("train", train)


def train(cfg: "DictConfig") -> float | None:
    """One run, from the cohort to the report; every rank of a distributed one calls it.

    Returns:
        What sweeps maximise, `brainuad.label_free.objective`; None unless `painted_draws` asks for
        it.

    Raises:
        InputError: bad input.
        PartialFailure: some subjects failed, everything else is done.
    """
    from brainuad.machine import ranks
    from brainuad.machine.limits import require_folder
    from brainuad.machine.links import follow_no_links
    from brainuad.tracking.tracker import ending
    from brainuad.training.preemption import stoppable
    from brainuad.training.run import run

    ranks.behave()
    _quieten()
    follow_no_links(Path(cfg.paths.cache_dir))
    require_folder(Path(cfg.paths.cache_dir))
    cfg.paths.output_dir = ranks.decide(Path(cfg.paths.cache_dir), "folder", _output_dir(cfg))
    follow_no_links(Path(cfg.paths.output_dir))
    with ending(), stoppable():
        found = run(cfg)
        ranks.part()
        return found


def _quieten() -> None:
    """Leaves out what libraries say about themselves; warnings about the work stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    # A first stage is frozen, on purpose.
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
    # On a cluster's login node, or where one rank is enough.
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
    # The loader's workers are a setting here, and on two cores none is best.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def _output_dir(cfg: "DictConfig") -> str:
    """The run folder; `ckpt=last` goes on in the newest one of this name that has a checkpoint."""
    out = Path(cfg.paths.output_dir)
    last = Path("checkpoints") / "last.ckpt"
    if cfg.ckpt == "last" and not (out / last).is_file():
        runs = sorted(out.parent.glob(f"*/{last}"), key=lambda path: path.stat().st_mtime)
        # A folder that the user named is the one he means, with or without a checkpoint.
        if runs and cfg.paths.output_dir == cfg.paths.default_output_dir:
            out = runs[-1].parent.parent
    return str(out)
