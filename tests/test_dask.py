"""On Dask's workers: searches, benchmarks and scoring, and workers that die."""

import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import dask.array
import dask.dataframe
import joblib
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.svm import OneClassSVM

from benchmarks import images, tabular
from benchmarks.results_file import ResultsFile
from skdeepad import DASVDD, AutoencoderDetector, ThresholdedDetector, _together
from skdeepad.datasets import load_wbc, load_wine
from skdeepad.model_selection import BatchedGridSearchCV, OneClassKFold
from tests.benchmarks.test_images import few_digits
from tests.conftest import make
from tests.faults import arm, die_once

ROOT = Path(__file__).parents[1]
GRID = {"learning_rate": [1e-4, 1e-3, 3e-3, 1e-2], "noise_std": [0.0, 0.3]}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    # dask's own default gives each worker process one thread of OpenMP.
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",  # any that is free
        local_directory=tmp_path_factory.mktemp("dask"),
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


def auroc_and_process(detector, X, y):
    """Score a search's candidate, and say where that was."""
    auroc = roc_auc_score(y, detector.score_samples(X))
    return {"auroc": auroc, "process": os.getpid()}


def search(kind, problem, detector=None, scoring="roc_auc", **params):
    detector = make(AutoencoderDetector) if detector is None else detector
    folds = OneClassKFold(3)
    search = kind(detector, GRID, scoring=scoring, cv=folds, refit=False, **params)
    return search.fit(*problem).cv_results_


def assert_same_scores(first, second, name="score"):
    for fold in range(3):
        expected = first[f"split{fold}_test_{name}"]
        np.testing.assert_array_equal(second[f"split{fold}_test_{name}"], expected)
    assert len(set(first[f"mean_test_{name}"])) > 4  # the eight networks differ


def test_grid_search(client, problem):
    here = search(GridSearchCV, problem, scoring=auroc_and_process)
    with joblib.parallel_config("dask"):
        there = search(GridSearchCV, problem, scoring=auroc_and_process)
    assert_same_scores(here, there, "auroc")
    processes = {int(process) for process in there["split0_test_process"]}
    assert processes <= set(client.run(os.getpid).values())


def test_batched_grid_search(client, problem, monkeypatch):
    here = search(GridSearchCV, problem)
    # Whatever trained in this process would fail.
    monkeypatch.setattr(_together, "fit_together", None)
    with joblib.parallel_config("dask"):
        there = search(BatchedGridSearchCV, problem, n_jobs=2)
    assert_same_scores(here, there)


def threads_of_torch():
    import torch

    return torch.get_num_threads()


def test_workers_share_the_machine(client):
    assert set(client.run(threads_of_torch).values()) == {1}


@pytest.mark.parametrize(
    "detector",
    [
        make(AutoencoderDetector, n_estimators=2),
        ThresholdedDetector(make(AutoencoderDetector), threshold="mad"),
        ThresholdedDetector(OneClassSVM()),
    ],
    ids=["deep", "thresholded deep", "thresholded"],
)
class TestScoring:
    def test_array(self, detector, client, problem):
        X, _ = problem
        detector.fit(X)
        rows = dask.array.from_array(X, chunks=(27, -1))
        assert rows.numblocks == (8, 1)
        for method in (detector.score_samples, detector.predict):
            expected = method(X)
            lazy = rows.map_blocks(method, drop_axis=1, dtype=expected.dtype)
            assert lazy.shape == expected.shape
            scores = lazy.compute()
            assert scores.dtype == expected.dtype
            np.testing.assert_array_equal(scores, expected)

    def test_data_frame(self, detector, client, problem):
        X = pd.DataFrame(problem[0], columns=list("abcdef"))
        detector.fit(X)
        rows = dask.dataframe.from_pandas(X, npartitions=4)

        def add_scores(part):
            return part.assign(score=detector.score_samples(part))

        scored = rows.map_partitions(add_scores).compute()
        pd.testing.assert_frame_equal(scored, add_scores(X))

        other_order = rows[list("bacdef")].map_partitions(
            detector.score_samples, meta=("score", float)
        )
        with pytest.raises(ValueError, match="feature names should match"):
            other_order.compute()


LOADERS = {"wine": load_wine, "wbc": load_wbc}
METHODS = ["OneClassSVM", "PCA (90 %)"]
FIGURES = ["dataset", "method", "seed", "n_train", "auroc", "average_precision"]


def run_benchmark(path, loaders=LOADERS):
    results = ResultsFile(path, tabular.COLUMNS, tabular.KEY)
    args = tabular.parse(["--methods", *METHODS, "--seeds", "0", "1"])
    rows = tabular.run(loaders, results, args)
    return rows[FIGURES].sort_values(FIGURES[:3], ignore_index=True)


def test_benchmark(client, tmp_path):
    here = run_benchmark(tmp_path / "here.csv")
    assert len(here) == 8
    with joblib.parallel_config("dask"):
        there = run_benchmark(tmp_path / "there.csv")
    pd.testing.assert_frame_equal(there, here)


def test_benchmark_by_its_option(cluster, tmp_path, capsys):
    path = tmp_path / "results.csv"
    arguments = ["--datasets", "wine", "--methods", *METHODS, "--seeds", "0", "1"]
    arguments += ["--results", str(path), "--no-plots"]
    tabular.main([*arguments, "--scheduler", cluster.scheduler_address])
    rows = pd.read_csv(path)
    assert len(rows) == 4
    assert set(rows["n_jobs"]) == {2}
    assert "| OneClassSVM" in capsys.readouterr().out


def test_benchmark_of_images_by_its_option(cluster, tmp_path, monkeypatch):
    monkeypatch.setitem(images.DATA, "mnist", few_digits)
    arguments = ["--methods", "IsolationForest", "--digits", "3", "8"]
    rows = []
    for name, options in (
        ("here", []),
        ("there", ["--scheduler", cluster.scheduler_address]),
    ):
        path = tmp_path / f"{name}.csv"
        images.main([*arguments, "--results", str(path), *options])
        rows.append(pd.read_csv(path).sort_values("normal_class", ignore_index=True))
    figures = ["normal_class", "n_train", "auroc", "average_precision"]
    pd.testing.assert_frame_equal(rows[0][figures], rows[1][figures])
    assert [set(table["n_jobs"]) for table in rows] == [{1}, {2}]


def test_benchmark_needs_no_dask():
    code = "import sys, benchmarks.tabular; print('distributed' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def load_or_die(bomb, return_X_y):
    die_once(bomb)
    return load_wine(return_X_y=True)


def test_benchmark_whose_worker_dies(client, tmp_path):
    bomb = arm(tmp_path / "bomb")
    with joblib.parallel_config("dask"):
        loaders = {"wbc": load_wbc, "wine": partial(load_or_die, bomb)}
        there = run_benchmark(tmp_path / "there.csv", loaders)
    assert not bomb.exists()
    pd.testing.assert_frame_equal(there, run_benchmark(tmp_path / "here.csv"))


@dataclass(kw_only=True, eq=False, repr=False)
class Mortal(AutoencoderDetector):
    """Dies with its worker, where the bomb is armed."""

    bomb: Path

    _parameter_constraints: ClassVar[dict] = {
        **AutoencoderDetector._parameter_constraints,
        "bomb": [Path],
    }

    def _before_training(self, network, x, continued):
        die_once(self.bomb)
        super()._before_training(network, x, continued)


def test_search_whose_worker_dies(client, problem, tmp_path):
    bomb = arm(tmp_path / "bomb")
    detector = Mortal(bomb=bomb, max_epochs=5, random_state=0)
    with joblib.parallel_config("dask"):
        there = search(BatchedGridSearchCV, problem, detector, n_jobs=2)
    assert not bomb.exists()
    assert_same_scores(search(GridSearchCV, problem), there)


def test_documented_code_runs(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What torchrun tells the one process of a group.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": 0}
    for name, value in (group | {"WORLD_SIZE": 1}).items():
        monkeypatch.setenv(name, str(value))
    text = (ROOT / "docs" / "scale.md").read_text()
    text = text.replace("tcp://scheduler:8786", cluster.scheduler_address)
    names = {"__name__": "__main__"}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, "scale.md", "exec"), names)
    scored = pd.read_parquet("scored")
    expected = names["add_scores"](names["table"])
    pd.testing.assert_frame_equal(scored, expected.reset_index(drop=True))
    assert names["search"].best_params_ == names["same"].best_params_
    assert names["search"].best_score_ == names["same"].best_score_
    assert isinstance(joblib.load("detector.joblib"), DASVDD)
