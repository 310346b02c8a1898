"""Grid search in one network against one fit a time: ``python -m benchmarks.search``.

Protocol: four ADBench sets (at most 5,000 rows), 24 candidates (learning rate x weight
decay x dropout) by 5 folds of OneClassKFold, layers 64-32, batches of 32, 20 epochs,
scored by ROC AUC, without a refit. BatchedGridSearchCV and GridSearchCV over the same
estimator, and GridSearchCV over PyOD's AutoEncoder with the same layers, grid and
epochs; all with n_jobs=2. Each searches a few rows before the clock runs, so that its
worker processes have started and imports are done, and what the one before left behind
is collected first. The subjects take turns; nothing else may run.
"""

import argparse
import gc
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV

from benchmarks.results_file import LOCAL, ResultsFile, versions
from benchmarks.tabular import PyODAutoEncoder
from skdeepad import AutoencoderDetector
from skdeepad.datasets import fetch_adbench, load_wine
from skdeepad.model_selection import BatchedGridSearchCV, OneClassKFold

DATA = ["cardio", "thyroid", "pendigits", "mammography"]
GRID = {
    "learning_rate": [1e-4, 3e-4, 1e-3, 3e-3],
    "weight_decay": [0.0, 1e-5, 1e-4],
    "dropout": [0.1, 0.2],
}
EPOCHS, HIDDEN, BATCH_SIZE, MAX_ROWS = 20, (64, 32), 32, 5000
PYOD = "GridSearchCV, PyOD"
SUBJECTS = ["BatchedGridSearchCV", "GridSearchCV", PYOD]
KEY = ["data", "subject", "round"]
COLUMNS = [*KEY, "seconds", "rows", "best", "best_auroc", *versions(), "pyod"]


class PyODSearched(PyODAutoEncoder):
    """The same with the layers and parameters of this search, by our names."""

    def __init__(
        self, learning_rate=1e-3, weight_decay=0.0, dropout=0.1, epochs=EPOCHS
    ):
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.epochs = epochs

    def fit(self, X, y=None):
        """Train the detector."""
        from pyod.models.auto_encoder import AutoEncoder

        self.detector_ = AutoEncoder(
            hidden_neuron_list=list(HIDDEN),
            lr=self.learning_rate,
            optimizer_params={"weight_decay": self.weight_decay},
            dropout_rate=self.dropout,
            batch_norm=False,
            batch_size=BATCH_SIZE,
            epoch_num=self.epochs,
            verbose=0,
        ).fit(X)
        return self


def searches(n_jobs, epochs=EPOCHS):
    """The subjects, not fitted."""
    ours = AutoencoderDetector(
        hidden_layer_sizes=HIDDEN,
        latent_dim=None,
        batch_size=BATCH_SIZE,
        max_epochs=epochs,
        random_state=0,
    )
    options = {
        "scoring": "roc_auc",
        "cv": OneClassKFold(5, shuffle=True, random_state=0),
        "refit": False,
    }
    return {
        "BatchedGridSearchCV": BatchedGridSearchCV(
            ours, GRID, n_jobs=n_jobs, **options
        ),
        "GridSearchCV": GridSearchCV(ours, GRID, n_jobs=n_jobs, **options),
        PYOD: GridSearchCV(PyODSearched(epochs=epochs), GRID, n_jobs=n_jobs, **options),
    }


def load(name):
    """A set's rows and labels, at most MAX_ROWS of each."""
    X, y = fetch_adbench(name, return_X_y=True)
    order = np.random.RandomState(0).permutation(len(X))
    kept = np.concatenate([order[y[order] == label][:MAX_ROWS] for label in (1, -1)])
    return X[kept], y[kept]


def warm_up(n_jobs, subjects):
    """Search a few rows: starts the worker processes and imports what is needed."""
    X, y = load_wine(return_X_y=True)
    for subject in subjects:
        fitted(subject, X, y, n_jobs, epochs=1)


def fitted(subject, X, y, n_jobs, epochs=EPOCHS):
    """A search, carried out."""
    search = searches(n_jobs, epochs)[subject]
    with warnings.catch_warnings():
        # PyOD's own deprecation notes are not ours to print.
        warnings.simplefilter("ignore")
        return search.fit(X, y)


def main(arguments=None):
    """Run what is missing and print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--data", nargs="+", default=DATA)
    parser.add_argument("--subjects", nargs="+", default=SUBJECTS, choices=SUBJECTS)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args(arguments)
    path = args.results or LOCAL / "search.csv"
    results = ResultsFile(path, COLUMNS, KEY)
    units = [
        {"data": name, "subject": subject, "round": number}
        for number in range(args.rounds)
        for name in args.data
        for subject in args.subjects
    ]
    todo = [unit for unit in units if not results.has(unit)]
    if todo:
        warm_up(args.n_jobs, dict.fromkeys(unit["subject"] for unit in todo))
    for unit in todo:
        X, y = load(unit["data"])
        gc.collect()
        start = time.perf_counter()
        search = fitted(unit["subject"], X, y, args.n_jobs)
        seconds = time.perf_counter() - start
        print(f"{unit['data']}, {unit['subject']}: {seconds:.1f} s", flush=True)
        outcome = {
            "seconds": round(seconds, 2),
            "rows": len(X),
            "best": search.best_params_,
            "best_auroc": round(search.best_score_, 6),
            "pyod": version("pyod") if unit["subject"] == PYOD else "",
        }
        results.append(versions() | unit | outcome)
    report(pd.DataFrame(results.rows_of(units)))


def report(rows):
    """Print seconds, how many times faster, and whether the best candidate is one."""
    rows = rows.astype({"seconds": float})
    seconds = rows.pivot_table(index="data", columns="subject", values="seconds")
    best = rows.drop_duplicates(["data", "subject"]).pivot(
        index="data", columns="subject", values="best"
    )
    table = seconds.round(1)
    ours = "BatchedGridSearchCV"
    if ours in seconds:
        for subject in seconds.columns.drop(ours):
            table[f"x, {subject}"] = (seconds[subject] / seconds[ours]).round(1)
        if "GridSearchCV" in best:
            table["same best"] = best["GridSearchCV"] == best[ours]
    print(table.to_string())


if __name__ == "__main__":
    main()
