"""Checks that every method must pass, as plain functions of a detector."""

import torch

from brainuad.methods.base import AnomalyDetector
from brainuad.model.model import Model
from brainuad.synthetic.anatomies.stream import StreamedScan
from brainuad.training.module import DetectorModule
from brainuad.types import Batch
from brainuad.volumes.tiling import SliceTiling, Tiling


def phantom_batch(size, tiling: Tiling, count=8) -> Batch:
    """Healthy phantom tiles of the size that the method wants."""
    from brainuad.synthetic.phantom import tiny_subject

    if isinstance(tiling, SliceTiling):
        tiles = []
        for index in range(2):
            subject = tiny_subject(f"contract{index}", seed=0)
            image = torch.from_numpy(subject.images["T2w"])[None]
            mask = torch.from_numpy(subject.brain_mask)[None]
            images, _ = SliceTiling("axial", size).split(image)
            masks = SliceTiling("axial", size).split(mask.to(torch.uint8))[0].bool()
            middle = len(images) // 2
            tiles.append(
                (
                    images[middle - count // 4 : middle + count // 4],
                    masks[middle - count // 4 : middle + count // 4],
                )
            )
        return Batch(*(torch.cat(parts) for parts in zip(*tiles, strict=True)))
    subject = tiny_subject("contract0", seed=0)
    return Batch(
        torch.from_numpy(subject.images["T2w"])[None, None],
        torch.from_numpy(subject.brain_mask)[None, None],
    )


def plant(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The images with a bright box of 6 pixels a side right of their middle, and the box."""
    box = torch.zeros_like(batch.brain_mask)
    right, *others = batch.image.shape[2:]
    # Beside the plane of symmetry: a lesion in it is its own mirror image.
    window = (
        slice(right // 2 + 1, right // 2 + 7),
        *(slice(n // 2 - 3, n // 2 + 3) for n in others),
    )
    box[(slice(None), slice(None), *window)] = True
    return torch.where(box, torch.ones(()), batch.image), box


def with_lesion(batch: Batch) -> StreamedScan:
    """The images with that box, as scans of which everything is known."""
    image, box = plant(batch)
    lesion = box & batch.brain_mask
    image = torch.where(batch.brain_mask, image, torch.zeros(()))
    tissue = torch.where(batch.brain_mask, 0, -1)
    weight = torch.ones_like(image)
    return StreamedScan(image, batch.image, batch.brain_mask, lesion, weight, tissue)


def check_output(detector: AnomalyDetector, batch: Batch) -> None:
    """Shape, type, range and background of the map of brains that something is wrong with."""
    found = detector.anomaly_map(plant(batch)[0], batch.brain_mask)
    assert found.shape == batch.brain_mask.shape
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert (found >= 0).all()
    assert detector.keeps_background or (found[~batch.brain_mask] == 0).all()
    assert found.max() > 0
    assert not found.requires_grad


def check_same_twice(detector: AnomalyDetector, batch: Batch) -> None:
    """Deterministic, and training mode is left as it was."""
    detector.train()
    torch.manual_seed(0)
    first = detector.anomaly_map(batch.image, batch.brain_mask)
    torch.manual_seed(0)
    assert torch.equal(first, detector.anomaly_map(batch.image, batch.brain_mask))
    assert detector.training


def check_batch_of_one(detector: AnomalyDetector, batch: Batch, atol: float = 1e-5) -> None:
    """A row does not depend on the other rows or their order."""
    whole = detector.anomaly_map(batch.image, batch.brain_mask)
    one = detector.anomaly_map(batch.image[-1:], batch.brain_mask[-1:])
    torch.testing.assert_close(one, whole[-1:], rtol=1e-4, atol=atol)
    turned = detector.anomaly_map(batch.image.flip(0), batch.brain_mask.flip(0))
    torch.testing.assert_close(turned.flip(0), whole, rtol=1e-4, atol=atol)


def check_degenerate(detector: AnomalyDetector, batch: Batch) -> None:
    """No brain gives zeros, or the background; a constant image stays finite."""
    empty = torch.zeros_like(batch.brain_mask)
    assert detector.keeps_background or not detector.anomaly_map(batch.image, empty).any()
    constant = batch.brain_mask.float().expand_as(batch.image) * 0.5
    assert torch.isfinite(detector.anomaly_map(constant, batch.brain_mask)).all()


def check_half_precision(detector: AnomalyDetector, batch: Batch) -> None:
    """bfloat16 autocast stays finite."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = detector.anomaly_map(batch.image, batch.brain_mask)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()


def check_checkpoint(detector: AnomalyDetector, batch: Batch, card, tiling, folder) -> None:
    """Saved and loaded, the map is the same, bit for bit."""
    path = folder / "model.ckpt"
    Model(detector, card, tiling).save(path)
    again = Model.load(path).method.anomaly_map(batch.image, batch.brain_mask)
    assert torch.equal(detector.anomaly_map(batch.image, batch.brain_mask), again)


def train_steps(detector: AnomalyDetector, batch: Batch, steps: int) -> list[float]:
    """Losses of `steps` optimiser steps on one batch."""
    configured = DetectorModule(detector).configure_optimizers()
    optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
    detector.train()
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        loss = detector.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def check_every_parameter_learns(detector: AnomalyDetector, batch: Batch) -> None:
    """In every step: a parameter without a gradient stops DDP, or is dead weight."""
    detector.train()
    detector.zero_grad()
    detector.loss(batch)["loss"].backward()
    without = [n for n, p in detector.named_parameters() if p.requires_grad and p.grad is None]
    detector.zero_grad()
    assert not without


def check_learns(losses: list[float]) -> None:
    """The loss falls."""
    fifth = max(len(losses) // 5, 1)
    assert sum(losses[-fifth:]) < 0.8 * sum(losses[:fifth])


def check_planted_lesion(detector: AnomalyDetector, batch: Batch) -> None:
    """A bright box in the brain scores above its surroundings."""
    image, box = plant(batch)
    found = detector.anomaly_map(image, batch.brain_mask)
    assert found[box & batch.brain_mask].mean() > found[~box & batch.brain_mask].mean()
