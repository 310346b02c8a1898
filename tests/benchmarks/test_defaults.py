"""The benchmark of the defaults in small."""

from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from benchmarks import defaults
from benchmarks.results_file import params_id, versions
from benchmarks.tabular import split
from skdeepad import DASVDD
from skdeepad.datasets import load_wine

UNIT = {"data": "45_wine", "detector": "DASVDD", "settings": "kappa=0.5", "seed": 1}
UNIT["params_id"] = params_id(DASVDD(kappa=0.5))


@pytest.fixture
def wine(monkeypatch):
    """Of ADBench, a set that needs no download; two settings."""
    monkeypatch.setattr(defaults, "ADBENCH", {"45_wine": load_wine})
    monkeypatch.setattr(
        defaults, "COURSES", dict.fromkeys(defaults.DETECTORS, "64 2 3e-3")
    )
    changes = {name: [] for name in defaults.DETECTORS} | {"DASVDD": [{"kappa": 0.5}]}
    monkeypatch.setattr(defaults, "CHANGES", changes)


def test_all_settings_are_run_once_and_summarised(wine, tmp_path, capsys, monkeypatch):
    arguments = ["--seeds", "1", "2", "--detectors", "DASVDD"]
    arguments += ["--results", str(tmp_path / "defaults.csv")]
    defaults.main(arguments)
    printed = capsys.readouterr().out
    assert "batch_size=64, max_epochs=2, learning_rate=0.003" in printed
    rows = pd.read_csv(tmp_path / "defaults.csv")
    assert len(rows) == 4
    monkeypatch.setattr(defaults, "run_unit", None)  # nothing is left to run
    defaults.main(arguments)
    table = defaults.summarize(rows)
    auroc = table.loc[("DASVDD", "kappa=0.5"), "AUROC"]
    assert auroc == rows[rows["settings"] == "kappa=0.5"]["auroc"].mean()
    assert f"{auroc:.4f}".rstrip("0") in printed


def test_a_row_is_the_fit_of_its_setting(wine):
    row = defaults.run_unit(UNIT, {"kappa": 0.5})
    train, test, labels = split(*load_wine(return_X_y=True), 1, 1500)
    scaler = StandardScaler().fit(train)
    detector = DASVDD(standardize=False, random_state=1, kappa=0.5)
    scores = detector.fit(scaler.transform(train)).score_samples(scaler.transform(test))
    assert row["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    assert row.items() >= (UNIT | versions()).items()


def test_the_defaults_are_among_the_settings():
    for name, detector in defaults.DETECTORS.items():
        settings = [s for own, s in defaults.all_settings() if own == name]
        default = detector().get_params()
        assert any(all(default[k] == s[k] for k in s) for s in settings)
        words = [defaults.describe(s) for s in settings]
        assert len(set(words)) == len(words)


def test_rows_of_other_defaults_are_not_used(wine, tmp_path, monkeypatch):
    arguments = ["--seeds", "1", "--detectors", "DASVDD"]
    arguments += ["--results", str(tmp_path / "defaults.csv")]
    defaults.main(arguments)
    other = partial(DASVDD, activation="tanh")
    monkeypatch.setitem(defaults.DETECTORS, "DASVDD", other)
    defaults.main(arguments)
    assert len(pd.read_csv(tmp_path / "defaults.csv")) == 4


def test_the_tables_of_the_documentation_are_the_committed_rows():
    root = Path(defaults.__file__).parents[1]
    rows = pd.read_csv(root / "benchmarks/results/defaults.csv")
    means = rows.groupby(["detector", "settings"])["auroc"].mean()
    means = means.map("{:.3f}".format).to_dict()
    text = (root / "docs/defaults.md").read_text()
    header = "| batch | epochs | step size |"
    courses, changes = (
        [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        for lines in (_table(text, header), _table(text, "| detector | change |"))
    )
    names = [name for name in courses[0][3:] if name]
    n_values = 0
    for batch, epochs, step, *values in courses[2:]:
        for name, value in zip(names, values, strict=True):
            detector = next(own for own in defaults.DETECTORS if own.startswith(name))
            settings = (
                f"batch_size={batch}, max_epochs={epochs}, learning_rate={float(step)}"
            )
            assert value.strip("*") == means.pop((detector, settings), "")
            n_values += value != ""
    assert n_values > 50
    # The others are told in words; the defaults may be in both tables.
    detector, told = None, {}
    for name, _, value in changes[2:]:
        detector = name.split(" ")[0] or detector
        told.setdefault(detector, []).append(value)
    assert told.keys() >= {detector for detector, _ in means}
    for name, values in told.items():
        rest = sorted(value for (own, _), value in means.items() if own == name)
        assert rest in (
            sorted(value for value in values if "*" not in value),
            sorted(value.strip("*") for value in values),
        )


def _table(text, header):
    """Lines of the table that begins so."""
    lines = text[text.index(header) :].splitlines()
    return lines[: lines.index("")]
