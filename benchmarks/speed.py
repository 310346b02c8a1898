"""Cost of a training step: ``python -m benchmarks.speed``; nothing else may run.

Protocol: the normal rows of ADBench's shuttle (45,586 x 9), layers 9-64-32-64-9,
batches of 32. A step's cost is the difference of two fits, of 1 and of 2 epochs,
over the steps between them, so that set-up and scoring do not count. The subjects
take turns, since the machine's own speed drifts: only ratios within one run mean
anything. "best" takes each fit's shortest time over the rounds, which a busy neighbour
can not lengthen; "median" is that of the ratios within each round.
"regularised" is PyOD's default, batch normalisation and dropout of 0.2; "plain" has
neither. The bare loop is eager PyTorch over a resident tensor with fused Adam.
"""

import argparse
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from pyod.models.auto_encoder import AutoEncoder
from rich.progress import Progress

from benchmarks.results_file import ResultsFile, versions
from skdeepad import AutoencoderDetector
from skdeepad.datasets import fetch_adbench

BATCH_SIZE, HIDDEN = 32, (64, 32)
VARIANTS = {"plain": (False, 0.0), "regularised": (True, 0.2)}
COLUMNS = ["subject", "variant", "members", "round"]
COLUMNS += ["one_epoch_seconds", "two_epochs_seconds", "threads"]
COLUMNS += [*versions(), "pyod"]


def fit_ours(X, epochs, batch_norm, dropout, members):
    """Seconds of a fit of AutoencoderDetector."""
    detector = AutoencoderDetector(
        hidden_layer_sizes=HIDDEN,
        latent_dim=None,
        batch_norm=batch_norm,
        dropout=dropout,
        noise_std=0.0,
        batch_size=BATCH_SIZE,
        max_epochs=epochs,
        n_estimators=members,
        random_state=0,
    )
    start = time.perf_counter()
    detector.fit(X)
    return time.perf_counter() - start


def fit_pyod(X, epochs, batch_norm, dropout, members):
    """Seconds of a fit of PyOD's AutoEncoder."""
    detector = AutoEncoder(
        hidden_neuron_list=list(HIDDEN),
        batch_norm=batch_norm,
        dropout_rate=dropout,
        batch_size=BATCH_SIZE,
        epoch_num=epochs,
        verbose=0,
    )
    start = time.perf_counter()
    detector.fit(X)
    return time.perf_counter() - start


def fit_bare(X, epochs, batch_norm, dropout, members):
    """Seconds of the plainest training loop in PyTorch."""
    width, (first, second) = X.shape[1], HIDDEN
    start = time.perf_counter()
    network = torch.nn.Sequential(
        torch.nn.Linear(width, first),
        torch.nn.ReLU(),
        torch.nn.Linear(first, second),
        torch.nn.ReLU(),
        torch.nn.Linear(second, first),
        torch.nn.ReLU(),
        torch.nn.Linear(first, width),
    )
    adam = torch.optim.Adam(network.parameters(), fused=True)
    rows = torch.as_tensor(X, dtype=torch.float32)
    for _ in range(epochs):
        order = torch.randperm(len(rows))
        for batch in order.split(BATCH_SIZE):
            x = rows[batch]
            adam.zero_grad()
            torch.nn.functional.mse_loss(network(x), x).backward()
            adam.step()
    return time.perf_counter() - start


# Subject, its variants, and how many members it trains at once.
SUBJECTS = [
    ("pyod", fit_pyod, "plain", 1),
    ("pyod", fit_pyod, "regularised", 1),
    ("bare loop", fit_bare, "plain", 1),
    ("skdeepad", fit_ours, "plain", 1),
    ("skdeepad", fit_ours, "regularised", 1),
    ("skdeepad", fit_ours, "plain", 16),
    ("skdeepad", fit_ours, "regularised", 16),
    ("skdeepad", fit_ours, "plain", 64),
]


def measure(X, rounds, results):
    """Seconds of fits: ``{(subject, variant, members): array (rounds, 2)}``."""
    seconds = {}
    with Progress() as progress:
        task = progress.add_task("", total=rounds * len(SUBJECTS))
        for number in range(rounds):
            for subject, fit, variant, members in SUBJECTS:
                progress.update(task, description=f"{subject}, {variant}, {members}")
                one, two = (fit(X, n, *VARIANTS[variant], members) for n in (1, 2))
                seconds.setdefault((subject, variant, members), []).append((one, two))
                results.append(
                    versions()
                    | {
                        "subject": subject,
                        "variant": variant,
                        "members": members,
                        "round": number,
                        "one_epoch_seconds": round(one, 4),
                        "two_epochs_seconds": round(two, 4),
                        "threads": torch.get_num_threads(),
                        "pyod": version("pyod"),
                    }
                )
                progress.advance(task)
    return {key: np.array(values) for key, values in seconds.items()}


def report(seconds, n_steps):
    """Print what a step costs, and the ratios that matter."""
    by_round = {key: np.diff(s)[:, 0] / n_steps for key, s in seconds.items()}
    best = {key: np.diff(s.min(axis=0))[0] / n_steps for key, s in seconds.items()}
    print("\nmicroseconds a step")
    print(f"{'subject':<12}{'variant':<14}{'networks':>8}{'best':>8}{'median':>8}")
    for key, cost in best.items():
        subject, variant, members = key
        median = np.median(by_round[key])
        print(
            f"{subject:<12}{variant:<14}{members:>8}{1e6 * cost:>8.0f}"
            f"{1e6 * median:>8.0f}"
        )
    one, one_regularised = ("skdeepad", "plain", 1), ("skdeepad", "regularised", 1)
    sixteen, many = ("skdeepad", "plain", 16), ("skdeepad", "plain", 64)
    bare, pyod = ("bare loop", "plain", 1), ("pyod", "plain", 1)
    pyod_regularised = ("pyod", "regularised", 1)
    print(f"\n{'ratio':<46}{'best':>8}{'median':>8}   goal")
    for text, a, b, networks, goal in [
        ("one network / PyOD's, plain", one, pyod, 1, "<= 0.333"),
        (
            "one network / PyOD's, regularised",
            one_regularised,
            pyod_regularised,
            1,
            "<= 0.333",
        ),
        ("one plain network / PyOD's default", one, pyod_regularised, 1, ""),
        ("sixteen networks / one, plain", sixteen, one, 1, "<= 3"),
        (
            "sixteen networks / one, regularised",
            ("skdeepad", "regularised", 16),
            one_regularised,
            1,
            "<= 3",
        ),
        ("one network / bare loop, plain", one, bare, 1, ""),
        ("sixteen networks / bare loop's one, plain", sixteen, bare, 1, ""),
        ("64 networks / PyOD's, each, plain", many, pyod, 64, ""),
    ]:
        ratio = best[a] / best[b] / networks
        median = np.median(by_round[a] / by_round[b]) / networks
        print(f"{text:<46}{ratio:>8.3f}{median:>8.3f}   {goal}")


def main(arguments=None):
    """Run the rounds and print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args(arguments)
    path = args.results or Path(__file__).parent / "results" / "local" / "speed.csv"
    X, y = fetch_adbench("shuttle", return_X_y=True)
    with warnings.catch_warnings():
        # PyOD's own deprecation notes are not ours to print.
        warnings.simplefilter("ignore")
        X = X[y == 1]
        seconds = measure(X, args.rounds, ResultsFile(path, COLUMNS, ["round"]))
    report(seconds, n_steps=int(np.ceil(len(X) / BATCH_SIZE)))
    print(f"\nRows: {path}")


if __name__ == "__main__":
    main()
