"""The network that predicts each number of a code from those before it."""

from itertools import pairwise

import torch
from torch import nn

from skdeepad._nn._layers import Activation, Product, empty


class MaskedLinear(Product):
    """``(k, batch, n_dims * in_channels)`` to ``(k, batch, n_dims * out_channels)``.

    The outputs of a dimension see the inputs of those before it, and of itself where
    it is not ``strict``.

    Shape
    -----
    weight : ``(k, n_dims, in_channels, n_dims, out_channels)``
    bias : ``(k, 1, n_dims * out_channels)``
    """

    def __init__(self, members, n_dims, in_channels, out_channels, strict):
        super().__init__()
        self.weight = nn.Parameter(
            empty(members, n_dims, in_channels, n_dims, out_channels)
        )
        self.bias = nn.Parameter(empty(members, 1, n_dims * out_channels))
        self._diagonal = int(strict)
        # The mean over the dimensions.
        self.fan_in = max(1, in_channels * (n_dims + 1 - 2 * strict) / 2)

    def forward(self, x):
        n_dims = self.weight.shape[1]
        seen = self.weight.new_ones(n_dims, n_dims).triu(self._diagonal)
        weight = self.weight * seen.view(n_dims, 1, n_dims, 1)
        weight = weight.flatten(3).flatten(1, 2)
        x, weight, bias = self.cast(x, weight, self.bias)
        return torch.baddbmm(bias, x, weight)


class Autoregression(nn.Module):
    """Codes ``(k, n, n_dims)`` to logits ``(k, n, n_dims, n_bins)``.

    Those of a dimension depend on the dimensions before it alone.

    Parameters
    ----------
    members, n_dims : int
    layer_sizes : tuple of int
        Units of a dimension in each hidden layer.
    n_bins : int
    activation : str
        A key of ``ACTIVATIONS``, after each hidden layer.

    Attributes
    ----------
    width, work : int
        As an autoencoder's.
    """

    def __init__(self, members, n_dims, layer_sizes, n_bins, activation):
        super().__init__()
        layers = []
        for c_in, c_out in pairwise((1, *layer_sizes, n_bins)):
            strict = not layers
            layers.append(MaskedLinear(members, n_dims, c_in, c_out, strict))
            layers.append(Activation(activation))
        self.layers = nn.Sequential(*layers[:-1])
        self.width = n_dims * max((*layer_sizes, n_bins))
        self.work = sum(layer.weight.numel() for layer in layers[::2])
        self._n_dims = n_dims

    def forward(self, z):
        return self.layers(z).to(z.dtype).unflatten(2, (self._n_dims, -1))
