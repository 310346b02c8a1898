"""What detectors that encode and decode rows share."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import StrOptions

from skdeepad._base import of_one_fit
from skdeepad._deep import LAYER_SIZES, FeatureErrorsMixin
from skdeepad._encoder import BaseEncoderDetector
from skdeepad._warnings import warn

# What a scaler of float32 may round beyond [0, 1].
TOLERANCE = 1e-6
# Times the error of a network that has learned nothing, which gives nearly zeros.
NOT_LEARNED = 10.0


class ReconstructionMixin(FeatureErrorsMixin):
    """What detectors that score by a decoder add: their network has ``decode``."""

    @of_one_fit
    def reconstruct(self, X):
        """Rows as the network gives them back.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features), float64
            In the scale of X; the members' mean.
        """

        def reconstruction(fitted, network, x):
            return fitted._reconstruction(network, x).mean(0)

        return self._unscale(self._map_rows(self._validate(X), reconstruction))

    def _reconstruction(self, network, x):
        """Reconstructions ``(members, n, n_features)``."""
        return network.decode(self._codes(network, x))

    def _warn_if_not_learned(self, X):
        def errors(fitted, network, x):
            return (fitted._reconstruction(network, x).mean(0) - x[0]).square()

        error = self._map_rows(X, errors).mean()
        of_zeros = np.square(self._scale(X)).mean()
        if error > NOT_LEARNED * of_zeros > 0:
            warn(
                "The networks have not learned: they give training rows back with a "
                f"squared error of {error:.3g} a feature, and zeros would with one of "
                f"{of_zeros:.3g} (in the networks' scale). Lower learning_rate.",
                ConvergenceWarning,
            )


@dataclass(kw_only=True, eq=False, repr=False)
class BaseAutoencoderDetector(BaseEncoderDetector):
    """Base class of the detectors built on an encoder and a mirrored decoder.

    Beside ``_loss`` a detector may have ``_set_gradients(network, x)``, which gives the
    same and sets the gradients of a fully connected network, without autograd unless
    ``_uses_autograd`` says so.
    """

    decoder_layer_sizes: Any = None
    output_activation: str = "identity"

    _parameter_constraints: ClassVar[dict] = {
        **BaseEncoderDetector._parameter_constraints,
        "decoder_layer_sizes": [*LAYER_SIZES, None],
        "output_activation": [StrOptions({"identity", "sigmoid"})],
    }

    _fixed_by_first_fit: ClassVar[tuple] = (
        *BaseEncoderDetector._fixed_by_first_fit,
        "output_activation",
    )

    # What the loss is made of, and ``_set_gradients`` writes out; and whether that
    # leaves a part to autograd.
    _loss_methods: ClassVar[frozenset] = frozenset({"_loss"})
    _uses_autograd: ClassVar[bool] = False

    # Outputs of the encoder for each latent dimension, and what bounds them.
    _codes_per_latent: ClassVar[int] = 1
    _code_activation: ClassVar[str | None] = None

    def _build_network(self, n_features, members, bias=True, decodes=True):
        from skdeepad._nn import Autoencoder

        image_shape = self._image_shape(n_features)
        hidden, latent = self._hidden_sizes(), self._latent_size()
        code_size = latent * self._codes_per_latent
        decoder = self._decoder_sizes(hidden, image_shape)
        if self.latent_dim is None and image_shape is None:
            if self._codes_per_latent == 1 and self._code_activation is None:
                code_size = None
            else:
                hidden = hidden[:-1]
        return Autoencoder(
            members,
            n_features,
            hidden_layer_sizes=hidden,
            decoder_layer_sizes=decoder if decodes else None,
            code_size=code_size,
            latent_dim=latent,
            image_shape=image_shape,
            activation=self.activation,
            sigmoid_output=self.output_activation == "sigmoid",
            batch_norm=self.batch_norm,
            dropout=self.dropout,
            bias=bias,
            code_activation=self._code_activation,
        )

    def _decoder_sizes(self, hidden, image_shape):
        """Units or channels of the decoder's hidden layers, mirrored by default."""
        decoder = hidden[::-1]
        if self.latent_dim is None and image_shape is None:
            decoder = decoder[1:]  # the last hidden layer is the code
        if self.decoder_layer_sizes is not None:
            decoder = self._layer_sizes("decoder_layer_sizes")
        if image_shape is not None and not (hidden and decoder):
            raise ValueError(
                "architecture='conv' needs a hidden layer or more in encoder and "
                f"decoder, got {hidden} and {decoder}."
            )
        return decoder

    def _phases(self, network):
        return [self._gradient_phase(network, network.parameters())]

    def _gradient_phase(self, network, parameters, share=None):
        """Lowers the loss, by the network's own backward pass where it has one."""
        from skdeepad._nn import refresh
        from skdeepad._training import GradientPhase

        options = {"share": share}
        if network.has_own_backward:
            if self._has_own_gradients():
                options["set_gradients"] = partial(self._set_gradients, network)
                options["uses_autograd"] = self._uses_autograd
            layers = [*network.encoder, *network.decoder]
            layers = [layer for layer in layers if getattr(layer, "dtype", None)]
            if layers:
                options["after_step"] = partial(refresh, layers)
        loss = partial(self._loss, network)
        return GradientPhase(loss, parameters, self._adam, **options)

    def _has_own_gradients(self):
        """Whether ``_set_gradients`` is there, and not of a loss that is overridden."""
        for cls in type(self).__mro__:
            if "_set_gradients" in vars(cls):
                return True
            if not self._loss_methods.isdisjoint(vars(cls)):
                return False
        return False

    def _check_input(self, X, y):
        if self.output_activation == "sigmoid":
            self._check_unit_interval(X, "output_activation='sigmoid'", y)

    def _check_unit_interval(self, X, what, y=None):
        """Refuse targets, rows not labelled -1, that are out of reach in [0, 1]."""
        if self.standardize:
            raise ValueError(
                f"{what} needs targets in [0, 1], which standardize=True does not "
                "give. Set standardize=False and scale X to [0, 1]."
            )
        where = True if y is None else (y == 1)[:, None]
        lowest = X.min(initial=0, where=where)
        largest = X.max(initial=1, where=where)
        if lowest < -TOLERANCE or largest > 1 + TOLERANCE:
            raise ValueError(
                f"{what} needs X in [0, 1], got values from {lowest:.7g} to "
                f"{largest:.7g}. Scale X first, for example with "
                "MinMaxScaler(clip=True)."
            )


@dataclass(kw_only=True, eq=False, repr=False)
class BaseEstimationDetector(ReconstructionMixin, BaseAutoencoderDetector):
    """Base class of the autoencoders with an estimation network beside the decoder.

    A detector states ``_build_estimator(members)``, and ``_losses(network, x, code,
    back)``, which gives what ``_loss`` does, of rows, their codes and reconstructions.
    """

    estimation_layer_sizes: Any = (10,)

    _uses_autograd: ClassVar[bool] = True

    _parameter_constraints: ClassVar[dict] = {
        **BaseAutoencoderDetector._parameter_constraints,
        "estimation_layer_sizes": LAYER_SIZES,
    }

    def _build_estimator(self, members):
        """The estimation network, which knows its ``width`` and ``work``."""
        raise NotImplementedError

    def _losses(self, network, x, code, back):
        """Losses of rows, from their codes and reconstructions, as of ``_loss``."""
        raise NotImplementedError

    def _build_network(self, n_features, members):
        network = super()._build_network(n_features, members)
        network.estimator = self._build_estimator(members)
        network.count(network.estimator)
        return network

    def _loss(self, network, x):
        code = network.encode(x)
        return self._losses(network, x, code, network.decode(code))

    def _set_gradients(self, network, x):
        import torch

        code, losses = _Code(), {}
        weights = list(network.estimator.parameters())

        def loss(back):
            # By autograd down to the reconstruction and the code.
            leaves = [
                tensor.detach().to(x.dtype).requires_grad_()
                for tensor in (code.value, back)
            ]
            losses.update(self._losses(network, x, *leaves))
            code.gradient, gradient, *others = torch.autograd.grad(
                losses["loss"].sum(), [*leaves, *weights]
            )
            torch._foreach_copy_([parameter.grad for parameter in weights], others)
            return losses["loss"], gradient

        network.set_gradients(x, loss, code)
        return {name: value.detach() for name, value in losses.items()}

    def _feature_errors(self, network, x):
        return (self._reconstruction(network, x) - x).square()


class _Code:
    """A layer that passes codes on, and adds a gradient that they have from elsewhere.

    Attributes
    ----------
    value, gradient : Tensor of shape (members, batch, latent_dim)
    """

    def record(self, z):
        self.value = z
        return z, ()

    def backward(self, gradient, saved, wanted):
        return gradient.add_(self.gradient)
