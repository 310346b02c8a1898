"""Rows scored in a second.

Protocol: a million rows of 30 standard normal features. All detectors are fitted to
2,000 rows of their own: the networks (30-64-32-64-30) for one epoch, scikit-learn's
detectors with their defaults. PyOD scores in batches of 32, its default, and of 4,096,
which its ``decision_function`` takes as an argument. OneClassSVM and LocalOutlierFactor
would take minutes, and are timed on 20,000 of the rows: the cost of a row is theirs.
One row at a time is the median of 500 calls.

The floor is what the network's four matrix products take in float64, the precision of
our scores: ``torch.mm`` into memory that is kept, for the quickest of three sizes of
chunk.
"""

from functools import cache, partial
from itertools import pairwise

import numpy as np
import torch
from sklearn.utils import gen_batches

from benchmarks.plots import plot_costs
from benchmarks.speed.measurements import costs_by, print_ratios, seconds_of
from benchmarks.speed.subjects import (
    CLASSICAL,
    DEEP,
    HIDDEN,
    is_available,
    timed_fit,
    timed_scores,
)

ROUNDS = 3
ROWS, FEATURES, TRAINING_ROWS = 1_000_000, 30, 2000
FEWER_ROWS = 20_000
FLOOR_CHUNKS = [1024, 8192, 65536]
PRODUCTS = "matrix products"
ONE_BY_ONE, CALLS = "one by one", 500
ALONE = ["skdeepad", "PyOD", "IsolationForest"]
# Subject, its variant and at most how many rows it scores.
SUBJECTS = [
    ("skdeepad", "", ROWS),
    ("PyOD", "", ROWS),
    ("PyOD", "batches of 4096", ROWS),
    ("DeepOD DeepSVDD", "", ROWS),
    ("IsolationForest", "", ROWS),
    ("OneClassSVM", "", FEWER_ROWS),
    ("LocalOutlierFactor", "", FEWER_ROWS),
    *((PRODUCTS, f"chunks of {n}", ROWS) for n in FLOOR_CHUNKS),
    *((name, ONE_BY_ONE, 1) for name in ALONE),
]


def run(measurements, options):
    """Measure the subjects asked for."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((min(ROWS, options.max_rows or ROWS), FEATURES))
    train = rng.standard_normal((TRAINING_ROWS, FEATURES))
    subjects = [s for s in SUBJECTS if is_available(s[0], options.subjects)]
    measure(measurements, train, X, options.rounds or ROUNDS, subjects)


def measure(measurements, train, X, rounds, subjects):
    """Seconds of scoring."""

    @cache
    def fitted(name):
        make = CLASSICAL.get(name) or partial(DEEP[name], epochs=1, batch_size=32)
        return timed_fit(make, train)[0]

    for number in range(rounds):
        for name, variant, most in subjects:
            measurements.take(
                ["score seconds"],
                partial(_score_seconds, fitted, name, variant, X[:most]),
                data="normal",
                subject=name,
                variant=variant,
                rows=min(most, len(X)),
                features=X.shape[1],
                members=1,
                round=number,
            )


def _score_seconds(fitted, name, variant, X):
    if variant == ONE_BY_ONE:
        times = [timed_scores(fitted(name), X, warm_up=i == 0) for i in range(CALLS)]
        return [np.median(times)]
    size = int(variant.split()[-1]) if variant else None
    if name == PRODUCTS:
        return [products_seconds(X, size)]
    options = {} if size is None else {"batch_size": size}
    return [timed_scores(fitted(name), X, **options)]


def products_seconds(X, chunk):
    """Seconds of the network's matrix products, in float64."""
    widths = [X.shape[1], *HIDDEN, *HIDDEN[-2::-1], X.shape[1]]
    weights = [torch.ones(pair, dtype=torch.float64) for pair in pairwise(widths)]
    kept = [torch.empty(chunk, n, dtype=torch.float64) for n in widths[1:]]
    rows = torch.from_numpy(X)

    def multiply():
        for part in gen_batches(len(X), chunk):
            x = rows[part]
            for weight, out in zip(weights, kept, strict=True):
                x = torch.mm(x, weight, out=out[: len(x)])

    multiply()
    return seconds_of(multiply)


def row_costs(table):
    """``{(subject, variant): Cost of a row}``, and the quickest products' one."""
    table = table.assign(value=table["value"] / table["rows"])
    costs = costs_by(table, ["subject", "variant"])
    products = [cost for (name, _), cost in costs.items() if name == PRODUCTS]
    return costs, min(products, key=lambda cost: cost.best, default=None)


def named_costs(table):
    """``{label: Cost of a row}``; a label says from how few rows a cost is taken."""
    most = table["rows"].max()
    rows = table.groupby(["subject", "variant"])["rows"].first()
    costs = {}
    for (subject, variant), cost in row_costs(table)[0].items():
        label = f"{subject}, {variant}" if variant else subject
        if 1 < rows[subject, variant] < most:
            label += f" (from {rows[subject, variant]:,} rows)"
        costs[label] = cost
    return costs


def report(table):
    """Print rows a second, and the ratios that matter."""
    print(f"\n{'rows a second':<46}{'best':>12}{'median':>12}")
    for label, cost in named_costs(table).items():
        print(f"{label:<46}{1 / cost.best:>12,.0f}{1 / cost.median:>12,.0f}")
    costs, products = row_costs(table)
    ours, pyod = costs.get(("skdeepad", "")), costs.get(("PyOD", ""))
    large = costs.get(("PyOD", "batches of 4096"))
    (_, alone), *others = ((name, costs.get((name, ONE_BY_ONE))) for name in ALONE)
    deepod = costs.get(("DeepOD DeepSVDD", ""))
    print_ratios(
        [
            ("rows a second / PyOD's", pyod, ours, ">= 10"),
            ("rows a second / PyOD's in large batches", large, ours, ""),
            ("rows a second / DeepOD's DeepSVDD (an encoder)", deepod, ours, ""),
            *(
                (f"rows a second / {name}'s", costs.get((name, "")), ours, "")
                for name in CLASSICAL
            ),
            *(
                (f"seconds of one row / {name}'s", alone, one, "")
                for name, one in others
            ),
            ("seconds / those of its matrix products", ours, products, "<= 3"),
        ]
    )


def draw(table, path):
    """Picture of the rows a second."""
    costs = named_costs(table)
    rates = {label: (1 / cost.best, 1 / cost.by_round) for label, cost in costs.items()}
    xlabel = "rows scored per second (small dots: rounds, large: best)"
    plot_costs(rates, xlabel=xlabel, highlight="skdeepad", path=path)
