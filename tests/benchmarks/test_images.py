"""The benchmark of images in small."""

import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.utils import Bunch

from benchmarks import images


def few_digits():
    """scikit-learn's digits, as fetch_mnist gives its own."""
    X, y = load_digits(return_X_y=True)
    train, test = slice(0, 900), slice(900, None)
    return Bunch(
        X_train=X[train] / 16, y_train=y[train], X_test=X[test] / 16, y_test=y[test]
    )


@pytest.fixture(autouse=True)
def _few_digits(monkeypatch):
    monkeypatch.setitem(images.DATA, "mnist", few_digits)


def test_rows_are_of_the_protocol_and_resumed(tmp_path, capsys, monkeypatch):
    path = tmp_path / "images.csv"
    arguments = ["--methods", "Isolation", "PCA", "--digits", "8", "--epochs", "1"]
    arguments += ["--results", str(path), "--seeds", "3"]
    images.main(arguments)
    printed = capsys.readouterr().out
    rows = pd.read_csv(path).set_index("method")
    assert set(rows.index) == {"PCADetector", "IsolationForest"}
    assert (rows.n_jobs == 1).all()

    data = few_digits()
    forest = IsolationForest(random_state=3).fit(data.X_train[data.y_train == 8])
    anomalies, scores = data.y_test != 8, -forest.score_samples(data.X_test)
    for name, measure in (
        ("auroc", roc_auc_score),
        ("average_precision", average_precision_score),
    ):
        value = rows.loc["IsolationForest", name]
        assert value == pytest.approx(measure(anomalies, scores), abs=1e-6)
    assert rows.loc["IsolationForest", "n_train"] == (data.y_train == 8).sum()

    before = path.read_text()
    monkeypatch.setattr(images, "run_unit", None)  # nothing is left to run
    images.main(arguments)
    assert path.read_text() == before
    table = printed[printed.index("class") :]
    assert table in capsys.readouterr().out


def test_a_method_that_is_not_there(capsys):
    with pytest.raises(SystemExit):
        images.main(["--methods", "Isolated"])
    assert "no method begins with" in capsys.readouterr().err


@pytest.mark.parametrize("method", images.METHODS)
def test_every_method_can_be_made(method):
    images.METHODS[method](1, 0)._validate_params()
