"""The network that predicts each pixel of an image from those before it."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from skdeepad._nn._layers import Activation, BatchNorm, Dropout, Product, empty

# Pixels on a side that the layers after the first one see.
LATER_SIZE = 3


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
        self, members, in_features, out_features, image_shape, size, strict, bias=True
    ):
        super().__init__()
        self._channels, *self._size = image_shape
        self._in_features, self._strict = in_features, strict
        # No farther than the image reaches.
        above, aside = (min(size // 2, n - 1) for n in self._size)
        self._padding = 0, 0, aside, aside, above, 0
        window = [(y, x) for y in range(above + 1) for x in range(2 * aside + 1)]
        before = window[: window.index((above, aside))]
        self._sees_itself = not strict or self._channels > 1 or not before
        self._is_masked = self._sees_itself and (strict or self._channels > 1)
        self._seen = [*before, (above, aside)] if self._sees_itself else before
        n_inputs = len(self._seen) * in_features
        self.weight = nn.Parameter(empty(members, n_inputs, out_features))
        self.bias = nn.Parameter(empty(members, 1, out_features)) if bias else None
        self.fan_in = n_inputs
        if self._is_masked:  # the mean over the outputs
            self.fan_in -= self._hidden("cpu").sum(0).float().mean().item()
            self.fan_in = max(1.0, self.fan_in)

    def _hidden(self, device):
        """Whether units of the own pixel are hidden from outputs, ``(in, out)``."""
        own, other = (
            torch.arange(n, device=device) * self._channels // n
            for n in (self._in_features, self.weight.shape[2])
        )
        return own[:, None] + self._strict > other

    def forward(self, x):
        weight = self.weight
        if self._is_masked:
            before, own = weight.tensor_split([-self._in_features], 1)
            own = own.masked_fill(self._hidden(weight.device), 0.0)
            weight = torch.cat([before, own], 1)
        x, weight, bias = self.cast(x, weight, self.bias)
        if len(self._seen) > 1 or not self._sees_itself:
            x = self._neighbours(x)
        return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias, x, weight)

    def _neighbours(self, x):
        """The pixels that each one sees, side by side."""
        height, width = self._size
        padded = F.pad(x.unflatten(1, (-1, height, width)), self._padding)
        seen = [padded[:, :, y : y + height, z : z + width] for y, z in self._seen]
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
    activation, batch_norm, dropout
        As an autoencoder's.

    Attributes
    ----------
    width, work, has_modes
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
        batch_norm,
        dropout,
    ):
        super().__init__()
        self.members, self._shape, self._n_levels = members, image_shape, n_levels
        channels, height, width = image_shape
        self.width = self.work = 0
        layers = []
        sizes = channels, *layer_sizes, channels * (n_levels + 2)
        for i, (n_in, n_out) in enumerate(pairwise(sizes)):
            is_first, is_last = i == 0, i == len(layer_sizes)
            size = kernel_size if is_first else 1 if is_last else LATER_SIZE
            # Normalisation takes a bias away again: it would only drift.
            bias = is_last or not batch_norm
            conv = MaskedConv2d(members, n_in, n_out, image_shape, size, is_first, bias)
            layer = [conv]
            if not is_last:
                if batch_norm:
                    layer.append(BatchNorm(members, n_out))
                layer.append(Activation(activation))
                if dropout:
                    layer.append(Dropout(members, dropout, activation))
            layers.append(nn.Sequential(*layer))
            n_inputs = conv.weight.shape[1]
            self.width = max(self.width, height * width * max(n_inputs, n_out))
            self.work += height * width * conv.weight.numel()
        self.layers = nn.ModuleList(layers)
        self.has_modes = bool(batch_norm or dropout)
        for name in ("lowest", "step"):
            self.register_buffer(name, empty(members, 1, 1))

    def forward(self, x):
        """Surprisals, minus the logarithms of probabilities, of the shape of ``x``.

        ``(k, n, n_features)``.
        """
        # As convolutions take an image: the channels last.
        levels = self._levels(x).unflatten(2, self._shape).permute(0, 1, 3, 4, 2)
        h = (levels.flatten(1, 3) * 2 - (self._n_levels - 1)) / (self._n_levels - 1)
        first, *others = self.layers
        h = first(h.to(x.dtype))
        for layer in others:
            y = layer(h)
            h = h + y if y.shape == h.shape and layer is not others[-1] else y
        logits = h.to(x.dtype).view(-1, self._n_levels + 2)
        surprisals = _Surprisal.apply(logits, levels.flatten() + 1)
        return surprisals.view(levels.shape).permute(0, 1, 4, 2, 3).flatten(2)

    def _levels(self, x):
        """The number of each number's level: -1 and ``n_levels`` beyond the others."""
        # In float32, as in training, or numbers between two levels would change theirs.
        x, lowest, step = (t.float() for t in (x, self.lowest, self.step))
        return ((x - lowest) / step).round_().clamp_(-1, self._n_levels).long()


class _Surprisal(torch.autograd.Function):
    """Cross-entropy of each row, ``(n,)``: torch's is slow to go back through.

    It would write the gradient to new memory three times, which is the largest here.
    """

    @staticmethod
    def forward(ctx, logits, target):
        ctx.log_p, ctx.target = logits.log_softmax(1), target.unsqueeze(1)
        return ctx.log_p.gather(1, ctx.target).squeeze(1).neg_()

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.unsqueeze(1)
        p = ctx.log_p.exp_().mul_(gradient)
        return p.scatter_add_(1, ctx.target, -gradient), None
