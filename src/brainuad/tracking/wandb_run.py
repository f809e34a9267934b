"""Open a run at Weights & Biases, or on disk where there is no account or no network."""

import os
import secrets
from pathlib import Path
from typing import Any

from brainuad.machine.files import write_text
from brainuad.machine.text import say

INIT_S, FINISH_S = 30.0, 300.0
"""Longest wait in seconds for the network: to open a run, and to send the rest of it."""


def open_run(project: str, name: str, folder: Path, offline: bool, resume: bool) -> Any:
    """Start a run, on disk if W&B is not wanted or not reached, with a message.

    Args:
        project: project at W&B.
        name: name of the run.
        folder: run folder; the files are in `wandb/` there.
        offline: write to disk only.
        resume: continue the run that the folder was tracked as before.

    Returns:
        W&B's run; one without effect where W&B does not start.
    """
    import wandb

    # Tables are staged there until they are sent; the default is in the user's home.
    os.environ["WANDB_DATA_DIR"] = str(folder / "wandb")
    identity = _identity(folder, resume)
    wanted = "offline" if offline else os.environ.get("WANDB_MODE", "online")
    where: dict[str, Any] = {"project": project, "name": name, "dir": str(folder), "id": identity}
    run, reason = None, ""
    if wanted == "online" and not _has_key():
        reason = "no key; run `wandb login`, or leave logger.offline=true"
    elif wanted == "online":
        try:
            run = wandb.init(**where, resume="allow", settings=_settings("online"))
        except Exception as error:
            reason = one_line(error)
            wandb.teardown()
    if reason:
        say(f"warning: W&B is not reached ({reason}); tracking offline, in {folder / 'wandb'}")
    if run is None:
        try:
            run = wandb.init(**where, settings=_settings("offline" if reason else wanted))
        except Exception as error:
            say(f"warning: W&B does not start ({one_line(error)}); the run is not tracked")
            return wandb.init(settings=_settings("disabled"))
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return run


def _settings(mode: Any) -> Any:
    """Return settings that send nothing of the machine, the user, the code or the terminal."""
    import wandb

    return wandb.Settings(
        mode=mode,
        console="off",
        silent=True,
        save_code=False,
        disable_code=True,
        disable_git=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        host="",
        username="",
        email="",
        program="train.py",
        init_timeout=INIT_S,
        finish_timeout=FINISH_S,
    )


def _identity(folder: Path, resume: bool) -> str:
    """Return the id of the run: an agent's, the folder's own if it is resumed, or a new one."""
    path = folder / "wandb" / "run_id"
    given = os.environ.get("WANDB_RUN_ID")
    kept = path.read_text(encoding="utf-8").strip() if resume and path.is_file() else None
    identity = given or kept or secrets.token_hex(4)
    write_text(path, f"{identity}\n")
    return identity


def _has_key() -> bool:
    """Return whether W&B has a key, without the question that its own login asks."""
    import wandb
    from requests.utils import get_netrc_auth

    settings = wandb.setup().settings
    given = settings.api_key or settings.identity_token_file
    return bool(given or get_netrc_auth(settings.base_url))


def one_line(error: Exception) -> str:
    """Return the first line of an error."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__
