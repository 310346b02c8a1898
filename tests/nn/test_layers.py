"""Each layer against the torch module of a single network."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn

from skdeepad._nn import _layers as layers
from skdeepad._optimizers import FlatParameters
from skdeepad._products import SIDES, _is_zen, allow_onednn
from skdeepad._settings import limit_threads

K, B = 3, 5


def generators(n=K, seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(n)]


def initialized(layer):
    layer.initialize(generators())
    return layer


def test_linear_is_k_linear_layers():
    layer = initialized(layers.Linear(K, 4, 6))
    x = torch.randn(K, B, 4, generator=generators()[0])
    for i, y in enumerate(layer(x)):
        torch.testing.assert_close(
            y, nn.functional.linear(x[i], layer.weight[i].T, layer.bias[i, 0])
        )


def test_many_rows_in_float64():
    layer = layers.Linear(2, 40, 50)
    layer.to(torch.float64)
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        parameter.data.normal_(generator=generator)
    x = torch.randn(2, 300, 40, generator=generator, dtype=torch.float64)
    with limit_threads(x.device, work=0):
        whole = layer(x)
    assert not whole.is_contiguous()  # by its transpose
    parts = torch.cat([layer(part) for part in x.split(30, dim=1)], dim=1)
    torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize("size", [(7, 6), (1, 5)])
def test_conv2d_is_k_convolutions(size):
    layer = initialized(layers.Conv2d(K, 2, 4))
    x = torch.randn(K, B, 2, *size, generator=generators()[0])
    for i, y in enumerate(layer(x)):
        expected = nn.functional.conv2d(
            x[i], layer.weight[i], layer.bias[i], stride=2, padding=1
        )
        torch.testing.assert_close(y, expected)
        assert y.shape[2:] == tuple((s + 1) // 2 for s in size)


@pytest.mark.parametrize("size", [(7, 6), (1, 5)])
def test_conv_transpose2d_undoes_the_halving(size):
    layer = initialized(layers.ConvTranspose2d(K, 4, 2, size))
    x = torch.randn(K, B, 4, *((s + 1) // 2 for s in size), generator=generators()[0])
    for i, y in enumerate(layer(x)):
        assert y.shape == (B, 2, *size)
        expected = nn.functional.conv_transpose2d(
            x[i],
            layer.weight[i],
            layer.bias[i],
            stride=2,
            padding=1,
            output_padding=[1 - s % 2 for s in size],
        )
        torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("shape", [(4,), (4, 3, 2)])
def test_batch_norm_is_k_batch_norms(shape):
    layer = initialized(layers.BatchNorm(K, 4))
    make_reference = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
    reference = [make_reference(4) for _ in range(K)]
    for step in range(3):
        x = 5 * torch.randn(K, B, *shape, generator=generators(1, step)[0]) + 2
        for i, y in enumerate(layer(x)):
            torch.testing.assert_close(y, reference[i](x[i]))
    layer.eval()
    for i, y in enumerate(layer(x)):
        torch.testing.assert_close(y, reference[i].eval()(x[i]))


def test_batch_norm_of_one_row_uses_running_statistics():
    layer = initialized(layers.BatchNorm(K, 4))
    x = torch.randn(K, 1, 4, generator=generators()[0])
    torch.testing.assert_close(layer(x), x / (1 + layer.eps) ** 0.5)
    assert layer.running_var.eq(1).all()


def test_initialization_is_torchs_default():
    layer = layers.Linear(2, 400, 300)
    layer.initialize(generators(2))
    bound = 400**-0.5
    assert layer.weight.abs().max() <= bound
    assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not torch.equal(layer.weight[0], layer.weight[1])


def seeded(seeds):
    """Generators of these seeds."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_dropout_drops_its_share_and_keeps_the_mean():
    layer = layers.Dropout(2, 0.25, "tanh")
    layer.seed([0, 1], seeded, 100)
    x = torch.ones(2, 100, 200)
    y = layer(x)
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert y.mean().item() == pytest.approx(1, abs=0.02)
    assert not torch.equal(layer(x), y)
    assert torch.equal(layer.eval()(x), x)


def test_noise_is_a_members_own():
    """A member's numbers are the same beside one other member and beside many."""
    draws = []
    for members in (2, 5):
        layer = layers.GaussianNoise()
        layer.seed(range(members), seeded, 100)
        steps = [layer.noise_like(torch.zeros(members, rows, 3)) for rows in (9, 4, 9)]
        draws.append([step[:2] for step in steps])
    for few, many in zip(*draws, strict=True):
        assert torch.equal(few, many)
    noise = torch.cat([step.flatten() for step in draws[1]])
    assert len(noise.unique()) == len(noise)


@pytest.mark.parametrize("seeds", [[4, 4, 4], [4, 1, 4]])
@pytest.mark.parametrize("p", [[0.3, 0.3, 0.3], [0.3, 0.3, 0.6]])
def test_members_of_one_seed_have_its_numbers_whatever_their_dropout(seeds, p):
    layer = layers.Dropout(3, 0, "tanh")
    layer.p = p
    layer.seed(seeds, seeded, 100)
    x = torch.ones(3, 20, 30)
    together = [layer(x) for _ in range(200)]
    for member in range(3):
        alone = layers.Dropout(1, p[member], "tanh")
        alone.seed(seeds[member : member + 1], seeded, 100)
        for step in together:
            assert torch.equal(alone(x[:1])[0], step[member])


def test_noise_is_standard_normal_and_only_in_training():
    layer = layers.GaussianNoise()
    layer.seed([0], seeded, 100)
    mean = torch.full((1, 300, 300), 2.0)
    y = layer(mean, 0.5)
    assert y.mean().item() == pytest.approx(2, abs=0.01)
    assert y.std().item() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(layer.eval()(mean, 0.5), mean)


@pytest.mark.parametrize("x", [-1e38, -1e10, -100.0])
def test_silu_of_a_number_far_below_zero_is_next_to_nothing(x):
    x = torch.tensor([[[x]]])
    silu = layers.Activation("silu")
    y, saved = silu.record(x)
    assert abs(y.item()) < 1e-30
    assert abs(silu.backward(torch.ones_like(x), saved, True).item()) < 1e-30


@pytest.mark.parametrize("name", layers.ACTIVATIONS)
def test_activations_are_torchs_of_that_name(name):
    function = getattr(torch.nn.functional, name, None) or getattr(torch, name, None)
    function = function or (lambda x: x)  # the identity
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)[None, None]
    torch.testing.assert_close(layers.Activation(name)(x.clone()), function(x))


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", layers.ACTIVATIONS)
def test_own_backward_pass_is_autograds(name, training, members):
    """Loss, and gradients of every parameter, in float64; set, whatever was there."""
    stack = nn.Sequential(
        layers.Linear(members, 4, 6, bias=False),
        layers.BatchNorm(members, 6),
        layers.Activation(name),
        layers.Dropout(members, 0.3, name),
        layers.Linear(members, 6, 5),
        layers.Activation(name),
        layers.Linear(members, 5, 2),
    ).double()
    for layer in stack:
        if hasattr(layer, "initialize"):
            layer.initialize(generators(members))
    stack.train(training)
    draw = {"generator": generators()[0], "dtype": torch.float64}
    x, target = torch.randn(members, B, 6, **draw).split([4, 2], dim=2)

    def start():
        stack[1].initialize(None)
        stack[3].seed(range(members), seeded, 100)

    start()
    expected = (stack(x) - target).square().flatten(1).sum(1) * 0.5
    expected.sum().backward()
    expected = [expected, *(p.grad for p in stack.parameters())]
    expected.append(stack[1].running_var.clone())
    start()
    for parameter in stack.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    for layer in stack:
        if hasattr(layer, "bind"):
            layer.bind()
    with torch.no_grad():
        loss = layers.set_gradients(
            x,
            list(stack),
            partial(layers.squared_error, target=target, weight=0.5),
        )
    ours = [loss, *(p.grad for p in stack.parameters()), stack[1].running_var]
    for value, right in zip(ours, expected, strict=True):
        torch.testing.assert_close(value, right)
        assert value.abs().sum() > 0


def test_layers_that_only_autograd_can_pass_back():
    assert layers.has_own_backward(nn.Sequential(layers.Linear(1, 4, 4)))
    assert not layers.has_own_backward([layers.Linear(1, 4, 4), nn.Flatten(2)])


@pytest.mark.parametrize("p", [0.1, 0.99999, 0.9999999])
def test_dropout_keeps_the_mean_whatever_its_probability(p):
    layer = layers.Dropout(1, p, "relu")
    layer.seed([0], lambda seeds: generators(len(seeds)), n_steps=1)
    mask = layer.noise_like(torch.empty(1, 2000, 1000))
    kept = mask[mask > 0]
    assert len(kept.unique()) == 1
    expected = mask.numel() / float(kept[0])
    assert abs(len(kept) - expected) < 5 * expected**0.5


@pytest.mark.skipif(not _is_zen(4), reason="MKL takes all products here")
@pytest.mark.parametrize("library", ["onednn", "openblas"])
def test_products_by_other_libraries_are_the_same_to_the_last_bit(library, monkeypatch):
    module = "skdeepad._products"
    monkeypatch.setattr(f"{module}.{library.upper()}_WORK", 0)
    monkeypatch.setattr(f"{module}._is_alone", lambda: library == "onednn")
    monkeypatch.setattr(f"{module}._is_unset", lambda: True)
    monkeypatch.setattr(f"{module}._is_zen", lambda generation: True)
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(SIDES.start, SIDES.stop, (40, 3), generator=generator)
    sizes = [(12, 12, 12), (192, 192, 192), (32, 21, 64), (32, 64, 21), *sizes.tolist()]
    sizes += [(*sides, n_out - n_out % 16) for *sides, n_out in sizes if n_out >= 16]
    taken = []

    def take(*operands, take=layers.openblas_product):
        taken.append("openblas")
        return take(*operands)

    for n_rows, n_in, n_out in sizes:
        layer = layers.Linear(7, n_in, n_out)
        for parameter in layer.parameters():
            parameter.data.normal_(generator=generator)
        FlatParameters(list(layer.parameters()))  # where they lie in training
        x = torch.randn(7, n_rows, n_in, generator=generator)
        gradient = torch.randn(7, n_rows, n_out, generator=generator)
        results = []
        taken.clear()
        for is_allowed in (False, True):
            with monkeypatch.context() as m, limit_threads(x.device, work=1):
                if is_allowed:
                    m.setattr(layers, "openblas_product", take)
                else:
                    m.setattr(layers, "openblas_rows", lambda weight: range(0))
                with allow_onednn(x.device) if is_allowed else nullcontext():
                    layer.bind()
                    y, saved = layer.record(x)
                    if torch.backends.mkldnn.matmul.fp32_precision == "bf16":
                        taken.append("onednn")
                    passed_back = layer.backward(gradient.clone(), saved, wanted=True)
            gradients = [p.grad.clone() for p in layer.parameters()]
            results.append([y, passed_back, *gradients])
        is_alike = layers.is_narrow(n_out) or n_out % 16 == 0
        if library == "onednn" or (is_alike and n_rows * n_in * n_out <= 1e6):
            assert set(taken) == {library}
        else:
            assert not taken
        assert all(map(torch.equal, *results))
