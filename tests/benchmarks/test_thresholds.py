"""The benchmark of thresholds in small, and the figures that are told of it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler

import benchmarks
from benchmarks import thresholds
from benchmarks.tabular import split
from skdeepad import PCADetector
from skdeepad.datasets import load_wbc, load_wine

ROOT = Path(benchmarks.__file__).parents[1]


def test_a_row_a_unit_and_resumed(tmp_path, capsys, monkeypatch):
    sets = {"wbc": load_wbc, "wine": load_wine}
    monkeypatch.setattr(thresholds, "available", lambda suite, names: dict(sets))
    path = tmp_path / "thresholds.csv"
    arguments = ["--methods", "PCA (90 %)", "--seeds", "0", "--results", str(path)]
    thresholds.main(arguments)
    printed, warned = capsys.readouterr()
    assert warned.startswith("Fewer than 100 normal rows")
    assert "left out: wine." in warned
    rows = pd.read_csv(path)
    assert list(rows.threshold) == list(thresholds.THRESHOLDS["normal"])
    assert set(rows.dataset) == {"wbc"}
    before = path.read_text()
    monkeypatch.setattr(thresholds, "run_unit", None)
    thresholds.main(arguments)
    assert path.read_text() == before
    assert printed[printed.index("method") :] in capsys.readouterr().out
    del sets["wbc"]
    with pytest.raises(SystemExit, match="No data set is left"):
        thresholds.main(arguments)


@pytest.mark.parametrize(
    ("training", "threshold", "share"),
    [("normal", "quantile", 0.05), ("contaminated", "their share", None)],
)
def test_figures_are_those_of_the_protocol(training, threshold, share):
    unit = {"method": "PCA (90 %)", "seed": 3, "training": training}
    row = thresholds.run_unit(load_wbc, unit | {"threshold": threshold})
    X, y = load_wbc(return_X_y=True)
    train, test, labels = split(X, y, 3, 1000, training)
    scaler = StandardScaler().fit(train)
    share = share or np.mean(y == -1)
    detector = PCADetector(contamination=share).fit(scaler.transform(train))
    flagged = detector.predict(scaler.transform(test)) == -1
    assert row["false_alarms"] == pytest.approx(flagged[labels == 1].mean(), abs=1e-6)
    assert row["detections"] == pytest.approx(flagged[labels == -1].mean(), abs=1e-6)
    assert row["n_train"] == len(train)


@pytest.mark.parametrize("method", ["OneClassSVM", "IsolationForest"])
def test_the_seed_says_which_rows_are_held_out(method):
    unit = {"method": method, "training": "normal", "threshold": "conformal"}
    one, again, other = (
        {name: row[name] for name in thresholds.SHARES}
        for row in (
            thresholds.run_unit(load_wbc, unit | {"seed": s}) for s in (1, 1, 2)
        )
    )
    assert one == again != other


def test_summary_of_known_figures():
    rows = pd.DataFrame(
        [
            (d, "OneClassSVM", t, s, share, 1 - share)
            for t, factor in (("max_train", 1), ("conformal", 2))
            for d, s, share in (("a", 0, 0.1), ("a", 1, 0.3), ("b", 0, 0.0))
            for share in [share * factor]
        ],
        columns=["dataset", "method", "threshold", "seed", *thresholds.SHARES],
    )
    table = thresholds.summarize(rows)
    assert table.to_dict("list") == {
        "max_train": ["10.0 / 90"],
        "conformal": ["20.0 / 80"],
    }


@pytest.mark.parametrize("name", ["thresholds", "thresholds_contaminated"])
def test_documented_figures_are_the_rows(name):
    rows = pd.read_csv(ROOT / "benchmarks" / "results" / f"{name}.csv")
    text = (ROOT / "docs" / "thresholds.md").read_text()
    for method, cells in thresholds.summarize(rows).iterrows():
        assert f"| {method} | {' | '.join(cells)} |\n" in text
    assert np.isfinite(rows[thresholds.SHARES].to_numpy()).all()
