"""Criteria without labels against AUROC: ``python -m benchmarks.label_free``.

Protocol: each ADBench set's normal rows are halved (at most 1,000 rows to train on,
1,000 normal rows and 500 anomalies to test on); an AutoencoderDetector is trained on
one half with 8 settings and looked at after 11 numbers of epochs. A
criterion sees the fitted detector and the held-out normal rows only. Per set, it is
judged by Spearman's rank correlation with AUROC over the 88 candidates, and by the
AUROC of the candidate it chooses.

The candidate criteria were compared on the 13 sets that chose the package's defaults
(docs/defaults.md); the summary gives these and the others apart.
"""

import argparse
import contextlib
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from benchmarks.results_file import ResultsFile, versions
from skdeepad import AutoencoderDetector
from skdeepad.datasets import fetch_adbench, list_adbench
from skdeepad.model_selection import BatchedGridSearchCV, OneClassShuffleSplit
from skdeepad.model_selection._label_free import permuted_rows, uniform_rows

CHOSEN_ON = "annthyroid breastw cardio glass ionosphere letter musk optdigits pima "
CHOSEN_ON = set((CHOSEN_ON + "shuttle thyroid vertebral wine").split())
GRID = {
    "latent_dim": [2, 16],
    "dropout": [0.0, 0.2],
    "noise_std": [0.0, 0.5],
    "max_epochs": [1, 2, 3, 5, 8, 12, 20, 30, 50, 70, 100],
}
DEFAULT = {"latent_dim": 16, "dropout": 0.0, "noise_std": 0.0, "max_epochs": 100}
CRITERIA = ["permuted", "uniform", "both", "half_permuted", "held_out"]
COLUMNS = ["data", *GRID, "auroc", *CRITERIA, "seed", *versions()]


def score(detector, X, y):
    """AUROC, and every criterion on the normal rows alone."""
    scores = detector.score_samples(X)
    normal, own = X[y == 1], scores[y == 1]
    rng = np.random.RandomState(0)
    half = np.where(rng.random(normal.shape) < 0.5, permuted_rows(normal, 0), normal)
    against = {
        name: separation(own, detector.score_samples(fake))
        for name, fake in {
            "permuted": permuted_rows(normal, 0),
            "uniform": uniform_rows(normal, 0),
            "half_permuted": half,
        }.items()
    }
    return {
        "auroc": roc_auc_score(y, scores),
        **against,
        "both": (against["permuted"] + against["uniform"]) / 2,
        "held_out": own.mean(),
    }


def separation(normal, fake):
    """AUROC of made-up anomalies."""
    y = np.r_[np.ones(len(normal)), -np.ones(len(fake))]
    return roc_auc_score(y, np.r_[normal, fake])


def available():
    """Sets that are in the data folder, or can be downloaded."""
    for name in list_adbench():
        with contextlib.suppress(OSError):
            fetch_adbench(name, return_X_y=True)
            yield name


def sample(name, seed):
    """Rows and labels of a set, at most 2,000 normal and 500 anomalies."""
    X, y = fetch_adbench(name, return_X_y=True)
    rng = np.random.RandomState(seed)
    rows = np.concatenate(
        [
            rng.permutation(np.flatnonzero(y == label))[:most]
            for label, most in ((1, 2000), (-1, 500))
        ]
    )
    return X[rows], y[rows]


def measure(name, seed):
    """A row for each candidate."""
    X, y = sample(name, seed)
    n_train = min(1000, np.sum(y == 1) // 2)
    search = BatchedGridSearchCV(
        AutoencoderDetector(random_state=seed),
        GRID,
        scoring=score,
        cv=OneClassShuffleSplit(
            1, train_size=int(n_train), test_size=None, random_state=seed
        ),
        refit=False,
    ).fit(X, y)
    results = search.cv_results_
    for i, params in enumerate(results["params"]):
        values = {
            criterion: round(float(results[f"mean_test_{criterion}"][i]), 5)
            for criterion in ["auroc", *CRITERIA]
        }
        yield versions() | params | values | {"data": name, "seed": seed}


def summarise(rows):
    """Rank correlations, and what each criterion would have chosen."""
    table = []
    for name, some in rows.groupby("data"):
        is_default = np.logical_and.reduce([some[k] == v for k, v in DEFAULT.items()])
        default = some[is_default].auroc.iloc[0]
        entry = {"data": name, "default": default}
        entry |= {"mean": some.auroc.mean(), "best": some.auroc.max()}
        for criterion in CRITERIA:
            correlation = spearmanr(some[criterion], some.auroc).statistic
            entry[f"rho {criterion}"] = np.nan_to_num(correlation)
            entry[f"auroc {criterion}"] = some.auroc[some[criterion].idxmax()]
            # Partial training of the default network alone.
            course = np.logical_and.reduce(
                [some[k] == v for k, v in DEFAULT.items() if k != "max_epochs"]
            )
            stopped = some[course]
            entry[f"stop {criterion}"] = stopped.auroc[stopped[criterion].idxmax()]
        entry["stop best"] = some[course].auroc.max()
        table.append(entry)
    table = pd.DataFrame(table).set_index("data")
    chosen = table.index.str.split("_", n=1).str[-1].str.lower().isin(CHOSEN_ON)
    parts = {"13 chosen on": table[chosen], "16 others": table[~chosen], "all": table}
    return pd.DataFrame({name: part.mean() for name, part in parts.items()}).round(3)


def main(arguments=None):
    """Measure what is missing, then print the summary."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.label_free")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    path = args.results or Path(__file__).parent / "results" / "label_free.csv"
    results = ResultsFile(path, COLUMNS, ["data", "seed"])
    done = {row["data"] for row in results.rows if int(row["seed"]) == args.seed}
    todo = [name for name in available() if name not in done]
    for name in track(todo):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for row in list(measure(name, args.seed)):
                results.append(row)
    print(summarise(pd.read_csv(path).query("seed == @args.seed")).to_string())


if __name__ == "__main__":
    main()
