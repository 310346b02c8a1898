"""What thresholds do on new rows: ``python -m benchmarks.thresholds``.

Protocol: as ``benchmarks.tabular`` (half of the normal rows train, at most 1,000, the
others and all anomalies test), on those ADBench sets that have 100 rows to train on.
The threshold sees normal training rows alone. A false alarm is a normal test row that
is flagged.

With ``--training contaminated``, as in ``benchmarks.tabular``, half of the anomalies
are among the training rows, unlabelled, and "their share" is a contamination of the
anomalies' share in the set, at most one half: a guess that is right.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.engine import add_arguments, run_on_sets
from benchmarks.results_file import LOCAL, ResultsFile, params_id, versions
from benchmarks.tabular import ALL, TRAINING, available, split
from skdeepad import ThresholdedDetector
from skdeepad.thresholds import Conformal

MAX_TRAIN_ROWS, MIN_TRAIN_ROWS = 1000, 100
SCORERS = [
    "AutoencoderDetector",
    "VAEDetector",
    "DASVDD",
    "DeepSVDD",
    "DSEBM",
    "LatentAutoregressionDetector",
    "OCGAN",
    "DAGMM",
    "PCA (90 %)",
    "KernelPCADetector",
    "KDE (5-fold)",
    "OneClassSVM",
    "IsolationForest",
]
OF_CONTAMINATED_ROWS = [
    *(f"{SCORERS[0]}{support}" for support in ("", ", support 0.8", ", support 0.5")),
    "VAEDetector",
    "OneClassSVM",
    "IsolationForest",
]
CONFORMAL = {"threshold": Conformal(alpha=0.05)}
THRESHOLDS = {
    "normal": {
        "max_train": {},
        "quantile": {"contamination": 0.05},
        "quantile, cv=5": {"contamination": 0.05, "cv": 5},
        "conformal": CONFORMAL,
    },
    "contaminated": {
        "max_train": {},
        "their share": {"contamination": 0.1},  # of which a unit has its own
        "mad": {"threshold": "mad"},
        "conformal": CONFORMAL,
    },
}
KEY = ["dataset", "method", "threshold", "seed", "training", "params_id"]
SHARES = ["false_alarms", "detections"]
COLUMNS = [*KEY, "n_train", *SHARES, "n_jobs", *versions()]


def make(unit):
    """The detector of a unit, with its threshold."""
    scored = make_pipeline(StandardScaler(), ALL[unit["method"]](unit["seed"]))
    threshold = THRESHOLDS[unit["training"]][unit["threshold"]]
    return ThresholdedDetector(scored, **threshold)


def run_unit(load, unit):
    """Shares of normal rows and of anomalies that are flagged; a row of results."""
    X, y = load(return_X_y=True)
    train, test, labels = split(X, y, unit["seed"], MAX_TRAIN_ROWS, unit["training"])
    detector = make(unit)
    if unit["threshold"] == "their share":
        detector.set_params(contamination=min(0.5, np.mean(y == -1)))
    if unit["threshold"] == "conformal":  # not all detectors have a seed to take
        seeded = clone(detector.threshold).set_params(random_state=unit["seed"])
        detector.set_params(threshold=seeded)
    flagged = detector.fit(train).predict(test) == -1
    return (
        unit
        | versions()
        | {
            "n_train": len(train),
            "false_alarms": round(flagged[labels == 1].mean(), 6),
            "detections": round(flagged[labels == -1].mean(), 6),
        }
    )


def is_large_enough(load):
    """Whether half of a set's normal rows are enough for all thresholds."""
    _, y = load(return_X_y=True)
    return np.sum(y == 1) // 2 >= MIN_TRAIN_ROWS


def summarize(rows):
    """Percentages of false alarms and of detections by method, means over the sets."""
    means = rows.groupby(["dataset", "method", "threshold"])[SHARES].mean()
    means = 100 * means.groupby(["method", "threshold"]).mean()
    text = means.apply(lambda row: f"{row.iloc[0]:.1f} / {row.iloc[1]:.0f}", axis=1)
    table = text.unstack("threshold")
    methods = dict.fromkeys([*SCORERS, *OF_CONTAMINATED_ROWS])
    thresholds = dict.fromkeys(t for those in THRESHOLDS.values() for t in those)
    return table.reindex(
        index=[name for name in methods if name in table.index],
        columns=[name for name in thresholds if name in table],
    )


def main(arguments=None):
    """Run what the results file lacks, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thresholds")
    parser.add_argument("--datasets", nargs="+", metavar="NAME")
    parser.add_argument("--methods", nargs="+", choices=list(ALL))
    parser.add_argument("--training", default="normal", choices=TRAINING)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--results", type=Path)
    add_arguments(parser)
    args = parser.parse_args(arguments)
    path = args.results or LOCAL / "thresholds.csv"
    results = ResultsFile(path, COLUMNS, KEY)
    loaders = available("adbench29", args.datasets)
    small = [name for name, load in loaders.items() if not is_large_enough(load)]
    if small:
        print(
            f"Fewer than {MIN_TRAIN_ROWS} normal rows to train on, and left out: "
            f"{', '.join(small)}.",
            file=sys.stderr,
        )
    loaders = {name: load for name, load in loaders.items() if name not in small}
    if not loaders:
        raise SystemExit("No data set is left to run.")
    default = SCORERS if args.training == "normal" else OF_CONTAMINATED_ROWS
    units = [
        {"dataset": name, "method": method, "threshold": threshold, "seed": seed}
        | {"training": args.training}
        for name in loaders
        for method in args.methods or default
        for threshold in THRESHOLDS[args.training]
        for seed in args.seeds
    ]
    for unit in units:
        unit["params_id"] = params_id(make(unit | {"seed": 0}))
    rows = run_on_sets(run_unit, units, loaders, results, args)
    rows = pd.DataFrame(rows).astype(dict.fromkeys(SHARES, float))
    print(f"{len(loaders)} data sets; false alarms / detections, %\n")
    print(summarize(rows).to_string())
    print(f"\nRows: {path}")


if __name__ == "__main__":
    main()
