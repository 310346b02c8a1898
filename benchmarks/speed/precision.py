"""Training in bfloat16 against float32.

Protocol: DASVDD with gamma 0.75 as in ``benchmarks.images`` (784-1024-256-1024-784,
batches of 200), the digit 8 of MNIST. The rate is that of the epochs between two fits,
of 1 and of 9, so that set-up and scoring do not count. AUROC is that of the whole test
set after ``--epochs`` epochs (50), with the random states 0 to 9. Scores are float64 in
both. The standard error of the mean difference is that of the differences by seed.
"""

from functools import partial

import torch
from sklearn.metrics import roc_auc_score

from benchmarks.images import METHODS
from benchmarks.speed.measurements import costs_by, difference, print_ratios
from benchmarks.speed.subjects import is_available, timed_fit
from skdeepad._deep import _has_bf16
from skdeepad.datasets import fetch_mnist

ROUNDS = 5
DIGIT, METHOD, SEEDS = 8, "DASVDD gamma=0.75", 10
PRECISIONS = ["float32", "bf16"]
EPOCHS = 1, 9


def run(measurements, options):
    """Measure both precisions."""
    if not is_available("skdeepad", options.subjects):
        return
    data = fetch_mnist()
    train = data.X_train[data.y_train == DIGIT][: options.max_rows]
    test, labels = data.X_test[: options.max_rows], data.y_test[: options.max_rows]
    measure(
        measurements,
        (train, test, labels != DIGIT),
        options.rounds or ROUNDS,
        options.epochs,
    )


def make(precision, epochs, seed):
    """The detector."""
    return METHODS[METHOD](epochs, seed).set_params(precision=precision)


def measure(measurements, data, rounds, epochs, seeds=SEEDS):
    """Seconds of short fits, and AUROC of long ones; data: train, test, anomalies."""
    unit = {"data": f"mnist {DIGIT}", "subject": "skdeepad", "members": 1}
    unit |= {"rows": len(data[0]), "features": data[0].shape[1], "batch_size": 200}
    for number in range(rounds):
        for precision in PRECISIONS:
            for n in EPOCHS:
                measurements.take(
                    ["fit seconds"],
                    partial(_fit_seconds, precision, n, data[0]),
                    variant=precision,
                    epochs=n,
                    round=number,
                    **unit,
                )
    for seed in range(seeds):
        for precision in PRECISIONS:
            measurements.take(
                ["AUROC"],
                partial(_auroc, precision, epochs, seed, *data),
                variant=precision,
                epochs=epochs,
                round=seed,
                **unit,
            )


def _fit_seconds(precision, epochs, train):
    return [timed_fit(partial(make, precision, epochs, 0), train)[1]]


def _auroc(precision, epochs, seed, train, test, anomalies):
    detector = make(precision, epochs, seed).fit(train)
    return [roc_auc_score(anomalies, -detector.score_samples(test))]


def epoch_costs(table):
    """``{precision: Cost of an epoch}``."""
    table = table[table["measure"] == "fit seconds"]
    few, many = (costs_by(table[table["epochs"] == n], "variant") for n in EPOCHS)
    n_between = EPOCHS[1] - EPOCHS[0]
    return {name: difference(many[name], few[name]) / n_between for name in few}


def auroc_difference(table):
    """``{name: (mean, standard error)}`` of each precision's AUROC and the difference.

    Of the numbers over the seeds.
    """
    table = table[table["measure"] == "AUROC"]
    by_seed = table.pivot(index="round", columns="variant", values="value")
    by_seed = by_seed[PRECISIONS]
    by_seed["difference"] = by_seed["bf16"] - by_seed["float32"]
    return {name: (column.mean(), column.sem()) for name, column in by_seed.items()}


def report(table):
    """Print rates and AUROC."""
    costs, rows = epoch_costs(table), table["rows"].iloc[0]
    print(f"\n{'training rows a second':<28}{'best':>9}{'median':>9}")
    for name, cost in costs.items():
        print(f"{name:<28}{rows / cost.best:>9.0f}{rows / cost.median:>9.0f}")
    able = _has_bf16(torch.device("cpu"))
    goal = ">= 1.7" if able else "none: the processor has no bf16 instructions"
    print_ratios([("bf16's rate / float32's", costs["float32"], costs["bf16"], goal)])
    values = auroc_difference(table)
    print(f"\n{'test AUROC':<28}{'mean':>9}{'error':>9}")
    for name, (mean, error) in values.items():
        print(f"{name:<28}{mean:>9.4f}{error:>9.4f}")
    noise = max(values["difference"][1], values["float32"][1])
    print(
        "goal: a difference of at most a standard error, its own or that of float32's "
        f"mean ({noise:.4f})"
    )
