"""Models that somebody else made: nothing in them is executed, and no nonsense is believed."""

import copy
import importlib
import json
import math
import random

import pytest
import torch
from safetensors.torch import save_file
from tiny import write_tiny_cohort, write_tiny_model
from watch import watched

import brainuad
from brainuad.cli.predict import main as predict
from brainuad.cohorts.manifest import read_cohort
from brainuad.errors import InputError
from brainuad.model.bundle import write_bundle
from brainuad.model.checkpoint import read_checkpoint
from brainuad.model.know import know
from brainuad.model.model import Model
from brainuad.settings.allowed import MODEL
from brainuad.training.first_stage import read_first_stage

CANARY = "BRAINUAD_CANARY"


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """Weights and card of an honest model."""
    path = write_tiny_model(tmp_path_factory.mktemp("honest") / "model.ckpt", "strega")
    content = read_checkpoint(path)
    return content["state_dict"], content["brainuad"]


def _bundle(path, honest, change):
    weights, card = copy.deepcopy(honest)
    change(card)
    write_bundle(path, weights, card, "")
    return path


def _checkpoint(path, honest, change):
    weights, card = copy.deepcopy(honest)
    change(card)
    torch.save({"state_dict": weights, "brainuad": card}, path)
    return path


def _put(*keys):
    def put(value):
        def change(card):
            inner = card
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = value

        return change

    return put


PLACES = [
    ("model", "kl_weight"),
    ("tiling", "size"),
    ("postprocess", "map_steps"),
    ("preparation", "limits", "noise"),
    ("preparation", "steps", "spacing_mm"),
    ("name",),
    ("statistics",),
    ("cohort",),
    ("subjects", "train"),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "value",
    [
        "${oc.create:{_target_: os.system, command: 'touch PATH'}}",
        f"${{oc.env:{CANARY}}}",
        ["${oc.create:{_target_: os.mkdir, path: PATH}}"],
    ],
)
def test_an_interpolation_is_never_filled_in(tmp_path, monkeypatch, honest, place, value):
    monkeypatch.setenv(CANARY, "secret-value")
    value = json.loads(json.dumps(value).replace("PATH", str(tmp_path / "executed")))
    path = _bundle(tmp_path / "b", honest, _put(*place)(value))
    for load in (know, brainuad.load):
        with watched() as seen, pytest.raises(InputError) as caught:
            load(path)
        assert not seen
        assert "secret-value" not in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_a_target_in_a_tuple_of_a_checkpoint_is_seen(tmp_path, honest):
    value = ({"_target_": "os.mkdir", "path": str(tmp_path / "executed")},)
    path = _checkpoint(tmp_path / "m.ckpt", honest, _put("postprocess", "map_steps")(value))
    with pytest.raises(InputError, match="not allowed in a file"):
        Model.load(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "target",
    [
        *("monai.networks.utils.save_state", "monai.losses.perceptual.PerceptualLoss"),
        *("brainuad.volumes.native_space.read_way", "brainuad.preparation.cohort._start_worker"),
    ],
)
@pytest.mark.parametrize("place", [("model", "network"), ("relative",), ("tiling", "size")])
def test_allowed_packages_do_not_make_a_name_allowed(tmp_path, honest, target, place):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    made = {"_target_": target, "src": {}, "path": str(victim), "transform": str(victim)}
    path = _bundle(tmp_path / "b", honest, _put(*place)(made))
    with watched() as seen, pytest.raises(InputError, match="not allowed in a file"):
        brainuad.load(path)
    assert not seen
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, honest, bad):
    weights, card = copy.deepcopy(honest)
    name = next(iter(weights))
    weights[name].view(-1)[0] = bad
    write_bundle(tmp_path / "b", weights, card, "")
    with pytest.raises(InputError, match=f"its weights {name} hold NaN or infinite"):
        Model.load(tmp_path / "b")


@pytest.mark.parametrize("bad", [math.nan, math.inf, "high", True, [0.5]])
def test_a_threshold_is_a_finite_number(tmp_path, honest, bad):
    path = _checkpoint(tmp_path / "m.ckpt", honest, _put("threshold")(bad))
    with pytest.raises(InputError, match="threshold"):
        know(path)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [1.0],
        {"scan": math.nan},
        {"scan": 1.0},
        {"scan": [1.0, 2.0]},
        {"mebin": 1.0},
        {"fixed": "high"},
    ],
)
def test_thresholds_of_a_card_are_numbers_by_name(tmp_path, honest, bad):
    path = _checkpoint(tmp_path / "m.ckpt", honest, _put("thresholds")(bad))
    with pytest.raises(InputError, match=r"thresholds(\.scan)? is n"):
        know(path)


@pytest.mark.parametrize("word", ["nan", "inf", "-inf"])
def test_a_threshold_of_the_command_is_finite(tmp_path, honest, word, capsys):
    path = _bundle(tmp_path / "b", honest, lambda card: None)
    cohort = write_tiny_cohort(tmp_path / "cohort")
    words = [str(path), str(cohort.root), str(tmp_path / "out"), f"--threshold={word}"]
    assert predict(words) == 2
    assert "threshold" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("sequence", "x/../../../escaped"), ("sequence", ".."), ("sequence", "T1w\x1b[31m")),
        *(("sequence", 3), ("name", "a\nb"), ("name", ""), ("subjects", [1]), ("subjects", "all")),
        *(("flips", "yes"), ("space", "/etc"), ("tiling", None), ("run", []), ("input", {})),
        *(("preparation", {"steps": {}}), ("model", {}), ("statistics", 5), ("seed", "x")),
    ],
)
def test_what_a_card_should_have_is_named(tmp_path, honest, key, value):
    path = _bundle(tmp_path / "b", honest, _put(key)(value))
    with pytest.raises(InputError, match=f"card is not valid: .*{key} is not") as caught:
        know(path)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("model", "kl_weight"), "much", "kl_weight is 'much', not float"),
        (("tiling", "size"), [24], r"size is \[24\], not tuple"),
        (("postprocess", "map_steps"), [3], r"map_steps is \[3\]"),
        (("postprocess", "mask_steps", 0, "min_volume_mm3"), None, "min_volume_mm3 is None"),
        (("preparation", "limits", "noise"), "loud", "noise is 'loud', not float"),
        (("preparation", "steps", "reference"), 3, "reference is 3"),
        (("preparation", "steps", "skullstrip"), True, "skullstrip is True"),
        (("preparation", "normalise", "low"), {}, "low is {}"),
        (("tiling", "_target_"), "brainuad.postprocess.scale.Clip", "cannot be made|in place of"),
        (("postprocess", "threshold"), {"_target_": "brainuad.postprocess.scale.Sign"}, "."),
    ],
)
def test_a_value_of_another_kind_is_said_before_any_scan(tmp_path, honest, place, value, words):
    path = _bundle(tmp_path / "b", honest, _put(*place)(value))
    with pytest.raises(InputError, match=words) as caught:
        brainuad.load(path)
    assert_one_line(caught.value)


@pytest.mark.parametrize("place", [("postprocess",), ("tiling",), ("preparation", "limits")])
def test_an_object_of_another_kind_is_refused(tmp_path, honest, place):
    """Each is allowed somewhere, but not here."""
    other = {"_target_": "brainuad.preparation.normalise.intensity.Percentile"}
    path = _bundle(tmp_path / "b", honest, _put(*place)(other))
    with pytest.raises(InputError, match=r"stands in place of|not allowed"):
        brainuad.load(path)


@pytest.mark.parametrize(
    "value",
    [
        *(0, "", [], {}, {"measures": {}}),
        {"measures": {"noise": ["x"]}, "percentiles": [], "quantiles": [], "scores": []},
        {"measures": {}, "percentiles": [0, 300], "quantiles": [0, 1], "scores": []},
        {"measures": {}, "percentiles": [0, 50], "quantiles": [0], "scores": []},
    ],
)
def test_statistics_are_lists_of_numbers(tmp_path, honest, value):
    path = _bundle(tmp_path / "b", honest, _put("statistics")(value))
    with pytest.raises(InputError, match="statistics is not statistics of a training cohort"):
        know(path)


def test_every_violation_is_named_at_once(tmp_path, honest):
    def change(card):
        card |= {"flips": 1, "sequence": "/", "threshold": "x"}

    with pytest.raises(InputError, match=r"sequence is not .*flips is not .*threshold is not"):
        know(_bundle(tmp_path / "b", honest, change))


def test_a_layer_larger_than_its_weights_takes_no_memory(tmp_path, honest):
    """20,000 x 20,000 numbers would be 1.6 GB, and 100 of them more than the machine has."""
    import resource

    change = _put("model", "network", "latent_dim")(20_000_000)
    path = _bundle(tmp_path / "b", honest, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="do not fit its model"):
        Model.load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_map_that_is_not_finite_is_a_failure_and_not_a_healthy_brain(tmp_path, honest, capsys):
    weights, card = copy.deepcopy(honest)
    weights = {name: value * 1e30 for name, value in weights.items()}
    write_bundle(tmp_path / "b", weights, card, "")
    cohort = write_tiny_cohort(tmp_path / "cohort")
    assert predict([str(tmp_path / "b"), str(cohort.root), str(tmp_path / "out")]) != 0
    assert "NaN or infinite" in capsys.readouterr().err


def test_a_mask_over_most_of_the_brain_is_flagged(tmp_path):
    model = write_tiny_model(tmp_path / "m.ckpt", "intensity", threshold=-1e9)
    scan = read_cohort(write_tiny_cohort(tmp_path / "cohort").root).scans[0].image
    found = brainuad.load(model).predict(scan)
    assert found.mask.any()
    assert any("of the brain is marked" in flag for flag in found.flags)
    found = brainuad.load(model, threshold=0.75).predict(scan)
    assert not any("of the brain is marked" in flag for flag in found.flags)


def test_a_first_stage_of_a_stranger_is_checked_too(tmp_path, monkeypatch):
    monkeypatch.setenv(CANARY, "secret-value")
    for value, words in (
        (f"${{oc.env:{CANARY}}}", "no plain data"),
        ({"_target_": "os.system", "command": "true"}, "not allowed in a file"),
    ):
        model = {"_target_": "brainuad.methods.autoencoder.KLAutoencoder"}
        model |= {"autoencoder": {"_target_": value if isinstance(value, str) else "x", "n": value}}
        content = {
            "state_dict": {"autoencoder.scale": torch.ones(())},
            "brainuad": {"model": model},
        }
        torch.save(content, tmp_path / "a.ckpt")
        with pytest.raises(InputError, match=words) as caught:
            read_first_stage(tmp_path / "a.ckpt")
        assert "secret-value" not in str(caught.value)


def test_a_cohorts_recipe_is_data(tmp_path, monkeypatch):
    monkeypatch.setenv(CANARY, "secret-value")
    cohort = write_tiny_cohort(tmp_path / "cohort")
    info = {"recipe": {"steps": {}, "limits": f"${{oc.env:{CANARY}}}", "normalise": {}}}
    (cohort.root / "cohort.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match=r"cohort\.json") as caught:
        read_cohort(cohort.root)
    assert "secret-value" not in str(caught.value)
    (cohort.root / "cohort.json").write_text("[" * 5000)
    with pytest.raises(InputError, match=r"cohort\.json"):
        read_cohort(cohort.root)


@pytest.mark.slow
def test_checkpoints_with_changed_bytes_load_or_are_one_line(tmp_path, honest):
    path = _checkpoint(tmp_path / "m.ckpt", honest, lambda card: None)
    whole = path.read_bytes()
    draw, refused = random.Random(0), 0
    for _ in range(100):
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        path.write_bytes(changed[: draw.choice([len(changed), draw.randrange(len(changed))])])
        try:
            Model.load(path)
        except InputError as error:
            refused += 1
            assert_one_line(error)
    assert refused > 30


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02."])
def test_an_empty_or_foreign_checkpoint_is_one_line(tmp_path, content):
    (tmp_path / "m.ckpt").write_bytes(content)
    for load in (Model.load, know):
        with pytest.raises(InputError, match="not a readable checkpoint"):
            load(tmp_path / "m.ckpt")


POISON = [
    *(math.nan, math.inf, -1, 0, 10**9, 1e300, "", "x" * 300, "../../x", "\x00", "${oc.env:HOME}"),
    *(None, True, [], {}, [[]], {"_target_": "os.getcwd"}, {"_target_": "os.fork"}),
    {"_target_": "brainuad.methods.intensity.IntensityDetector"},
    {"_target_": "monai.networks.nets.basic_unet.BasicUNet", "features": [10**6] * 6},
]


def _mutated(card, draw):
    """A card with one to three values changed, taken away or added, anywhere in it."""
    card = copy.deepcopy(card)
    for _ in range(draw.randint(1, 3)):
        inner, spots = card, []
        stack = [card]
        while stack:
            inner = stack.pop()
            keys = inner if isinstance(inner, dict) else range(len(inner))
            for key in list(keys):
                spots.append((inner, key))
                if isinstance(inner[key], dict | list):
                    stack.append(inner[key])
        if not spots:
            break
        inner, key = draw.choice(spots)
        kind = draw.random()
        if kind < 0.15 and isinstance(inner, dict):
            del inner[key]
        elif kind < 0.3 and isinstance(inner, dict):
            inner[draw.choice(["more", "_args_", "_target_", "${x}"])] = draw.choice(POISON)
        else:
            inner[key] = copy.deepcopy(draw.choice(POISON))
    return card


def _fuzz(tmp_path, honest, cases):
    weights, card = honest
    refused = 0
    brainuad.load(_bundle(tmp_path / "first", honest, lambda card: None))
    # All that a card may name is imported: libraries make folders of their own, the first time.
    for name in MODEL:
        importlib.import_module(name.rpartition(".")[0])
    for case in range(cases):
        draw = random.Random(case)
        path = tmp_path / "b"
        path.mkdir(exist_ok=True)
        content = json.dumps(_mutated(card, draw)).encode()
        if draw.random() < 0.1:
            place = draw.randrange(len(content))
            content = content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]
        save_file(weights, path / "weights.safetensors")
        (path / "card.json").write_bytes(content)
        (path / "MODEL_CARD.md").touch()
        _rehash(path)
        with watched((brainuad_cache(),)) as seen:
            try:
                brainuad.load(path)
            except InputError as error:
                refused += 1
                assert_one_line(error)
        assert not seen, (case, seen)
    return refused


def assert_one_line(error):
    assert "\n" not in str(error)


def brainuad_cache():
    from brainuad.machine.cache import cache_folder

    return cache_folder()


def _rehash(path):
    import hashlib

    names = ("weights.safetensors", "card.json", "MODEL_CARD.md")
    hashes = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in names}
    (path / "sha256.json").write_text(json.dumps(hashes))


@pytest.mark.slow
def test_changed_bundles_load_or_are_refused_and_touch_nothing(tmp_path, honest):
    assert 100 < _fuzz(tmp_path, honest, 200) < 200


@pytest.mark.fuzz
def test_five_thousand_changed_bundles(tmp_path, honest):
    assert _fuzz(tmp_path, honest, 5000) > 2500
