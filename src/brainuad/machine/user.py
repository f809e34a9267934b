"""Name and home of the user, on machines where they lack.

A container or a job on a cluster may run as a number without an entry among the users, and without
HOME.
"""

import getpass
import os
from pathlib import Path


def name_user() -> None:
    """Set USER for a user without a name; MONAI and torch ask for one when they are imported."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())


def home_folder() -> Path | None:
    """Return the user's home; None where neither HOME nor the list of users names one."""
    try:
        return Path.home()
    except RuntimeError:
        return None
