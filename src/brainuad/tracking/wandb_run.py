"""Opens a run at Weights & Biases: without an account, a network or a question where none is."""

import netrc
import os
import secrets
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from brainuad.machine.files import write_text
from brainuad.machine.text import say

PROBE_S, INIT_S, FINISH_S = 5.0, 30.0, 300.0
"""Network timeouts in seconds: to answer, to open a run, to send the rest of it."""


def open_run(project: str, name: str, folder: Path, offline: bool, resume: bool) -> Any:
    """Starts a run, on disk where W&B is not wanted or not reached; a line says so.

    Args:
        project: at W&B.
        name: name of the run.
        folder: the run folder; the files are in `wandb/` there.
        offline: write to disk only.
        resume: go on as the run that the folder was tracked as before.

    Returns:
        W&B's run; one that does nothing where W&B does not even start.
    """
    import wandb

    # Tables are staged there until they are sent; the default is in the user's home.
    os.environ["WANDB_DATA_DIR"] = str(folder / "wandb")
    identity = _identity(folder, resume)
    wanted = "offline" if offline else os.environ.get("WANDB_MODE", "online")
    reason = _unusable() if wanted == "online" else None
    mode = "offline" if reason is not None else wanted
    where: dict[str, Any] = {"project": project, "name": name, "dir": str(folder), "id": identity}
    run = None
    if mode == "online":
        try:
            run = wandb.init(**where, resume="allow", settings=_settings("online"))
        except Exception as error:
            reason = one_line(error)
            wandb.teardown()
            mode = "offline"
    if reason is not None:
        say(f"warning: W&B is not reached ({reason}); tracking offline, in {folder / 'wandb'}")
    if run is None:
        try:
            run = wandb.init(**where, settings=_settings(mode))
        except Exception as error:
            say(f"warning: W&B does not start ({one_line(error)}); the run is not tracked")
            return wandb.init(settings=_settings("disabled"))
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return run


def _settings(mode: Any) -> Any:
    """Nothing of the machine, the user, the code or the terminal."""
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
    """The id of the run: an agent's, the folder's own where it is gone on with, or a new one."""
    path = folder / "wandb" / "run_id"
    given = os.environ.get("WANDB_RUN_ID")
    kept = path.read_text(encoding="utf-8").strip() if resume and path.is_file() else None
    identity = given or kept or secrets.token_hex(4)
    write_text(path, f"{identity}\n")
    return identity


def _unusable() -> str | None:
    """Why W&B cannot be used now; None where it can."""
    import wandb

    settings = wandb.setup().settings
    if not (settings.api_key or settings.identity_token_file or _in_netrc(settings.base_url)):
        return "no key; run `wandb login`, or leave logger.offline=true"
    found: list[str] = ["no answer"]

    def probe() -> None:
        try:
            with urllib.request.urlopen(settings.base_url, timeout=PROBE_S):
                found.clear()
        except urllib.error.HTTPError:
            found.clear()  # it answered
        except (OSError, ValueError) as error:
            found[0] = str(getattr(error, "reason", error))

    # A name server that does not answer keeps no timeout but this one.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PROBE_S)
    return f"{settings.base_url}: {found[0]}" if found else None


def _in_netrc(url: str) -> bool:
    """Return whether `wandb login` stored a key.

    The file is read, because wandb's own functions print or ask.
    """
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(path).authenticators(urlsplit(url).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def one_line(error: Exception) -> str:
    """Return a short message of an error."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__
