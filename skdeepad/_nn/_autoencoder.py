"""The encoder and decoder that the reconstruction detectors share."""

from itertools import pairwise
from math import prod

from torch import nn

from skdeepad._nn._layers import (
    Activation,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    Linear,
    has_own_backward,
    outputs,
    set_gradients,
)


class Autoencoder(nn.Module):
    """Encoder and decoder of ``members`` independent autoencoders.

    Parameters
    ----------
    members : int
        Networks held side by side.
    n_features : int
        Width of the input and of the reconstruction.
    hidden_layer_sizes : tuple of int
        Units (or channels) of the encoder's hidden layers.
    code_size : int or None
        Outputs of a linear last layer of the encoder. With None the encoder's
        last hidden layer, activation included, is the code.
    activation : str
        A key of ``ACTIVATIONS``, after each hidden layer.
    decoder_layer_sizes : tuple of int, default=None
        Units of the decoder's, in the order of computation. With None there is no
        decoder: codes are the output.
    latent_dim : int, default=None
        Inputs of the decoder; ``code_size`` may be larger (a VAE's two heads).
    dropout : float, default=0.0
        Probability with which a hidden unit is dropped in training.
    image_shape : tuple (channels, height, width), default=None
        Convolutional where given, else fully connected.
    sigmoid_output : bool, default=False
        Squash the reconstruction to (0, 1).
    batch_norm : bool, default=False
        Normalise before each hidden activation.
    bias : bool or "first", default=True
        Whether layers add a trained number to each of their outputs, or the first alone
        does.
    code_activation : str, default=None
        A key of ``ACTIVATIONS``, after the encoder's last layer.

    Attributes
    ----------
    width : int
        Numbers in the widest place of a pass, for one row and member.
    work : int
        Multiply-adds of a pass, for one row and all members.
    has_modes : bool
        Whether a pass in training differs from one outside it.
    """

    def __init__(
        self,
        members,
        n_features,
        *,
        hidden_layer_sizes,
        code_size,
        activation,
        decoder_layer_sizes=None,
        latent_dim=None,
        dropout=0.0,
        image_shape=None,
        sigmoid_output=False,
        batch_norm=False,
        bias=True,
        code_activation=None,
    ):
        super().__init__()
        self.members = members
        self._block, self._bias = (activation, batch_norm, dropout), bias
        self.width, self.work = n_features, 0
        if image_shape is None:
            encoder = self._mlp(n_features, hidden_layer_sizes, code_size)
        else:
            encoder = self._conv_encoder(image_shape, hidden_layer_sizes, code_size)
        if code_activation is not None:
            encoder.append(Activation(code_activation))
        if decoder_layer_sizes is None:
            decoder = []
        elif image_shape is None:
            decoder = self._mlp(latent_dim, decoder_layer_sizes, n_features)
        else:
            decoder = self._conv_decoder(latent_dim, decoder_layer_sizes, image_shape)
        if decoder and sigmoid_output:
            decoder.append(Activation("sigmoid"))
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder)
        self.has_modes = bool(batch_norm or dropout)

    def count(self, part):
        """Add the width and work of a network that rows pass through as well."""
        self.width = max(self.width, part.width)
        self.work += part.work

    def encode(self, x):
        """``(k, n, n_features)`` to codes ``(k, n, code_size)``."""
        return self.encoder(x).to(x.dtype)

    def decode(self, z):
        """``(k, n, latent_dim)`` to reconstructions ``(k, n, n_features)``."""
        return self.decoder(z).to(z.dtype)

    @property
    def has_own_backward(self):
        """Whether :meth:`set_gradients` is there: for fully connected ones."""
        # Looked up anew each time: a subclass of a detector may add layers.
        return has_own_backward(self.encoder) and has_own_backward(self.decoder)

    def fixed_codes(self, x):
        """As :meth:`encode`, for what no gradient is to flow back from."""
        if not self.has_own_backward:
            return self.encode(x)
        return outputs(x, self.encoder).to(x.dtype)

    def set_gradients(self, x, loss, *on_code):
        """Set the parameters' gradients; the loss ``(k,)`` of the reconstruction.

        ``loss`` is as in :func:`skdeepad._nn._layers.set_gradients`, and ``on_code``
        are layers between encoder and decoder.
        """
        return set_gradients(x, [*self.encoder, *on_code, *self.decoder], loss)

    def _layer(self, make_layer, n_in, n_out, *args, positions=1, bias=True):
        """A layer, counted in width and work; convolved at so many positions."""
        # No work is counted yet before the first one.
        bias = bias and (not self.work if self._bias == "first" else self._bias)
        layer = make_layer(self.members, n_in, n_out, *args, bias=bias)
        self.width = max(self.width, n_out * positions)
        self.work += layer.weight.numel() * positions
        return layer

    def _hidden(self, make_layer, n_in, n_out, *args, positions=1):
        """A layer with its normalisation, activation and dropout."""
        activation, batch_norm, dropout = self._block
        # Normalisation takes a bias away again: it would only drift.
        bias = not batch_norm
        block = [
            self._layer(make_layer, n_in, n_out, *args, positions=positions, bias=bias)
        ]
        if batch_norm:
            block.append(BatchNorm(self.members, n_out, affine=self._bias is True))
        block.append(Activation(activation))
        if dropout:
            block.append(Dropout(self.members, dropout, activation))
        return block

    def _mlp(self, n_inputs, sizes, n_outputs):
        layers = []
        for n_in, n_out in pairwise((n_inputs, *sizes)):
            layers += self._hidden(Linear, n_in, n_out)
        if n_outputs is not None:
            layers.append(self._layer(Linear, (n_inputs, *sizes)[-1], n_outputs))
        return layers

    def _conv_encoder(self, image_shape, channels, code_size):
        layers = [nn.Unflatten(2, image_shape)]
        sizes = conv_sizes(image_shape[1:], len(channels))[1:]
        for (c_in, c_out), size in zip(
            pairwise((image_shape[0], *channels)), sizes, strict=True
        ):
            layers += self._hidden(Conv2d, c_in, c_out, positions=prod(size))
        n_flat = channels[-1] * prod(sizes[-1])
        return [*layers, nn.Flatten(2), self._layer(Linear, n_flat, code_size)]

    def _conv_decoder(self, latent_dim, channels, image_shape):
        # Each transposed convolution undoes one halving: the sizes run backwards.
        sizes = conv_sizes(image_shape[1:], len(channels))[::-1]
        n_flat = channels[0] * prod(sizes[0])
        layers = self._hidden(Linear, latent_dim, n_flat)
        layers.append(nn.Unflatten(2, (channels[0], *sizes[0])))
        *hidden, last = zip(
            pairwise((*channels, image_shape[0])), sizes[1:], strict=True
        )
        for (c_in, c_out), size in hidden:
            layers += self._hidden(
                ConvTranspose2d, c_in, c_out, size, positions=prod(size)
            )
        (c_in, c_out), size = last
        layers.append(
            self._layer(ConvTranspose2d, c_in, c_out, size, positions=prod(size))
        )
        return [*layers, nn.Flatten(2)]


def conv_sizes(size, depth):
    """Heights and widths before and after each of ``depth`` halvings."""
    sizes = [tuple(size)]
    for _ in range(depth):
        sizes.append(tuple((s + 1) // 2 for s in sizes[-1]))
    return sizes
