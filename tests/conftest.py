"""Detectors and data that the tests share."""

import threading

import numpy as np
import pytest
import torch

import skdeepad
import skdeepad._training
from skdeepad._base import BaseDetector
from skdeepad._deep import BaseDeepDetector
from skdeepad._encoder import BaseEncoderDetector
from skdeepad._reconstruction import BaseAutoencoderDetector, ReconstructionMixin
from tests.faults import Epochs

# ThresholdedDetector needs another detector, and has tests of its own.
ALL = [
    value
    for value in vars(skdeepad).values()
    if isinstance(value, type)
    and issubclass(value, BaseDetector)
    and value is not skdeepad.ThresholdedDetector
]
DEEP = [cls for cls in ALL if issubclass(cls, BaseDeepDetector)]
every_deep = pytest.mark.parametrize("cls", DEEP)
every_encoder = pytest.mark.parametrize(
    "cls", [cls for cls in DEEP if issubclass(cls, BaseEncoderDetector)]
)
# Of the others no loss falls: their two networks train against each other.
LOWERING = [cls for cls in DEEP if cls is not skdeepad.AnoGAN]
every_lowering = pytest.mark.parametrize("cls", LOWERING)
RECONSTRUCTING = [cls for cls in DEEP if issubclass(cls, ReconstructionMixin)]
every_reconstructing = pytest.mark.parametrize("cls", RECONSTRUCTING)
every_decoder = pytest.mark.parametrize(
    "cls", [cls for cls in RECONSTRUCTING if issubclass(cls, BaseAutoencoderDetector)]
)


# Everything a fit may keep or draw: random layers, statistics, several networks.
HARD = {"dropout": 0.3, "batch_norm": True, "n_estimators": 2, "weight_decay": 1e-3}
# Small ones of another kind.
CONV = {"architecture": "conv", "image_shape": (1, 2, 3), "hidden_layer_sizes": (3,)}
STOP = {"early_stopping": True, "n_estimators": 2, "n_iter_no_change": 2}


# What a detector refuses, with an error that its own tests look at.
REFUSED = {
    "DSEBM": {"batch_norm"},
    "AnoGAN": {
        "dropout",
        "batch_norm",
        "early_stopping",
        "validation_fraction",
        "n_iter_no_change",
    },
    "OCGAN": {"dropout", "batch_norm"},
    # It has none of the last two.
    "PixelCNNDetector": {"batch_norm", "latent_dim", "architecture"},
}


def taken(cls, params):
    """Parameters, or a grid of them, without those that a detector refuses."""
    refused = REFUSED.get(cls.__name__, ())
    return {name: value for name, value in params.items() if name not in refused}


@pytest.fixture(autouse=True, scope="session")
def new_memory_holds_nan():
    """What reads a weight or a buffer that nobody set fails, and not by chance."""
    empty = torch.empty

    def filled(*args, **kwargs):
        memory = empty(*args, **kwargs)
        return memory.fill_(torch.nan) if memory.is_floating_point() else memory

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", filled)
        yield


class Tasks:
    """A callback that is handed on to all fits, and notes what begins and ends."""

    max_propagation_depth = None

    def __init__(self):
        self.begun, self.ended = [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        self.begun.append(context.task_name)

    def on_fit_task_end(self, estimator, context):
        self.ended.append(context.task_name)


def make(cls, **params):
    """A detector that trains in a moment and repeats."""
    names = cls().get_params()
    params = taken(cls, params)
    quick = {
        "max_epochs": 5,
        "pretrain_epochs": 1,
        "n_mapping_steps": 10,
        "random_state": 0,
    }
    quick = {name: value for name, value in quick.items() if name in names}
    return cls(**(quick | params))


def lowered(detector):
    """A loss that training lowers, epoch by epoch."""
    history = detector.history_
    return history.get("reconstruction", history["loss"])


def weights_of(detector, member=0):
    """The fitted tensors of one network, as float64 arrays by name."""
    return {n: value[member].astype(float) for n, value in detector._state.items()}


def assert_equal_states(one, other):
    """Fitted alike, to the last bit."""
    assert one._state.keys() == other._state.keys()
    for name, value in one._state.items():
        np.testing.assert_array_equal(other._state[name], value)
    assert one.offset_ == other.offset_
    assert one.n_iter_ == other.n_iter_
    for name, losses in one.history_.items():
        np.testing.assert_array_equal(other.history_[name], losses)


@pytest.fixture
def problem():
    """Correlated normal rows, and the same with a tenth of anomalies labelled -1."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(180, 2))
    normal = codes @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(180, 6))
    anomalies = 3 * rng.normal(size=(20, 6))
    X = np.r_[normal, anomalies] * [1, 10, 0.1, 1, 5, 1] + [0, 100, 0, -1, 0, 0]
    y = np.r_[np.ones(180, dtype=int), -np.ones(20, dtype=int)]
    return X, y


@pytest.fixture
def epochs(monkeypatch):
    """Epochs of training, to count and to interrupt."""
    epochs = Epochs(skdeepad._training._run_epoch)
    monkeypatch.setattr(skdeepad._training, "_run_epoch", epochs)
    return epochs


@pytest.fixture
def loops(monkeypatch):
    """The loops that ran: members, epochs and thread of each."""
    ran, train = [], skdeepad._training.train

    def spy(network, *args, **params):
        ran.append((network.members, params["max_epochs"], threading.get_ident()))
        return train(network, *args, **params)

    monkeypatch.setattr(skdeepad._training, "train", spy)
    return ran


@pytest.fixture
def sizes(monkeypatch):
    """How many members each epoch trained."""
    sizes, run_epoch = [], skdeepad._training._run_epoch

    def spy(network, *args):
        sizes.append(network.members)
        return run_epoch(network, *args)

    monkeypatch.setattr(skdeepad._training, "_run_epoch", spy)
    return sizes
