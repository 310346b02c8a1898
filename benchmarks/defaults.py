"""Settings that the defaults were chosen among: ``python -m benchmarks.defaults``.

Protocol: the 13 ADBench sets of ``CHOSEN_ON``, split as in ``benchmarks.tabular``; at
most 1,500 training rows, 4,000 normal and 4,000 anomalous test rows. Seed s draws the
split and is the detector's ``random_state``: 1 to 6. The reported results have 0 to 2:
on these 13 sets 1 and 2 are no news. AUROC is averaged over the seeds, then over the
sets. The printed error is the standard error of the mean over the seeds, for sets that
stay the same.
"""

import argparse
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from benchmarks.engine import add_arguments, run_missing
from benchmarks.results_file import LOCAL, ResultsFile, params_id, versions
from benchmarks.tabular import ADBENCH, DEEP, numbered, split
from skdeepad import KernelPCADetector

CHOSEN_ON = numbered({2, 4, 6, 14, 18, 20, 25, 26, 29, 32, 38, 39, 45})
MAX_TRAIN_ROWS, MAX_TEST_ROWS = 1500, 4000
DETECTORS = DEEP | {"KernelPCADetector": KernelPCADetector}


def _courses(text):
    """Settings of a batch size, a number of epochs and a step size a line."""
    names = "batch_size", "max_epochs", "learning_rate"
    for line in text.strip().splitlines():
        batch, epochs, step = line.split()
        values = int(batch), int(epochs), float(step)
        yield dict(zip(names, values, strict=True))


COURSES = {
    "AutoencoderDetector": """
        32 100 1e-3
        32 20 1e-3
        32 20 2e-3
        64 35 1e-3
        64 35 2e-3
        64 35 3e-3
        64 35 4e-3
        64 30 2e-3
        64 30 3e-3
        64 25 3e-3
        64 25 4e-3
        64 20 3e-3
        64 20 4e-3
        64 20 5e-3
        64 18 4e-3
        64 15 4e-3
        64 15 5e-3
        128 55 2e-3
        128 55 4e-3
        128 30 6e-3
    """,
    "VAEDetector": """
        32 100 1e-3
        64 40 1e-3
        64 30 1e-3
        64 35 2e-3
        64 30 3e-3
        64 20 4e-3
    """,
    "DASVDD": """
        32 100 1e-3
        64 30 1e-3
        64 30 2e-3
        64 30 3e-3
    """,
    "DeepSVDD": """
        64 30 1e-3
        64 30 3e-3
        64 30 1e-2
        64 10 3e-3
        64 100 3e-3
    """,
    "DSEBM": """
        64 10 3e-3
        64 30 1e-3
        64 30 3e-3
        64 30 1e-2
        64 60 3e-3
        64 100 3e-3
    """,
    "DAGMM": """
        64 30 1e-3
        64 30 3e-3
        64 30 1e-2
        64 100 1e-3
        64 100 3e-3
        256 100 1e-3
        256 100 3e-3
        256 60 3e-3
        256 60 1e-2
        512 100 3e-3
        1024 200 3e-3
    """,
    "LatentAutoregressionDetector": """
        64 30 1e-3
        64 30 3e-3
        64 60 3e-3
        64 100 3e-3
        64 30 5e-3
        64 60 5e-3
        64 20 1e-2
        64 30 1e-2
        64 60 1e-2
        64 20 2e-2
        64 30 2e-2
        64 30 3e-2
    """,
    "OCGAN": """
        64 20 3e-3
        64 30 1e-3
        64 60 1e-3
        64 60 2e-3
        64 80 1e-3
        64 100 5e-4
        32 40 1e-3
    """,
    "AnoGAN": """
        64 30 1e-3
        64 60 1e-3
        64 100 1e-3
        64 60 3e-4
    """,
}
# Changes of the defaults, one at a time.
CHANGES = {
    "AutoencoderDetector": [
        {"batch_size": 50},
        {"decoder_layer_sizes": (128,)},
        {"decoder_layer_sizes": (64,)},
        {"decoder_layer_sizes": ()},
        {"hidden_layer_sizes": (64,), "decoder_layer_sizes": (256,)},
        {"hidden_layer_sizes": (), "decoder_layer_sizes": (256,)},
        {"hidden_layer_sizes": (128,)},
        {"hidden_layer_sizes": (192,)},
        {"hidden_layer_sizes": (256, 64)},
        {"latent_dim": 8},
        {"latent_dim": 24},
        {"latent_dim": 32},
        {"activation": "leaky_relu"},
        {"activation": "elu"},
        {"activation": "gelu"},
        {"activation": "silu"},
        {"activation": "tanh"},
        {"batch_norm": True},
        {"dropout": 0.2},
        {"noise_std": 0.3},
        {"weight_decay": 1e-4},
    ],
    "VAEDetector": [{"beta": 0.1}],
    "DASVDD": [
        {"score_reduction": "mean"},
        {"gamma": 0.01},
        {"loss_reduction": "mean", "score_reduction": "mean"},
    ],
    "DeepSVDD": [
        {"fit_intercept": False},
        {"pretrain_epochs": 10},
        {"pretrain_epochs": 30},
        {"pretrain_epochs": 100},
        {"nu": 0.1},
        {"activation": "relu"},
        {"batch_norm": True},
        {"latent_dim": 32},
        {"latent_dim": 64},
        {"hidden_layer_sizes": (128,)},
        {"hidden_layer_sizes": (256, 128)},
    ],
    "DSEBM": [
        {"noise_std": 0.1},
        {"noise_std": 0.3},
        {"noise_std": 0.5},
        {"criterion": "energy"},
        {"criterion": "energy", "noise_std": 0.5},
        {"criterion": "energy", "noise_std": 0.5, "max_epochs": 100},
        {"criterion": "energy", "noise_std": 1.0},
        {"activation": "relu"},
        {"activation": "silu"},
        {"hidden_layer_sizes": (64,)},
        {"hidden_layer_sizes": (512,)},
        {"hidden_layer_sizes": (256, 128)},
    ],
    "DAGMM": [
        {"latent_dim": 1},
        {"latent_dim": 2},
        {"latent_dim": 4},
        {"latent_dim": 8},
        {"n_components": 1},
        {"n_components": 2},
        {"n_components": 8},
        {"energy_weight": 0.01},
        {"energy_weight": 1.0},
        {"covariance_penalty": 0.0},
        {"covariance_penalty": 0.05},
        {"estimation_dropout": 0.0},
        {"estimation_layer_sizes": (64,)},
        {"activation": "tanh"},
        {"hidden_layer_sizes": (64,)},
    ],
    "LatentAutoregressionDetector": [
        {"surprisal_weight": 0.001},
        {"surprisal_weight": 0.1},
        {"surprisal_weight": 1.0},
        {"n_bins": 5},
        {"n_bins": 10},
        {"n_bins": 50},
        {"n_bins": 100},
        {"estimation_layer_sizes": (4,)},
        {"estimation_layer_sizes": (16,)},
        {"estimation_layer_sizes": (8, 8)},
        {"latent_dim": 4},
        {"latent_dim": 8},
        {"latent_dim": 32},
        {"activation": "leaky_relu"},
        {"hidden_layer_sizes": (64,)},
    ],
    "OCGAN": [
        {"noise_std": 0.0},
        {"noise_std": 0.5},
        {"reconstruction_weight": 0.1},
        {"reconstruction_weight": 1.0},
        {"reconstruction_weight": 100.0},
        {"n_mining_steps": 0},
        {"n_mining_steps": 5},
        {"mining_rate": 0.1},
        {"mining_rate": 10.0},
        {"latent_critic_layer_sizes": (64,)},
        {"latent_critic_layer_sizes": (128, 64, 32, 16)},
        {"latent_dim": 8},
        {"latent_dim": 32},
        {"activation": "leaky_relu"},
        {"hidden_layer_sizes": (64,)},
    ],
    "AnoGAN": [
        {"learning_rate": 1e-12, "max_epochs": 1},
        {"n_mapping_steps": 30},
        {"n_mapping_steps": 300},
        {"mapping_rate": 0.02},
        {"mapping_rate": 0.2},
        {"feature_weight": 0.0},
        {"feature_weight": 0.5},
        {"latent_dim": 8},
        {"activation": "leaky_relu"},
    ],
    "KernelPCADetector": [{"n_components": n} for n in (4, 16, 32, 64, 128, 256)],
}
KEY = ["data", "detector", "settings", "params_id", "seed"]
COLUMNS = [*KEY, "auroc", "fit_seconds", "n_jobs", *versions()]


def all_settings():
    """Pairs of a detector's name and its parameters."""
    for name in DETECTORS:
        for settings in [*_courses(COURSES.get(name, "")), *CHANGES.get(name, [])]:
            yield name, settings


def describe(settings):
    """Parameters in few words."""
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def run_unit(unit, settings):
    """Train and test one setting on one split; a row of results."""
    X, y = ADBENCH[unit["data"]](return_X_y=True)
    train, test, labels = split(X, y, unit["seed"], MAX_TRAIN_ROWS)
    order = np.random.default_rng(unit["seed"]).permutation(len(test))
    kept = [order[labels[order] == label][:MAX_TEST_ROWS] for label in (1, -1)]
    kept = np.concatenate(kept)
    scaler = StandardScaler().fit(train)
    if unit["detector"] in DEEP:
        settings = settings | {"standardize": False}
    detector = DETECTORS[unit["detector"]](random_state=unit["seed"], **settings)
    start = time.perf_counter()
    detector.fit(scaler.transform(train))
    seconds = time.perf_counter() - start
    scores = detector.score_samples(scaler.transform(test[kept]))
    auroc = round(roc_auc_score(labels[kept], scores), 6)
    return unit | versions() | {"auroc": auroc, "fit_seconds": round(seconds, 4)}


def summarize(rows):
    """A row a setting: mean AUROC over the sets, its error, and seconds of a fit."""
    rows = rows.astype({"auroc": float, "fit_seconds": float})
    by = ["detector", "settings"]
    seeds = rows.groupby([*by, "seed"], sort=False)["auroc"].mean()
    seeds = seeds.groupby(by, sort=False)
    return pd.DataFrame(
        {
            "AUROC": seeds.mean(),
            "error": seeds.sem(),
            "fit s": rows.groupby(by, sort=False)["fit_seconds"].mean(),
        }
    )


def main(arguments=None):
    """Run what the results file lacks, and print the means."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.defaults")
    names = [name for name in ADBENCH if name in CHOSEN_ON]
    parser.add_argument("--data", nargs="+", default=names, choices=ADBENCH)
    parser.add_argument(
        "--detectors", nargs="+", default=list(DETECTORS), choices=DETECTORS
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5, 6])
    add_arguments(parser)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args(arguments)
    results = ResultsFile(args.results or LOCAL / "defaults.csv", COLUMNS, KEY)
    by_name = {
        (name, describe(settings)): settings
        for name, settings in all_settings()
        if name in args.detectors
    }
    units = [
        {"data": data, "detector": name, "settings": words, "seed": seed}
        | {"params_id": params_id(DETECTORS[name](**settings))}
        for data in args.data
        for (name, words), settings in by_name.items()
        for seed in args.seeds
    ]
    rows = run_missing(
        units,
        results,
        lambda unit: joblib.delayed(run_unit)(
            unit, by_name[unit["detector"], unit["settings"]]
        ),
        lambda row: f"{row['data']}, {row['detector']}",
        args.n_jobs,
        args.scheduler,
    )
    print(summarize(pd.DataFrame(rows)).round(4).to_string())


if __name__ == "__main__":
    main()
