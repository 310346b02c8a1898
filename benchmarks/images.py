"""One class of MNIST against the others: ``python -m benchmarks.images --help``.

Protocol, of the DASVDD paper: the normal class of the original training set trains,
the whole original test set tests, pixels are divided by 255, nothing else is done to
them. A detector is trained for a fixed number of epochs; the test set chooses nothing.
"""

import argparse
import time
from pathlib import Path

import joblib
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.engine import add_arguments, run_missing
from benchmarks.results_file import LOCAL, ResultsFile, params_id, versions
from skdeepad import (
    DASVDD,
    AutoencoderDetector,
    PCADetector,
    PixelCNNDetector,
    VAEDetector,
)
from skdeepad.datasets import fetch_fashion_mnist, fetch_mnist

# The networks of the papers: DASVDD section 4.3, ED-VAE section 4.1.
PIXELS = {"standardize": False, "output_activation": "sigmoid"}
DENSE = PIXELS | {
    "hidden_layer_sizes": (1024, 256),
    "latent_dim": None,
    "activation": "leaky_relu",
    "batch_size": 200,
    "learning_rate": 1e-3,
    "weight_decay": 1e-7,
}
CONV = PIXELS | {
    "architecture": "conv",
    "image_shape": (1, 28, 28),
    "hidden_layer_sizes": (32, 32),
    "latent_dim": 32,
    "activation": "relu",
    "batch_size": 128,
    "learning_rate": 1e-4,
}

# Each makes a detector of the number of epochs and a random_state.
METHODS = {
    "DASVDD gamma=0.75": lambda n, s: DASVDD(
        gamma=0.75,
        loss_reduction="sum",
        score_reduction="mean",
        max_epochs=n,
        random_state=s,
        **DENSE,
    ),
    "DASVDD gamma=auto": lambda n, s: DASVDD(
        loss_reduction="sum",
        score_reduction="mean",
        max_epochs=n,
        random_state=s,
        **DENSE,
    ),
    "DASVDD literal": lambda n, s: DASVDD(
        loss_reduction="sum",
        score_reduction="sum",
        max_epochs=n,
        random_state=s,
        **DENSE,
    ),
    "AutoencoderDetector": lambda n, s: AutoencoderDetector(
        noise_std=0.0, max_epochs=n, random_state=s, **DENSE
    ),
    "VAEDetector expected_latent": lambda n, s: VAEDetector(
        beta=1.0, criterion="elbo", max_epochs=n, random_state=s, **CONV
    ),
    "VAEDetector sample": lambda n, s: VAEDetector(
        scoring="sample",
        beta=1.0,
        criterion="elbo",
        max_epochs=n,
        random_state=s,
        **CONV,
    ),
    "PixelCNNDetector": lambda n, s: PixelCNNDetector(
        image_shape=CONV["image_shape"], max_epochs=n, random_state=s
    ),
    "PixelCNNDetector standardize=False": lambda n, s: PixelCNNDetector(
        image_shape=CONV["image_shape"],
        standardize=False,
        max_epochs=n,
        random_state=s,
    ),
    "PCADetector": lambda n, s: PCADetector(n_components=32, random_state=s),
    "IsolationForest": lambda n, s: IsolationForest(random_state=s),
}
DATA = {"mnist": fetch_mnist, "fashion-mnist": fetch_fashion_mnist}
KEY = ["data", "normal_class", "method", "epochs", "seed", "params_id"]
COLUMNS = [*KEY, "n_train", "auroc", "average_precision", "gamma"]
COLUMNS += ["fit_seconds", "score_seconds", "n_jobs", *versions()]


def run_unit(load, unit):
    """Train and test one method on one class; a row of results."""
    data = load()
    normal = unit["normal_class"]
    train = data.X_train[data.y_train == normal]
    anomalies = data.y_test != normal
    detector = METHODS[unit["method"]](unit["epochs"], unit["seed"])
    start = time.perf_counter()
    detector.fit(train)
    fitted = time.perf_counter()
    scores = -detector.score_samples(data.X_test)
    return (
        unit
        | versions()
        | {
            "n_train": len(train),
            "auroc": round(roc_auc_score(anomalies, scores), 6),
            "average_precision": round(average_precision_score(anomalies, scores), 6),
            "gamma": round(getattr(detector, "gamma_", float("nan")), 6),
            "fit_seconds": round(fitted - start, 2),
            "score_seconds": round(time.perf_counter() - fitted, 2),
        }
    )


def main(arguments=None):
    """Run what the results file lacks, and print its rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images")
    parser.add_argument("--data", choices=DATA, default="mnist")
    parser.add_argument("--digits", nargs="+", type=int, default=list(range(10)))
    parser.add_argument(
        "--methods",
        nargs="+",
        default=list(METHODS),
        metavar="NAME",
        help="beginnings of names: " + ", ".join(METHODS),
    )
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    add_arguments(parser)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args(arguments)
    path = args.results or LOCAL / "images.csv"
    results = ResultsFile(path, COLUMNS, KEY)
    methods = [m for m in METHODS if m.startswith(tuple(args.methods))]
    for start in args.methods:
        if not any(m.startswith(start) for m in methods):
            parser.error(f"no method begins with {start!r}: there are {list(METHODS)}")
    units = [
        {"data": args.data, "normal_class": d, "method": m, "epochs": args.epochs}
        | {"seed": s, "params_id": params_id(METHODS[m](0, 0))}
        for s in args.seeds
        for d in args.digits
        for m in methods
    ]
    if not all(results.has(unit) for unit in units):
        DATA[args.data]()  # downloaded once, and what is wrong is said now
    rows = run_missing(
        units,
        results,
        lambda unit: joblib.delayed(run_unit)(DATA[args.data], unit),
        lambda row: f"{row['normal_class']}, {row['method']}: {row['auroc']:.3f}",
        args.n_jobs,
        args.scheduler,
    )
    print(f"\n{'class':>5}  {'method':<30}{'seed':>5}{'AUROC':>8}{'AP':>8}")
    for row in rows:
        print(
            f"{row['normal_class']:>5}  {row['method']:<30}{row['seed']:>5}"
            f"{float(row['auroc']):>8.3f}{float(row['average_precision']):>8.3f}"
        )


if __name__ == "__main__":
    main()
