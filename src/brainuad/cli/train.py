"""Train a method on healthy subjects, then predict, score and report, in one run folder.

python train.py experiment=madad
"""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from brainuad.cli.error_line import run_hydra
from brainuad.errors import InputError
from brainuad.machine.text import say

# OmegaConf and all that a run needs are imported where the work starts: --help answers at once.
if TYPE_CHECKING:
    from omegaconf import DictConfig

    from brainuad.machine.locks import Claim


def main() -> int:
    """Entry point of `train.py` and `brainuad-train`; returns the exit status."""
    return run_hydra("train", train)


def train(cfg: "DictConfig") -> float | None:
    """Make one run, from the cohort to the report; every rank of a distributed run calls it.

    Returns:
        The objective of sweeps, `brainuad.label_free.objective`; None unless `painted_draws` asks
        for it.

    Raises:
        InputError: bad input.
        PartialFailure: some subjects failed; the others are done.
    """
    from brainuad.machine import ranks
    from brainuad.machine.files import own_folder
    from brainuad.machine.limits import require_folder
    from brainuad.machine.links import follow_no_links
    from brainuad.machine.present import present
    from brainuad.machine.temporary import have_temporary

    ranks.behave()
    cache = Path(cfg.paths.cache_dir)
    follow_no_links(cache)
    require_folder(cache)
    have_temporary(cache)
    # A mark, so that an unmounted cache is not made anew on the disk below.
    with own_folder(cache / "run") as own, present(cache, own):
        return _train(cfg, cache)


def _train(cfg: "DictConfig", cache: Path) -> float | None:
    """Claim a run folder, and make the run in it."""
    from brainuad.cli.run_settings import settings_of
    from brainuad.machine import ranks
    from brainuad.machine.links import follow_no_links
    from brainuad.machine.present import present
    from brainuad.tracking.tracker import ending
    from brainuad.training.preemption import stoppable
    from brainuad.training.run import run

    # After the imports: importing Lightning resets its log level.
    _quieten()
    try:
        claim = _claim(cfg) if ranks.rank() == 0 else None
    except Exception:
        # The other ranks wait for the first one's decision.
        ranks.decide(cache, "folder", "")
        raise
    try:
        out = ranks.decide(cache, "folder", str(claim.folder) if claim else "")
        if not out:
            raise InputError("the first process of this job has no run folder; it said why")
        cfg.paths.output_dir = out
        follow_no_links(Path(out))
        mark = claim.mark if claim else Path(out)
        with ending(), stoppable(), present(Path(out), mark):
            found = run(settings_of(cfg))
            ranks.part()
            return found
    finally:
        if claim:
            claim.release()


def _quieten() -> None:
    """Silence messages of libraries about themselves."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    # A first stage is frozen on purpose.
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
    # On a cluster's login node, or where one rank is enough.
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
    # The loader's workers are a setting here, and on two cores none is best.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def _claim(cfg: "DictConfig") -> "Claim":
    """Claim the run folder until the end of this process."""
    from brainuad.machine.locks import claim_again, claim_free

    out = _output_dir(cfg)
    if cfg.ckpt == "last":
        return claim_again(out)
    claim = claim_free(out, fresh=cfg.paths.output_dir == cfg.paths.default_output_dir)
    if (claim.folder / "config.yaml").is_file():
        say(f"note: {claim.folder} holds an earlier run; its files are replaced")
    return claim


def _output_dir(cfg: "DictConfig") -> Path:
    """Return the run folder; with `ckpt=last` the newest one of this name that has a checkpoint."""
    out = Path(cfg.paths.output_dir)
    last = Path("checkpoints") / "last.ckpt"
    if cfg.ckpt == "last" and not (out / last).is_file():
        runs = sorted(out.parent.glob(f"*/{last}"), key=lambda path: path.stat().st_mtime)
        # A folder that the user named is taken with or without a checkpoint.
        if runs and cfg.paths.output_dir == cfg.paths.default_output_dir:
            out = runs[-1].parent.parent
    return out
