"""Load the model of a run folder, with the settings that its run detected with."""

from pathlib import Path

import yaml

from brainuad.errors import InputError
from brainuad.machine.links import follow_no_links
from brainuad.machine.text import one_line
from brainuad.model.device import PRECISIONS, device
from brainuad.model.model import Model
from brainuad.model.runtime import Runtime
from brainuad.reporting.run_folder import RunFolder, read_run
from brainuad.settings.plain import plain


def model_of_run(run: Path, device_name: str = "auto") -> tuple[RunFolder, Model]:
    """Return a run folder whose cohort is there, and its model on the device.

    Args:
        run: run folder with `model.ckpt` and `config.yaml`.
        device_name: as `device`.

    Raises:
        InputError: not such a folder, or its cohort is gone.
    """
    follow_no_links(run)
    folder = read_run(run)
    if folder.cohort is None or not folder.config:
        raise InputError(f"{run}: its cohort or its config.yaml is gone; bring it back")
    # Not the folder that the run names, which may belong to somebody else.
    runtime = _runtime(run, folder.config, device(device_name))
    return folder, Model.load(run, runtime).on_device()


def _runtime(run: Path, config: str, place: str) -> Runtime:
    """Return the detection settings in `config.yaml`, which may come from a stranger."""
    try:
        told = plain(yaml.safe_load(config))
        jobs, size = int(told["jobs"]), int(told["predict_batch_size"])
        precision = str(told["predict_precision"])
    except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{run / 'config.yaml'}: not the settings of a run ({one_line(error)})"
        ) from None
    if precision not in PRECISIONS:
        raise InputError(f"{run / 'config.yaml'}: predict_precision is '{precision:.60}'")
    return Runtime(place, precision, size, jobs=jobs)
