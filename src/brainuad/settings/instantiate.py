"""Instantiate objects of known packages from configurations.

A configuration can come from somebody else's checkpoint, so a `_target_` must name an object that
is defined in a listed package.
"""

import inspect
import re
from typing import TYPE_CHECKING, Any

from brainuad.errors import InputError
from brainuad.settings.allowed import MONAI_TRANSFORM_MODULES
from brainuad.settings.moved import retargeted, targets
from brainuad.settings.upgraded import upgraded

# The import of Hydra takes a third of a second, so it waits until it is needed.
if TYPE_CHECKING:
    from omegaconf import DictConfig

MODEL_PACKAGES = (
    "brainuad.synthetic.noise.",
    "brainuad.synthetic.masks.",
    "brainuad.diffusion.",
    "brainuad.methods.",
    "brainuad.networks.",
    "brainuad.postprocess.",
    "brainuad.preparation.normalise.intensity",
    "brainuad.preparation.normalise.released",
    "brainuad.preparation.tissue.segment",
    "brainuad.synthetic.lesions.",
    "brainuad.volumes.tiling",
    "torch.optim.",
    "torch.nn.modules.",
    "monai.networks.",
    "monai.losses.",
)
"""Packages that a model's configuration may name."""

MONAI_TRANSFORMS = tuple(name.removesuffix("dictionary") for name in MONAI_TRANSFORM_MODULES)
"""MONAI's transforms that a configuration may name; none of their modules touches a file."""

MONAI_SHORT = "monai.transforms."
"""Prefix of MONAI's short names such as `monai.transforms.RandAffined`."""

RUN_PACKAGES = (
    *MODEL_PACKAGES,
    *MONAI_TRANSFORMS,
    "brainuad.training.callbacks",
    "brainuad.training.datamodule",
    "brainuad.tiles.augment",
    "brainuad.evaluation.slices",
    "brainuad.training.preemption",
    "brainuad.synthetic.phantom.",
    "brainuad.synthetic.anatomies.cohort",
    "brainuad.training.synthetic_scans",
    "brainuad.preparation.from_folder",
    "brainuad.preparation.from_slices",
    "brainuad.tracking.",
    "lightning.pytorch.",
)
"""Packages that a run's configuration may name."""


PREPARATION = ("brainuad.preparation.", *MONAI_TRANSFORMS)
"""Packages that a preparation's configuration may name."""


def instantiate(config: Any, *, packages: tuple[str, ...] = MODEL_PACKAGES, **kwargs: Any) -> Any:
    """Instantiate targets defined in `packages` by Hydra; containers become plain.

    Args:
        config: configuration with `_target_`; None returns None.
        packages: prefixes of allowed names.
        kwargs: further arguments, passed unchanged.

    Raises:
        InputError: a `_target_` names something else or nothing, or a class refuses its values.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as make
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(config, resolve=True) if OmegaConf.is_config(config) else config
    if plain is None:
        return None
    plain = upgraded(retargeted(plain))
    _refuse_interpolations(plain)
    for target in targets(plain):
        _check(target, packages)
    try:
        if not kwargs:
            return make(plain, _convert_="all")
        # Through a partial, because Hydra would turn dataclass arguments into configurations.
        made = make(plain, _convert_="all", _partial_=True)
    except InstantiationException as error:
        raise _refusal(error) from error
    _require_arguments(made, kwargs)
    return made(**kwargs)


def _require_arguments(made: Any, more: dict[str, Any]) -> None:
    """Refuse a setting that the target does not accept.

    Raises:
        InputError: an unknown setting, by its name.
    """
    function = made.func
    try:
        inspect.signature(function).bind(*made.args, **{**made.keywords, **more})
    except TypeError as error:
        name = getattr(function, "__qualname__", str(function))
        raise InputError(f"{name}: {error}; mend the setting") from None


def _refusal(error: Exception) -> Exception:
    """Return a class's error about values it cannot use; a function's own error stays as it is."""
    from hydra.utils import get_object

    cause = error.__cause__
    said = re.search(r"call to target '([^']*)'", str(error))
    if cause is None or said is None:
        return InputError(f"{' '.join(str(error).split())}; mend the setting")
    arguments = isinstance(cause, TypeError) and f"{said[1].rpartition('.')[2]}" in str(cause)
    if not arguments and not isinstance(get_object(said[1]), type):
        return cause if isinstance(cause, Exception) else error
    if isinstance(cause, InputError | OSError):
        return cause
    where = str(error).partition("full_key:")[2].strip()
    line = " ".join(str(cause).split()) or type(cause).__name__
    name = f"{where}: {said[1].rpartition('.')[2]}" if where else said[1].rpartition(".")[2]
    return InputError(f"{name} cannot be made of its values ({line}); mend the setting")


def resolve(config: "DictConfig") -> dict[str, Any]:
    """Return a configuration as plain dicts, lists and scalars, with interpolations resolved."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]


def as_yaml(config: dict[str, Any]) -> str:
    """Return plain values as YAML that OmegaConf reads back as they are."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(config))


def _refuse_interpolations(config: Any) -> None:
    """Refuse interpolations, which Hydra would resolve after the check of the targets."""
    if isinstance(config, dict):
        for key, value in config.items():
            _refuse_interpolations(key)
            _refuse_interpolations(value)
    elif isinstance(config, list | tuple):
        for value in config:
            _refuse_interpolations(value)
    elif isinstance(config, str) and "${" in config:
        raise InputError(f"'{config:.80}' is left of an interpolation; write the value itself")


def _check(target: str, packages: tuple[str, ...]) -> None:
    from hydra.utils import get_object

    # The prefix is checked before the import and the defining module after it, because a dotted
    # path can lead from a harmless module to its imports.
    short = target.startswith(MONAI_SHORT) and any(p.startswith(MONAI_SHORT) for p in packages)
    if not short and not target.startswith(packages):
        raise InputError(f"_target_ '{target}' is not allowed here; use one of {packages}")
    try:
        found = get_object(target)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"_target_ '{target}' cannot be found ({reason}); mend it") from None
    if not str(getattr(found, "__module__", "")).startswith(packages):
        raise InputError(f"_target_ '{target}' is defined elsewhere and not allowed")
