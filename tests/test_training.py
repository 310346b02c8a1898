"""The training loop, on networks small enough to follow."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from skdeepad import AutoencoderDetector
from skdeepad._random import make_generators, member_seeds
from skdeepad._training import (
    EarlyStopping,
    GradientPhase,
    chunk_rows,
    mean_over_rows,
    split_validation,
    train,
)
from tests.conftest import make


class Means(nn.Module):
    """``k`` points that follow the mean of their rows."""

    def __init__(self, members, start=0.0):
        super().__init__()
        self.members, self.width, self.work = members, 2, 2 * members
        self.point = nn.Parameter(torch.full((members, 1, 2), start))

    def loss(self, x):
        return {"loss": (x - self.point).square().sum(2).mean(1)}


class SGD:
    """Gradient descent on the flat buffer."""

    def __init__(self, flat, lr):
        self.flat, self.lr = flat, lr

    def step(self):
        self.flat.values.sub_(self.lr * self.flat.gradients)


def sgd(lr):
    return lambda flat: SGD(flat, lr)


def run(network, X, rows=None, phases=None, **params):
    seeds = np.arange(network.members)
    if rows is None:
        rows = torch.arange(len(X)).expand(network.members, -1)
    if phases is None:
        phases = [GradientPhase(network.loss, network.parameters(), sgd(lr=0.1))]
    params = {"max_epochs": 3, "batch_size": 4} | params
    return train(network, phases, X, rows, seeds=seeds, **params)


def test_same_weights_as_a_plain_torch_loop():
    """One member in one batch: 50 steps of a torch module with torch's own Adam."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)).astype(np.float32)
    params = {"hidden_layer_sizes": (6, 2), "latent_dim": None, "activation": "tanh"}
    params |= {"standardize": False}
    params |= {"batch_size": 40, "weight_decay": 0.01, "learning_rate": 0.01}
    start = make(
        AutoencoderDetector, max_epochs=1, **(params | {"learning_rate": 1e-12})
    )
    start = start.fit(X)._state
    layers = []
    for name in ("encoder.0", "encoder.2", "decoder.0", "decoder.2"):
        weight = torch.tensor(start[f"{name}.weight"][0])
        layer = nn.Linear(*weight.shape)
        layer.weight.data, layer.bias.data = (
            weight.T.clone(),
            torch.tensor(start[f"{name}.bias"][0, 0]),
        )
        layers += [layer, nn.Tanh()]
    network, x = nn.Sequential(*layers[:-1]), torch.tensor(X)
    adam = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=0.01)
    for _ in range(50):
        adam.zero_grad()
        loss = nn.functional.mse_loss(network(x), x)
        loss.backward()
        adam.step()
    detector = make(AutoencoderDetector, max_epochs=50, **params).fit(X)
    np.testing.assert_allclose(
        detector.reconstruct(X), network(x).detach().numpy(), atol=2e-4
    )
    assert detector.history_["loss"][-1] == pytest.approx(loss.item(), rel=1e-3)


def test_every_row_is_seen_once_an_epoch_in_another_order():
    seen = []

    class Spy:
        share = None

        def step(self, x):
            seen.append(x[..., 0].clone())
            return {"loss": torch.zeros(len(x))}

    X = torch.arange(10.0).repeat(2, 1).T
    run(Means(2), X, phases=[Spy()], max_epochs=2)
    assert [x.shape[1] for x in seen] == [4, 4, 2] * 2
    epochs = [torch.cat(seen[:3], 1), torch.cat(seen[3:], 1)]
    for epoch in epochs:
        for member in epoch:
            assert torch.equal(member.sort().values, X[:, 0])
    assert not torch.equal(epochs[0][0], epochs[1][0])
    assert not torch.equal(epochs[0][0], epochs[0][1])


def test_phases_take_turns_on_their_shares():
    calls = []

    class Spy:
        def __init__(self, name, share):
            self.name, self.share = name, share

        def step(self, x):
            calls.append((self.name, x.shape[1]))
            return {self.name: torch.full((1,), float(x.shape[1]))}

    first, rest = (lambda n: slice(0, 3)), (lambda n: slice(3, None))
    phases = [Spy("a", first), Spy("b", rest)]
    history, _, _ = run(Means(1), torch.zeros(7, 2), phases=phases, max_epochs=1)
    # The last batch of three rows leaves none for the second phase.
    assert calls == [("a", 3), ("b", 1), ("a", 3)]
    assert history == {"a": [3.0], "b": [1.0]}


@pytest.mark.parametrize(
    ("phases", "expected"),
    [([False], True), ([False, False], True), ([True, False], False), ([None], False)],
)
def test_inference_mode_where_no_phase_uses_autograd(phases, expected):
    modes = []

    class Spy:
        share = None

        def __init__(self, uses_autograd):
            if uses_autograd is not None:  # a user's may not say
                self.uses_autograd = uses_autograd

        def step(self, x):
            modes.append(torch.is_inference_mode_enabled())
            return {"loss": x.mean((1, 2))}

    phases = [Spy(uses_autograd) for uses_autograd in phases]
    history, _, _ = run(Means(2), torch.ones(10, 2), phases=phases, max_epochs=2)
    assert modes == [expected] * 3 * 2 * len(phases)
    assert not torch.is_inference_mode_enabled()
    assert not any(loss.is_inference() for loss in history["loss"])


def test_history_is_the_mean_over_rows():
    X = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    network = Means(1)
    phases = [GradientPhase(network.loss, network.parameters(), sgd(lr=0.0))]
    history, n_epochs, unconverged = run(network, X, phases=phases, max_epochs=2)
    expected = X.square().sum(1).mean().item()
    assert [loss.item() for loss in history["loss"]] == pytest.approx([expected] * 2)
    assert n_epochs.tolist() == [2]
    assert not unconverged.any()


def test_early_stopping_restores_each_members_best_weights():
    """Members walk away from their optimum; each goes back to its best point."""
    network = Means(3)

    class Walk:
        share = None

        def step(self, x):
            with torch.no_grad():
                network.point += torch.tensor([0.0, 1.0, -1.0]).view(3, 1, 1)
            return {"loss": torch.zeros(3)}

    X = torch.tensor([[4.0, 4.0], [4.0, 4.0]])
    rows = torch.zeros(3, 1, dtype=torch.long)
    history, n_epochs, unconverged = run(
        network,
        X,
        rows=rows,
        phases=[Walk()],
        max_epochs=20,
        early_stopping=EarlyStopping(rows + 1, network.loss, 3, 8),
    )
    # Member 1 passes 4 in epoch 4 and waits three more; the others never improve
    # after epoch 1.
    assert network.point[:, 0, 0].tolist() == [0.0, 4.0, -1.0]
    assert n_epochs.tolist() == [4, 7, 4]
    assert not unconverged.any()
    assert len(history["validation_loss"]) == 7
    # Members that have stopped have no loss any more.
    last = torch.tensor([torch.nan, 2 * 3.0**2, torch.nan])
    torch.testing.assert_close(history["validation_loss"][-1], last, equal_nan=True)


def test_held_out_rows_come_in_batches_of_the_training():
    """A loss may be one of a batch: here, its number of rows."""
    sizes = []

    def loss(x):
        sizes.append(x.shape[1])
        return {"loss": torch.full((2,), float(x.shape[1]))}

    early = EarlyStopping(torch.arange(14).view(2, 7), loss, 3, batch_size=3)
    early.begin(Means(2))
    torch.testing.assert_close(
        early.validate(torch.zeros(14, 2)).tolist(), [19 / 7] * 2
    )
    assert sizes == [3, 3, 1]


def test_non_finite_loss_is_an_error():
    network = Means(2)
    phases = [GradientPhase(network.loss, network.parameters(), sgd(lr=1e30))]
    with pytest.raises(ValueError, match=r"loss of network 0 became .* Lower learning"):
        run(network, torch.ones(8, 2), phases=phases, max_epochs=50)


def test_early_stopping_of_a_warm_start_begins_with_the_weights_it_found():
    """A walk away from the optimum ends where it began."""
    network = Means(1, start=4.0)

    class Walk:
        share = None

        def step(self, x):
            with torch.no_grad():
                network.point += 1
            return {"loss": torch.zeros(1)}

    rows = torch.zeros(1, 1, dtype=torch.long)
    _, n_epochs, unconverged = run(
        network,
        torch.full((2, 2), 4.0),
        rows=rows,
        phases=[Walk()],
        max_epochs=2,
        first_epoch=5,
        early_stopping=EarlyStopping(rows + 1, network.loss, 3, 8),
    )
    assert network.point.flatten().tolist() == [4.0, 4.0]
    assert n_epochs.tolist() == [2]
    assert unconverged.sum() == 1


def test_reports_see_each_epoch_and_can_stop():
    class Reports:
        def __init__(self):
            self.begun, self.losses = 0, []

        def epoch_begin(self):
            self.begun += 1

        def epoch_end(self, epoch, history, state):
            self.losses.append(history["loss"][-1])
            self.point = state["point"].clone()
            return epoch == 3

    reports, network = Reports(), Means(1)
    X = torch.ones(8, 2)
    history, n_epochs, _ = run(network, X, max_epochs=9, reports=reports)
    assert n_epochs.tolist() == [4]
    assert reports.begun == 4
    assert history["loss"] == reports.losses
    assert torch.equal(reports.point, network.point)


def test_passes_without_gradients_are_chunked(monkeypatch):
    monkeypatch.setattr("skdeepad._training.chunk_bytes", lambda _: 4 * 2 * 2 * 3)
    network, X = Means(2), torch.arange(14.0).view(7, 2)
    sizes, threads = [], set()

    def function(x):
        sizes.append(x.shape)
        threads.add(torch.get_num_threads())
        return x.square().sum(2)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        mean = mean_over_rows(network, function, X)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads == {1}  # a second one would take longer to wake
    assert sizes == [(2, 3, 2), (2, 3, 2), (2, 1, 2)]
    torch.testing.assert_close(mean, X.square().sum(1).mean().expand(2))


def test_a_gpus_chunks_outlast_their_launches():
    """Images whose numbers have 256 levels: on a CPU one fills a cache."""
    network = SimpleNamespace(members=1, width=28 * 28 * 258)
    cpu, gpu = (
        chunk_rows(network, torch.device(name), itemsize=8) for name in ("cpu", "cuda")
    )
    assert cpu == 1
    assert 32 <= gpu <= 64


def test_split_holds_out_each_members_own_rows():
    rows, held_out = split_validation([1, 2, 3], 20, 5)
    assert rows.shape == (3, 15)
    for member, (a, b) in enumerate(zip(rows, held_out, strict=True)):
        assert sorted(torch.cat([a, b]).tolist()) == list(range(20))
        assert torch.equal(split_validation([member + 1], 20, 5)[1][0], b)
    assert not torch.equal(held_out[0].sort()[0], held_out[1].sort()[0])


def test_member_seeds_are_nested():
    few, many = member_seeds(0, 3), member_seeds(0, 50)
    assert few.tolist() == many[:3].tolist()
    assert len(set(many.tolist())) == 50


def test_generators_differ_by_seed_and_purpose():
    draws = {
        torch.rand(1, generator=g).item()
        for purpose in ((0,), (1,), (1, 1))
        for g in make_generators([3, 4], "cpu", *purpose)
    }
    assert len(draws) == 6


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_torchs_global_settings_do_not_matter(dtype):
    X = np.random.default_rng(0).normal(size=(40, 3))
    expected = make(AutoencoderDetector).fit(X).score_samples(X)
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with torch.no_grad():
            scores = make(AutoencoderDetector).fit(X).score_samples(X)
    finally:
        torch.set_default_dtype(default)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
