"""The `--help` page of the commands that Hydra runs, from the text of their configuration.

Hydra's own page composes every option of every group, which takes seconds. `--help` beside other
words still shows it, with the configuration that those words compose.
"""

from importlib.util import find_spec
from pathlib import Path

from brainuad.settings.moved import RENAMED_OPTIONS

HIDDEN = ("hydra", "experiment")
"""Groups left out of the list: Hydra's own, and the experiments, which have a line of their own."""


def help_page(config_name: str) -> str:
    """Return the help page of `configs/<config_name>.yaml`.

    The file's `hydra.help.template` is filled with the groups and with the file's own keys, whose
    comments explain them.
    """
    import yaml

    # Without importing the package, which would import Hydra.
    spec = find_spec("brainuad.configs")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0])
    text = (folder / f"{config_name}.yaml").read_text(encoding="utf-8")
    keys, _, _ = text.partition("\nhydra:\n")
    template = str(yaml.safe_load(text)["hydra"]["help"]["template"])
    names = sorted(path.stem for path in (folder / "experiment").glob("*.yaml"))
    present = [name for name in names if name not in RENAMED_OPTIONS["experiment"]]
    groups = [f"experiment: {', '.join(present)}", *_groups(folder)]
    return template.replace("$APP_CONFIG_GROUPS", "\n".join(groups)).replace("$CONFIG", keys)


def _groups(folder: Path) -> list[str]:
    """Return a line per configuration group, with its options; old names are left out."""
    lines = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        options = sorted(option.stem for option in path.glob("*.yaml"))
        old = RENAMED_OPTIONS.get(name, {})
        if options and name.split("/")[0] not in HIDDEN:
            lines.append(f"{name}: {', '.join(one for one in options if one not in old)}")
    return lines
