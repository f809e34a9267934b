"""What a method gains by relative scores, subject by subject, as the study's table says it."""

import pandas as pd

from brainuad.benchmark.plan import read_settings
from brainuad.benchmark.scores import TESTED
from experiments.relative.study import STUDY, SUFFIX, gains


def test_pairs_are_of_one_subject_each_whatever_their_order():
    plain = {f"s{i}": 0.1 * i for i in range(6)}
    rows = [("a", name, value) for name, value in plain.items()]
    rows += [("a_relative", name, value + 0.2) for name, value in reversed(plain.items())]
    # Scored in one way alone: no row.
    rows += [("b", name, 0.0) for name in plain]
    table = pd.DataFrame(rows, columns=["method", "subject", "AP"])
    table = table.assign(cohort="c", sequence="T2w", Dice=0.5)
    header, cells = gains(table)
    assert header[:7] == [
        *("cohort", "sequence", "method"),
        *("AP, as it is", "AP, relative", "difference", "p"),
    ]
    # Six equal gains: the smallest p of six pairs is 2 / 2^6, doubled for the two measures.
    ap = ["0.250", "0.450", "+0.200 [+0.200, +0.200]", "0.062"]
    dice = ["0.500", "0.500", "+0.000 [+0.000, +0.000]", "1"]
    assert cells == [["c", "T2w", "a", *ap, *dice]]
    # Against another method, which is not compared with itself.
    (against,) = gains(table, "b")[1]
    assert [*against[:5], against[6]] == ["c", "T2w", "a", "0.000", "0.450", "0.062"]
    assert gains(table, "a_relative")[1] == []


def test_every_method_is_listed_both_ways():
    methods = read_settings(STUDY.settings)["methods"]
    plain = [name for name in methods if not name.endswith(SUFFIX)]
    assert sorted(methods) == sorted([*plain, *(name + SUFFIX for name in plain)])
    for name in plain:
        own, relative = methods[name], methods[name + SUFFIX]
        assert relative["small"] == f"{own['small']} relative=healthy"
        # What learns is not trained twice.
        assert relative.get("of") == (name if own.get("learns", True) else None)
    assert TESTED == ("AP", "Dice")
