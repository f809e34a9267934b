"""Explain errors of Hydra and OmegaConf in one line: the word, the fault and the remedy.

Their own messages name a grammar, a search path or a plus sign, and not the intended key.
"""

import difflib
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainuad.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

CLOSE = 0.6
"""Smallest similarity of a suggested key to a misspelt one, from 0 to 1 (`difflib`)."""

OPEN = frozenset({"hydra", "also", "controls", "lesion_sides", "callbacks", "logger", "lesions"})
"""Sections with names of the user's choice."""

HELP = "--help lists what can be set"

_MERGING = "Error merging override "


def composed(config_name: str, overrides: Sequence[str]) -> "DictConfig":
    """Return the configuration `config_name` with these overrides, `key=value`.

    Raises:
        HydraException: an override that Hydra does not understand.
    """
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    # Hydra allows one instance only, and a run that it started composes here too.
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("brainuad.configs", version_base="1.3"):
            return compose(config_name, list(overrides))
    finally:
        GlobalHydra.instance().hydra = outer


def explained(error: Exception, config_name: str, words: Sequence[str]) -> str:
    """Return one line about Hydra's error on a command line.

    Args:
        error: error of Hydra, while it composes.
        config_name: name of the configuration, `train`, `evaluate` or `prepare`.
        words: words of the command line.
    """
    from hydra.errors import MissingConfigException, OverrideParseException

    if isinstance(error, OverrideParseException):
        return _unreadable(str(error.override))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_option(str(error.missing_cfg_file), error.options or ())
    for pattern, say in _SAID.items():
        if found := pattern.search(str(error)):
            return say(found[1], config_name, words)
    cause = error.__cause__
    if cause is not None and _first_line(error).startswith(_MERGING):
        return f"{_first_line(error).removeprefix(_MERGING)}: {_first_line(cause)}; {HELP}"
    return f"{_first_line(error) or _first_line(cause)}; {HELP}"


def require_read(cfg: "DictConfig", config_name: str, words: Sequence[str]) -> None:
    """Refuse settings that are added by a plus sign and that nothing reads; most are misspelt.

    A setting below a class is passed to the class, which refuses unknown ones.

    Args:
        cfg: composed of the words.
        config_name: name of the configuration, `train`, `evaluate` or `prepare`.
        words: the `key=value` words of the command line.

    Raises:
        InputError: a setting that nothing reads; names the word and the intended key.
    """
    from omegaconf import OmegaConf

    keys = [word.partition("=")[0].lstrip("+") for word in words if word.startswith("+")]
    if not keys:
        return
    whole: Any = OmegaConf.to_container(cfg, resolve=False)
    groups = _groups()
    # Of `${data.source}`, `${oc.select:mine,1}` and `${.mine}`.
    named = " ".join(re.findall(r"\$\{([^{}]*)\}", str(whole)))

    def is_read(key: str) -> bool:
        group = "@" in key or "/" in key or key in groups
        # A name is all there is of a setting that another one of its section refers to.
        referred = re.search(
            rf"(^|[^\w]){re.escape(key.rsplit('.', maxsplit=1)[-1])}($|[^\w])", named
        )
        return bool(
            group or referred or key.split(".", maxsplit=1)[0] in OPEN or _handed_on(whole, key)
        )

    doubtful = [key for key in keys if not is_read(key)]
    # Composing is slow, and few words need it.
    known = set(_keys(_tree(config_name, words))) if doubtful else set()
    for key in doubtful:
        if key not in known:
            raise InputError(_no_key(key, config_name, words))


def explained_value(error: Exception) -> str:
    """Return one line about a setting that OmegaConf cannot resolve.

    Args:
        error: error of OmegaConf, where the setting is used.
    """
    from omegaconf import errors

    key = str(getattr(error, "full_key", None) or "")
    missing = errors.MissingMandatoryValue | errors.InterpolationToMissingValueError
    if isinstance(error, missing):
        # If several keys refer to one, the message names the key to set.
        asked = _first_line(error).rpartition(":")[2].strip()
        key = asked if isinstance(error, errors.InterpolationToMissingValueError) else key or asked
        return f"{key} is not set; give {key}=VALUE"
    if isinstance(error, errors.ConfigAttributeError | errors.ConfigKeyError):
        return f"{key}: is missing in the configuration; set it, and do not take it out by ~"
    return f"{key}: {_first_line(error)}; give {key or 'it'} a value without ${{ }}"


def _first_line(error: BaseException | None) -> str:
    """Return the first line of a message, without Hydra's links."""
    lines = str(error or "").strip().splitlines()
    return re.sub(r"\s*See https\S+.*", "", lines[0]).strip() if lines else ""


def _unreadable(word: str) -> str:
    """Return a line about a word outside Hydra's grammar: how to quote it, if that helps."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = word.partition("=")
    if not equals:
        return f"{word}: is no setting; write KEY=VALUE, as {word.lstrip('+~') or 'seed'}=..."
    inner = re.sub(r'(\\*)"', r'\1\1\\"', value)
    quoted = f'{key}="{inner}"'
    try:
        OverridesParser.create().parse_override(quoted)
    except HydraException:
        return f"{word}: '{key}' cannot be the name of a setting; write KEY=VALUE, without spaces"
    return (
        f"{word}: the value has characters with a meaning of their own; close every bracket and "
        f"quotation mark, or write {shlex.quote(quoted)} to take it as it is"
    )


def _no_option(path: str, options: Collection[str]) -> str:
    """Return a line about an unknown option of a group."""
    group, _, name = path.rpartition("/")
    near = difflib.get_close_matches(name, list(options), cutoff=CLOSE)
    meant = f"did you mean {' or '.join(f'{group}={one}' for one in near)}? " if near else ""
    return f"{group}={name}: there is no {path}; {meant}{group} is one of {', '.join(options)}"


def _no_key(key: str, config_name: str, words: Sequence[str]) -> str:
    """Return a line about a word with an unknown key."""
    word = next((w for w in words if w.split("=")[0].lstrip("+~") == key), key)
    tree = _tree(config_name, words)
    parent = _parent(tree, key)
    meant = _meant(_near(key, config_name, words, tree))
    # An argument of a class that the configuration leaves at its default.
    more = f" (+{word} hands it on to {parent['_target_']})" if "_target_" in parent else ""
    if not meant:
        names = [name for name in parent if not name.startswith("_")]
        above = key.rpartition(".")[0] if parent is not tree else ""
        meant = f"{above} has {', '.join(names)}" if above and names else HELP
    return f"{word}: there is no setting {key}; {meant}{more}"


def _no_deletion(key: str, config_name: str, words: Sequence[str]) -> str:
    near = _near(key, config_name, words)
    return f"~{key}: there is no {key} to leave out; {_meant(near, '~') or HELP}"


def _present(key: str, config_name: str, words: Sequence[str]) -> str:
    word = next((w for w in words if w.startswith(f"+{key}=")), f"+{key}")
    return f"{word}: {key} is there already; write {word.lstrip('+')} without the +"


def _sweep(key: str, config_name: str, words: Sequence[str]) -> str:
    word = next((w for w in words if w.split("=")[0].lstrip("+~") == key), key)
    return f"{word}: several values are a sweep; add -m, or write [ ] around them for a list"


def _twice(key: str, config_name: str, words: Sequence[str]) -> str:
    return f"{key}: is given twice; leave one of the words out"


def _meant(near: Sequence[str], sign: str = "") -> str:
    return f"did you mean {' or '.join(sign + one for one in near)}?" if near else ""


def _near(
    key: str, config_name: str, words: Sequence[str], tree: dict[str, Any] | None = None
) -> list[str]:
    """Return the keys and groups most similar to an unknown one, best first."""
    known = list(_keys(_tree(config_name, words) if tree is None else tree))
    known += _groups()
    leaf = re.split(r"[./]", key)[-1]
    # The name without its section: spacing_mm for data.spacing_mm.
    same = [one for one in known if re.split(r"[./]", one)[-1] == leaf]
    like = difflib.get_close_matches(key, known, cutoff=CLOSE)
    return list(dict.fromkeys(same + like))[:3] if len(same) <= 3 else like or same[:3]


def _tree(config_name: str, words: Sequence[str]) -> dict[str, Any]:
    """Return the configuration composed of the words that choose options, as far as possible."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    groups = _groups()
    choices = [word for word in words if word.split("=")[0] in groups]
    for overrides in (choices, []):
        try:
            found: Any = OmegaConf.to_container(composed(config_name, overrides), resolve=False)
        except HydraException:
            continue
        return {str(key): value for key, value in found.items()}
    return {}


def _keys(tree: Any, above: str = "", hidden: bool = False) -> Iterator[str]:
    """Return keys of all depths; `hidden` ones begin with an underscore."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        if hidden or not str(key).startswith("_"):
            yield f"{above}{key}"
            yield from _keys(value, f"{above}{key}.", hidden)


def _parent(tree: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the deepest part of the configuration on the path of the key."""
    found = tree
    for part in key.split(".")[:-1]:
        below = found.get(part)
        if not isinstance(below, dict):
            break
        found = below
    return found


def _handed_on(whole: dict[str, Any], key: str) -> bool:
    """Return whether the key leads to a class, to a setting of one, or to a section with one."""
    found: Any = whole
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
        if isinstance(found, dict) and "_target_" in found:
            return True
    return any(name.split(".")[-1] == "_target_" for name in _keys(found, hidden=True))


def _groups() -> list[str]:
    """Return the names of the groups of configurations, such as `model/residual`."""
    spec = find_spec("brainuad.configs")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0])
    folders = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("*/*.yaml")}
    return sorted(folders - {"."})


_SAID = {
    re.compile(r"Could not override '([^']*)'"): _no_key,
    re.compile(r"Could not delete (?:from config\. )?'([^'=]*)"): _no_deletion,
    re.compile(r"already at '([^']*)'"): _present,
    re.compile(r"Ambiguous value for argument '([^'=]*)="): _sweep,
    re.compile(r"Sweep parameters '([^'=]*)="): _sweep,
    re.compile(r"Multiple values for ([^\s.]+)"): _twice,
}
"""Explanations of Hydra's messages, by the error class."""
