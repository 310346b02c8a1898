"""Cost of a training step.

Protocol: the normal rows of ADBench's shuttle (45,586 x 9), layers 9-64-32-64-9,
batches of 32. A step's cost is the difference of two fits, of 1 and of 3 epochs, over
the steps between them, so that set-up and scoring do not count. "regularised" is PyOD's
default, batch normalisation and dropout of 0.2; "plain" has neither. Where there is a
GPU, skdeepad and PyOD train there, and skdeepad once more by CUDA graphs.
"""

from functools import partial

import numpy as np
import torch

from benchmarks.plots import plot_costs
from benchmarks.speed.measurements import costs_by, difference, print_ratios
from benchmarks.speed.subjects import DEEP, is_available, timed_fit
from skdeepad.datasets import fetch_adbench

ROUNDS = 5
BATCH_SIZE = 32
EPOCHS = 1, 3
VARIANTS = {
    "plain": {},
    "regularised": {"batch_norm": True, "dropout": 0.2},
}
# Subject, its variant, and how many members it trains at once.
SUBJECTS = [
    ("PyOD", "plain", 1),
    ("PyOD", "regularised", 1),
    ("DeepOD DeepSVDD", "plain", 1),
    ("DeepOD RCA", "plain", 1),
    ("bare loop", "plain", 1),
    ("skdeepad", "plain", 1),
    ("skdeepad", "regularised", 1),
    ("skdeepad", "plain", 16),
    ("skdeepad", "regularised", 16),
    ("skdeepad", "plain", 64),
]
if torch.cuda.is_available():
    SUBJECTS += [("skdeepad CUDA graphs", "plain", members) for members in (1, 16, 64)]


def run(measurements, options):
    """Measure the subjects asked for."""
    X, y = fetch_adbench("shuttle", return_X_y=True)
    X = X[y == 1][: options.max_rows]
    subjects = [s for s in SUBJECTS if is_available(s[0], options.subjects)]
    measure(measurements, X, options.rounds or ROUNDS, subjects)


def measure(measurements, X, rounds, subjects):
    """Seconds of fits of few and of many epochs."""
    for number in range(rounds):
        for name, variant, members in subjects:
            for epochs in EPOCHS:
                call = partial(_fit_seconds, X, name, variant, members, epochs)
                measurements.take(
                    ["fit seconds"],
                    call,
                    data="shuttle",
                    subject=name,
                    variant=variant,
                    rows=len(X),
                    features=X.shape[1],
                    members=members,
                    batch_size=BATCH_SIZE,
                    epochs=epochs,
                    round=number,
                )


def _fit_seconds(X, name, variant, members, epochs):
    parameters = {"epochs": epochs, "batch_size": BATCH_SIZE} | VARIANTS[variant]
    if members > 1:
        parameters["members"] = members
    return [timed_fit(partial(DEEP[name], **parameters), X)[1]]


def step_costs(table):
    """``{(subject, variant, members): Cost of a step}``."""
    few, many = EPOCHS
    n_steps = np.ceil(table["rows"].iloc[0] / BATCH_SIZE) * (many - few)
    columns = ["subject", "variant", "members"]
    short, long = (costs_by(table[table["epochs"] == n], columns) for n in EPOCHS)
    return {key: difference(long[key], short[key]) / n_steps for key in short}


def report(table):
    """Print what a step costs, and the ratios that matter."""
    costs = step_costs(table)
    print(f"\n{'microseconds a step':<32}{'networks':>10}{'best':>9}{'median':>9}")
    for (subject, variant, members), cost in costs.items():
        values = f"{1e6 * cost.best:>9.0f}{1e6 * cost.median:>9.0f}"
        print(f"{f'{subject}, {variant}':<32}{members:>10}{values}")
    get = costs.get
    one, sixteen = (get(("skdeepad", "plain", n)) for n in (1, 16))
    one_reg, sixteen_reg = (get(("skdeepad", "regularised", n)) for n in (1, 16))
    each = get(("skdeepad", "plain", 64))
    each = each and each / 64
    bare, pyod = get(("bare loop", "plain", 1)), get(("PyOD", "plain", 1))
    pyod_reg = get(("PyOD", "regularised", 1))
    replayed = get(("skdeepad CUDA graphs", "plain", 1))
    svdd, rca = (get((f"DeepOD {name}", "plain", 1)) for name in ("DeepSVDD", "RCA"))
    print_ratios(
        [
            ("one network / bare loop's, plain", one, bare, "<= 0.6"),
            ("one network / PyOD's, plain", one, pyod, "<= 0.167"),
            ("one network / PyOD's, regularised", one_reg, pyod_reg, ""),
            ("one plain network / PyOD's default", one, pyod_reg, ""),
            ("one network / DeepOD's DeepSVDD (an encoder)", one, svdd, ""),
            ("one network / DeepOD's RCA (two networks)", one, rca, ""),
            ("sixteen networks / bare loop's one, plain", sixteen, bare, "<= 1.3"),
            ("sixteen networks / one, plain", sixteen, one, "<= 3"),
            ("sixteen networks / one, regularised", sixteen_reg, one_reg, "<= 3"),
            ("64 networks / PyOD's, each, plain", each, pyod, "<= 0.025"),
            ("one network by CUDA graphs / without, on a GPU", replayed, one, ""),
        ]
    )


def draw(table, path):
    """Picture of what a step costs, each network's share."""
    shares = {}
    for (subject, variant, members), cost in step_costs(table).items():
        label = f"{subject}, {variant}"
        if members > 1:
            label += f", {members} networks"
        share = cost / (1e-6 * members)
        shares[label] = share.best, share.by_round
    xlabel = "microseconds per step and network (small dots: rounds, large: best)"
    plot_costs(shares, xlabel=xlabel, highlight="skdeepad", path=path)
