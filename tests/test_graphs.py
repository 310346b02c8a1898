"""Recorded training steps: on a stand-in for CUDA graphs, and on a GPU where one is.

The stand-in notes every operation of a step, with the tensors it was given, and undoes
it: a recording does not run. A replay calls the same operations on the same memory.
What a recording can't hold is refused, and what it holds as it was once is seen in the
results.
"""

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

import skdeepad._graphs
from skdeepad import DASVDD, DSEBM, AutoencoderDetector, DeepSVDD, VAEDetector
from skdeepad._deep import BaseDeepDetector
from skdeepad._graphs import WARM_UP_STEPS, ReplayedStep, capture
from skdeepad.model_selection import BatchedGridSearchCV, OneClassKFold
from tests.conftest import CONV, HARD, STOP, every_deep, make

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BF16 = {"precision": "bf16"}
PARAMS = [{}, HARD, CONV, CONV | HARD, BF16, STOP]
CLOSE = {"rtol": 1e-5, "atol": 1e-7}
FORBIDDEN = ("random", "uniform", "normal", "bernoulli", "_local_scalar_dense")


class Recorder(TorchDispatchMode):
    """Notes operations and what they wrote over."""

    def __init__(self):
        super().__init__()
        self.calls, self.overwritten = [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        if name in FORBIDDEN or name.rstrip("_") in FORBIDDEN:
            raise RuntimeError(f"{name} can't be recorded.")
        for i, argument in enumerate(func._schema.arguments):
            written = argument.alias_info is not None and argument.alias_info.is_write
            # Its schema does not say so.
            written |= name == "native_batch_norm" and "running" in argument.name
            if not written:
                continue
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            for tensor in pytree.tree_leaves(value):
                if tensor is not None:
                    self.overwritten.append((tensor, tensor.clone()))
        result = func(*args, **kwargs)
        # In inference mode those come that are views or copies as the case may be.
        if not (func.is_view and _share_memory(result, args)):
            self.calls.append((func, args, kwargs, result))
        return result

    def undo(self):
        for tensor, before in reversed(self.overwritten):
            tensor.copy_(before)

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, recorded in self.calls:
            results = func(*args, **kwargs)
            for old, new in zip(
                pytree.tree_leaves(recorded), pytree.tree_leaves(results), strict=True
            ):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def _share_memory(result, args):
    pointers = [
        {
            tensor.untyped_storage().data_ptr()
            for tensor in pytree.tree_leaves(tree)
            if isinstance(tensor, torch.Tensor)
        }
        for tree in (result, args)
    ]
    return not pointers[0].isdisjoint(pointers[1])


@pytest.fixture
def stand_in(monkeypatch):
    """Let steps be recorded on the CPU."""
    counts = {"warm_up": 0, "recordings": 0, "replays": 0}

    def warm_up(step, x):
        counts["warm_up"] += 1
        return step(x)

    def record(function, device):
        counts["recordings"] += 1
        with Recorder() as recorder:
            function()
        recorder.undo()

        def replay():
            counts["replays"] += 1
            recorder.replay()

        return replay

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(skdeepad._graphs, "warm_up", warm_up)
    monkeypatch.setattr(skdeepad._graphs, "capture", record)
    monkeypatch.setattr(BaseDeepDetector, "_check_cuda_graphs", lambda *args: None)
    return counts


def assert_same(detector, other, X):
    np.testing.assert_allclose(
        detector.score_samples(X), other.score_samples(X), **CLOSE
    )
    for name, losses in detector.history_.items():
        np.testing.assert_allclose(losses, other.history_[name], **CLOSE)


@every_deep
@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_replayed_steps_train_the_same_network(cls, params, problem, stand_in):
    X, _ = problem
    plain = make(cls, batch_size=25, **params).fit(X)
    assert not any(stand_in.values())
    replayed = make(cls, batch_size=25, cuda_graphs=True, **params).fit(X)
    n_before = getattr(plain, "pretrain_epochs", 0)  # a loop of its own
    n_loops = 1 + bool(n_before)
    assert stand_in["recordings"] == n_loops
    assert stand_in["warm_up"] == WARM_UP_STEPS * n_loops
    n_train = len(X) - replayed._n_validation(X) * replayed.early_stopping
    n_full = (n_before + replayed.n_iter_) * (n_train // 25)
    if not replayed.early_stopping:
        assert stand_in["replays"] == n_full - WARM_UP_STEPS * n_loops
    assert_same(plain, replayed, X)


@pytest.mark.parametrize("center", ["trained", "mean", "fixed"])
def test_each_way_of_a_centre(center, problem, stand_in):
    X, _ = problem
    params = {"center": center, "kappa": 0.5, "center_decay": 0.1}
    plain = make(DASVDD, **params).fit(X)
    assert_same(plain, make(DASVDD, cuda_graphs=True, **params).fit(X), X)
    assert stand_in["replays"]


@pytest.mark.parametrize("cls", [AutoencoderDetector, DeepSVDD, DSEBM])
def test_rows_are_picked_anew_in_each_replay(cls, problem, stand_in):
    X, _ = problem
    params = {"support_fraction": 0.7, "dropout": 0.2, "batch_size": 25}
    plain = make(cls, **params).fit(X)
    assert_same(plain, make(cls, cuda_graphs=True, **params).fit(X), X)
    assert stand_in["replays"]


def test_noise_that_is_shared_or_each_members_own(problem, stand_in):
    X, y = problem
    grid = {
        "learning_rate": [1e-3, 1e-2],
        "dropout": [0.1, 0.4],
        "random_state": [0, 1],
    }
    scores = []
    for cuda_graphs in (False, True):
        detector = make(VAEDetector, batch_size=25, cuda_graphs=cuda_graphs)
        search = BatchedGridSearchCV(
            detector, grid, scoring="roc_auc", cv=OneClassKFold(3), refit=False
        ).fit(X, y)
        scores.append(search.cv_results_["mean_test_score"])
    assert stand_in["recordings"] == 1
    np.testing.assert_allclose(*scores, rtol=1e-6)


def test_warm_start_and_partial_fit(problem, stand_in):
    X, _ = problem

    def course(**params):
        detector = make(AutoencoderDetector, warm_start=True, batch_size=20, **params)
        detector.fit(X).fit(X)
        for _ in range(2):
            detector.partial_fit(X)
        return detector

    assert_same(course(), course(cuda_graphs=True), X)
    assert stand_in["recordings"] == 4


def test_a_fit_of_fewer_steps_than_the_warm_up(problem, stand_in):
    X, _ = problem
    params = {"max_epochs": 2, "batch_size": len(X)}
    plain = make(AutoencoderDetector, **params).fit(X)
    assert_same(plain, make(AutoencoderDetector, cuda_graphs=True, **params).fit(X), X)
    assert stand_in == {"warm_up": 2, "recordings": 0, "replays": 0}


@every_deep
def test_the_stand_in_sees_what_is_not_replayed(cls, problem, stand_in, monkeypatch):
    # Rows that stay those of the recording must not go unnoticed.
    X, _ = problem
    fill = ReplayedStep._fill

    def fill_once(step, x):
        if not stand_in["replays"]:
            fill(step, x)

    monkeypatch.setattr(ReplayedStep, "_fill", fill_once)
    params = {"batch_size": 25, "pretrain_epochs": 0}  # one loop
    params = {name: v for name, v in params.items() if name in cls().get_params()}
    plain = make(cls, **params).fit(X)
    stuck = make(cls, cuda_graphs=True, **params).fit(X)
    assert not np.allclose(plain.score_samples(X), stuck.score_samples(X), rtol=1e-3)


@every_deep
def test_graphs_need_a_gpu(cls, problem):
    X, _ = problem
    detector = make(cls).fit(X)
    before = detector.score_samples(X)
    detector.set_params(cuda_graphs=True, device="cpu")
    with pytest.raises(
        ValueError, match=r"cuda_graphs=True is for GPUs.*'auto' or False"
    ):
        detector.fit(X)
    np.testing.assert_array_equal(detector.score_samples(X), before)


def test_by_default_there_are_graphs_on_a_gpu():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert AutoencoderDetector()._replays(gpu)
    assert not AutoencoderDetector()._replays(cpu)
    assert not AutoencoderDetector(distributed=True)._replays(gpu)
    assert not AutoencoderDetector(cuda_graphs=False)._replays(gpu)
    # What a step of a user's own goes by is not known.
    own = type("Own", (AutoencoderDetector,), {"__module__": "users.own"})
    assert not own()._replays(gpu)
    assert own(cuda_graphs=True)._replays(gpu)


def test_graphs_do_not_go_with_several_processes():
    detector = AutoencoderDetector(cuda_graphs=True, distributed=True)
    with pytest.raises(ValueError, match="do not go together"):
        detector._check_cuda_graphs(torch.device("cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_deep
@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_on_a_gpu(cls, params, problem):
    X, _ = problem
    plain, again, replayed = (
        make(cls, batch_size=25, cuda_graphs=graphs, **params).fit(X).score_samples(X)
        for graphs in (False, False, True)
    )
    np.testing.assert_array_equal(plain, again)
    np.testing.assert_array_equal(plain, replayed)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_fits_in_threads_on_a_gpu(problem):
    X, _ = problem

    def scores(seed, cuda_graphs="auto"):
        detector = make(AutoencoderDetector, random_state=seed, cuda_graphs=cuda_graphs)
        return detector.fit(X).score_samples(X)

    alone = [scores(seed, False) for seed in range(12)]
    together = Parallel(4, prefer="threads")(
        delayed(scores)(seed) for seed in range(12)
    )
    np.testing.assert_array_equal(alone, together)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recording_does_not_run():
    x = torch.zeros(3, device="cuda")
    replay = capture(lambda: x.add_(1), x.device)
    assert x.tolist() == [0, 0, 0]
    replay()
    assert x.tolist() == [1, 1, 1]
