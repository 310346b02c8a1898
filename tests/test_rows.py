"""Rows that are not all in memory, and rows that come in parts."""

import pickle
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

import skdeepad._rows
from skdeepad import DASVDD, AutoencoderDetector
from skdeepad._rows import (
    RowSubset,
    Streamed,
    chunks,
    fits_in_memory,
    gather,
    place,
    rows_digest,
    subset,
)
from tests.conftest import every_deep, every_lowering, lowered, make


@pytest.fixture
def no_memory(monkeypatch):
    """A context in which no copy of the rows fits in memory."""

    @contextmanager
    def context():
        with config_context(working_memory=0), monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
            yield

    return context


@pytest.fixture
def memmap(problem, tmp_path):
    """The same rows in a memory-mapped file."""
    X, _ = problem
    np.save(tmp_path / "rows.npy", X)
    return np.load(tmp_path / "rows.npy", mmap_mode="r")


@pytest.fixture
def places(monkeypatch):
    """Where the rows of each fit were put."""
    kinds = []

    def spy(X, scale, device):
        kinds.append(type(x := place(X, scale, device)))
        return x

    monkeypatch.setattr(skdeepad._rows, "place", spy)
    return kinds


@pytest.mark.filterwarnings("ignore:.*still improved")
@every_deep
@pytest.mark.parametrize(
    "params", [{}, {"early_stopping": True, "n_iter_no_change": 1, "n_estimators": 2}]
)
def test_streamed_rows_train_the_same_networks(
    cls, params, problem, memmap, places, no_memory
):
    X, _ = problem
    resident = make(cls, max_epochs=20, **params).fit(X)
    with no_memory():
        streamed = make(cls, max_epochs=20, **params).fit(memmap)
    assert places == [torch.Tensor, Streamed]
    for name, value in resident._state.items():
        # Sums over all rows (DASVDD's gamma) are taken in other chunks.
        np.testing.assert_allclose(streamed._state[name], value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        streamed.score_samples(memmap), resident.score_samples(X), rtol=1e-4
    )


def test_labelled_rows_are_not_copied(problem, memmap, places, no_memory, monkeypatch):
    X, y = problem
    kinds = []

    def note_rows_of(name):
        method = getattr(AutoencoderDetector, name)

        def spy(self, rows, *args):
            kinds.append(type(rows))
            return method(self, rows, *args)

        monkeypatch.setattr(AutoencoderDetector, name, spy)

    note_rows_of("_start")
    note_rows_of("_rounded_scores")
    params = {"threshold": "conformal"}
    resident = make(AutoencoderDetector, **params).fit(X, y)
    with no_memory():
        streamed = make(AutoencoderDetector, **params).fit(memmap, y)
    assert kinds == [np.ndarray, np.ndarray, RowSubset, RowSubset]
    assert places == [torch.Tensor, Streamed]
    for name, value in resident._state.items():
        np.testing.assert_array_equal(streamed._state[name], value)
    assert streamed.offset_ == resident.offset_


def test_few_rows_are_copied_and_many_are_indexed(monkeypatch):
    X, indices = np.arange(24.0).reshape(12, 2), np.array([1, 3, 4, 11])
    assert isinstance(subset(X, indices), np.ndarray)
    monkeypatch.setattr(skdeepad._rows, "SCALE_BYTES", 63)  # one less than they take
    many = subset(X, indices)
    assert isinstance(many, RowSubset)
    np.testing.assert_array_equal(many[1:3], X[[3, 4]])


def test_gathered_rows_are_the_ones_asked_for(problem):
    X, _ = problem
    scale = lambda X: 2.0 * X
    x = torch.tensor(2 * X, dtype=torch.float32)
    rows = torch.tensor([5, 0, 7, 5, 3], dtype=torch.int32)
    streamed, out = Streamed(X, scale, torch.device("cpu")), torch.empty(5, X.shape[1])
    gather(streamed, rows, out)
    assert torch.equal(out, x[rows.long()])
    gather(x, rows, out.zero_())
    assert torch.equal(out, x[rows.long()])
    assert torch.equal(torch.cat(list(streamed.split(7))), x)


def test_rows_are_scaled_in_chunks(problem, monkeypatch):
    X, _ = problem
    whole = make(AutoencoderDetector).fit(X)
    monkeypatch.setattr(skdeepad._rows, "SCALE_BYTES", 8 * X.shape[1] * 7)
    sizes = []
    partial_fit = StandardScaler.partial_fit

    def spy(self, X):
        sizes.append(len(X))
        return partial_fit(self, X)

    monkeypatch.setattr(StandardScaler, "partial_fit", spy)
    chunked = make(AutoencoderDetector).fit(X)
    assert max(sizes) == 7
    assert sum(sizes) == len(X)
    np.testing.assert_allclose(chunked.scaler_.mean_, whole.scaler_.mean_)
    np.testing.assert_allclose(chunked.scaler_.var_, whole.scaler_.var_)
    np.testing.assert_allclose(
        chunked.score_samples(X), whole.score_samples(X), rtol=1e-3
    )


@every_deep
def test_partial_fit_on_all_rows_is_an_epoch_of_fit(cls, problem):
    """The optimizer's state is kept: n calls are a fit of n epochs."""
    X, y = problem
    once = make(cls, max_epochs=6, dropout=0.2).fit(X, y)
    parts = make(cls, max_epochs=99, dropout=0.2)
    for _ in range(6):
        # Through pickle, where the optimizer's state must go along.
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, y)))
    assert parts.n_iter_ == 6
    np.testing.assert_allclose(parts.history_["loss"], once.history_["loss"], rtol=1e-5)
    np.testing.assert_allclose(parts.score_samples(X), once.score_samples(X), rtol=1e-4)
    assert parts.offset_ == pytest.approx(once.offset_, rel=1e-4)


@every_lowering
def test_partial_fit_learns_from_every_part(cls, problem):
    X, y = problem
    X = X[y == 1]
    detector = make(cls, learning_rate=1e-2)
    for _ in range(30):
        for part in np.array_split(X, 3):
            detector.partial_fit(part)
    assert detector.n_iter_ == len(detector.history_["loss"]) == 90
    loss = lowered(detector)
    assert loss[-3:].mean() < 0.8 * loss[:3].mean()
    first = StandardScaler().fit(np.array_split(X, 3)[0])
    np.testing.assert_allclose(detector.scaler_.mean_, first.mean_)


def test_partial_fit_goes_on_after_fit_and_fit_starts_anew(problem):
    X, _ = problem
    detector = make(AutoencoderDetector).fit(X)
    scores = detector.score_samples(X)
    detector.partial_fit(X)
    assert detector.n_iter_ == 6
    assert not np.allclose(detector.score_samples(X), scores)
    np.testing.assert_array_equal(detector.fit(X).score_samples(X), scores)
    assert "_optimizers" not in vars(detector)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"early_stopping": True}, "no early_stopping"),
        ({"threshold": "conformal"}, "conformal"),
    ],
)
def test_partial_fit_refuses_what_a_part_can_not_serve(params, message, problem):
    X, _ = problem
    with pytest.raises(ValueError, match=message):
        make(AutoencoderDetector, **params).partial_fit(X)


@pytest.mark.parametrize(
    "params", [{"learning_rate": -1.0}, {"batch_size": 0}, {"support_fraction": 2.0}]
)
def test_partial_fit_checks_parameters_that_have_changed(params, problem):
    X, _ = problem
    detector = make(AutoencoderDetector).partial_fit(X).set_params(**params)
    before = dict(vars(detector))
    with pytest.raises(InvalidParameterError, match=next(iter(params))):
        detector.partial_fit(X)
    assert vars(detector) == before


def test_partial_fit_that_fails_changes_nothing(problem):
    X, _ = problem
    detector = make(DASVDD).partial_fit(X)
    before = dict(vars(detector))
    with pytest.raises(ValueError, match="features"):
        detector.partial_fit(X[:, :3])
    with pytest.raises(ValueError, match="diverged"):
        detector.set_params(learning_rate=1e30).partial_fit(X)
    detector.set_params(learning_rate=before["learning_rate"])
    assert vars(detector).keys() == before.keys()
    assert all(vars(detector)[name] is value for name, value in before.items())


def test_rows_for_a_gpu_go_through_memory_that_grows(monkeypatch):
    """Pinned memory serves the largest request, and waits for the copy before it."""
    events = []

    class Event:
        def record(self, stream):
            events.append(stream)

        def synchronize(self):
            events.append("waited")

    def empty(*shape, pin_memory=False, **options):
        assert pin_memory
        return make_empty(*shape, **options)

    make_empty = torch.empty
    monkeypatch.setattr(skdeepad._rows.torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"on {device}")
    X = np.arange(60.0).reshape(20, 3)
    streamed = Streamed(X, np.negative, torch.device("cuda:1"))
    for n_rows in (4, 9, 5):
        rows = torch.randperm(20, generator=torch.Generator().manual_seed(n_rows))
        out = torch.zeros(n_rows, 3)
        streamed.gather(rows[:n_rows], out)
        np.testing.assert_array_equal(out, -X[rows[:n_rows]])
    assert events == ["waited", "on cuda:1"] * 3


def test_a_copy_takes_half_of_a_gpus_free_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8000, 9000))
    assert fits_in_memory((10, 100), torch.device("cuda"))
    assert not fits_in_memory((1, 1001), torch.device("cuda"))
    with config_context(working_memory=1):
        assert fits_in_memory((2**9, 2**9), torch.device("cpu"))
        assert not fits_in_memory((1, 2**18 + 1), torch.device("cpu"))


def test_a_row_beyond_a_chunk_is_a_chunk(monkeypatch):
    monkeypatch.setattr(skdeepad._rows, "SCALE_BYTES", 8)
    assert list(chunks(np.zeros((2, 5)))) == [slice(0, 1), slice(1, 2)]


def test_rows_of_another_shape_or_type_are_others():
    X = np.ones((4, 6))
    assert rows_digest(X) != rows_digest(X.reshape(6, 4))
    assert rows_digest(X) != rows_digest(X.view(np.int64))
