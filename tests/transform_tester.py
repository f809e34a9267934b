"""`TransformTester`: the checks that every preparation transform passes, and what they look at.

A transform needs no line here. `tests/unit/preparation/test_every_transform.py` runs the checks on
every step of every configuration in `configs/preparation`, and on every other transform that
`brainuad.preparation` offers.
"""

import copy
import json
import pickle
from collections.abc import Hashable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from monai.data import list_data_collate
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from nibabel.affines import apply_affine
from omegaconf import OmegaConf
from scipy import ndimage
from test_steps import atlas_at, turned

import brainuad.preparation as public
from brainuad.errors import InputError
from brainuad.preparation.explain import explained
from brainuad.preparation.pipeline import FAILURES, FIELD, Preparation
from brainuad.preparation.transforms.base import (
    Data,
    ScanTransform,
    WorldTransform,
    records,
    report,
)
from brainuad.settings.instantiate import PREPARATION, instantiate
from brainuad.volumes.meta_tensor import meta_tensor
from brainuad.volumes.native_space import native_points, way_of
from brainuad.volumes.nifti import write_volume

CONFIGS = Path(__file__).parents[1] / "configs" / "preparation"

KEYS = ("T1w", "FLAIR")
"""Scans of the subject, the reference first."""

SPACING_MM = 3.0

QUICK = {
    "spacing_mm": 4.0,
    "bias.iterations": [5],
    "between.spacing_mm": 6.0,
    "between.iterations": 10,
    "atlas.spacing_mm": 4.0,
    "atlas.turns": False,
    "deform.spacing_mm": 4.0,
    "deform.iterations": [10, 5],
}
"""Parameters of steps that make them fast."""

ARGUMENTS = {"NyulNormalized": {"standard": np.linspace(0, 1, 11).tolist()}}
"""Required arguments of transforms that no configuration names."""


class Step(NamedTuple):
    """A transform, and what it makes of a subject.

    Attributes:
        transform: the step.
        text: the transform and its parameters, as `--explain` prints them.
        given: copy of the data, made before the transform saw them.
        data: the data that the transform got.
        found: the data that it returned.
        broken: the data with a second scan that has no brain.
        subject: the scans' files.
    """

    transform: ScanTransform
    text: str
    given: Data
    data: Data
    found: Data
    broken: Data
    subject: "Subject"


class TransformTester:
    """The checks that every preparation transform passes.

    A subclass in a test module has a fixture `step`.
    """

    shift_mm = 1.5
    """Largest distance of a mask's centre from its place in the file."""

    overlap = 0.9
    """Smallest Dice of a mask with itself, there and back."""

    def test_scans_have_shape_type_and_range_of_the_contract(self, step: Step):
        for key in KEYS:
            scan = step.found[key]
            assert isinstance(scan, MetaTensor)
            assert scan.dtype == torch.float32
            assert scan.ndim == 4
            assert scan.shape[0] == 1
            assert torch.isfinite(scan).all()

    def test_masks_stay_binary_and_on_the_grid_of_their_scan(self, step: Step):
        for name, mask in masks(step.found):
            scan = step.found[name.split(".")[0]]
            assert mask.dtype == torch.uint8
            assert set(mask.unique().tolist()) == {0, 1}
            assert mask.shape == scan.shape
            assert torch.equal(mask.affine, scan.affine)

    def test_the_input_is_not_changed(self, step: Step):
        assert step.data.keys() == step.given.keys()
        for name, before in images(step.given):
            after = step.data[name]
            assert_same(after, before)
            assert after.applied_operations == before.applied_operations
            assert report(after) == report(before)
            assert records(after) == records(before)

    def test_the_same_input_gives_the_same_in_another_process(self, step: Step):
        """As a worker gets the transform: pickled."""
        again = pickle.loads(pickle.dumps(step.transform))(step.data)
        for name, image in images(step.found):
            assert_same(again[name], image)

    def test_the_background_stays_0(self, step: Step):
        """At four voxels from the brain, because a resampling blurs its edge."""
        for key in KEYS:
            if f"{key}.brain" in step.found:
                brain = step.found[f"{key}.brain"].numpy()[0] > 0
                far = ndimage.distance_transform_edt(~brain) > 4
                assert not step.found[key].numpy()[0][far].any()

    def test_the_way_back_leads_to_the_place_in_the_file(self, step: Step):
        for key in KEYS:
            label = step.found[f"{key}.lesion"]
            place = native_points(centre(label), way_of(records(label)))
            label_file = nib.load(step.subject.labels[key])
            points = np.argwhere(label_file.get_fdata() > 0).mean(0)
            expected = apply_affine(label_file.affine, points[None])
            assert np.linalg.norm(place - expected) < self.shift_mm

    def test_the_inverse_brings_masks_back(self, step: Step):
        if not isinstance(step.transform, InvertibleTransform):
            pytest.skip("this transform has no inverse")
        back = step.transform.inverse(step.found)
        for name, before in masks(step.data):
            assert back[name].shape == before.shape
            assert torch.allclose(back[name].affine, before.affine, atol=1e-4)
            assert dice(back[name] > 0, before > 0) > self.overlap
            assert records(back[name]) == records(before)
            assert len(back[name].applied_operations) == len(before.applied_operations)

    def test_a_transform_that_changes_the_grid_has_an_inverse(self, step: Step):
        if isinstance(step.transform, InvertibleTransform):
            pytest.skip("this transform has an inverse")
        for name, before in images(step.data):
            assert step.found[name].shape == before.shape
            assert torch.equal(step.found[name].affine, before.affine)
            assert records(step.found[name]) == records(before)

    def test_a_registration_changes_no_voxel(self, step: Step):
        if not isinstance(step.transform, WorldTransform):
            pytest.skip("this transform is not a registration")
        for name, before in images(step.data):
            assert torch.equal(step.found[name].as_tensor(), before.as_tensor())

    def test_reports_are_plain_and_keep_those_of_earlier_steps(self, step: Step):
        for key in KEYS:
            said = report(step.found[key])
            json.dumps(said, allow_nan=False)
            if isinstance(step.data[key], MetaTensor):
                assert said.keys() >= report(step.data[key]).keys()

    def test_other_entries_of_the_data_pass_through(self, step: Step):
        assert step.found["age"] == step.given["age"]
        assert set(step.found) >= set(step.given)

    def test_a_missing_scan_does_not_change_the_others(self, step: Step):
        without = {name: v for name, v in step.data.items() if not str(name).startswith(KEYS[1])}
        found = having(step.transform, allow_missing_keys=True)(without)
        assert KEYS[1] not in found
        assert_same(found[KEYS[0]], step.found[KEYS[0]])
        with pytest.raises(KeyError):
            having(step.transform, allow_missing_keys=False)(without)

    def test_a_scan_that_cannot_be_prepared_leaves_the_others(self, step: Step):
        """Refused in one line with its name, or finite: nothing else may become of it."""
        found = having(step.transform, failures_key=FAILURES)(step.broken)
        assert_same(found[KEYS[0]], step.found[KEYS[0]])
        if KEYS[1] in found:
            assert torch.isfinite(found[KEYS[1]]).all()
            return
        assert not [name for name in found if str(name).startswith(KEYS[1])]
        (said,) = found[FAILURES].values()
        assert KEYS[1] in said
        assert "\n" not in said
        with pytest.raises(InputError) as error:
            having(step.transform, failures_key=None)(step.broken)
        assert str(error.value) == said

    def test_scans_make_a_batch_whatever_their_reports_are(self, step: Step):
        found, data = dict(images(step.found)), dict(images(step.data))
        alike = {name for name in found if name in data and data[name].shape == found[name].shape}
        for items in ([found, found], [found, data]):
            names = found if items[1] is found else alike
            batch = list_data_collate([{name: item[name] for name in names} for item in items])
            for name in names:
                assert batch[name].shape == (2, *found[name].shape)

    def test_explain_says_what_it_does(self, step: Step):
        assert type(step.transform).__name__ in step.text
        assert all(effect not in ("", "?") for effect in step.transform.effects)
        assert type(step.transform).__doc__


class Subject(NamedTuple):
    """Two brains of a subject, oblique and stripped, as files.

    Attributes:
        data: input of a preparation.
        labels: scan to the file of its lesion label.
    """

    data: Data
    labels: dict[str, Path]


def write_subject(folder: Path) -> Subject:
    """Write the scans of a subject, with a lesion in both."""
    image, mask = atlas_at(SPACING_MM)
    lesion = np.zeros(mask.shape, bool)
    lesion[20:28, 36:46, 28:36] = True
    # Left-handed and stored from the top, as scanners do.
    flip = np.diag([-1.0, 1, -1, 1])
    flip[:3, 3] = (np.array(mask.shape) - 1) * [1, 0, 1]
    data: Data = {"age": 40, FIELD: folder / "subject"}
    labels = {}
    for key, pose in zip(KEYS, ((9, -6, 5), (-6, 4, 8)), strict=True):
        array = np.where(mask, image.array if key == KEYS[0] else 1.2 - image.array, 0)
        affine = turned(pose, (8, -6, 4)) @ image.affine @ flip
        data[key], labels[key] = folder / f"{key}.nii.gz", folder / f"{key}_lesion.nii.gz"
        write_volume(data[key], 300 * array[::-1, :, ::-1], affine)
        write_volume(labels[key], (lesion & mask)[::-1, :, ::-1], affine, np.uint8)
        data[f"{key}.lesion"] = labels[key]
    return Subject(data, labels)


def configured() -> dict[str, tuple[str, int]]:
    """Return each step of the configurations once: its text to a configuration and its place."""
    found: dict[str, tuple[str, int]] = {}
    for path in sorted(CONFIGS.glob("*.yaml")):
        steps = preparation(path.stem)
        transforms = steps.transforms(KEYS)
        for place, said in enumerate(explained(steps, None)[: len(transforms)]):
            if isinstance(transforms[place][1], ScanTransform):
                found.setdefault(said.transform, (path.stem, place))
    return found


def unconfigured() -> list[str]:
    """Return the transforms that the package offers and no configuration names."""
    named = {text.split("(")[0] for text in configured()}
    return [name for name in public.__all__ if name not in named | {"ScanReader"}]


@cache
def preparation(name: str) -> Preparation:
    """Return the preparation of a configuration, with fast parameters."""
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose("prepare", [f"preparation={name}"]).preparation.steps
    for key, value in QUICK.items():
        if OmegaConf.select(cfg, key) is not None:
            OmegaConf.update(cfg, key, value)
    made: Preparation = instantiate(cfg, packages=PREPARATION)
    return made


class Runs:
    """Runs of the configurations on one subject; equal beginnings run once.

    Args:
        folder: empty folder, for the subject's scans.
    """

    def __init__(self, folder: Path):
        self.subject = write_subject(folder)
        self.broken = folder / "FLAIR_broken.nii.gz"
        self.broken.write_bytes(b"no scan")
        self._done: dict[tuple[str, ...], Data] = {}

    def step(self, text: str) -> Step:
        """Return a step of a configuration, or a transform that no configuration names."""
        if text in public.__all__:
            transform = getattr(public, text)(KEYS, **ARGUMENTS.get(text, {}))
            return self._step(transform, f"{text}()", self.after("extracted", None))
        name, place = configured()[text]
        transform = preparation(name).transforms(KEYS)[place][1]
        return self._step(transform, text, self.after(name, place))

    def after(self, name: str, place: int | None) -> Data:
        """Return the data after the first `place` steps of a configuration; None for all."""
        steps = preparation(name)
        transforms = [transform for _, transform, _ in steps.transforms(KEYS)][:place]
        texts = [said.transform for said in explained(steps, None)]
        data, done = dict(self.subject.data), ()
        for transform, text in zip(transforms, texts, strict=False):
            done = (*done, text)
            if done not in self._done:
                self._done[done] = transform(data)
            data = self._done[done]
        return dict(data)

    def _step(self, transform: ScanTransform, text: str, data: Data) -> Step:
        given = copy.deepcopy(data)
        found = transform(data)
        return Step(transform, text, given, data, found, self._without_brain(data), self.subject)

    def _without_brain(self, data: Data) -> Data:
        """Return the data with an empty second scan."""
        key = KEYS[1]
        if isinstance(data[key], Path):
            return data | {key: self.broken}
        names = [name for name in (key, f"{key}.brain") if name in data]
        empty = {name: meta_tensor(0 * data[name].numpy()[0], data[name]) for name in names}
        return data | empty


def having(transform: ScanTransform, **values: Any) -> ScanTransform:
    """Return the transform with other values of its attributes."""
    other = copy.copy(transform)
    vars(other).update(values)
    return other


def images(data: Mapping[Hashable, Any]) -> Iterator[tuple[str, MetaTensor]]:
    """Yield the images of the data: scans, masks and labels."""
    yield from ((str(name), v) for name, v in data.items() if isinstance(v, MetaTensor))


def masks(data: Mapping[Hashable, Any]) -> Iterator[tuple[str, MetaTensor]]:
    """Yield the brain masks and lesion labels of the data."""
    yield from ((name, image) for name, image in images(data) if "." in name)


def assert_same(one: MetaTensor, other: MetaTensor) -> None:
    """Require equal voxels and affines."""
    assert torch.equal(one.as_tensor(), other.as_tensor())
    assert torch.equal(one.affine, other.affine)


def centre(mask: MetaTensor) -> np.ndarray:
    """Return the centre of a mask in its world, `(1, 3)` mm."""
    inside = np.argwhere(mask.numpy()[0] > 0).mean(0)
    return apply_affine(np.array(mask.affine), inside[None])


def dice(a: MetaTensor, b: MetaTensor) -> float:
    """Return the Dice coefficient of two masks."""
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())
