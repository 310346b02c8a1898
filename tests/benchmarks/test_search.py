"""The search benchmark in small, without the package that it compares with."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import ParameterGrid

from benchmarks import search
from skdeepad.datasets import load_wine


@pytest.fixture
def small(monkeypatch):
    """A grid, a set and epochs that are quick."""
    grid = {"learning_rate": [1e-4, 1e-2], "dropout": [0.1]}
    monkeypatch.setattr(search, "GRID", grid)
    monkeypatch.setattr(search, "EPOCHS", 2)
    monkeypatch.setattr(search, "fetch_adbench", lambda name, return_X_y: WINE)


WINE = load_wine(return_X_y=True)


def test_a_row_a_search_and_resumed(small, tmp_path, capsys, monkeypatch):
    path = tmp_path / "search.csv"
    arguments = ["--data", "wine", "--n-jobs", "1", "--results", str(path)]
    arguments += ["--subjects", *search.SUBJECTS[:2]]
    search.main(arguments)
    printed = capsys.readouterr().out
    assert "True" in printed.splitlines()[-1]  # the same best candidate
    rows = pd.read_csv(path)
    assert list(rows.subject) == search.SUBJECTS[:2]
    assert (rows.rows == len(WINE[0])).all()
    assert rows.best_auroc.nunique() == rows.best.nunique() == 1
    before = path.read_text()
    monkeypatch.setattr(search, "warm_up", None)
    search.main(arguments)
    assert path.read_text() == before
    table = printed[printed.index("subject") :]
    assert capsys.readouterr().out == table


def test_one_subject_by_itself(small, tmp_path, capsys):
    arguments = ["--data", "wine", "--n-jobs", "1", "--subjects", "GridSearchCV"]
    search.main([*arguments, "--results", str(tmp_path / "search.csv")])
    assert "x, " not in capsys.readouterr().out


def test_searches_differ_in_the_way_alone():
    batched, one_by_one, pyod = search.searches(2).values()
    for name, value in batched.get_params(deep=False).items():
        if name not in ("estimator", "pre_dispatch"):
            assert repr(one_by_one.get_params()[name]) == repr(value)
            assert repr(pyod.get_params()[name]) == repr(value)
    assert repr(one_by_one.estimator) == repr(batched.estimator)
    assert len(ParameterGrid(search.GRID)) == 24


def test_at_most_so_many_rows_of_each(monkeypatch, small):
    monkeypatch.setattr(search, "MAX_ROWS", 15)
    X, y = search.load("wine")
    kept, counts = np.unique(y, return_counts=True)
    assert dict(zip(kept.tolist(), counts.tolist(), strict=True)) == {
        1: 15,
        -1: min(15, (WINE[1] == -1).sum()),
    }
    rows = {row.tobytes(): label for row, label in zip(*WINE, strict=True)}
    assert all(rows[row.tobytes()] == label for row, label in zip(X, y, strict=True))


def test_report_is_of_known_seconds(capsys):
    seconds = {"BatchedGridSearchCV": [2.0, 1.0], "GridSearchCV": [9.0, 9.0]}
    rows = [
        {"data": "a", "subject": subject, "seconds": value, "best": best}
        for subject, values in seconds.items()
        for value, best in zip(values, "xx", strict=True)
    ]
    search.report(pd.DataFrame(rows))
    assert capsys.readouterr().out.split()[-5:] == ["a", "1.5", "9.0", "6.0", "True"]
    rows[2]["best"] = "y"
    search.report(pd.DataFrame(rows))
    assert capsys.readouterr().out.split()[-1] == "False"
