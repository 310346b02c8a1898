"""The network that predicts each pixel of an image from those before it."""

from itertools import pairwise

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from skdeepad._nn._layers import Activation, Dropout, Product, empty

# Pixels on a side that the layers between the first and the last see.
INNER_SIZE = 3


class MaskedConv2d(Product):
    """Convolution that sees what comes before its own pixel, and part of this.

    That is the pixels above, and those to the left. Of the own pixel it sees the
    channels before an output's, and this one too where it is not ``strict``; units
    belong to the image's channels in even runs. Taken as a product of the pixels that
    are seen, side by side: half of a convolution's would be zero.

    ``(k, batch * height * width, in_features)`` to the same of ``out_features``.

    Shape
    -----
    weight : ``(k, n_seen * in_features, out_features)``
    bias : ``(k, 1, out_features)``
    """

    def __init__(
        self, members, in_features, out_features, image_shape, size, strict=False
    ):
        super().__init__()
        self._channels, *self._size = image_shape
        self._in_features, self._strict = in_features, strict
        # No farther than the image reaches.
        above, aside = (min(size // 2, n - 1) for n in self._size)
        self._padding = 0, 0, aside, aside, above, 0
        window = [(y, x) for y in range(above + 1) for x in range(2 * aside + 1)]
        self._seen = window[: window.index((above, aside)) + 1]
        n_seen = len(self._seen)
        self.weight = nn.Parameter(empty(members, n_seen * in_features, out_features))
        self.bias = nn.Parameter(empty(members, 1, out_features))
        # The mean over the outputs.
        own = 0.5 + (0.5 - strict) / self._channels
        self.fan_in = max(1.0, in_features * (n_seen - 1 + own))

    def forward(self, x):
        weight = self.weight
        if self._strict or self._channels > 1:
            before, own = weight.tensor_split([-self._in_features], 1)
            weight = torch.cat([before, own * self._mask()], 1)
        x, weight, bias = self.cast(x, weight, self.bias)
        return torch.baddbmm(bias, self._side_by_side(x), weight)

    def _mask(self):
        """Whether outputs see the own pixel's units, ``(in, out)``.

        Made anew: a state that is loaded would leave a buffer where it is.
        """
        of_input, of_output = (
            torch.arange(n, device=self.weight.device) * self._channels // n
            for n in (self._in_features, self.weight.shape[2])
        )
        return of_input[:, None] + self._strict <= of_output

    def _side_by_side(self, x):
        """The pixels that each one sees, ``(k, n, n_seen * in_features)``."""
        if len(self._seen) == 1:
            return x
        height, width = self._size
        padded = F.pad(x.unflatten(1, (-1, height, width)), self._padding)
        seen = [padded[:, :, i : i + height, j : j + width] for i, j in self._seen]
        return torch.cat(seen, 4).flatten(1, 3)


class PixelCNN(nn.Module):
    """How unlikely each number of an image is, given the numbers before it.

    They come in the order in which one reads: pixel by pixel, and one channel of a
    pixel after the other.

    Parameters
    ----------
    members : int
    image_shape : tuple (channels, height, width)
    layer_sizes : tuple of int
        Units of a pixel in each hidden layer. A layer that is as wide as the one before
        adds to what it is given (a residual connection).
    kernel_size : int
        Pixels on a side of the image's part that the first layer sees half of.
    n_levels : int
        Values that a number may have; there are two more for what is beyond them.
    activation, dropout
        As an autoencoder's.

    Attributes
    ----------
    width, work : int
        As an autoencoder's.
    lowest, step : Tensor of shape (k, 1, 1)
        The first level, and the distance between levels; to be set.
    """

    def __init__(
        self,
        members,
        image_shape,
        layer_sizes,
        kernel_size,
        n_levels,
        activation,
        dropout,
    ):
        def block(layer):
            parts = [layer, Activation(activation)]
            if dropout:
                parts.append(Dropout(members, dropout, activation))
            return nn.Sequential(*parts)

        super().__init__()
        self.members, self._shape, self._n_levels = members, image_shape, n_levels
        channels, height, width = image_shape
        widths = channels, *layer_sizes, channels * (n_levels + 2)
        kernels = kernel_size, *[INNER_SIZE] * (len(layer_sizes) - 1), 1
        *hidden, self.last = layers = [
            MaskedConv2d(members, n_in, n_out, image_shape, size, strict=i == 0)
            for i, (n_in, n_out), size in zip(
                range(len(widths) - 1), pairwise(widths), kernels, strict=False
            )
        ]
        self.hidden = nn.ModuleList(map(block, hidden))
        widest = max(max(layer.weight.shape[1:]) for layer in layers)
        self.width = height * width * widest
        self.work = height * width * sum(layer.weight.numel() for layer in layers)
        for name in ("lowest", "step"):
            self.register_buffer(name, empty(members, 1, 1))

    def forward(self, x, beyond=True):
        """Surprisals, minus the logarithms of probabilities, ``(k, n, n_features)``.

        With ``beyond=False`` they are zero where a number is beyond the levels.
        """
        # As convolutions take an image: the channels last.
        levels = self.levels(x).unflatten(2, self._shape).permute(0, 1, 3, 4, 2)
        # From -1 to 1.
        h = levels.flatten(1, 3).to(x.dtype) * (2 / (self._n_levels - 1)) - 1
        for i, block in enumerate(self.hidden):
            y = block(h)
            h = h + y if i and y.shape == h.shape else y
        logits = self.last(h).to(x.dtype).view(-1, self._n_levels + 2)
        surprisals = _Surprisal.apply(logits, levels.flatten() + 1).view(levels.shape)
        if not beyond:
            surprisals = surprisals.masked_fill(self.is_beyond(levels), 0.0)
        return surprisals.permute(0, 1, 4, 2, 3).flatten(2)

    def levels(self, x):
        """The number of each number's level: -1 and ``n_levels`` beyond the others.

        ``x`` is the rows of all members, or of the first ones.
        """
        lowest, step = self.lowest[: len(x)], self.step[: len(x)]
        # In float32, as in training, or numbers between two levels would change theirs.
        x, lowest, step = (t.float() for t in (x, lowest, step))
        return ((x - lowest) / step).round_().clamp_(-1, self._n_levels).long()

    def is_beyond(self, levels):
        """Whether they are those beyond the others."""
        return (levels < 0) | (levels >= self._n_levels)


class _Surprisal(torch.autograd.Function):
    """Cross-entropy of each row, ``(n,)``, to go back through once.

    torch's own would write the gradient, which is the largest tensor of a step, to new
    memory three times.
    """

    @staticmethod
    def forward(ctx, logits, target):
        ctx.log_p, ctx.target = logits.log_softmax(1), target.unsqueeze(1)
        return ctx.log_p.gather(1, ctx.target).squeeze(1).neg()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        log_p, ctx.log_p = ctx.log_p, None
        gradient = gradient.unsqueeze(1)
        p = log_p.exp_().mul_(gradient)
        return p.scatter_add_(1, ctx.target, -gradient), None
