"""The main job, on one small set and its quickest methods."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from benchmarks import tabular
from skdeepad.datasets import load_wine

ARGUMENTS = ["--datasets", "wine", "--seeds", "0", "1"]
ARGUMENTS += ["--methods", "OneClassSVM", "PCA (90 %)", "DASVDD"]


def test_run_summary_pictures_and_resumption(tmp_path, capsys, monkeypatch):
    path = tmp_path / "results.csv"
    tabular.main([*ARGUMENTS, "--results", str(path)])
    out = capsys.readouterr().out
    for method in ("OneClassSVM", "PCA (90 %)", "DASVDD"):
        assert f"| {method}" in out
    assert (tmp_path / "results_ranks.png").stat().st_size > 10_000
    assert (tmp_path / "results_auroc.png").stat().st_size > 10_000
    content = path.read_text()
    assert content.count("\n") == 7

    monkeypatch.setattr(tabular, "run_unit", None)  # nothing is left to run
    tabular.main([*ARGUMENTS, "--results", str(path), "--no-plots"])
    assert path.read_text() == content
    table = out[out.index("| method") : out.index("Rows:")]
    assert table in capsys.readouterr().out


def test_figures_are_those_of_the_protocol():
    unit = {"dataset": "wine", "method": "OneClassSVM", "seed": 3}
    unit |= {"max_train_rows": 40, "params_id": ""}
    row = tabular.run_unit(load_wine, unit)
    X, y = load_wine(return_X_y=True)
    train, test, labels = tabular.split(X, y, 3, 40)
    assert (len(train), len(test)) == (40, 129 - 59)
    scaler = StandardScaler().fit(train)
    scores = (
        OneClassSVM().fit(scaler.transform(train)).score_samples(scaler.transform(test))
    )
    assert row["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    assert row["anomaly_share"] == pytest.approx(10 / 70, abs=1e-6)


def test_split_keeps_rows_apart():
    X = np.arange(30.0)[:, None]
    y = np.r_[np.ones(20, dtype=int), -np.ones(10, dtype=int)]
    train, test, labels = tabular.split(X, y, 0, 1000)
    assert len(train) == 10
    assert (train < 20).all()
    assert sorted(np.r_[train, test].ravel()) == list(range(30))
    assert (labels == -1).sum() == 10
    other, _, _ = tabular.split(X, y, 1, 1000)
    assert not np.array_equal(other, train)


def test_summary_of_known_figures():
    rows = pd.DataFrame(
        [
            (d, m, s, auroc, 0.5, 1.0, 2.0)
            for d, m, s, auroc in [
                ("2_b", "DASVDD", 0, 0.9),
                ("2_b", "DASVDD", 1, 0.7),
                ("2_b", "OneClassSVM", 0, 0.6),
                ("2_b", "OneClassSVM", 1, 0.6),
                ("10_a", "DASVDD", 0, 0.5),
                ("10_a", "OneClassSVM", 0, 1.0),
            ]
        ],
        columns=[
            "dataset",
            "method",
            "seed",
            "auroc",
            "average_precision",
            "fit_seconds",
            "score_seconds",
        ],
    )
    assert list(tabular.by_dataset(rows, "auroc").index) == ["2_b", "10_a"]
    summary = tabular.summarize(rows)
    assert summary.loc["DASVDD", "AUROC"] == pytest.approx(0.65)
    assert summary.loc["OneClassSVM", "AUROC"] == pytest.approx(0.8)
    assert summary["mean rank"].tolist() == [1.5, 1.5]
    assert summary["wins"].tolist() == [1, 1]
    lines = tabular.to_markdown(summary).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].startswith("| OneClassSVM | 0.800 | 0.500 |      1.50 |    1 |")


def test_unknown_and_missing_sets(capsys, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="No such data set"):
        tabular.main(["--datasets", "iris"])

    def missing(return_X_y):
        raise OSError("not here")

    monkeypatch.setitem(tabular.SUITES, "embedded", {"gone": missing})
    with pytest.raises(SystemExit, match="No data set is left"):
        tabular.available("embedded", None)
    assert "1 of 1 data sets are neither" in capsys.readouterr().err
