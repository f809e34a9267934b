"""Typed settings of a training run; only the command reads a configuration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

Config = dict[str, Any]
"""Configuration of an object in plain values."""


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run, by the names that `configs/train.yaml` explains.

    Attributes:
        config: the whole configuration in plain values, as the run folder keeps it.
        out: run folder.
        cache: folder of cohorts, tiles and first stages.
        sequence: sequence of the scans, or one per channel.
        stage: returns the settings of the run that trains the first stage in a folder; None for
            methods without one.
    """

    config: Config
    out: Path
    cache: Path
    sequence: str | list[str]
    stage: "Callable[[Path], RunSettings] | None"
    name: str
    seed: int
    keep: str
    matmul_precision: str
    ckpt: str | None
    weights: str | None
    device: str
    space: str
    predict: bool
    evaluate: bool
    report: bool
    painted_draws: int
    predict_batch_size: int
    predict_precision: str
    jobs: int
    data: Config
    input: Config
    model: Config
    tiling: Config
    datamodule: Config
    relative: Config | None
    postprocess: Config
    painted: Config
    trainer: Config
    callbacks: Config
    logger: Config | None
    controls: Mapping[str, Config]
    also: Mapping[str, Config]

    @classmethod
    def of(
        cls, config: Config, stage: "Callable[[Path], RunSettings] | None" = None
    ) -> "RunSettings":
        """Return the settings that a configuration in plain values holds.

        Args:
            config: configuration of a run, resolved.
            stage: returns the settings of the first stage's run in a folder; None for none.
        """
        named = {entry.name: config[entry.name] for entry in fields(cls) if entry.name in config}
        return cls(
            **{
                **named,
                "name": str(config["name"]),
                "controls": config["controls"] or {},
                "also": config["also"] or {},
            },
            config=config,
            out=Path(config["paths"]["output_dir"]),
            cache=Path(config["paths"]["cache_dir"]),
            sequence=config["data"]["sequence"],
            stage=stage,
        )

    @property
    def stage_part(self) -> str:
        """Name of the module that a method uses of its first stage."""
        return str((self.config.get("first_stage") or {}).get("part", "autoencoder"))

    @property
    def channels(self) -> int:
        """Number of channels of the scans."""
        return 1 if isinstance(self.sequence, str) else len(self.sequence)

    def with_first_stage(self, config: Config) -> "RunSettings":
        """Return the settings with the first stage's configuration in place of its path."""
        model = {**self.model, "first_stage": config}
        return replace(self, model=model, config={**self.config, "model": model})
