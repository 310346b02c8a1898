"""The detectors that are timed, each made by a function of the same parameters.

skdeepad, PyOD and the bare loop train an autoencoder of the layers features-64-32-64-
features. DeepOD has no such detector: ``RCA`` trains two of them, without biases, and
compares their errors first to choose the rows of each step; ``DeepSVDD`` is an encoder
alone, half of the network, without biases, and the cheapest it has.
"""

import contextlib
import io
import warnings
from functools import partial

import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM

from benchmarks.speed.measurements import installed, seconds_of
from skdeepad import AutoencoderDetector

HIDDEN = (64, 32)
# Rows of the fit before the one that is timed.
WARM_UP_ROWS = 256


def make_ours(
    *, epochs, batch_size, members=1, batch_norm=False, dropout=0.0, cuda_graphs=False
):
    """Our detector; all members in one network."""
    return AutoencoderDetector(
        hidden_layer_sizes=HIDDEN,
        latent_dim=None,
        batch_norm=batch_norm,
        dropout=dropout,
        noise_std=0.0,
        batch_size=batch_size,
        max_epochs=epochs,
        n_estimators=members,
        cuda_graphs=cuda_graphs,
        random_state=0,
    )


def make_pyod(*, epochs, batch_size, members=1, batch_norm=False, dropout=0.0):
    """PyOD's autoencoder; members one after the other."""
    from pyod.models.auto_encoder import AutoEncoder

    make = partial(
        AutoEncoder,
        hidden_neuron_list=list(HIDDEN),
        batch_norm=batch_norm,
        dropout_rate=dropout,
        batch_size=batch_size,
        epoch_num=epochs,
        optimizer_params={"weight_decay": 0.0},  # as the others
        verbose=0,
    )
    return make() if members == 1 else OneByOne(make, members)


def make_deepod(name, *, epochs, batch_size, members=1, **parameters):
    """A detector of DeepOD; members one after the other."""
    from deepod.models import tabular

    make = partial(
        getattr(tabular, name),
        hidden_dims=str(HIDDEN[0]),
        rep_dim=HIDDEN[1],
        act="ReLU",
        batch_size=batch_size,
        epochs=epochs,
        device="cpu",
        verbose=0,
        **parameters,
    )
    return make() if members == 1 else OneByOne(make, members)


class OneByOne:
    """Detectors that are trained one after the other; the score is their mean."""

    def __init__(self, make, members):
        self._make, self._members = make, members

    def fit(self, X):
        """Train each detector."""
        self._detectors = [self._make().fit(X) for _ in range(self._members)]
        return self

    def decision_function(self, X):
        """Mean of the scores."""
        return np.mean([d.decision_function(X) for d in self._detectors], axis=0)


class BareLoop:
    """The plainest training loop: eager PyTorch, a resident tensor, fused Adam."""

    def __init__(self, *, epochs, batch_size):
        self.epochs, self.batch_size = epochs, batch_size

    def fit(self, X):
        """Train the network."""
        width, (first, second) = X.shape[1], HIDDEN
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
        for _ in range(self.epochs):
            order = torch.randperm(len(rows))
            for batch in order.split(self.batch_size):
                x = rows[batch]
                adam.zero_grad()
                torch.nn.functional.mse_loss(network(x), x).backward()
                adam.step()
        return self


DEEP = {
    "skdeepad": make_ours,
    "skdeepad CUDA graphs": partial(make_ours, cuda_graphs=True),
    "PyOD": make_pyod,
    "DeepOD DeepSVDD": partial(make_deepod, "DeepSVDD"),
    # Without dropout, as the others; with it RCA scores ten times over.
    "DeepOD RCA": partial(make_deepod, "RCA", dropout=None),
    "bare loop": BareLoop,
}
CLASSICAL = {
    "IsolationForest": partial(IsolationForest, random_state=0),
    "OneClassSVM": OneClassSVM,
    "LocalOutlierFactor": partial(LocalOutlierFactor, novelty=True),
}
# Beginnings of names, and the package that each needs.
NEEDED = {"PyOD": "pyod", "DeepOD": "deepod"}


def is_available(name, wanted=None):
    """Whether a subject is installed, and asked for (by the beginning of its name)."""
    if wanted is not None and not name.startswith(tuple(wanted)):
        return False
    return all(installed(p) for start, p in NEEDED.items() if name.startswith(start))


def timed_fit(make, X):
    """A detector fitted to the rows, and the seconds it took."""
    with quiet():
        make().fit(X[:WARM_UP_ROWS])
        detector = make()
        return detector, seconds_of(detector.fit, X)


def timed_scores(detector, X, warm_up=True, **options):
    """Seconds of scoring the rows."""
    score = getattr(detector, "score_samples", None) or detector.decision_function
    with quiet():
        if warm_up:
            score(X[:WARM_UP_ROWS], **options)
        return seconds_of(partial(score, **options), X)


@contextlib.contextmanager
def quiet():
    """Keep other packages' deprecation notes and progress bars off the screen."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
