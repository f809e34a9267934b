"""What Hydra refuses, in our words, through the commands that compose a configuration."""

import shlex

import pytest

from brainuad.cli import evaluate, train
from brainuad.errors import InputError
from brainuad.settings.compose import compose_preparation
from brainuad.settings.hydra_words import composed, require_read

HYDRAS = ("hydra", "mismatched", "viable", "config use", "search path", "object_type", "full_key")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("data.seqence=T2w", "there is no setting data.seqence; did you mean data.sequence"),
        ("spacing_mm=2", "did you mean data.spacing_mm"),
        ("experment=madad", "did you mean experiment?"),
        ("trainer.nosuch=1", "+trainer.nosuch=1 hands it on to lightning.pytorch.Trainer"),
        ("experiment=madadd", "did you mean experiment=madad"),
        ("model/residul=l1", "did you mean model/residual"),
        ("trainer=gpu", "trainer is one of ddp, ddp_cpu, default, smoke"),
        ("+seed=3", "write seed=3 without the +"),
        ("+sead=3", "there is no setting sead; did you mean seed?"),
        ("++paths.chache_dir=x", "did you mean paths.cache_dir"),
        ("+data.cohort=3", "write data.cohort=3 without the +"),
        ("~seedd", "did you mean ~seed"),
        ("seed", "seed: is no setting; write KEY=VALUE"),
        ("seed=1,2", "several values are a sweep; add -m"),
        ("seed.x=1", "seed.x=1: "),
        ("data.source=a=b (1)", """write 'data.source="a=b (1)"' to take it"""),
        ("data.source=[a", "close every bracket"),
        ("data.source={a", "close every bracket"),
        ('data.source="a', "close every bracket"),
        ("da ta=3", "'da ta' cannot be the name of a setting"),
        ("--config-name=nosuch", "nosuch"),
    ],
)
def test_a_word_that_cannot_be_meant_is_one_line_with_the_remedy(
    tmp_path, monkeypatch, capsys, word, said
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train.py", "experiment=vae", word])
    assert train.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not [one for one in HYDRAS if one in line.replace("hands", "").lower()]
    assert list(tmp_path.iterdir()) == []


def test_what_is_added_for_a_class_or_for_another_word_is_taken():
    words = ["+preparation.steps.after.skullstrip=[]", "+mine=2"]
    words.append("preparation.steps.spacing_mm=${mine}")
    assert compose_preparation(words).preparation.steps.spacing_mm == 2
    with pytest.raises(InputError, match="there is no setting mine;"):
        compose_preparation(words[:2])


def test_the_quotes_that_are_offered_are_the_right_ones(capsys, monkeypatch):
    """Said with them, the value arrives as it was meant."""
    value = 'x="y" (a\\b), [c'
    with pytest.raises(InputError) as caught:
        compose_preparation([f"sequence={value}"])
    offered = str(caught.value).partition("or write ")[2].removesuffix(" to take it as it is")
    assert compose_preparation(shlex.split(offered)).sequence == value


def test_a_value_that_is_not_set_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words, said in (
        (["data.sequence=T1w"], "error: maps is not set; give maps=VALUE"),
        (["maps=.", "space=${nosuch}"], "error: space: Interpolation key 'nosuch' not found"),
        (["maps=.", "~space"], "error: space: is missing in the configuration"),
    ):
        monkeypatch.setattr("sys.argv", ["evaluate.py", *words])
        assert evaluate.main() == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(said)


def test_the_share_of_bright_lesions_follows_the_sequence():
    words = ["experiment=fpi_shapes", "lesions.folder=masks"]
    for sequence, share in (("FLAIR", 0.92), ("T1w", 0.08), ("[T1w,T2w]", 0.5)):
        cfg = composed("train", [*words, f"data.sequence={sequence}"])
        assert cfg.model.corruption.corruptions[0].bright == share


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("+also.clean={scores_by: clean}", "experiment=madad"),
        ("+controls.mine={model: {_target_: a.B}}",),
        ("+lesion_sides.SWI=negative", "data.sequence=SWI"),
        ("model/corruption=real_shapes", "+lesions.folder=x", "experiment=fpi"),
        ("+mine=2", "seed=${oc.select:mine,1}"),
        ("+data.mine=2", "data.spacing_mm=${.mine}"),
        ("++seed=3",),
        ("+trainer.limit_train_batches=2",),
        ("+callbacks.mine._target_=a.B",),
        ("+model/residual@model.other=l1",),
    ],
)
def test_what_is_added_to_be_read_is_taken(words):
    words = list(words)
    require_read(composed("train", words), "train", words)


def test_a_folder_of_own_configurations_has_keys_of_its_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\nmykey: 3\n")
    words = ["--config-dir", str(tmp_path), "experiment=mine", "++mykey=4", "device=nosuch"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train.py", *words, "data=folder", "data.source=nowhere"])
    assert train.main() == 2
    assert "mykey" not in capsys.readouterr().err
