"""Anomaly maps and masks of scans from a trained model.

python predict.py checkpoint=runs/strega/NAME/model.ckpt data=folder data.source=DIR
"""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from brainuad.cli import run_hydra
from brainuad.errors import InputError, PartialFailure
from brainuad.files import write_text
from brainuad.instantiate import RUN_PACKAGES, instantiate


def main() -> int:
    """Entry point of `predict.py` and `brainuad-predict`; returns the exit status."""
    return run_hydra("predict", predict)


def predict(cfg: DictConfig) -> None:
    """Writes maps and masks of every scan of the model's sequence that it was not trained on.

    Raises:
        InputError: bad input.
        PartialFailure: some subjects failed, everything else is done.
    """
    from brainuad.checkpoint import load_model, weights_hash
    from brainuad.data.manifest import Cohort
    from brainuad.detection import model_score, write_maps, write_masks
    from brainuad.inputs import as_input
    from brainuad.prepare import cohort_failures
    from brainuad.train import device

    detector = load_model(Path(cfg.checkpoint))
    card = detector.card
    threshold = card.get("threshold") if cfg.threshold is None else cfg.threshold
    if threshold is None:
        raise InputError(f"{cfg.checkpoint}: holds no threshold; give one with threshold=VALUE")
    cohort: Cohort = instantiate(cfg.data.cohort, packages=RUN_PACKAGES)
    # Another cohort may give its subjects the same names.
    own = cohort.split_hash() == card.get("split_hash")
    seen = set(card["subjects"]["train"]) if own else set()
    scans = [
        scan
        for scan in cohort.scans
        if scan.sequence == card["sequence"] and scan.subject not in seen
    ]
    if not scans:
        raise InputError(
            f"{cohort.root}: no {card['sequence']} scan that the model was not trained on"
        )
    out = Path(cfg.paths.output_dir)
    write_text(out / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    tiling = instantiate(card["tiling"])
    score = model_score(
        detector, tiling, cfg.predict_batch_size, device(cfg.device), cfg.predict_precision
    )
    tissue = instantiate(card.get("input", {}).get("tissue"))
    seen_as, bad = as_input(scans, tissue, cfg.paths.cache_dir, cfg.jobs)
    written = write_maps(
        seen_as,
        out / "prepared",
        score,
        f"{weights_hash(detector)} {cfg.predict_precision}",
        "detecting",
        keep_input=tissue is not None,
    )
    failures = [*cohort_failures(cohort), *bad, *written.failures]
    done = [scan for scan in scans if scan.subject not in dict(failures)]
    postprocess = instantiate(card["postprocess"])
    failures += write_masks(done, out / "prepared", out, postprocess, threshold)
    print(f"{len(done)} scans done, maps and masks in {out}")
    if failures:
        raise PartialFailure(failures)
