import pytest
from tiny import write_tiny_cohort

from brainuad.cohorts.folds import with_fold
from brainuad.cohorts.manifest import read_cohort, write_cohort
from brainuad.errors import InputError


def test_round_trip_keeps_every_field(tiny_cohort):
    again = read_cohort(tiny_cohort.root)
    assert again.scans == tiny_cohort.scans
    assert again.name == "tiny"
    assert (tiny_cohort.root / "manifest.csv").read_text().count(str(tiny_cohort.root)) == 0


def test_select_filters_split_sequence_and_health(tiny_cohort):
    assert len(tiny_cohort.select("train", "T2w")) == 3
    assert [s.subject for s in tiny_cohort.select("test", "T2w", healthy=False)] == [
        "sub06",
        "sub07",
    ]


@pytest.mark.parametrize(("split", "sequence"), [("val", "FLAIR"), ("dev", "T2w")])
def test_an_empty_split_says_what_there_is(tiny_cohort, split, sequence):
    with pytest.raises(InputError, match=f"no {sequence} scan in split '{split}'.*3 T2w train"):
        tiny_cohort.select(split, sequence)
    assert tiny_cohort.select(split, sequence, allow_empty=True) == ()


def test_split_hash_depends_on_the_split_alone(tmp_path):
    a, b, c = (
        write_tiny_cohort(tmp_path / n, **k)
        for n, k in [("a", {}), ("b", {}), ("c", {"val": 1, "test": 2})]
    )
    assert a.split_hash() == b.split_hash() != c.split_hash()


def _edit(cohort, old, new):
    path = cohort.root / "manifest.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("healthy,split", "healthy,fold", "missing columns .*split.*unknown columns .*fold"),
        ("true,train", "true,dev", "split 'dev'; use train, val, test"),
        ("true,train", "yes,train", "line 2: healthy is 'yes'; write true or false"),
        ("sub01,T2w", "sub00,T2w", "sub00 has 2 rows for T2w"),
        ("sub03,T2w,", "sub00,FLAIR,", "subject sub00 is in two splits, train and val"),
        ("sub00,T2w,sub00.nii.gz", "sub00,T2w,", "line 2: column image is empty"),
        ("sub00,T2w", "../sub00,T2w", "cannot name a file"),
        ("false,test", "false,train", "not healthy but in split 'train'"),
        (",box,2.0", ",box,much", "contrast is 'much'; write a number"),
    ],
)
def test_bad_rows_are_refused_by_name(tiny_cohort, old, new, words):
    _edit(tiny_cohort, old, new)
    with pytest.raises(InputError, match=words) as caught:
        read_cohort(tiny_cohort.root)
    assert "manifest.csv" in str(caught.value)


def test_missing_manifest_and_broken_json(tmp_path, tiny_cohort):
    with pytest.raises(InputError, match="brainuad-prepare"):
        read_cohort(tmp_path)
    (tiny_cohort.root / "cohort.json").write_text("{")
    with pytest.raises(InputError, match=r"cohort\.json: not valid JSON"):
        read_cohort(tiny_cohort.root)


def test_nothing_is_written_when_the_rows_are_bad(tmp_path, tiny_cohort):
    twice = [tiny_cohort.scans[0], tiny_cohort.scans[0]]
    with pytest.raises(InputError, match="has 2 rows"):
        write_cohort(tmp_path / "new", twice, {})
    assert not (tmp_path / "new" / "manifest.csv").exists()


def test_folds_deal_out_the_healthy_and_leave_the_test_alone(tmp_path):
    cohort = write_tiny_cohort(tmp_path, train=7, val=3, test=2, sick=2)
    parts = [with_fold(cohort, 5, fold) for fold in range(5)]
    vals = [{s.subject for s in part.select("val", "T2w")} for part in parts]
    assert [len(val) for val in vals] == [2] * 5
    healthy = {s.subject for s in cohort.scans if s.split in ("train", "val")}
    assert set.union(*vals) == healthy
    for part in parts:
        assert part.select("test", "T2w") == cohort.select("test", "T2w")
        assert len(part.select("train", "T2w")) == 8
    assert len({part.split_hash() for part in parts}) == 5
    assert with_fold(cohort, 1, 0) is cohort
    with pytest.raises(InputError, match="data.fold is 2 with data.folds=1"):
        with_fold(cohort, 1, 2)
    with pytest.raises(InputError, match="fold is 5"):
        with_fold(cohort, 5, 5)
