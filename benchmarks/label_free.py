"""Criteria without labels against AUROC: ``python -m benchmarks.label_free``.

Protocol: each ADBench set's normal rows are halved (at most 1,000 rows to train on,
1,000 normal rows and 500 anomalies to test on), and a pool of 41 detectors (networks
with several settings and numbers of epochs, and scikit-learn's) is trained on one
half. A criterion sees a fitted detector and the held-out normal rows only: it is the
ROC AUC of these rows against rows made from them. Per set it is judged by Spearman's
rank correlation with the AUROC of the true anomalies over the pool ("rho"), by the
AUROC of the detector it chooses ("choice"), and by the AUROC of a plain
autoencoder stopped where it is highest ("stopped"; the plain alternative is the lowest
held-out error). Criterion and AUROC share the held-out normal rows, and their chance:
what is chosen looks a little better than it is. Seed s draws the halves and is every
detector's ``random_state``; sets are averaged over seeds before they are compared.

The criteria were compared on the 13 sets that chose the package's defaults
(docs/defaults.md); the summary gives these and the others apart. "few_noisy" is what
LabelFreeScorer uses.
"""

import argparse
import contextlib
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from benchmarks.defaults import CHOSEN_ON
from benchmarks.results_file import LOCAL, ResultsFile, versions
from benchmarks.tabular import SUITES
from skdeepad import (
    DASVDD,
    AutoencoderDetector,
    KDEDetector,
    PCADetector,
    VAEDetector,
)
from skdeepad._together import Requests, Trained, serving
from skdeepad.datasets import fetch_adbench
from skdeepad.model_selection._label_free import disturbed_rows

EPOCHS = [1, 2, 3, 5, 8, 12, 20, 30, 50, 70, 100]
CRITERIA = ["uniform", "permuted", "noisy", "few_noisy", "mirrored"]
COLUMNS = ["data", "detector", "auroc", *CRITERIA, "held_out_score", "seed"]
COLUMNS += [*versions()]


def pool(seed):
    """Detectors by name, not fitted."""
    # Small steps, so that detectors stopped early and late are there to choose from.
    deep = {"batch_size": 32, "learning_rate": 1e-3, "random_state": seed}
    detectors = {
        f"plain AE, {n} epochs": AutoencoderDetector(max_epochs=n, **deep)
        for n in EPOCHS
    }
    for epochs in (5, 30, 100):
        for latent_dim, noise_std in ((2, 0.0), (2, 0.5), (16, 0.5)):
            name = f"AE, latent {latent_dim}, noise {noise_std}, {epochs} epochs"
            detectors[name] = AutoencoderDetector(
                latent_dim=latent_dim, noise_std=noise_std, max_epochs=epochs, **deep
            )
    for epochs in (10, 100):
        for beta in (0.1, 1.0):
            name = f"VAE, beta {beta}, {epochs} epochs"
            detectors[name] = VAEDetector(beta=beta, max_epochs=epochs, **deep)
        for gamma in ("auto", 0.01):
            name = f"DASVDD, gamma {gamma}, {epochs} epochs"
            detectors[name] = DASVDD(gamma=gamma, max_epochs=epochs, **deep)
    classical = {f"PCA, {n}": PCADetector(n_components=n) for n in (0.5, 0.9, 0.99)}
    classical["IsolationForest"] = IsolationForest(random_state=seed)
    for gamma in ("scale", 0.01, 1.0):
        classical[f"OneClassSVM, {gamma}"] = OneClassSVM(gamma=gamma)
    for n in (5, 20, 50):
        classical[f"LOF, {n}"] = LocalOutlierFactor(n, novelty=True)
    for width in (0.1, 0.5, 1.0):
        classical[f"KDE, {width}"] = KDEDetector(bandwidth=width)
    scaled = {n: make_pipeline(StandardScaler(), d) for n, d in classical.items()}
    return detectors | scaled


def made_up(X, seed):
    """Rows that take the anomalies' place, made of normal rows."""
    uniform = np.random.RandomState(seed).uniform(X.min(0), X.max(0), size=X.shape)
    rng = np.random.RandomState(seed)
    order = rng.random(X.shape).argsort(axis=0)
    noise = X.std(axis=0) * rng.normal(size=X.shape)
    return {
        "uniform": uniform,
        "permuted": np.take_along_axis(X, order, axis=0),
        "noisy": X + noise,
        "few_noisy": disturbed_rows(X, seed),
        "mirrored": 2 * X.mean(axis=0) - X,
    }


def available():
    """Sets that are in the data folder, or can be downloaded."""
    for name in SUITES["adbench29"]:
        with contextlib.suppress(OSError):
            fetch_adbench(name, return_X_y=True)
            yield name


def halves(name, seed):
    """Training rows, and test rows with their labels."""
    X, y = fetch_adbench(name, return_X_y=True)
    rng = np.random.RandomState(seed)
    normal = rng.permutation(np.flatnonzero(y == 1))[:2000]
    anomalies = rng.permutation(np.flatnonzero(y == -1))[:500]
    n_train = len(normal) // 2
    test = np.r_[normal[n_train:], anomalies]
    return X[normal[:n_train]], X[test], y[test]


def fit_all(detectors, X):
    """Fit all detectors, the networks together."""
    requests = Requests()
    for detector in detectors.values():
        if hasattr(detector, "max_epochs"):
            requests.note(partial(clone(detector).fit, X))
    parts = [part for group in requests.groups() for part in group.parts(1)]
    with serving(Trained.of(*parts)):
        return {name: detector.fit(X) for name, detector in detectors.items()}


def measure(name, seed):
    """A row for each detector."""
    X_train, X, y = halves(name, seed)
    fakes = made_up(X[y == 1], seed)
    for detector_name, detector in fit_all(pool(seed), X_train).items():
        scores = detector.score_samples(X)
        normal = scores[y == 1]
        values = {"auroc": roc_auc_score(y, scores), "held_out_score": normal.mean()}
        for criterion, rows in fakes.items():
            against = np.r_[normal, detector.score_samples(rows)]
            is_normal = np.r_[np.ones(len(normal)), np.zeros(len(rows))]
            values[criterion] = roc_auc_score(is_normal, against)
        values = {key: f"{value:.6g}" for key, value in values.items()}
        unit = {"data": name, "detector": detector_name, "seed": seed}
        yield versions() | values | unit


def summarize(rows):
    """Means over the sets of rank correlations, choices and early stopping."""
    table = []
    for (name, _), some in rows.groupby(["data", "seed"]):
        course = some[some.detector.str.startswith("plain AE")]
        deep = some[~some.detector.str.contains("PCA|Forest|SVM|LOF|KDE")]
        last = course[course.detector == "plain AE, 100 epochs"].auroc.iloc[0]
        entry = {"data": name, "AUROC, mean of the pool": some.auroc.mean()}
        entry["AUROC, best of the pool"] = some.auroc.max()
        entry["AUROC, plain AE"] = last
        for criterion in CRITERIA:
            entry[f"rho, {criterion}"] = _rho(some, criterion)
        for criterion in CRITERIA:
            entry[f"rho among networks, {criterion}"] = _rho(deep, criterion)
        for criterion in CRITERIA:
            entry[f"choice, {criterion}"] = some.auroc[some[criterion].idxmax()]
        for criterion in [*CRITERIA, "held_out_score"]:
            entry[f"stopped, {criterion}"] = course.auroc[course[criterion].idxmax()]
        entry["stopped, best"] = course.auroc.max()
        table.append(entry)
    table = pd.DataFrame(table).groupby("data").mean()
    chosen = table.index.isin(CHOSEN_ON)
    parts = {"compared on": table[chosen], "others": table[~chosen], "all": table}
    return pd.DataFrame({name: part.mean() for name, part in parts.items()}).round(3)


def _rho(rows, criterion):
    """Spearman's correlation; 0 where the criterion is the same for all."""
    if rows[criterion].nunique() == 1 or rows.auroc.nunique() == 1:
        return 0.0
    return spearmanr(rows[criterion], rows.auroc).statistic


def main(arguments=None):
    """Measure what is missing, then print the summary."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.label_free")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    args = parser.parse_args(arguments)
    path = args.results or LOCAL / "label_free.csv"
    results = ResultsFile(path, COLUMNS, ["data", "detector", "seed"])
    last = list(pool(0))[-1]
    todo = [
        (name, seed)
        for name in available()
        for seed in args.seeds
        if not results.has({"data": name, "detector": last, "seed": seed})
    ]
    for name, seed in track(todo):
        with warnings.catch_warnings():
            # Sets smaller than LOF's number of neighbours.
            warnings.simplefilter("ignore")
            rows = list(measure(name, seed))
        for row in rows:
            if not results.has(row):
                results.append(row)
    rows = pd.DataFrame(results.rows).astype(
        dict.fromkeys(["auroc", "held_out_score", *CRITERIA], float) | {"seed": int}
    )
    print(summarize(rows[rows.seed.isin(args.seeds)]).to_string())


if __name__ == "__main__":
    main()
