"""The optimizers, against torch's."""

import torch
from torch import nn

from skdeepad._optimizers import AdaGrad, Adam, FlatParameters


def flat_and_references(members, shapes=((3,), (2, 9))):
    """Parameters of members in a flat buffer, and each member's by themselves."""
    generator = torch.Generator().manual_seed(0)
    parameters = [
        nn.Parameter(torch.randn(members, *shape, generator=generator))
        for shape in shapes
    ]
    alone = [
        [nn.Parameter(p[member].detach().clone()) for p in parameters]
        for member in range(members)
    ]
    return FlatParameters(parameters), parameters, alone


def one_each(optimizer, alone, **params):
    """One of torch's optimizers for each member, with its own values."""
    return [
        optimizer(own, **{name: float(values[i]) for name, values in params.items()})
        for i, own in enumerate(alone)
    ]


def take_steps(optimizer, parameters, references, alone, n_steps=50):
    """Steps of an optimizer and of a reference a member, by the same gradients."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(n_steps):
        for parameter, *own in zip(parameters, *alone, strict=True):
            parameter.grad.copy_(torch.randn(parameter.shape, generator=generator))
            for member, reference in enumerate(own):
                reference.grad = parameter.grad[member].clone()
        optimizer.step()
        for reference in references:
            reference.step()
    for parameter, *own in zip(parameters, *alone, strict=True):
        torch.testing.assert_close(parameter, torch.stack(own))


def test_adam_is_torchs_with_gradients_that_end():
    flat, parameters, alone = flat_and_references(1)
    adam = Adam(flat, lr=0.01, weight_decay=0.1)
    reference = torch.optim.Adam(alone[0], lr=0.01, weight_decay=0.1)
    take_steps(adam, parameters, [reference], alone)
    # Without weight decay the moments sink towards zero.
    flat, parameters, _ = flat_and_references(1)
    adam = Adam(flat, lr=0.01, weight_decay=0.0)
    flat.gradients.fill_(1.0)
    adam.step()
    flat.gradients.zero_()
    for _ in range(1000):
        adam.step()
    assert adam._mean.eq(0).all()  # not denormal
    assert torch.isfinite(flat.values).all()


def test_adam_with_a_step_size_and_decay_for_each_member():
    flat, parameters, alone = flat_and_references(4)
    lr, decay = torch.tensor([0.01, 0.1, 0.1, 0.1]), torch.tensor([0.0, 0.3, 0.3, 0.0])
    references = one_each(torch.optim.Adam, alone, lr=lr, weight_decay=decay)
    take_steps(Adam(flat, lr, decay), parameters, references, alone)


def test_a_member_of_adam_is_updated_as_alone_to_the_last_bit():
    """Whatever the lengths of its tensors and the step sizes of the others."""
    flat, parameters, _ = flat_and_references(5)
    joint = Adam(flat, torch.tensor([0.1, 0.1, 0.3, 0.1, 0.1]), weight_decay=0.1)
    own_parameters = [nn.Parameter(p.detach()[3:4].clone()) for p in parameters]
    own_flat = FlatParameters(own_parameters)
    own = Adam(own_flat, 0.1, weight_decay=0.1)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        for parameter, mine in zip(parameters, own_parameters, strict=True):
            parameter.grad.copy_(torch.randn(parameter.shape, generator=generator))
            mine.grad.copy_(parameter.grad[3:4])
        joint.step()
        own.step()
    for parameter, mine in zip(parameters, own_parameters, strict=True):
        assert torch.equal(parameter[3], mine[0])


def test_adagrad_with_a_step_size_and_decay_for_each_member():
    flat, parameters, alone = flat_and_references(2)
    lr, decay = torch.tensor([1.0, 0.1]), torch.tensor([0.1, 0.0])
    references = one_each(torch.optim.Adagrad, alone, lr=lr, lr_decay=decay)
    take_steps(AdaGrad(flat, lr, decay), parameters, references, alone)


def test_parameters_are_views_of_one_flat_buffer():
    # The vectors share a block, which comes last.
    flat, parameters, alone = flat_and_references(3, ((3,), (2, 9), (1, 4), (2, 30)))
    sizes = 32, 64, 16
    assert len(flat.values) == len(flat.gradients) == 3 * sum(sizes)  # padded
    for parameter, *own in zip(parameters, *alone, strict=True):
        assert torch.equal(parameter, torch.stack(own))
    flat.values.fill_(1.0)
    flat.gradients.fill_(2.0)
    assert all(p.eq(1).all() and p.grad.eq(2).all() for p in parameters)
    parts = flat.part(flat.values, slice(1, 3))
    for part in parts:
        part.fill_(5.0)
    assert [part.shape for part in parts] == [(2 * size,) for size in sizes]
    assert all(p[0].eq(1).all() and p[1:].eq(5).all() for p in parameters)
    each = flat.spread(torch.tensor([2.0, 3.0, 4.0]))
    assert each.tolist() == [
        v for size in sizes for v in (2, 3, 4) for _ in range(size)
    ]
    assert flat.spread(4.0).tolist() == [4] * 3 * sum(sizes)


def test_narrow_matrices_lie_transposed():
    _, (narrow, wide), _ = flat_and_references(2, ((40, 8), (40, 64)))
    for tensor in (narrow, narrow.grad):
        assert tensor.mT.is_contiguous()
        assert not tensor.is_contiguous()
    assert wide.is_contiguous()
    assert wide.grad.is_contiguous()


def test_moments_of_a_resumed_adam_end_at_the_same_step():
    first, second = (flat_and_references(1)[0] for _ in range(2))
    adam, resumed = (Adam(flat, lr=0.01, weight_decay=0.0) for flat in (first, second))
    first.gradients.fill_(1.0)
    adam.step()
    first.gradients.zero_()
    for _ in range(99):
        adam.step()
    resumed.load_state_dict(adam.state_dict())
    for _ in range(650):
        adam.step()
        resumed.step()
        assert torch.equal(resumed._mean, adam._mean)


def test_adagrad_of_small_gradients_is_torchs():
    flat, parameters, [alone] = flat_and_references(1)
    flat.gradients.fill_(1e-9)
    for parameter in alone:
        parameter.grad = torch.full_like(parameter, 1e-9)
    AdaGrad(flat, lr=0.1, decay=0.0).step()
    torch.optim.Adagrad(alone, lr=0.1).step()
    for parameter, own in zip(parameters, alone, strict=True):
        torch.testing.assert_close(parameter[0], own)
