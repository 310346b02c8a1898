"""Fits on a GPU against the same on its machine's CPU: ``python -m benchmarks.gpu``.

Protocol: half of a real set's normal rows train (at most MAX_ROWS), and all others are
scored; the digit 8 of MNIST trains, and its test set is scored. Detectors have their
defaults but for what TASKS says. Each first fits a few rows for an epoch, so that
libraries have set themselves up before the clock runs. The variants of a task take
turns, and nothing else may run. PyOD takes the GPU where there is one, as we do.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from benchmarks.images import CONV, DENSE
from benchmarks.results_file import LOCAL, ResultsFile, versions
from benchmarks.search import PyODSearched, searches
from benchmarks.tabular import DEEP
from skdeepad import DASVDD, AutoencoderDetector, PixelCNNDetector, VAEDetector
from skdeepad.datasets import fetch_adbench, fetch_mnist

MAX_ROWS = 100_000
PYOD = "PyOD"
FLOAT32 = {
    "cpu": {"device": "cpu"},
    "gpu": {"device": "cuda"},
    "gpu, no graphs": {"device": "cuda", "cuda_graphs": False},
}
ALL = FLOAT32 | {
    "gpu, tf32": {"device": "cuda", "precision": "tf32"},
    "gpu, bf16": {"device": "cuda", "precision": "bf16"},
}
WIDE = DENSE | {"hidden_layer_sizes": (4096, 1024)}
SMALL = searches(1)["BatchedGridSearchCV"].estimator
# Data, a detector, and the parameters of its variants.
TASKS = {name: ("pendigits", cls(), FLOAT32) for name, cls in DEEP.items()} | {
    "autoencoder 64-32": ("pendigits", SMALL, FLOAT32 | {PYOD: {}}),
    "16 autoencoders": ("pendigits", AutoencoderDetector(n_estimators=16), FLOAT32),
    "many rows": ("cover", AutoencoderDetector(batch_size=512, max_epochs=10), FLOAT32),
    "VAE of convolutions": ("mnist", VAEDetector(max_epochs=10, **CONV), ALL),
    "PixelCNN": (
        "mnist",
        PixelCNNDetector(image_shape=CONV["image_shape"], max_epochs=3),
        ALL,
    ),
    "DASVDD 1024-256": ("mnist", DASVDD(max_epochs=10, **DENSE), ALL),
    "DASVDD 4096-1024": ("mnist", DASVDD(max_epochs=10, **WIDE), ALL),
}
KEY = ["task", "variant", "round", "gpu"]
COLUMNS = [*KEY, "data", "rows", "features", "epochs", "fit_seconds", "score_seconds"]
COLUMNS += ["auroc", "cores", *versions()]


def load(name):
    """Rows to train on, others, and which of these are anomalies."""
    if name == "mnist":
        data = fetch_mnist()
        return data.X_train[data.y_train == 8], data.X_test, data.y_test != 8
    X, y = fetch_adbench(name, return_X_y=True)
    train, test = train_test_split(X[y == 1], test_size=0.5, random_state=0)
    rest = np.r_[test, X[y == -1]]
    return train[:MAX_ROWS], rest, np.arange(len(rest)) >= len(test)


def make(unit, epochs):
    """The detector of a unit, to train for so many epochs."""
    if unit["variant"] == PYOD:
        return PyODSearched(
            learning_rate=SMALL.learning_rate, dropout=SMALL.dropout, epochs=epochs
        )
    _, detector, variants = TASKS[unit["task"]]
    return clone(detector).set_params(
        max_epochs=epochs, random_state=unit["round"], **variants[unit["variant"]]
    )


def run_unit(unit):
    """Train and score once; a row of results."""
    name, detector, _ = TASKS[unit["task"]]
    epochs = detector.max_epochs
    X, X_new, anomalies = load(name)
    make(unit, 1).fit(X[:1000])
    detector = make(unit, epochs)
    start = time.perf_counter()
    detector.fit(X)
    fitted = time.perf_counter()
    scores = detector.decision_function(X_new)
    scored = time.perf_counter()
    return (
        unit
        | versions()
        | {
            "data": name,
            "rows": len(X),
            "features": X.shape[1],
            "epochs": epochs,
            "fit_seconds": round(fitted - start, 4),
            "score_seconds": round(scored - fitted, 4),
            "auroc": round(roc_auc_score(anomalies, -scores), 6),
            "cores": os.cpu_count(),
        }
    )


def main(arguments=None):
    """Run what the results file lacks, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--without-pyod", action="store_true")
    parser.add_argument("--results", type=Path)
    args = parser.parse_args(arguments)
    results = ResultsFile(args.results or LOCAL / "gpu.csv", COLUMNS, KEY)
    left_out = {PYOD} if args.without_pyod else set()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    if gpu == "none":
        print("No GPU: the CPU alone.")
        left_out |= {name for name in ALL if name != "cpu"}
    units = [
        {"task": task, "variant": variant, "round": number, "gpu": gpu}
        for number in range(args.rounds)
        for task in args.tasks
        for variant in TASKS[task][2]
        if variant not in left_out
    ]
    for unit in units:
        if not results.has(unit):
            row = run_unit(unit)
            results.append(row)
            print(f"{unit['task']}, {unit['variant']}: {row['fit_seconds']} s")
    report(pd.DataFrame(results.rows_of(units)))


def report(rows):
    """Print mean seconds and AUROC of each task and variant."""
    measures = ["fit_seconds", "score_seconds", "auroc"]
    rows = rows.astype(dict.fromkeys(measures, float))
    table = rows.groupby(["task", "variant"], sort=False)[measures].mean()
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
