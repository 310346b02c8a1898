"""Optimizers of k members' parameters in one buffer; importing this imports torch."""

from itertools import groupby

import torch

from skdeepad._nn import FLOAT32_LANES, is_narrow


class FlatParameters:
    """Parameters of ``k`` members in one buffer, and their gradients in another.

    The parameters become views of them, narrow matrices of their transposes. Vectors
    share a block, so that there are fewer tensors for an optimizer to go through. Each
    member's part of a block is padded to whole vector registers, so that any run of
    members is updated as each of them would be alone, to the last bit.

    Attributes
    ----------
    values, gradients : Tensor of shape (n,)
    members : int
    """

    def __init__(self, parameters):
        self.members = len(parameters[0])
        vectors = [p for p in parameters if _is_vector(p)]
        blocks = [[p] for p in parameters if not _is_vector(p)]
        blocks += [vectors] if vectors else []
        sizes = [sum(p[0].numel() for p in block) for block in blocks]
        self._sizes = [-(-size // FLOAT32_LANES) * FLOAT32_LANES for size in sizes]
        n = self.members * sum(self._sizes)
        self.values, self.gradients = parameters[0].data.new_zeros(2, n)
        views = self._views(self.values), self._views(self.gradients)
        for block, *pair in zip(blocks, *views, strict=True):
            start = 0
            for parameter in block:
                stop = start + parameter[0].numel()
                value, gradient = (_like(parameter, v[:, start:stop]) for v in pair)
                value.copy_(parameter.data)
                parameter.data, parameter.grad = value, gradient
                start = stop

    def _views(self, flat):
        """Views ``(k, size)`` of a flat tensor, one a block."""
        views = flat.split([self.members * size for size in self._sizes])
        return [view.view(self.members, -1) for view in views]

    def part(self, flat, members):
        """Flat views of a flat tensor that together are a slice of its members."""
        if members == slice(0, self.members):
            return [flat]
        return [view[members].flatten() for view in self._views(flat)]

    def at(self, flat, places):
        """A flat tensor of the members in some places, a copy."""
        return torch.cat([view[places].flatten() for view in self._views(flat)])

    def spread(self, values):
        """One value a member, ``(k,)``, or one for all, for each number."""
        values = torch.as_tensor(values, dtype=torch.float32, device=self.values.device)
        values = values.expand(self.members)
        return torch.cat([values.repeat_interleave(size) for size in self._sizes])


def _is_vector(parameter):
    return parameter[0].numel() == parameter.shape[-1]


def _like(parameter, numbers):
    """Numbers ``(k, n)`` in a parameter's shape, as its products take them."""
    if parameter.dim() == 3 and is_narrow(parameter.shape[2]):
        return numbers.view(parameter.mT.shape).mT
    return numbers.view(parameter.shape)


# Steps between which Adam's moments can't sink from TINY to a denormal number.
FLUSH_STEPS, TINY = 128, 1e-30


class Adam:
    """torch's fused Adam, without the bookkeeping of torch.optim.

    A unit that died has no gradient any more, and its moments would decay into
    denormal numbers, on which a processor is ten times slower (a GPU is not). They are
    set to zero before that: an update by them would be below 1e-20.

    Parameters
    ----------
    flat : FlatParameters
    lr, weight_decay : float or Tensor of shape (k,)
        One for all members, or one for each. Each run of members with equal ones is
        one call of the kernel.
    """

    def __init__(self, flat, lr, weight_decay):
        self._mean, self._square = flat.values.new_zeros(2, len(flat.values))
        self._steps = torch.zeros((), dtype=torch.float32, device=flat.values.device)
        self._n_steps, self._on_cpu = 0, flat.values.device.type == "cpu"
        self._calls = []
        tensors = flat.values, flat.gradients, self._mean, self._square
        for values, members in _runs(flat.members, lr, weight_decay):
            parts = [flat.part(tensor, members) for tensor in tensors]
            steps = [self._steps] * len(parts[0])
            self._calls.append((*values, (*parts, [], steps)))

    def state_dict(self):
        """Moments and the number of steps."""
        return {"mean": self._mean, "square": self._square, "steps": self._steps}

    def load_state_dict(self, state):
        """Take over moments and the number of steps."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])
        self._n_steps = int(self._steps)

    def step(self):
        self._n_steps += 1
        if self._on_cpu and self._n_steps % FLUSH_STEPS == 0:
            for moment in (self._mean, self._square):
                torch.ops.aten.hardshrink.out(moment, TINY, out=moment)
        self._steps.add_(1)
        for lr, weight_decay, tensors in self._calls:
            torch._fused_adam_(
                *tensors,
                lr=lr,
                weight_decay=weight_decay,
                beta1=0.9,
                beta2=0.999,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )


def _runs(members, *values):
    """Runs of members with equal values: pairs of these and a slice."""
    # In float32, as the values that come as a tensor.
    values = [
        torch.as_tensor(value, dtype=torch.float32, device="cpu") for value in values
    ]
    each = [value.expand(members).tolist() for value in values]
    start = 0
    for value, run in groupby(zip(*each, strict=True)):
        stop = start + len(list(run))
        yield value, slice(start, stop)
        start = stop


class AdaGrad:
    """AdaGrad with a step size and decay for each member.

    Step t uses ``lr / (1 + (t - 1) * decay)``. Parameters are as for :class:`Adam`.
    """

    eps = 1e-10

    def __init__(self, flat, lr, decay):
        self._values, self._gradients = flat.values, flat.gradients
        self._lr, self._decay = flat.spread(lr), flat.spread(decay)
        self._sum = torch.zeros_like(flat.values)
        self._steps = torch.zeros((), dtype=torch.float32, device=flat.values.device)

    def state_dict(self):
        """Sum of squared gradients and the number of steps."""
        return {"sum": self._sum, "steps": self._steps}

    def load_state_dict(self, state):
        """Take over the sum of squared gradients and the number of steps."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])

    def step(self):
        gradients = self._gradients
        self._sum.addcmul_(gradients, gradients)
        rate = self._lr / (1 + self._steps * self._decay)
        self._steps.add_(1)
        update = gradients / self._sum.sqrt().add_(self.eps)
        self._values.addcmul_(update, rate, value=-1)
