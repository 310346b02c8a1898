"""Deep structured energy-based model (DSEBM)."""

from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad._encoder import BaseEncoderDetector
from skdeepad._random import row_keys, row_normals
from skdeepad._reconstruction import ReconstructionMixin
from skdeepad._support import SupportMixin


@dataclass(kw_only=True, eq=False, repr=False)
class DSEBM(SupportMixin, ReconstructionMixin, BaseEncoderDetector):
    """Network whose outputs make an energy, low where normal rows are.

    The energy of a row is ``E(x) = |x - b|^2 / 2 - sum_j h_j(x)``, of the outputs
    ``h`` of the last layer and a trained point ``b`` ([1]_, section 3). Its slope takes
    a row back to where normal rows are, ``f(x) = x - dE/dx``. It is trained by score
    matching, which is a denoising autoencoder's loss: the squared distance of
    ``f(x + noise)`` from ``x``, summed over the features.

    Parameters
    ----------
    criterion : {"energy", "reconstruction"}, default="{criterion}"
        The anomaly score: the energy ``E(x)`` (DSEBM-e), or the squared distance of
        ``f(x)`` from ``x``, which is the energy's squared slope (DSEBM-r). The energy
        needs more noise: it is good with a ``noise_std`` of 1, and may be worse than
        chance with 0.2.
    noise_std : float, default={noise_std}
        Standard deviation of the normal noise added to the (scaled) rows in training.
    {support_parameter}
    {shared_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    ``batch_norm=True`` is refused: the energy of a row would depend on others. With
    "relu" and "leaky_relu" the slope is a step function of the hidden layers'
    biases, which do not learn then. ``reconstruct`` gives ``f(x)``, and
    ``feature_errors`` its squared distance whatever the criterion: an energy has no
    parts of single features.

    References
    ----------
    .. [1] S. Zhai et al., *Deep Structured Energy Based Models for Anomaly Detection*,
       ICML 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import DSEBM
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> detector = DSEBM(random_state=0).fit(X)
    >>> detector.predict([[0, 0, 0], [9, -9, 9]])
    array([ 1, -1])
    """

    latent_dim: int | None = None
    activation: str = "softplus"
    criterion: str = "reconstruction"
    noise_std: float = 0.2

    _parameter_constraints: ClassVar[dict] = {
        **BaseEncoderDetector._parameter_constraints,
        **SupportMixin._support_constraints,
        "criterion": [StrOptions({"energy", "reconstruction"})],
        # Without noise any constant energy would do.
        "noise_std": [Interval(Real, 0, None, closed="neither")],
    }

    _used_after: ClassVar[frozenset] = BaseEncoderDetector._used_after | {"criterion"}
    _used_within: ClassVar[dict] = {**BaseEncoderDetector._used_within, "noise_std": 3}

    def _check_input(self, X, y):
        if self.batch_norm:
            raise ValueError(
                "DSEBM takes no batch_norm=True: with it the energy of a row would "
                "depend on the rows beside it. Set batch_norm=False."
            )

    def _build_network(self, n_features, members):
        from skdeepad._nn import Autoencoder, GaussianNoise, Origin

        hidden, image_shape = self._hidden_sizes(), self._image_shape(n_features)
        if image_shape is not None and not hidden:
            raise ValueError(
                "architecture='conv' needs a hidden layer or more, got ()."
            )
        latent = self._latent_size()
        ends_hidden = self.latent_dim is None and image_shape is None
        network = Autoencoder(
            members,
            n_features,
            hidden_layer_sizes=hidden,
            code_size=None if ends_hidden else latent,
            image_shape=image_shape,
            activation=self.activation,
            dropout=self.dropout,
        )
        for layer in network.encoder:
            if hasattr(layer, "fan_in"):
                # Glorot's bound, with which the energy rises far from the rows.
                taps = layer.weight[0, 0, 0].numel()  # of a convolution
                fan_out = layer.weight[0].numel() * taps / layer.fan_in
                layer.fan_in = (layer.fan_in + fan_out) / 6
        network.noise = GaussianNoise()
        network.origin = Origin(members, n_features)
        return network

    def _reconstruction(self, network, x):
        import torch

        is_trained = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            x = x.clone().requires_grad_()
            outputs = network.encode(x).sum()
            (slope,) = torch.autograd.grad(outputs, x, create_graph=is_trained)
        # x - dE/dx, in which x itself cancels.
        return network.origin.value + slope

    def _loss(self, network, x):
        if network.training:
            noisy = network.noise(x, self.noise_std)
        else:  # held-out rows, whose noise is their own and the same in all epochs
            rows = x.flatten(0, 1).double().cpu().numpy()
            normals = row_normals(row_keys(rows, seed=0), 0, rows.shape[1])
            noisy = x + self.noise_std * x.new_tensor(normals).view(x.shape)
        back = self._reconstruction(network, noisy)
        return {"loss": (back - x).square().sum(2).mean(1)}

    def _feature_errors(self, network, x):
        return (self._reconstruction(network, x) - x).square()

    def _support_scores(self, network, x):
        # Whatever the criterion, by which training must not differ.
        return self._feature_errors(network, x).sum(2)

    def _anomaly_scores(self, network, x):
        if self.criterion == "reconstruction":
            return super()._anomaly_scores(network, x)
        quadratic = 0.5 * (x - network.origin.value).square().sum(2)
        return quadratic - network.encode(x).sum(2)
