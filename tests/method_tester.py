"""`MethodTester`: the checks that every method passes, and the training that they look at.

A method needs no line here: `tests/unit/methods/test_contract.py` runs the checks on every
configuration in `configs/model`, by the experiment of the same name.
"""

import copy
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.optim import Optimizer

from brainuad.cohorts.places import as_plain
from brainuad.methods.base import AnomalyDetector
from brainuad.model.card import Card, same_training
from brainuad.model.model import Model
from brainuad.networks.latent_autoencoder import measure_scale
from brainuad.settings.instantiate import instantiate, resolve
from brainuad.synthetic.anatomies.stream import StreamedScan
from brainuad.synthetic.phantom.subject import PhantomSubject, tiny_subject
from brainuad.training.module import DetectorModule
from brainuad.types import Batch
from brainuad.volumes.grids import Grid
from brainuad.volumes.tiling import SliceTiling, Tiling

SIZE = [32, 48]
"""Height and width of the slices that methods are checked on."""


class Trained(NamedTuple):
    """A method that was trained for a while on eight phantom slices, or on one volume.

    Attributes:
        detector: the method.
        batch: what it was trained on.
        losses: loss of each step.
        model: its configuration, plain values.
        folder: empty folder.
        card: what travels with it.
    """

    detector: AnomalyDetector
    batch: Batch | StreamedScan
    losses: list[float]
    model: dict[str, Any]
    folder: Path
    card: Card


class MethodTester:
    """The checks that every method passes.

    A subclass in a test module has a fixture `trained`.
    """

    atol = 1e-5
    """Largest difference between maps of one sample, computed in different batches."""

    def test_map_has_shape_type_range_and_background_of_the_contract(self, trained: Trained):
        detector, batch = trained[:2]
        found = detector.anomaly_map(plant(batch)[0], batch.brain_mask)
        assert found.shape == batch.brain_mask.shape
        assert found.dtype == torch.float32
        assert torch.isfinite(found).all()
        assert (found >= 0).all()
        background = found[~batch.brain_mask]
        assert detector.traits.keeps_background or not background.any()
        assert found.max() > 0
        assert not found.requires_grad

    def test_same_seed_gives_the_same_map_and_the_mode_stays(self, trained: Trained):
        detector = trained.detector.train()
        torch.manual_seed(0)
        first = map_of(trained)
        torch.manual_seed(0)
        assert torch.equal(first, map_of(trained))
        assert detector.training

    def test_a_batch_scores_as_its_samples_do_in_any_order(self, trained: Trained):
        detector, batch = trained[:2]
        whole = map_of(trained)
        one = detector.anomaly_map(batch.image[-1:], batch.brain_mask[-1:])
        torch.testing.assert_close(one, whole[-1:], rtol=1e-4, atol=self.atol)
        turned = detector.anomaly_map(batch.image.flip(0), batch.brain_mask.flip(0))
        torch.testing.assert_close(turned.flip(0), whole, rtol=1e-4, atol=self.atol)

    def test_empty_brains_and_constant_images_survive(self, trained: Trained):
        detector, batch = trained[:2]
        empty = torch.zeros_like(batch.brain_mask)
        found = detector.anomaly_map(batch.image, empty)
        assert detector.traits.keeps_background or not found.any()
        constant = batch.brain_mask.float().expand_as(batch.image) * 0.5
        assert torch.isfinite(detector.anomaly_map(constant, batch.brain_mask)).all()

    def test_half_precision_is_finite(self, trained: Trained):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = map_of(trained)
        assert found.dtype == torch.float32
        assert torch.isfinite(found).all()

    def test_saved_and_loaded_the_map_is_bit_equal(self, trained: Trained):
        path = trained.folder / "model.ckpt"
        tiling = instantiate(trained.card.tiling)
        Model(trained.detector, trained.card, tiling).save(path)
        method = Model.load(path).method
        again = method.anomaly_map(trained.batch.image, trained.batch.brain_mask)
        assert torch.equal(map_of(trained), again)

    def test_the_loss_falls(self, trained: Trained):
        if not trained.detector.by_gradient:
            pytest.skip("nothing in this method is trained by gradient")
        losses = trained.losses
        fifth = max(len(losses) // 5, 1)
        assert sum(losses[-fifth:]) < 0.8 * sum(losses[:fifth])

    def test_every_trained_parameter_gets_a_gradient(self, trained: Trained):
        """In every step: a parameter without a gradient stops DDP, or is dead weight."""
        if not trained.detector.by_gradient:
            pytest.skip("nothing in this method is trained by gradient")
        named = gradients(trained)
        assert not [name for name, (wanted, got) in named.items() if wanted and not got]

    def test_the_first_stage_gets_no_gradient(self, trained: Trained):
        stage = trained.detector.first_stage
        if stage is None:
            pytest.skip("this method has no first stage")
        gradients(trained)
        assert not any(part.requires_grad or part.grad is not None for part in stage.parameters())
        assert not any(module.training for module in stage.modules())

    def test_a_planted_lesion_scores_above_its_surroundings(self, trained: Trained):
        batch = trained.batch
        image, box = plant(batch)
        found = trained.detector.anomaly_map(image, batch.brain_mask)
        assert found[box & batch.brain_mask].mean() > found[~box & batch.brain_mask].mean()

    def test_measuring_twice_gives_the_same(self, trained: Trained):
        before = copy.deepcopy(trained.detector.state_dict())
        trained.detector.measure([Batch(trained.batch.image, trained.batch.brain_mask)])
        after = trained.detector.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(value, after[name]) for name, value in before.items())

    def test_interrupted_and_resumed_is_as_uninterrupted(self, trained: Trained):
        if not trained.detector.by_gradient:
            pytest.skip("nothing in this method is trained by gradient")
        whole, before, after = (like(trained, trained.model) for _ in range(3))
        steps(whole, optimizer_of(whole), trained.batch, range(3))
        optimizer = optimizer_of(before)
        steps(before, optimizer, trained.batch, range(2))
        after.load_state_dict(before.state_dict())
        resumed = optimizer_of(after)
        resumed.load_state_dict(optimizer.state_dict())
        steps(after, resumed, trained.batch, range(2, 3))
        state = after.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items())

    def test_detection_options_change_maps_and_not_the_training(self, trained: Trained):
        options = trained.detector.traits.detection_options
        changed = dict(changes(trained.model, options))
        if not changed:
            pytest.skip("this method has no options of detection, or none of plain numbers")
        before, differing = map_of(trained), []
        for name, model in changed.items():
            assert same_training(model, trained.model, options)
            other = like(trained, model)
            if other.by_gradient:
                first, second = (
                    loss_of(one, trained) for one in (other, like(trained, trained.model))
                )
                assert torch.equal(first, second), name
            found = other.anomaly_map(trained.batch.image, trained.batch.brain_mask)
            differing.append(not torch.equal(found, before))
        assert any(differing)

    def test_a_mirrored_input_gives_the_mirrored_map(self, trained: Trained):
        """For methods without a learned network: no convolution learns to be symmetric."""
        detector, batch = trained[:2]
        if detector.learns or detector.traits.left_right:
            pytest.skip("learned filters are not symmetric, or the method compares both sides")
        found = detector.anomaly_map(batch.image.flip(2), batch.brain_mask.flip(2))
        torch.testing.assert_close(found.flip(2), map_of(trained), rtol=1e-4, atol=self.atol)

    def test_a_gpu_agrees_with_the_cpu(self, trained: Trained):
        if not torch.cuda.is_available():
            pytest.skip("takes a GPU")
        batch, expected = trained.batch, map_of(trained)
        detector = copy.deepcopy(trained.detector).cuda()
        found = detector.anomaly_map(batch.image.cuda(), batch.brain_mask.cuda()).cpu()
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)

    def check_all(self, trained: Trained) -> None:
        """Run every check on one method, for tests that make a method themselves."""
        for name in dir(self):
            if name.startswith("test_"):
                try:
                    getattr(self, name)(trained)
                except pytest.skip.Exception:
                    continue


def train(cfg: DictConfig, folder: Path, count: int = 60) -> Trained:
    """Train the method of a composed run for some steps, behind its first stage if it has one."""
    torch.manual_seed(0)
    model, tiling = resolve(cfg.model), instantiate(cfg.tiling)
    detector = instantiate(cfg.model)
    batch = phantom_batch(SIZE, tiling)
    detector.grid = grid_of(batch)
    place = None if detector.grid is None else as_plain(detector.grid)
    card = Card(model, resolve(cfg.tiling), {}, "T2w", {}, grid=place)
    if cfg.first_stage is not None:
        stage = instantiate(cfg.first_stage.model)
        steps(stage, optimizer_of(stage), batch, range(100))
        part = getattr(stage.eval(), cfg.first_stage.part)
        measure_scale(part, [batch.image])
        detector.first_stage.load_state_dict(part.state_dict())
    detector.measure([batch])
    drawn = "synthetic" in cfg.datamodule._target_
    if drawn:
        batch = with_lesion(batch)
    losses = []
    if detector.by_gradient:
        losses = steps(detector, optimizer_of(detector), batch, range(40 if drawn else count))
    return Trained(detector, batch, losses, model, folder, card)


def grid_of(batch: Batch) -> Grid | None:
    """Return the grid of the phantom, for volumes."""
    size = tuple(batch.image.shape[2:])
    return Grid(size, subject_of("contract0").affine) if len(size) == 3 else None


@cache
def subject_of(name: str) -> PhantomSubject:
    """A phantom, made once."""
    return tiny_subject(name, seed=0)


def like(trained: Trained, model: dict[str, Any]) -> AnomalyDetector:
    """A method of this configuration with the trained weights, in training mode."""
    detector: AnomalyDetector = instantiate(model)
    detector.grid = trained.detector.grid
    detector.load_state_dict(trained.detector.state_dict())
    return detector


def map_of(trained: Trained) -> Tensor:
    """The map of what the method was trained on."""
    return trained.detector.anomaly_map(trained.batch.image, trained.batch.brain_mask)


def loss_of(detector: AnomalyDetector, trained: Trained) -> Tensor:
    """The loss of what the method was trained on, by fixed draws."""
    torch.manual_seed(0)
    return detector.train().loss(trained.batch)["loss"].detach()


def gradients(trained: Trained) -> dict[str, tuple[bool, bool]]:
    """By name of each parameter: whether it is trained, and whether it got a gradient."""
    detector = trained.detector.train()
    detector.zero_grad()
    if detector.by_gradient:
        detector.loss(trained.batch)["loss"].backward()
    found = {n: (p.requires_grad, p.grad is not None) for n, p in detector.named_parameters()}
    detector.zero_grad()
    return found


def optimizer_of(detector: AnomalyDetector) -> Optimizer:
    """The optimiser that a training makes."""
    configured = DetectorModule(detector).configure_optimizers()
    return configured["optimizer"] if isinstance(configured, dict) else configured


def steps(
    detector: AnomalyDetector, optimizer: Optimizer, batch: Batch | StreamedScan, numbers: range
) -> list[float]:
    """Losses of the steps of these numbers on one batch."""
    detector.train()
    losses = []
    for number in numbers:
        torch.manual_seed(number)
        detector.step = number
        loss = detector.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def changes(
    model: dict[str, Any], options: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Configurations in which one option differs: a number, a group of numbers, or the residual.

    Others, such as words, are a matter of the method's own test.
    """
    for name in [name for name in options if name in model]:
        value = other(name, model[name])
        changed = {**model, name: value}
        if value == model[name]:
            continue
        try:
            instantiate(changed)
        except Exception:
            # Some options exclude others.
            continue
        yield name, changed


def other(name: str, value: Any) -> Any:
    """Another value of an option; the same one where none is known."""
    if name == "residual":
        kind = "squared" if value["_target_"].endswith("signed") else "signed"
        return {"_target_": f"brainuad.methods.parts.residuals.{kind}", "_partial_": True}
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2
    if isinstance(value, Mapping):
        return {key: other("", item) for key, item in value.items() if item is not None}
    return value


def phantom_batch(size, tiling: Tiling, count=8) -> Batch:
    """Healthy phantom tiles of the size that the method wants."""
    if isinstance(tiling, SliceTiling):
        tiles = []
        for index in range(2):
            subject = subject_of(f"contract{index}")
            image = torch.tensor(subject.images["T2w"])[None]
            mask = torch.tensor(subject.brain_mask)[None]
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
    subject = subject_of("contract0")
    return Batch(
        torch.tensor(subject.images["T2w"])[None, None],
        torch.tensor(subject.brain_mask)[None, None],
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
