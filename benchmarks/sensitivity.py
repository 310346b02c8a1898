"""Depth, width and length of training: ``python -m benchmarks.sensitivity --help``.

Protocol, of the *sensitivity* report (sections 3 to 5, tables of appendix A.5): the
eights of MNIST's training set train, the whole test set tests. Networks of its depths
and widths (each layer half as wide as the one before it, a code of 32, batch
normalisation, leaky ReLU) are trained by Adam with a step size of 1e-3, and scored by
the mean squared reconstruction error, after several numbers of epochs. Its widths, of
which it counts the parameters of the normalisation alone, its step size and code are
the report's; batches of 128, pixels less MNIST's mean over its standard deviation,
and a variational network of one pixel's unit variance (beta 1) are ours, where it says
nothing. The test set chooses nothing; the best number of epochs that is printed is
what a choice could have won.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.progress import track
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from benchmarks.plots import plot_courses
from benchmarks.results_file import LOCAL, ResultsFile, versions
from skdeepad import AutoencoderDetector, VAEDetector
from skdeepad.datasets import fetch_mnist
from skdeepad.model_selection import BatchedGridSearchCV

DIGIT = 8
# Of all pixels of the 60,000 training images, as is usual for MNIST.
MEAN, DEVIATION = 0.1307, 0.3081
EPOCHS = [1, 2, 5, 10, 20, 50, 100]


class Shape(NamedTuple):
    """Numbers of layers, and units or channels of the widest one."""

    encoder_depth: int
    encoder_width: int
    decoder_depth: int
    decoder_width: int


# The AUROC of appendix A.5, of its autoencoders.
REPORTED = {
    "mlp": {
        Shape(2, 392, 2, 392): 0.8932,
        Shape(2, 784, 2, 784): 0.9006,
        Shape(2, 1568, 2, 1568): 0.9086,
        Shape(1, 784, 1, 784): 0.8947,
        Shape(1, 784, 2, 784): 0.9010,
        Shape(1, 784, 4, 784): 0.9070,
        Shape(2, 784, 1, 784): 0.9007,
        Shape(2, 784, 4, 784): 0.9082,
        Shape(4, 784, 1, 784): 0.9073,
        Shape(4, 784, 2, 784): 0.9063,
        Shape(4, 784, 4, 784): 0.9124,
    },
    "conv": {
        Shape(2, 16, 2, 16): 0.8213,
        Shape(2, 64, 2, 64): 0.8440,
        Shape(2, 128, 2, 128): 0.8441,
        Shape(1, 64, 1, 64): 0.7690,
        Shape(1, 64, 2, 64): 0.8325,
        Shape(1, 64, 4, 64): 0.8339,
        Shape(2, 64, 1, 64): 0.7739,
        Shape(2, 64, 4, 64): 0.8361,
        Shape(4, 64, 1, 64): 0.7783,
        Shape(4, 64, 2, 64): 0.8466,
        Shape(4, 64, 4, 64): 0.8533,
    },
}
# Section 5 says of dropout that none was better; no table has it.
DROPOUT = {"mlp": Shape(2, 784, 2, 784), "conv": Shape(2, 64, 2, 64)}
OBJECTIVES = {
    "autoencoder": (AutoencoderDetector, {}),
    "variational": (VAEDetector, {"beta": 1.0, "criterion": "reconstruction"}),
}

# The last one by name alone: an hour or two on two cores.
NETWORKS = [
    "autoencoder-mlp",
    "autoencoder-conv",
    "variational-mlp",
    "variational-conv",
]

UNIT = ["architecture", "objective", *Shape._fields, "dropout", "seed"]
COLUMNS = [*UNIT, "epochs", "auroc", "test_error", *versions()]


def units(networks, seeds):
    """What is trained, as dicts of ``UNIT``."""
    return [
        {"architecture": architecture, "objective": objective, "seed": seed}
        | shape._asdict()
        | {"dropout": dropout}
        for seed in seeds
        for objective, architecture in (network.split("-") for network in networks)
        for shape in REPORTED[architecture]
        for dropout in ((0.0, 0.2) if shape == DROPOUT[architecture] else (0.0,))
    ]


def halved(depth, width):
    """Widths of an encoder's layers in an MLP, each half of the one before it."""
    return [max(1, width >> i) for i in range(depth)]


def make_detector(unit, n_pixels):
    """The detector of a unit, not fitted."""
    encoder = halved(unit["encoder_depth"], unit["encoder_width"])
    decoder = halved(unit["decoder_depth"], unit["decoder_width"])
    image = {}
    if unit["architecture"] == "conv":
        side = round(n_pixels**0.5)
        image = {"architecture": "conv", "image_shape": (1, side, side)}
        encoder = encoder[::-1]  # the widest lies next to the code
    else:
        decoder = decoder[::-1]  # the widest lies next to the pixels
    make, params = OBJECTIVES[unit["objective"]]
    return make(
        hidden_layer_sizes=tuple(encoder),
        decoder_layer_sizes=tuple(decoder),
        latent_dim=32,
        batch_norm=True,
        activation="leaky_relu",
        dropout=unit["dropout"],
        standardize=False,
        batch_size=128,
        learning_rate=1e-3,
        random_state=unit["seed"],
        **image,
        **params,
    )


def measures(detector, X, y):
    """AUROC, and the mean squared error of all test rows, normal or not."""
    errors = (X - detector.reconstruct(X)) ** 2
    return {
        "auroc": roc_auc_score(y, detector.score_samples(X)),
        "test_error": errors.mean(),
    }


def measure(unit, data, epochs):
    """Train once for the most epochs; a row for each number of them."""
    train = (data.X_train[data.y_train == DIGIT] - MEAN) / DEVIATION
    test = (data.X_test - MEAN) / DEVIATION
    y = np.r_[np.ones(len(train)), np.where(data.y_test == DIGIT, 1, -1)].astype(int)
    rows = np.arange(len(y))
    search = BatchedGridSearchCV(
        make_detector(unit, train.shape[1]),
        {"max_epochs": epochs},
        scoring=measures,
        cv=[(rows[: len(train)], rows[len(train) :])],
        refit=False,
        error_score="raise",
    ).fit(np.r_[train, test], y)
    found = search.cv_results_
    for i, n in enumerate(found["param_max_epochs"]):
        yield (
            versions()
            | unit
            | {
                "epochs": n,
                "auroc": f"{found['mean_test_auroc'][i]:.6f}",
                "test_error": f"{found['mean_test_test_error'][i]:.6f}",
            }
        )


def summarize(rows):
    """A row for each network: AUROC by number of epochs, and the report's."""
    table = rows.pivot(
        index=["objective", "architecture", *Shape._fields, "dropout"],
        columns="epochs",
        values="auroc",
    )
    reported = [
        REPORTED[architecture].get(Shape(*shape), np.nan)
        if objective == "autoencoder" and not dropout
        else np.nan
        for objective, architecture, *shape, dropout in table.index
    ]
    return table.assign(reported=reported).round(3)


def correlations(rows):
    """Spearman's correlation of test error with AUROC, over shapes and over epochs.

    Over shapes, after the most epochs; over epochs, the mean of all shapes.
    """
    rows = rows[rows.dropout == 0]
    last = rows[rows.epochs == rows.epochs.max()]
    shapes = list(Shape._fields)
    return pd.DataFrame(
        {
            "over shapes": last.groupby(["objective", "architecture"])[
                ["test_error", "auroc"]
            ].apply(_rho),
            "over epochs": rows.groupby(["objective", "architecture", *shapes])[
                ["test_error", "auroc"]
            ]
            .apply(_rho)
            .groupby(["objective", "architecture"])
            .mean(),
        }
    ).round(2)


def _rho(rows):
    return spearmanr(rows.test_error, rows.auroc).statistic


def title(objective, architecture):
    """A kind of network in the words of docs/defaults.md."""
    layers = {"mlp": "dense", "conv": "convolutional"}[architecture]
    kind = {"autoencoder": "autoencoder", "variational": "VAE"}[objective]
    return f"{layers} {kind}"


def main(arguments=None):
    """Measure what is missing, print the tables and draw the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sensitivity")
    add = parser.add_argument
    add("--networks", nargs="+", choices=NETWORKS, default=NETWORKS[:-1])
    add("--epochs", nargs="+", type=int, default=EPOCHS)
    add("--seeds", nargs="+", type=int, default=[0])
    add("--results", type=Path)
    args = parser.parse_args(arguments)
    path = args.results or LOCAL / "sensitivity.csv"
    results = ResultsFile(path, COLUMNS, [*UNIT, "epochs"])
    wanted = units(args.networks, args.seeds)
    by_epochs = [unit | {"epochs": n} for unit in wanted for n in args.epochs]
    todo = [
        unit
        for unit in wanted
        if not all(results.has(unit | {"epochs": n}) for n in args.epochs)
    ]
    data = fetch_mnist() if todo else None
    for unit in track(todo):
        for row in measure(unit, data, args.epochs):
            if not results.has(row):
                results.append(row)
    kinds = dict.fromkeys([*Shape._fields, "seed", "epochs"], int)
    kinds |= dict.fromkeys(["dropout", "auroc", "test_error"], float)
    rows = pd.DataFrame(results.rows_of(by_epochs)).astype(kinds)
    of_seeds = [*(name for name in UNIT if name != "seed"), "epochs"]
    means = rows.groupby(of_seeds)[["auroc", "test_error"]].mean().reset_index()
    print(summarize(means).to_string())
    print("\nTest error against AUROC, rank correlation:")
    print(correlations(means).to_string())
    by_network = means[means.dropout == 0].groupby(["objective", "architecture"])
    panels = {
        title(*name.split("-")): by_network.get_group(tuple(name.split("-")))
        for name in args.networks
    }
    plot_courses(panels, path=path.with_suffix(".png"))


if __name__ == "__main__":
    main()
