"""The steps as MONAI transforms: in a foreign pipeline, foreign ones in ours, and back."""

import json
import pickle
from functools import partial
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from monai.data import CacheDataset, DataLoader, MetaTensor, PersistentDataset
from monai.inferers import SlidingWindowInferer
from monai.transforms import (
    Compose,
    CropForegroundd,
    Invertd,
    Orientationd,
    SaveImaged,
    Spacingd,
)
from scipy import ndimage
from test_steps import atlas_at, turned

from brainuad.cli.prepare import main
from brainuad.cohorts.scans import RawScan
from brainuad.errors import InputError
from brainuad.preparation import (
    AffineToAtlasd,
    CurvatureFlowd,
    DeformToAtlasd,
    ExtractBraind,
    LoadScand,
    N4BiasFieldCorrectiond,
    NyulNormalized,
    PreparedGridd,
    RegisterBetweend,
    SkullStripd,
    TissueMapd,
    WhiteStriped,
)
from brainuad.preparation.atlas import load_brain_atlas
from brainuad.preparation.bias import N4
from brainuad.preparation.normalise.intensity import Nyul
from brainuad.preparation.pipeline import Preparation
from brainuad.preparation.register.demons import Deform
from brainuad.preparation.register.linear import Register
from brainuad.preparation.skullstrip.extracted import Extracted
from brainuad.preparation.subject import prepare_subject
from brainuad.preparation.tissue.segment import TissueInput
from brainuad.preparation.transforms.base import records
from brainuad.settings.describe import recipe_of
from brainuad.settings.instantiate import PREPARATION, instantiate
from brainuad.volumes.native_space import native_points, prepared_points, read_way, way_of
from brainuad.volumes.nifti import write_volume

QUICK = Register("affine", spacing_mm=4.0)
CRUDE = Register("rigid", spacing_mm=6.0, iterations=10)
"""Where it lays a brain is no matter."""
SPACING = 3.0


@pytest.fixture(scope="module")
def brains(tmp_path_factory):
    """Paths of a subject's two brains, stripped and oblique, with a lesion in both."""
    folder = tmp_path_factory.mktemp("brains")
    image, mask = atlas_at(SPACING)
    lesion = np.zeros(mask.shape, bool)
    lesion[20:28, 36:46, 28:36] = True
    data = {}
    for name, pose in (("T1w", (9, -6, 5)), ("FLAIR", (-6, 4, 8))):
        array = np.where(mask, image.array if name == "T1w" else 1.2 - image.array, 0)
        affine = turned(pose, (8, -6, 4)) @ image.affine
        data[name] = folder / f"{name}.nii.gz"
        # Left-handed and stored from the top, as scanners do.
        flip = np.diag([-1.0, 1, -1, 1])
        flip[:3, 3] = (np.array(mask.shape) - 1) * [1, 0, 1]
        write_volume(data[name], 300 * array[::-1, :, ::-1], affine @ flip)
        data[f"{name}.lesion"] = folder / f"{name}_lesion.nii.gz"
        write_volume(
            data[f"{name}.lesion"], (lesion & mask)[::-1, :, ::-1], affine @ flip, np.uint8
        )
    return data


NEAREST = {"mode": "nearest", "padding_mode": "zeros"}


def pipeline(*more, lazy=False, keys=("T1w", "FLAIR"), overrides=None, register=QUICK):
    """Our steps as somebody else would write them."""
    every = [key + postfix for key in keys for postfix in ("", ".lesion")]
    return Compose(
        [
            LoadScand(keys),
            Orientationd(every, axcodes="RAS", labels=None),
            SkullStripd(keys, Extracted()),
            RegisterBetweend(keys, Register("rigid", spacing_mm=4.0)),
            AffineToAtlasd(keys, register),
            *more,
        ],
        lazy=lazy,
        overrides=overrides,
    )


def dice(a, b):
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def on_the_atlas(image):
    """Dice of an image's foreground with the atlas's brain, by the affines alone."""
    atlas = load_brain_atlas()
    points = np.argwhere(image.numpy()[0] > 0)
    world = np.c_[points, np.ones(len(points))] @ np.array(image.affine).T
    index = np.rint(world @ np.linalg.inv(atlas.image.affine).T)[:, :3].astype(int)
    inside = ((index >= 0) & (index < atlas.brain_mask.shape)).all(1)
    return atlas.brain_mask[tuple(index[inside].T)].sum() / len(points)


@pytest.mark.slow
def test_lazy_steps_of_monai_and_ours_interpolate_once(brains, monkeypatch):
    from monai.transforms.lazy import functional

    calls = []
    real = functional.resample
    monkeypatch.setattr(functional, "resample", lambda *a, **k: calls.append(a[1]) or real(*a, **k))
    keys = ["T1w", "T1w.brain"]
    more = Spacingd(keys, (2.0, 2.0, 2.0), mode=("bilinear", "nearest"))
    # Lazily, MONAI takes the mode of a mask from here alone.
    overrides = {"T1w.brain": NEAREST, "T1w": {"padding_mode": "zeros"}}
    steps = pipeline(more, lazy=True, keys=("T1w",), overrides=overrides)
    found = steps(dict(brains))
    interpolated = [m for m in calls if not np.allclose(np.abs(m[:3, :3]), np.eye(3), atol=1e-3)]
    assert len(interpolated) == len(keys)
    assert on_the_atlas(found["T1w.brain"]) > 0.95
    assert np.allclose(np.linalg.norm(found["T1w"].affine[:3, :3], axis=0), 2)
    back = steps.inverse(found)["T1w"]
    native = nib.load(brains["T1w"])
    assert np.allclose(back.affine, native.affine, atol=1e-4)
    assert np.corrcoef(back.numpy().ravel(), native.get_fdata().ravel())[0, 1] > 0.98


def test_a_preparation_interpolates_once(brains, tmp_path, monkeypatch):
    """A checkerboard comes out sharper than through two interpolations, and one is counted."""
    from brainuad.preparation.transforms import grid

    board = 50 + 100 * (np.indices((60, 60, 60)).sum(0) // 2 % 2)
    board[:4] = board[-4:] = board[:, :4] = board[:, -4:] = board[:, :, :4] = board[:, :, -4:] = 0
    board = board + np.random.default_rng(0).random(board.shape) * (board > 0)
    affine = turned((7, 5, -9), (3, 1, 2)) @ np.diag([2.0, 2.0, 2.0, 1.0])
    path = tmp_path / "T1w.nii.gz"
    write_volume(path, board.astype(np.float32), affine)
    calls = []
    real = grid.to_prepared
    monkeypatch.setattr(grid, "to_prepared", lambda *a, **k: calls.append(1) or real(*a, **k))
    chain = Preparation(Extracted(most_ml=9000), None, None, None, ("T1w",), 1.5)
    found = chain.compose(["T1w"])({"T1w": path})
    assert len(calls) == 2  # the scan and its mask
    inner = found["T1w"].numpy()[0][20:-20, 20:-20, 20:-20]
    twice = Spacingd("T1w", (1.7, 1.7, 1.7), mode="bilinear")(found)
    twice = Spacingd("T1w", (1.5, 1.5, 1.5), mode="bilinear")(twice)["T1w"].numpy()[0]
    assert inner.std() > 1.3 * twice[20:-20, 20:-20, 20:-20].std()


@pytest.mark.slow
def test_a_whole_preparation_is_undone_for_labels_and_points(brains, tmp_path):
    """By the transforms' inverse, and by the records that evaluation uses."""
    chain = Preparation(Extracted(), None, Register("rigid", spacing_mm=4.0), QUICK, ("T1w",), 1.5)
    steps = chain.compose(["FLAIR", "T1w"])
    found = steps(dict(brains))
    for key in ("T1w", "FLAIR"):
        native = nib.load(brains[f"{key}.lesion"])
        truth = native.get_fdata() > 0
        label = found[f"{key}.lesion"]
        # What a model says, without a history of its own.
        said = {"pred": label.clone(), key: found[key]}
        invert = Invertd("pred", transform=steps, orig_keys=key, nearest_interp=False)
        back = invert(said)["pred"]
        assert dice(back.numpy()[0] >= 0.5, truth) >= 0.97
        assert np.allclose(back.affine, native.affine, atol=1e-4)
        way = way_of(records(found[key]))
        # The reference is registered to the atlas alone.
        assert len(way) == (1 if key == "T1w" else 2)
        points = np.random.default_rng(0).uniform(-60, 60, (200, 3))
        assert prepared_points(native_points(points, way), way) == pytest.approx(points, abs=0.1)
    assert found["T1w"].shape == found["FLAIR"].shape


@pytest.mark.slow
def test_a_warp_resamples_once_and_is_undone(brains, tmp_path):
    warp = DeformToAtlasd(["T1w", "FLAIR"], Deform(4.0, (20, 10)), spacing_mm=3.0, margin_mm=8.0)
    grid = PreparedGridd(["T1w", "FLAIR"], spacing_mm=3.0, margin_mm=8.0)
    steps = pipeline(warp, grid)
    found = steps(dict(brains) | {"warp": tmp_path / "subject"})
    kinds = [record["kind"] for record in records(found["FLAIR"])]
    assert kinds == ["warp", "matrix", "matrix"]
    back = steps.inverse(found)
    for key in ("T1w.lesion", "FLAIR.lesion"):
        truth = nib.load(brains[key]).get_fdata() > 0
        assert dice(back[key].numpy()[0] > 0.5, truth) > 0.93


@pytest.mark.slow
def test_our_steps_feed_monais_datasets(brains, tmp_path):
    keys = ["T1w", "T1w.brain"]
    steps = pipeline(
        N4BiasFieldCorrectiond("T1w", N4(iterations=(5,))),
        ExtractBraind("T1w"),
        Spacingd(keys, (4.0, 4.0, 4.0), mode=("bilinear", "nearest")),
        CropForegroundd(keys, source_key="T1w.brain", margin=2),
        keys=("T1w",),
        register=CRUDE,
    )
    files = [{"T1w": brains["T1w"], "T1w.lesion": brains["T1w.lesion"]}] * 2
    cached = CacheDataset(files, steps, progress=False, hash_as_key=True)
    kept = PersistentDataset(files, steps, cache_dir=tmp_path / "cache")
    # As a worker that is spawned gets them.
    sent = pickle.loads(pickle.dumps(steps))
    assert torch.equal(cached[0]["T1w"], sent(dict(files[0]))["T1w"])
    assert torch.equal(cached[0]["T1w"], kept[0]["T1w"])
    assert torch.equal(cached[0]["T1w"], kept[1]["T1w"])
    batch = next(iter(DataLoader(cached, batch_size=2)))
    assert batch["T1w"].shape[:2] == (2, 1)
    network = torch.nn.Conv3d(1, 1, 3, padding=1)
    with torch.no_grad():
        said = SlidingWindowInferer((24, 24, 24), overlap=0.25)(batch["T1w"], network)
    assert said.shape == batch["T1w"].shape
    item = cached[0]
    pred = MetaTensor(said[0]).copy_meta_from(item["T1w"])
    back = Invertd("pred", steps, orig_keys="T1w", nearest_interp=False)({**item, "pred": pred})
    assert back["pred"].shape[1:] == nib.load(brains["T1w"]).shape
    SaveImaged("T1w", output_dir=tmp_path / "saved", print_log=False)(item)
    (saved,) = (tmp_path / "saved").rglob("*.nii.gz")
    assert np.allclose(nib.load(saved).affine, item["T1w"].affine, atol=1e-3)


@pytest.fixture(scope="module")
def prepared(brains):
    """The T1w brain on the atlas and its mask, at 4 mm."""
    found = pipeline(PreparedGridd("T1w", spacing_mm=4.0), keys=("T1w",))(dict(brains))
    return found["T1w"], found["T1w.brain"]


@pytest.mark.slow
@pytest.mark.parametrize("library", ["plain", "torchio"])
def test_images_of_torchio_go_in_and_come_out(prepared, library):
    """By tensor and affine alone, so that any object with these two will do."""
    image, mask = prepared
    if library == "torchio":
        torchio = pytest.importorskip("torchio")
        subject = torchio.Subject(
            T1w=torchio.ScalarImage(tensor=image.as_tensor(), affine=image.affine.numpy()),
            brain=torchio.LabelMap(tensor=mask.as_tensor(), affine=mask.affine.numpy()),
        )
        subject = torchio.CropOrPad((40, 48, 40))(subject)
    else:
        subject = SimpleNamespace(
            T1w=SimpleNamespace(data=image.as_tensor(), affine=image.affine.numpy()),
            brain=SimpleNamespace(data=mask.as_tensor(), affine=mask.affine.numpy()),
        )
    names = {"T1w": subject.T1w, "T1w.brain": subject.brain}
    data = {key: MetaTensor(one.data, affine=one.affine) for key, one in names.items()}
    steps = Compose([N4BiasFieldCorrectiond("T1w", N4(iterations=(5,))), ExtractBraind("T1w")])
    corrected = steps(data)["T1w"]
    assert on_the_atlas(corrected) > 0.9
    assert torch.allclose(corrected.affine, torch.as_tensor(np.array(subject.T1w.affine)))
    inside = subject.brain.data > 0
    assert torch.equal(corrected.as_tensor() > 0, inside & (subject.T1w.data > 0))
    assert np.corrcoef(corrected[inside], subject.T1w.data[inside])[0, 1] > 0.95


def test_a_foreign_transform_joins_by_configuration(brains, tmp_path, capsys):
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "a_T1w.nii.gz").write_bytes(brains["T1w"].read_bytes())
    smooth = "{_target_:monai.transforms.GaussianSmoothd,_partial_:true,sigma:3.0}"
    words = ["preparation=extracted", "preparation.steps.spacing_mm=3"]
    main([str(scans), str(tmp_path / "plain"), *words])
    own = f"+preparation.steps.after.skullstrip=[{smooth}]"
    main([str(scans), str(tmp_path / "smooth"), *words, own])
    images = [
        nib.load(tmp_path / name / "work/a_T1w.nii.gz").get_fdata() for name in ("plain", "smooth")
    ]
    rough = [np.abs(np.diff(image, axis=0)).mean() for image in images]
    assert rough[1] < 0.8 * rough[0]
    # The recipe holds it, and makes it again.
    recipe = json.loads((tmp_path / "smooth/cohort.json").read_text())["recipe"]["steps"]
    assert recipe["after"]["skullstrip"][0]["sigma"] == 3.0
    again = instantiate(recipe, packages=PREPARATION)
    assert "GaussianSmoothd(sigma=3.0)" in (tmp_path / "smooth/qc.html").read_text()
    assert recipe_of(again) == recipe
    capsys.readouterr()
    assert main(["--explain", *words, own]) == 0
    said = capsys.readouterr().out
    assert "3. skullstrip: SkullStripd" in said
    assert "GaussianSmoothd(sigma=3.0)" in said
    assert "load: LoadScand" in said


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("monai.transforms.SaveImaged", "is defined elsewhere"),
        ("monai.transforms.Lambdad", "is defined elsewhere"),
        ("monai.data.CacheDataset", "is not allowed here"),
        ("os.system", "is not allowed here"),
    ],
)
def test_a_recipe_names_no_transform_that_touches_files(target, said):
    with pytest.raises(InputError, match=said):
        instantiate({"_target_": target, "_partial_": True}, packages=PREPARATION)


def test_explain_names_every_step_and_what_it_does(capsys):
    assert main(["--explain", "preparation=deformable", "preparation.steps.bias=null"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    names = ("LoadScand", "Orientationd", "SkullStripd", "RegisterBetweend", "AffineToAtlasd")
    places = [said.index(name) for name in (*names, "DeformToAtlasd", "PreparedGridd", "normalise")]
    assert places == sorted(places)
    assert "N4" not in said
    for word in ("grid", "intensities"):
        assert sum(line.startswith(f"      {word}: ") for line in lines) == 10
    assert "?" not in said
    assert main(["--explain", "preparation=nonsense"]) != 0


def test_a_scan_that_fails_leaves_the_others(brains, tmp_path):
    broken = tmp_path / "FLAIR.nii.gz"
    broken.write_bytes(b"no scan")
    with pytest.raises(RuntimeError) as raised:
        pipeline()(dict(brains) | {"FLAIR": broken})
    assert str(raised.value.__cause__).startswith(f"{broken}: ")
    scans = [RawScan("p", "T1w", brains["T1w"], True), RawScan("p", "FLAIR", broken, True)]
    chain = Preparation(Extracted(), None, Register("rigid"), CRUDE, ("FLAIR", "T1w"), 3.0)
    records, failures = prepare_subject(scans, chain, tmp_path / "out")
    assert [record.sequence for record in records] == ["T1w"]
    assert failures[0][0] == "p"
    assert failures[0][1].startswith(f"{broken}: ")
    assert len(read_way(tmp_path / "out" / records[0].transform)) == 1


def test_a_foreign_step_with_keys_is_refused():
    wrong = {"_target_": "monai.transforms.GaussianSmoothd", "keys": ["T1w"], "sigma": 1.0}
    steps = Preparation(
        Extracted(),
        None,
        None,
        None,
        ("T1w",),
        2.0,
        after={"bias": [instantiate(wrong, packages=PREPARATION)]},
    )
    with pytest.raises(InputError, match="_partial_: true and without keys"):
        steps.compose(["T1w"])
    with pytest.raises(InputError, match=r"no step \['biass'\]"):
        Preparation(Extracted(), None, None, None, ("T1w",), 2.0, after={"biass": []})


def test_white_stripe_by_hand():
    """Grey matter at 60, white at 100 with a known spread: the stripe is white matter's middle."""
    rng = np.random.default_rng(0)
    inside = np.r_[rng.normal(60, 6, 30_000), rng.normal(100, 4, 20_000)]
    image = np.zeros((50, 50, 21), np.float32)
    image[:, :, :20] = inside.reshape(50, 50, 20)
    mask = np.zeros(image.shape, np.float32)
    mask[:, :, :20] = 1
    data = {
        "T1w": MetaTensor(torch.from_numpy(image)[None]),
        "T1w.brain": MetaTensor(torch.from_numpy(mask)[None]),
    }
    found = WhiteStriped("T1w")(data)["T1w"].numpy()[0]
    assert (found[:, :, 20] == 0).all()
    slope, intercept = np.polyfit(image[mask > 0], found[mask > 0], 1)
    assert -intercept / slope == pytest.approx(100, abs=1.5)
    # 5 % of all voxels to each side of the peak are a quarter of white matter: ±0.32 of its
    # standard deviation of 4, nearly uniform.
    low, high = 100 - 0.3186 * 4 * 1.25, 100 + 0.3186 * 4 * 1.25
    assert 1 / slope == pytest.approx((high - low) / np.sqrt(12), rel=0.3)
    largest = WhiteStriped("T1w", "largest")(data)["T1w"].numpy()[0]
    slope, intercept = np.polyfit(image[mask > 0], largest[mask > 0], 1)
    assert -intercept / slope == pytest.approx(60, abs=1.5)
    with pytest.raises(ValueError, match="use last or largest"):
        WhiteStriped("T1w", "middle")
    flat = data | {"T1w": MetaTensor(torch.ones(1, 50, 50, 21))}
    with pytest.raises(InputError, match="constant"):
        WhiteStriped("T1w")(flat)


def curvature_step(image, time_step):
    """I + dt (sum_ij I_i^2 I_jj - I_i I_j I_ij) / |grad I|^2, by central differences."""
    around = np.pad(image, 1, mode="edge")

    def at(*offset):
        window = (slice(1 + o, 1 + o + n) for o, n in zip(offset, image.shape, strict=True))
        return around[tuple(window)]

    unit = np.eye(3, dtype=int)
    first = [(at(*u) - at(*-u)) / 2 for u in unit]
    update = np.zeros_like(image)
    for i, u in enumerate(unit):
        for j, v in enumerate(unit):
            if i != j:
                second = at(*v) + at(*-v) - 2 * image
                cross = (at(*(u + v)) + at(*-(u + v)) - at(*(u - v)) - at(*(v - u))) / 4
                update += first[i] ** 2 * second - first[i] * first[j] * cross
    size = sum(f**2 for f in first)
    return image + time_step * np.divide(update, size, out=np.zeros_like(image), where=size > 1e-9)


def test_curvature_flow_is_its_equation():
    rng = np.random.default_rng(0)
    image = 100 * ndimage.gaussian_filter(rng.random((9, 11, 10)), 1)
    mask = np.zeros(image.shape)
    mask[2:-2, 2:-2, 2:-2] = 1
    data = {"a": MetaTensor(torch.from_numpy(image.astype(np.float32))[None])}
    data["a.brain"] = MetaTensor(torch.from_numpy(mask.astype(np.float32))[None])
    expected = image
    for _ in range(3):
        expected = curvature_step(expected, 0.125)
    found = CurvatureFlowd("a")(data)["a"].numpy()[0]
    assert np.abs(expected - image)[mask > 0].max() > 0.5
    np.testing.assert_allclose(found, np.where(mask > 0, expected, 0), atol=1e-3)


def test_curvature_flow_is_a_step_of_the_preparation():
    with initialize_config_module("brainuad.configs", version_base="1.3"):
        cfg = compose("prepare", ["preparation=curvature_flow"])
    named = instantiate(cfg.preparation.steps, packages=PREPARATION).transforms(["T2w"])
    name, step, given = named[-1]
    assert (name, type(step)) == ("grid", CurvatureFlowd)
    # src/datamodules/create_dataset.py:209 and configs/datamodule/IXI.yaml:45 of pDDPM.
    assert given == {"iterations": 3, "time_step": 0.125}
    assert step.keys == ("T2w",)


def test_normalisation_and_tissue_maps_are_those_of_the_functions(brains):
    image, mask = atlas_at(4.0)
    data = {
        "a": MetaTensor(torch.from_numpy(image.array)[None], affine=torch.eye(4).double() * 4),
        "a.brain": MetaTensor(torch.from_numpy(mask.astype(np.float32))[None]),
    }
    fitted = Nyul().fitted([(image.array, mask)])
    found = NyulNormalized("a", fitted.standard)(data)["a"].numpy()[0]
    assert np.array_equal(found, fitted(image.array, mask))
    tissue = TissueInput(bias_sigma_mm=None)
    found = TissueMapd("a", tissue)(data)["a"].numpy()[0]
    assert np.array_equal(found, tissue.of(image.array, mask, (4.0, 4.0, 4.0)).astype(np.float32))


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([{"version": 2, "kind": "matrix"}], "version 2, expected 1"),
        ([{"version": 1, "kind": "spline"}], "kind 'spline'"),
        ([{"version": 1, "kind": "matrix", "matrix": [[1, 2], [3, 4]]}], r"expected \(4, 4\)"),
        ([{"version": 1, "kind": "matrix", "matrix": np.zeros((4, 4)).tolist()}], "no inverse"),
        ([{"kind": "matrix"}], "version"),
        (["matrix"], "no record of a way back"),
    ],
)
def test_records_that_are_none_are_refused(tmp_path, records, said):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(records))
    with pytest.raises(InputError, match=said) as error:
        read_way(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("step", ["skullstrip", "grid"])
def test_a_foreign_step_that_changes_the_grid_takes_the_masks_along(brains, tmp_path, step):
    scan = RawScan("p", "T1w", brains["T1w"], False, lesion_mask=brains["T1w.lesion"])
    coarse = partial(Spacingd, pixdim=(6.0, 6.0, 6.0))
    chain = Preparation(Extracted(), None, None, None, ("T1w",), 3.0, after={step: [coarse]})
    records, failures = prepare_subject([scan], chain, tmp_path)
    assert not failures
    image, mask, lesion = (
        nib.load(tmp_path / getattr(records[0], key))
        for key in ("image", "brain_mask", "lesion_mask")
    )
    assert image.shape == mask.shape == lesion.shape
    inside = mask.get_fdata() > 0
    assert image.get_fdata()[inside].mean() > 5 * np.abs(image.get_fdata()[~inside]).mean()
    assert 0 < lesion.get_fdata().sum() < 0.05 * inside.sum()


def test_what_is_missing_or_ambiguous_is_said(brains, tmp_path):
    loaded = LoadScand("T1w")({"T1w": brains["T1w"]})
    with pytest.raises(InputError, match=r"no brain mask under 'T1w\.brain'; run SkullStripd"):
        ExtractBraind("T1w")(loaded)
    chain = Preparation(Extracted(), None, None, None, ("T1w",), 3.0)
    scans = [RawScan("p", name, brains["T1w"], True) for name in ("T1w", "T1w.brain")]
    records, failures = prepare_subject(scans, chain, tmp_path)
    assert not records
    assert "leave the '.' out of its name" in failures[0][1]


def test_a_warp_outside_the_records_folder_is_refused(tmp_path):
    path = tmp_path / "a.json"
    names = {"field": "../w.nii.gz", "inverse": "../w_inverse.nii.gz"}
    path.write_text(json.dumps([{"version": 1, "kind": "warp", **names}]))
    with pytest.raises(InputError, match="names a warp outside its folder"):
        read_way(path)
