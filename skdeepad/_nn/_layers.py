"""Layers whose weights hold ``k`` members: ``(k, ...)``, one product for all.

Every layer maps ``(k, batch, ...)`` to ``(k, batch, ...)``; member ``i`` sees
only ``x[i]`` and its own weights, so that training ``k`` members together is
training each of them alone.
"""

from math import prod

import torch
from torch import nn
from torch.nn import functional as F

# Random numbers a member draws ahead at once: enough to hide the call's cost.
NOISE_BLOCK = 2**16


class Initialized(nn.Module):
    """A layer that draws its parameters from one generator per member.

    Weights and biases are uniform on ``±1/sqrt(fan_in)``, torch's default.
    """

    fan_in: int

    def initialize(self, generators):
        """Draw parameters of shape ``(k, ...)``, member i from generator i."""
        bound = self.fan_in**-0.5
        for parameter in self.parameters():
            for member, generator in zip(parameter.data, generators, strict=True):
                member.uniform_(-bound, bound, generator=generator)


class Linear(Initialized):
    """``(k, batch, in_features)`` to ``(k, batch, out_features)``.

    Shape
    -----
    weight : ``(k, in_features, out_features)``
    bias : ``(k, 1, out_features)``
    """

    def __init__(self, members, in_features, out_features, bias=True):
        super().__init__()
        self.fan_in = in_features
        self.weight = nn.Parameter(torch.empty(members, in_features, out_features))
        self.bias = (
            nn.Parameter(torch.empty(members, 1, out_features)) if bias else None
        )

    def forward(self, x):
        if self.bias is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias, x, self.weight)


def to_channels(x):
    """``(k, batch, c, ...)`` to ``(batch, k * c, ...)``: members as channel groups."""
    return x.transpose(0, 1).flatten(1, 2)


def from_channels(x, members):
    """``(batch, k * c, ...)`` back to ``(k, batch, c, ...)``."""
    return x.unflatten(1, (members, -1)).transpose(0, 1)


class Conv2d(Initialized):
    """3 x 3 convolution, stride 2, padding 1: halves height and width, rounding up.

    Shape
    -----
    weight : ``(k, out_channels, in_channels, 3, 3)``
    bias : ``(k, out_channels)``
    """

    def __init__(self, members, in_channels, out_channels, bias=True):
        super().__init__()
        self.fan_in = in_channels * 9
        self.weight = nn.Parameter(
            torch.empty(members, out_channels, in_channels, 3, 3)
        )
        self.bias = nn.Parameter(torch.empty(members, out_channels)) if bias else None

    def forward(self, x):
        members = len(self.weight)
        y = F.conv2d(
            to_channels(x),
            self.weight.flatten(0, 1),
            None if self.bias is None else self.bias.flatten(),
            stride=2,
            padding=1,
            groups=members,
        )
        return from_channels(y, members)


class ConvTranspose2d(Initialized):
    """3 x 3 transposed convolution, stride 2, onto an image of a given size.

    ``output_size`` is the height and width that a :class:`Conv2d` halved; its
    parity settles the output padding.

    Shape
    -----
    weight : ``(k, in_channels, out_channels, 3, 3)``
    bias : ``(k, out_channels)``
    """

    def __init__(self, members, in_channels, out_channels, output_size, bias=True):
        super().__init__()
        # The expected number of inputs of an output pixel: a quarter of the 9 taps.
        self.fan_in = max(1, in_channels * 9 // 4)
        self.output_padding = tuple(1 - size % 2 for size in output_size)
        self.weight = nn.Parameter(
            torch.empty(members, in_channels, out_channels, 3, 3)
        )
        self.bias = nn.Parameter(torch.empty(members, out_channels)) if bias else None

    def forward(self, x):
        members = len(self.weight)
        y = F.conv_transpose2d(
            to_channels(x),
            self.weight.flatten(0, 1),
            None if self.bias is None else self.bias.flatten(),
            stride=2,
            padding=1,
            output_padding=self.output_padding,
            groups=members,
        )
        return from_channels(y, members)


class BatchNorm(nn.Module):
    """Batch normalisation of each feature (or channel) of each member.

    A batch of one row has no variance: it is normalised with the running
    statistics, which it leaves alone.

    Shape
    -----
    weight, bias, running_mean, running_var : ``(k, features)``
    """

    momentum = 0.1
    eps = 1e-5

    def __init__(self, members, features):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, features))
        self.bias = nn.Parameter(torch.empty(members, features))
        self.register_buffer("running_mean", torch.empty(members, features))
        self.register_buffer("running_var", torch.empty(members, features))

    def initialize(self, generators):
        """Start as the identity; nothing is random."""
        self.weight.data.fill_(1.0)
        self.bias.data.zero_()
        self.running_mean.zero_()
        self.running_var.fill_(1.0)

    def forward(self, x):
        y = torch.batch_norm(
            to_channels(x),
            self.weight.flatten(),
            self.bias.flatten(),
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.training and x.shape[1] > 1,
            self.momentum,
            self.eps,
            False,
        )
        return from_channels(y, len(self.weight))


class Stochastic(nn.Module):
    """A layer that needs fresh random numbers at each training step.

    Member ``i`` draws from generator ``i``, in blocks whose size does not
    depend on ``k``: its numbers are the same whoever trains beside it.
    """

    def seed(self, generators):
        """Use ``generators``, one a member, from the next step on."""
        self._generators = generators
        self._block, self._used = None, 0

    def draw(self, member, generator):
        """Fill one member's block in place."""
        raise NotImplementedError

    def noise_like(self, x):
        """Numbers of the shape of ``x``, ``(k, batch, ...)``, for one step."""
        rows = x.shape[1]
        block = self._block  # (k, steps, batch, ...)
        if block is None or self._used == block.shape[1] or rows > block.shape[2]:
            steps = max(1, NOISE_BLOCK // prod(x.shape[1:]))
            block = x.new_empty(len(x), steps, *x.shape[1:])
            for member, generator in zip(block, self._generators, strict=True):
                self.draw(member, generator)
            self._block, self._used = block, 0
        self._used += 1
        return block[:, self._used - 1, :rows]


class Dropout(Stochastic):
    """Zero each unit with probability ``p`` in training, and scale the rest up."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def draw(self, member, generator):
        member.bernoulli_(1 - self.p, generator=generator).div_(1 - self.p)

    def forward(self, x):
        return x * self.noise_like(x) if self.training else x


class GaussianNoise(Stochastic):
    """``x + std * e`` with standard normal ``e`` in training, ``x`` otherwise."""

    def draw(self, member, generator):
        member.normal_(generator=generator)

    def forward(self, x, std):
        return x + std * self.noise_like(x) if self.training else x


class Center(nn.Module):
    """A point in the code's space, ``(k, 1, latent_dim)``, started at random."""

    def __init__(self, members, latent_dim):
        super().__init__()
        self.value = nn.Parameter(torch.empty(members, 1, latent_dim))

    def initialize(self, generators):
        """Draw from the standard normal distribution."""
        for member, generator in zip(self.value.data, generators, strict=True):
            member.normal_(generator=generator)
