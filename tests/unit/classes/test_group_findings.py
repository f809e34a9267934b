"""Groups of findings of three known kinds."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from brainuad.classes.features import FEATURES
from brainuad.classes.groups import grouped, weighted
from brainuad.errors import InputError

KINDS = {
    "plaque": {"volume_mm3": 150, "depth_mm": 25, "cortex": 0.05, "ventricle_mm": 3},
    "stroke": {"volume_mm3": 40_000, "depth_mm": 12, "cortex": 0.5, "ventricle_mm": 2},
    "tumour": {"volume_mm3": 40_000, "depth_mm": 30, "cortex": 0.1, "ventricle_mm": 10},
}
COMMON = {"elongation": 1.5, "compactness": 0.7, "nearest_mm": 5, "lateral_mm": 30, "contrast": 2.0}


def _row(generator, kind, scan):
    values = {**dict.fromkeys(FEATURES, 1.0), **COMMON, **KINDS[kind]}
    noisy = {name: value * generator.uniform(0.85, 1.15) for name, value in values.items()}
    return {**noisy, "scan_id": scan, "subject": scan, "kind": kind}


@pytest.fixture(scope="module")
def table():
    generator = np.random.default_rng(0)
    rows = []
    for index in range(6):
        rows += [_row(generator, "plaque", f"ms{index}") for _ in range(12)]
        rows += [_row(generator, kind, f"{kind}{index}") for kind in ("stroke", "tumour")]
        # Faint specks, as false findings are.
        speck = _row(generator, "plaque", f"stroke{index}")
        rows.append({**speck, "volume_mm3": 60, "contrast": 0.01, "kind": "speck"})
    return pd.DataFrame(rows).assign(finding=1)


def test_three_kinds_are_three_classes_whatever_their_numbers(table):
    found = grouped(table, 3).table
    known = found.kind != "speck"
    assert adjusted_rand_score(found.kind[known], found["class"][known]) == 1
    scans = found[known].drop_duplicates("scan_id")
    assert adjusted_rand_score(scans.kind, scans["scan_class"]) == 1
    # The same table gives the same numbers, whatever the order of its rows.
    other = grouped(table.sample(frac=1, random_state=0), 3).table
    assert adjusted_rand_score(other.kind[other.kind != "speck"],
                               other["class"][other.kind != "speck"]) == 1  # fmt: skip


def test_the_number_of_classes_is_chosen_by_the_silhouette(table):
    found = grouped(table)
    assert not found.given
    assert list(found.silhouettes) == [2, 3, 4, 5, 6]
    assert found.table["class"].max() == max(found.silhouettes, key=found.silhouettes.get)
    assert list(grouped(table, 4).silhouettes) == [4]


def test_each_scan_counts_alike_and_specks_hardly(table):
    found = weighted(table)
    np.testing.assert_allclose(found.groupby("scan_id").weight.sum(), 1)
    assert found.weight[found.kind == "speck"].max() < 1e-3
    assert found.alike[found.kind == "plaque"].between(11, 12).all()
    assert found.alike[found.kind == "stroke"].max() == pytest.approx(1, abs=1e-2)


def test_what_is_unknown_does_not_count(table):
    plane = table.assign(ventricle_mm=np.nan, cortex=np.nan, contrast=np.nan)
    assert grouped(plane, 3).table["class"].max() == 3


def test_too_few_findings_are_refused(table):
    with pytest.raises(InputError, match="2 findings are too few for two or more classes"):
        grouped(table.head(2))
    with pytest.raises(InputError, match="too few for 5"):
        grouped(table.head(5), 5)
    same = pd.concat([table.head(1)] * 4, ignore_index=True)
    with pytest.raises(InputError, match="too alike"):
        grouped(same, 3)
