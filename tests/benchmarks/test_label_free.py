"""The benchmark of label-free criteria in small."""

import numpy as np
import pandas as pd
import pytest
from sklearn.svm import OneClassSVM

from benchmarks import label_free
from skdeepad import AutoencoderDetector
from skdeepad.datasets import load_wine
from skdeepad.model_selection import label_free_scorer

X, Y = load_wine(return_X_y=True)


@pytest.fixture
def small(monkeypatch):
    """Three detectors, on a set that is there."""

    def pool(seed):
        course = {
            f"plain AE, {n} epochs": AutoencoderDetector(
                max_epochs=n, random_state=seed
            )
            for n in (1, 100)
        }
        return course | {"OneClassSVM": OneClassSVM()}

    monkeypatch.setattr(label_free, "pool", pool)
    monkeypatch.setitem(label_free.SUITES, "adbench29", ["45_wine", "25_musk"])

    def fetch(name, return_X_y):
        if name == "25_musk":
            raise OSError("not on the disk")
        return X, Y

    monkeypatch.setattr(label_free, "fetch_adbench", fetch)


def test_a_row_a_detector_and_seed_and_resumed(small, tmp_path, capsys, monkeypatch):
    path = tmp_path / "label_free.csv"
    arguments = ["--results", str(path), "--seeds", "0", "1"]
    label_free.main(arguments)
    printed = capsys.readouterr().out
    rows = pd.read_csv(path)
    assert list(rows.seed) == [0, 0, 0, 1, 1, 1]
    assert set(rows.data) == {"45_wine"}
    monkeypatch.setattr(label_free, "measure", None)
    label_free.main(arguments)
    assert len(pd.read_csv(path)) == 6
    table = printed[printed.index("AUROC, mean") :]
    assert table.strip() in capsys.readouterr().out


def test_criteria_are_the_scorers(small):
    train, test, labels = label_free.halves("45_wine", 0)
    for row in label_free.measure("45_wine", 0):
        detector = label_free.pool(0)[row["detector"]].fit(train)
        wanted = label_free_scorer.__class__(random_state=0)(detector, test, labels)
        assert float(row["few_noisy"]) == pytest.approx(wanted, abs=1e-5)
        normal = detector.score_samples(test[labels == 1])
        assert float(row["held_out_score"]) == pytest.approx(normal.mean(), rel=1e-4)


def test_halves_share_no_row(small):
    train, test, labels = label_free.halves("45_wine", 3)
    assert len(train) + len(test) == len(X)
    assert (labels == 1).sum() == (Y == 1).sum() - len(train)
    both = np.r_[train, test[labels == 1]]
    assert len(np.unique(both, axis=0)) == len(np.unique(X[Y == 1], axis=0))


def test_summary_of_known_rows():
    """Of two seeds; the criterion is right in one and wrong in the other."""
    names = ["plain AE, 1 epochs", "plain AE, 100 epochs", "PCA, 0.5"]
    rows = []
    for seed, sign in ((0, 1), (1, -1)):
        for name, auroc in zip(names, (0.9, 0.8, 0.7), strict=True):
            criteria = dict.fromkeys(label_free.CRITERIA, sign * auroc)
            unit = {"data": "6_cardio", "detector": name, "seed": seed}
            rows.append(unit | {"auroc": auroc, "held_out_score": -auroc} | criteria)
    table = label_free.summarize(pd.DataFrame(rows))["compared on"]
    assert table["AUROC, mean of the pool"] == pytest.approx(0.8)
    assert table["AUROC, best of the pool"] == pytest.approx(0.9)
    assert table["AUROC, plain AE"] == pytest.approx(0.8)
    assert table["rho, noisy"] == pytest.approx(0.0)  # of 1 and -1
    assert table["choice, noisy"] == pytest.approx(0.8)  # of 0.9 and 0.7
    assert table["stopped, noisy"] == pytest.approx(0.85)  # of 0.9 and 0.8
    assert table["stopped, held_out_score"] == pytest.approx(0.8)
