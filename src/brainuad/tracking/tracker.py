"""Tracking in Weights & Biases: settings, losses, scores, curves, pictures and the model.

Without an account everything is written into the run folder, `wandb sync` sends it later; where
an account is asked for and the key or the network is missing, that is what happens too. Only
what `brainuad.tracking.privacy` lets through is written.
"""

import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from brainuad.cohorts.manifest import Scan
from brainuad.machine import ranks
from brainuad.machine.files import write_text
from brainuad.machine.links import require_no_link
from brainuad.machine.text import say
from brainuad.records.run import RunRecord
from brainuad.tracking.privacy import CONFIG, RECORD, numbers, public, public_card, public_scores
from brainuad.tracking.wandb_run import one_line, open_run

CURVE_POINTS = 100

OBJECTIVE = "val/painted_AP"
"""Metric that `wandb sweep` maximises, see `brainuad.label_free.objective`."""


def _harmless(method: Callable[..., None]) -> Callable[..., None]:
    """Turn an error of W&B into one line; the run continues without tracking."""

    @functools.wraps(method)
    def call(self: "Tracker", *args: Any, **kwargs: Any) -> None:
        if self.broken:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.broken = True
            say(f"warning: W&B failed ({one_line(error)}); the run is no longer tracked")

    return rank_zero_only(call)


class Tracker(WandbLogger):
    """Lightning's logger for W&B; it also works offline, and sends the results of a run folder.

    Args:
        project: project at W&B.
        name: name of the run.
        folder: run folder; the files are in `wandb/` there.
        offline: write to disk only.
        ckpt: checkpoint that is resumed, as the same run at W&B; None for a new run.
        pictures: largest number of test subjects that are shown, anonymously.
    """

    def __init__(
        self,
        project: str,
        name: str,
        folder: Path,
        offline: bool = True,
        ckpt: str | None = None,
        pictures: int = 4,
    ) -> None:
        self.pictures = pictures
        self.folder = Path(folder)
        self.broken = False
        run = None
        if ranks.rank() == 0:
            run = open_run(project, name, self.folder, offline, ckpt is not None)
        super().__init__(name=name, save_dir=folder, project=project, experiment=run, offline=True)

    @_harmless
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of a step or an epoch."""
        super().log_metrics(metrics, step)

    @_harmless
    def log_config(self, config: Mapping[str, Any]) -> None:
        """Log the settings that may leave the machine."""
        self.experiment.config.update(public(config, CONFIG), allow_val_change=True)

    @_harmless
    def log_results(self, scans: Sequence[Scan], record: RunRecord) -> None:
        """Log the content of the run folder at the end of a run; missing files are left out.

        Args:
            scans: scans to show as pictures, the more informative ones first.
            record: record of the run.
        """
        run = self.experiment
        about = public(record.to_json(), RECORD)
        run.config.update({"provenance": about}, allow_val_change=True)
        for key, value in _figures(about).items():
            run.summary[key] = value
        if "painted" in about:
            run.log({OBJECTIVE: about["painted"]["mean"]})
        names = numbers(scan.subject for scan in scans)
        if (self.folder / "scores.csv").is_file():
            self._log_scores(names)
            self._log_curves()
        self._log_pictures(scans, names)
        if (self.folder / "model.ckpt").is_file():
            self._log_weights()

    def _log_scores(self, names: Mapping[str, str]) -> None:
        import pandas as pd
        import wandb

        from brainuad.evaluation.results import summarise_scores

        scores = public_scores(pd.read_csv(self.folder / "scores.csv"), names)
        path = self._staged("scores.csv")
        write_text(path, scores.to_csv(index=False, lineterminator="\n"))
        artifact = wandb.Artifact(f"scores-{self.experiment.id}", type="scores")
        artifact.add_file(str(path), policy="immutable")
        self.experiment.log_artifact(artifact)
        rows = summarise_scores(scores)
        self.experiment.log({"scores": wandb.Table(dataframe=pd.DataFrame(rows))})
        for row in rows:
            if row.group in ("all", "healthy", "pooled"):
                key = "/".join(("test", row.method, *row.key))
                self.experiment.summary[key] = row.mean

    def _log_curves(self) -> None:
        import wandb

        path = self.folder / "curves.npz"
        if not path.is_file():
            return
        with np.load(path, allow_pickle=False) as curves:
            methods = [key.removesuffix("/recall") for key in curves if key.endswith("/recall")]
            recall = [_thin(curves[f"{method}/recall"]) for method in methods]
            precision = [_thin(curves[f"{method}/precision"]) for method in methods]
        title = "precision over recall, pooled"
        plot = wandb.plot.line_series(recall, precision, methods, title, xname="recall")
        self.experiment.log({"precision_recall": plot})

    def _log_pictures(self, scans: Sequence[Scan], names: Mapping[str, str]) -> None:
        import io

        import wandb
        from PIL import Image

        from brainuad.errors import InputError
        from brainuad.reporting.drawing.subject import draw_subject
        from brainuad.reporting.drawing.views import SubjectView, load_view, shared_limit

        views: dict[str, SubjectView] = {}
        for scan in scans:
            if len(views) >= self.pictures:
                break
            try:
                view = load_view(scan, self.folder / "prepared")
            except InputError:
                continue  # it is among the failures, which the run lists
            if "anomaly" not in view.missing:
                views[names[scan.subject]] = view
        limit = shared_limit(list(views.values()))
        # A key each, as a list would want them all of one size.
        self.experiment.log(
            {
                f"anomaly_maps/{name}": wandb.Image(
                    Image.open(io.BytesIO(draw_subject(view, limit).jpeg))
                )
                for name, view in views.items()
            }
        )

    def _log_weights(self) -> None:
        import torch
        import wandb

        from brainuad.model.checkpoint import read_checkpoint

        content = read_checkpoint(self.folder / "model.ckpt")
        path = self._staged("model.ckpt")
        torch.save(content | {"brainuad": public_card(content["brainuad"])}, path)
        artifact = wandb.Artifact(f"model-{self.experiment.id}", type="model")
        artifact.add_file(str(path), policy="immutable")
        self.experiment.log_artifact(artifact)

    def _staged(self, name: str) -> Path:
        """Return the path of a file until it is sent, which may be much later."""
        path = self.folder / "wandb" / "sent" / name
        require_no_link(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@contextmanager
def ending() -> Iterator[None]:
    """End W&B's run with the block, as failed if the block raises."""
    status = 1
    try:
        yield
        status = 0
    finally:
        # Not imported where it was not asked for.
        run = getattr(sys.modules.get("wandb"), "run", None)
        if run is not None:
            try:
                run.finish(exit_code=status)
            except Exception as error:
                say(f"warning: W&B failed ({one_line(error)}) at the end of the run")
                with suppress(Exception):
                    sys.modules["wandb"].teardown()


def _figures(about: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a record for the table of runs."""
    keys = ("parameters", "fit_s", "duration_s", "wall_time_per_volume_s")
    return {key: about[key] for key in keys if isinstance(about.get(key), int | float)}


def _thin(values: np.ndarray) -> list[float]:
    index = np.unique(np.linspace(0, len(values) - 1, CURVE_POINTS).round().astype(int))
    return [float(value) for value in values[index]] if len(values) else []
