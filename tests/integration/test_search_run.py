"""A search over settings in one command: an objective a run, no look at test subjects."""

import json

from tiny import write_tiny_cohort


def test_a_search_has_an_objective_and_leaves_the_test_subjects_alone(tmp_path, run):
    write_tiny_cohort(tmp_path / "cohort")
    arguments = [
        *("-m", "experiment=strega", "sweep=strega", "input=intensity", "data=folder"),
        *(f"data.source={tmp_path / 'cohort'}", "data.sequence=T2w", "data.slice_size=[32,32]"),
        *("model.network.features=[4,8]", "model.network.latent_dim=4", "max_epochs=1"),
        *(f"paths.cache_dir={tmp_path / 'cache'}", f"paths.runs_dir={tmp_path / 'runs'}"),
        *("painted_draws=1", "report=false", "postprocess=default"),
        # On the command line the search of the file is made smaller.
        *("model.ce_factor=0,1", "model.kl_weight=1e-2", "model.optimizer.lr=1e-3"),
    ]
    done = run("train.py", *arguments)
    assert done.returncode == 0, done.stderr
    values = []
    for number in range(2):
        out = tmp_path / "runs" / "strega" / "sweep" / str(number)
        found = json.loads((out / "provenance.json").read_text())["painted"]
        assert found["n"] == 2
        assert 0 < found["mean"] <= 1
        assert not list(out.rglob("scores.csv"))
        maps = {path.name.split("_")[0] for path in out.rglob("*_anomaly.nii.gz")}
        assert maps == {"sub03", "sub04"}
        values.append(found["mean"])
    assert values[0] != values[1]
    assert done.stdout.count("val/painted_AP") == 2
