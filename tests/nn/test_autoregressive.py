"""Each number of a code is predicted from those before it, and from no other."""

import numpy as np
import pytest
import torch

from skdeepad._nn import Autoregression
from skdeepad._training import build


def make(members=2, n_dims=4, sizes=(3, 5), n_bins=6, activation="silu"):
    def network(k):
        return Autoregression(k, n_dims, sizes, n_bins, activation)

    return build(network, range(members)).double()


@pytest.mark.parametrize("sizes", [(), (3,), (3, 5)])
def test_logits_depend_on_what_comes_before(sizes):
    network = make(sizes=sizes)
    z = torch.rand(2, 7, 4, dtype=torch.float64, generator=torch.Generator())
    logits = network(z)
    assert logits.shape == (2, 7, 4, 6)
    for changed in range(4):
        other = z.clone()
        other[:, :, changed] += 0.3
        moved = ((network(other) - logits).abs() > 1e-9).any(3).all(1)
        expected = torch.arange(4) > changed
        assert torch.equal(moved, expected.expand(2, -1)), changed
    torch.testing.assert_close(logits[:, :, 0], logits[:, :1, 0].expand(-1, 7, -1))


def test_members_do_not_see_each_other():
    network = make()
    z = torch.rand(2, 7, 4, dtype=torch.float64, generator=torch.Generator())
    other = z.clone()
    other[0] += 1
    assert torch.equal(network(other)[1], network(z)[1])


def test_start_is_by_the_inputs_that_are_seen():
    network = make(n_dims=5, sizes=(8,))
    first, last = network.layers[0], network.layers[2]
    assert first.fan_in == 1 * 4 / 2
    assert last.fan_in == 8 * 6 / 2
    assert last.weight.abs().max() <= last.fan_in**-0.5


def test_a_dependence_is_learnt():
    """The second number equals the first: its surprisal falls to zero."""
    rng = np.random.default_rng(0)
    bins = rng.integers(4, size=(1, 400, 1)).repeat(2, axis=2)
    z = torch.tensor((bins + 0.5) / 4)
    network = make(members=1, n_dims=2, sizes=(16,), n_bins=4)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(300):
        log_p = network(z).log_softmax(3)
        surprisal = -log_p.gather(3, torch.tensor(bins).unsqueeze(3)).mean((0, 1, 3))
        optimizer.zero_grad()
        surprisal.sum().backward()
        optimizer.step()
    assert abs(surprisal[0] - np.log(4)) < 0.02
    assert surprisal[1] < 0.02
