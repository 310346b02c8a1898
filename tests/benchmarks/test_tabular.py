"""The main job, on one small set and its quickest methods."""

import errno
import re
import time
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pyarrow.dataset
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

import skdeepad
from benchmarks import tabular
from benchmarks.defaults import CHOSEN_ON
from benchmarks.results_file import LOCAL, ResultsFile
from skdeepad.datasets import load_wbc, load_wine
from tests.faults import arm, die_once

COMMITTED = LOCAL.parent
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


def load_or_die(bomb, results, return_X_y):
    """Wine; the first worker that asks for it dies when two rows are written."""
    while bomb.exists() and len(ResultsFile(results, tabular.COLUMNS, []).rows) < 2:
        time.sleep(0.01)
    die_once(bomb)
    return load_wine(return_X_y=True)


def test_run_goes_on_after_a_worker_died(tmp_path):
    path, bomb = tmp_path / "results.csv", arm(tmp_path / "bomb")
    loaders = {"wine": load_wine, "deadly": partial(load_or_die, bomb, path)}

    def run():
        results = ResultsFile(path, tabular.COLUMNS, tabular.KEY)
        args = tabular.parse(["--methods", "OneClassSVM", "--n-jobs", "2"])
        return tabular.run(loaders, results, args)

    with joblib.parallel_config("loky"):
        with pytest.raises(TerminatedWorkerError):
            run()
        before = path.read_text()
        assert before.count("\n") >= 3  # a header and two rows at least
        rows = run()
    assert path.read_text().startswith(before)
    assert path.read_text().count("\n") == 7
    assert len(rows) == 6
    assert not bomb.exists()
    by_set = rows.pivot(index="seed", columns="dataset", values="auroc")
    assert by_set["deadly"].tolist() == by_set["wine"].tolist()


def test_run_goes_on_after_a_full_disk(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    arguments = [*ARGUMENTS, "--results", str(path), "--no-plots"]

    append, appended = ResultsFile.append, []

    def append_two(self, row):
        if len(appended) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, row)
        appended.append(row)

    monkeypatch.setattr(ResultsFile, "append", append_two)
    with pytest.raises(OSError, match="No space left"):
        tabular.main(arguments)
    before = path.read_text()
    monkeypatch.undo()
    tabular.main(arguments)
    assert path.read_text().startswith(before)
    assert path.read_text().count("\n") == 7


def test_own_table(tmp_path, capsys):
    X, y = load_wine(return_X_y=True)
    table = pd.DataFrame(X).rename(columns=str).assign(kind=y)
    table.to_parquet(tmp_path / "mine.parquet", row_group_size=20)
    batches = pyarrow.dataset.dataset(tmp_path / "mine.parquet").to_batches()
    assert len(list(batches)) > 1
    path = tmp_path / "results.csv"
    arguments = ["--datasets", "wine", "--methods", "OneClassSVM", "--seeds", "0"]
    arguments += ["--results", str(path), "--no-plots"]
    arguments += ["--parquet", str(tmp_path / "mine.parquet")]
    tabular.main([*arguments, "--label", "kind"])
    assert "2 data sets" in capsys.readouterr().out
    rows = pd.read_csv(path)
    wine, mine = rows.sort_values("dataset").to_dict("records")[::-1]
    assert mine["dataset"].startswith("mine ")
    assert mine["auroc"] == wine["auroc"]
    assert mine["n_features"] == X.shape[1]

    # A column that may hold nothing is one of numbers.
    gaps = table.assign(extra=pd.array([None, *range(len(X) - 1)], dtype="Int64"))
    gaps.to_parquet(tmp_path / "gaps.parquet")
    read, _ = tabular.load_parquet(tmp_path / "gaps.parquet", "kind", True)
    assert np.isnan(read[0, -1])
    np.testing.assert_array_equal(read[1:, -1], range(len(X) - 1))

    # Another file of the same name is another data set.
    table[::2].to_parquet(tmp_path / "mine.parquet")
    tabular.main([*arguments, "--label", "kind"])
    assert len(pd.read_csv(path)) == 3

    with pytest.raises(SystemExit, match=r"Column 0 .* must hold \+1 \(normal\)"):
        tabular.main([*arguments, "--label", "0"])
    with pytest.raises(SystemExit, match=r"has no column 'label'; it has .*'kind'"):
        tabular.main(arguments)
    (tmp_path / "mine.parquet").unlink()
    with pytest.raises(SystemExit, match=r"^--parquet .*mine.parquet: "):
        tabular.main([*arguments, "--label", "kind"])


def test_figures_are_those_of_the_protocol():
    unit = {"dataset": "wine", "method": "OneClassSVM", "seed": 3}
    unit |= {"training": "normal", "max_train_rows": 40, "params_id": ""}
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


def test_half_of_the_anomalies_may_be_among_the_training_rows():
    X = np.arange(30.0)[:, None]
    y = np.r_[np.ones(20, dtype=int), -np.ones(10, dtype=int)]
    train, test, labels = tabular.split(X, y, 0, 1000, "contaminated")
    assert sorted(np.r_[train, test].ravel()) == list(range(30))
    assert (train >= 20).sum() == (labels == -1).sum() == 5
    fewer, test_again, _ = tabular.split(X, y, 0, 6, "contaminated")
    np.testing.assert_array_equal(fewer, train[:6])
    assert (fewer >= 20).any()
    np.testing.assert_array_equal(test_again, test)


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
    with pytest.raises(SystemExit, match=r"No such data set.*iris.*It has wbc, "):
        tabular.main(["--datasets", "iris"])

    sets = {"6_cardio": load_wine, "4_breastw": load_wbc, "45_wine": load_wine}
    monkeypatch.setitem(tabular.SUITES, "adbench29", sets)
    for names in (["CARDIO", "4_breastw"], ["6_cardio", "BreastW"]):
        found = tabular.available("adbench29", names)
        assert list(found) == ["6_cardio", "4_breastw"]

    def missing(return_X_y):
        raise OSError("not here")

    monkeypatch.setitem(tabular.SUITES, "embedded", {"gone": missing})
    with pytest.raises(SystemExit, match="No data set is left"):
        tabular.available("embedded", None)
    assert "1 of 1 data sets are neither" in capsys.readouterr().err


def test_the_reported_sets_are_those_of_the_committed_rows():
    rows = pd.read_csv(COMMITTED / "tabular_adbench.csv")
    assert set(rows["dataset"]) == set(tabular.SUITES["adbench29"])
    assert set(rows["method"]) == {*tabular.METHODS, *tabular.OPTIONAL}


@pytest.mark.parametrize("is_there", [True, False])
def test_pyod_takes_part_where_it_is_asked_for(is_there, monkeypatch, capsys):
    found = "a spec" if is_there else None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    assert set(tabular.parse([]).methods) == set(tabular.METHODS)
    if is_there:
        methods = tabular.parse(["--with-pyod"]).methods
        assert set(methods) == {*tabular.METHODS, *tabular.OPTIONAL}
    else:
        with pytest.raises(SystemExit):
            tabular.parse(["--with-pyod"])
        assert "pip install pyod" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tabular_embedded.csv", "tabular_adbench.csv"])
def test_the_docs_show_the_committed_rows(name):
    rows = pd.read_csv(COMMITTED / name)
    table = tabular.to_markdown(tabular.summarize(rows))
    text = (COMMITTED.parents[1] / "docs" / "results.md").read_text()
    for line in table.splitlines():
        assert line in text


def test_the_readme_has_the_means_of_committed_rows():
    rows = pd.read_csv(COMMITTED / "tabular_adbench.csv")
    means = rows.groupby(["method", "dataset"])[["auroc", "fit_seconds"]].mean()
    means = means.groupby("method").mean()
    names = {"KDE (5-fold)": "KDEDetector", "PCA (90 %)": "PCADetector"}
    readme = (COMMITTED.parents[1] / "README.md").read_text()
    shown = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \|", readme, re.MULTILINE)
    assert len(shown) == 12
    own = means.rename(names)
    for name, auroc, seconds in shown:
        expected = f"{own.auroc[name]:.3f}", f"{own.fit_seconds[name]:.3f}"
        assert (auroc, seconds) == expected, name
    others = {name for name in own.index if hasattr(skdeepad, name)}
    assert others == {name for name, *_ in shown}
    figures = own.auroc.map("{:.3f}".format)
    assert f"yzhao062/pyod) has {figures['PyOD AutoEncoder']}" in readme
    low, high = figures["IsolationForest"], figures["LocalOutlierFactor"]
    assert f"detectors have {low} to {high}" in readme


@pytest.fixture(scope="module")
def about_contaminated_rows():
    """What the docs say of them, and means by method of committed rows."""

    def means(name, training):
        rows = pd.read_csv(COMMITTED / f"{name}.csv")
        assert set(rows.training) == {training}
        assert rows.groupby(["method", "seed"]).dataset.nunique().eq(29).all()
        return rows

    text = (COMMITTED.parents[1] / "docs" / "results.md").read_text()
    part = text[text.index("## Anomalies among") : text.index("## Speed")]
    normal = [means(f"tabular_{name}", "normal") for name in ("adbench", "support")]
    return part, pd.concat(normal), means("tabular_contaminated", "contaminated")


def test_the_docs_have_the_figures_of_contaminated_rows(about_contaminated_rows):
    part, normal, contaminated = about_contaminated_rows
    measures = ["auroc", "average_precision"]
    normal, found = (
        rows.groupby("method")[measures].mean() for rows in (normal, contaminated)
    )
    names = {
        "PyOD AutoEncoder": "PyOD's autoencoder",
        "KDE (5-fold)": "`KDEDetector`",
        "PCA (90 %)": "`PCADetector`",
        "AutoencoderDetector, 5 epochs, 8 networks": (
            r"`AutoencoderDetector\(max_epochs=5, n_estimators=8\)`"
        ),
    }
    picking = [m for m in found.index if f"{m}, support 0.8" in found.index]
    assert len(picking) == 7
    for method in picking:
        for measure in measures:
            cells = [
                f"{means[measure][f'{method}{share}']:.3f}"
                for means in (normal, found)
                for share in ("", ", support 0.8", ", support 0.5")
            ]
            assert f"| `{method}` | {' | '.join(cells)} |" in part
    for method, auroc in found.auroc.items():
        if method not in picking and ", support" not in method:
            name = names.get(method, f"`{method}`")
            figure = rf"{name}\s(?:has (?:a mean AUROC of )?)?([\d.]+\d)"
            shown = re.search(figure, part)
            assert shown[1] == f"{auroc:.3f}", method


def test_the_docs_have_the_figures_of_the_sets_that_chose_nothing(
    about_contaminated_rows,
):
    part, _, rows = about_contaminated_rows
    rows = rows[~rows.dataset.isin(CHOSEN_ON)]
    assert rows.dataset.nunique() == 16
    auroc = rows.groupby("method").auroc.mean()
    part = " ".join(part[part.index("On the 16 others") :].split())
    for method in [m for m in auroc.index if f"{m}, support 0.8" in auroc.index]:
        before, after = auroc[method], auroc[f"{method}, support 0.8"]
        change = rf"`{method}` (goes )?from {before:.3f} to {after:.3f}"
        assert re.search(change, part), method
    for method in ("OneClassSVM", "IsolationForest"):
        assert re.search(rf"`{method}` (has )?{auroc[method]:.3f}", part), method
    assert f"PyOD's autoencoder {auroc['PyOD AutoEncoder']:.3f}" in part
