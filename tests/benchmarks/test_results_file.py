"""Results are kept row by row."""

import pytest

from benchmarks.results_file import ResultsFile, versions


def test_rows_are_found_again(tmp_path):
    path = tmp_path / "new" / "results.csv"
    file = ResultsFile(path, ["set", "seed", "auroc"], ["set", "seed"])
    file.append({"set": "a, b", "seed": 0, "auroc": 0.5, "more": 1})
    assert file.has({"set": "a, b", "seed": 0})
    again = ResultsFile(path, ["set", "seed", "auroc"], ["set", "seed"])
    assert again.rows == [{"set": "a, b", "seed": "0", "auroc": "0.5"}]
    assert again.has({"set": "a, b", "seed": 0})
    assert not again.has({"set": "a, b", "seed": 1})


def test_a_torn_last_row_is_dropped(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("set,auroc\na,0.5\nb,0.")
    file = ResultsFile(path, ["set", "auroc"], ["set"])
    assert [row["set"] for row in file.rows] == ["a"]
    file.append({"set": "b", "auroc": 0.75})
    assert path.read_text() == "set,auroc\na,0.5\nb,0.75\n"


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("set,auc\na,0.5\n")
    with pytest.raises(ValueError, match="other columns"):
        ResultsFile(path, ["set", "auroc"], ["set"])


def test_versions_name_what_matters():
    assert {"python", "numpy", "scikit-learn", "torch", "skdeepad"} == set(versions())
