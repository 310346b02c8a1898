"""Autoencoder: the reconstruction error is the anomaly score."""

from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval

from skdeepad._reconstruction import BaseAutoencoderDetector, ReconstructionMixin
from skdeepad._support import SupportMixin


@dataclass(kw_only=True, eq=False, repr=False)
class AutoencoderDetector(SupportMixin, ReconstructionMixin, BaseAutoencoderDetector):
    """Autoencoder whose mean squared reconstruction error is the anomaly score.

    The network is trained to give normal rows back through a narrow code; a row
    it can't give back is an anomaly. Loss ([1]_, eq. 1) and score (section 3.2) are
    the squared error, averaged over the features.

    Parameters
    ----------
    noise_std : float, default={noise_std}
        Standard deviation of normal noise added to the (scaled) rows in
        training, while the target stays clean: a denoising autoencoder ([2]_).
    {support_parameter}
    {shared_parameters}
    {decoder_parameters}

    Attributes
    ----------
    {shared_attributes}

    References
    ----------
    .. [1] Z. Patel, A. Rinaldi and V. Zehtab, *Investigating the Sensitivity of
       Deep Anomaly Detection Methods to Hyperparameter Changes*, project report.
    .. [2] P. Vincent et al., *Extracting and Composing Robust Features with
       Denoising Autoencoders*, ICML 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import AutoencoderDetector
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> detector = AutoencoderDetector(random_state=0).fit(X)
    >>> detector.predict([[0, 0, 0], [9, -9, 9]])
    array([ 1, -1])
    """

    max_epochs: int = 20
    noise_std: float = 0.0

    _parameter_constraints: ClassVar[dict] = {
        **BaseAutoencoderDetector._parameter_constraints,
        **SupportMixin._support_constraints,
        "noise_std": [Interval(Real, 0, None, closed="left")],
    }

    _used_within: ClassVar[dict] = {
        **BaseAutoencoderDetector._used_within,
        "noise_std": 3,
    }

    def _build_network(self, n_features, members):
        from skdeepad._nn import GaussianNoise

        network = super()._build_network(n_features, members)
        network.noise = GaussianNoise() if self.noise_std else None
        return network

    def _loss(self, network, x):
        reconstructed = network.decode(network.encode(self._noisy(network, x)))
        return {"loss": (reconstructed - x).square().mean((1, 2))}

    def _set_gradients(self, network, x):
        from skdeepad._nn import squared_error

        loss = partial(squared_error, target=x, weight=1 / (x.shape[1] * x.shape[2]))
        return {"loss": network.set_gradients(self._noisy(network, x), loss)}

    def _noisy(self, network, x):
        return x if network.noise is None else network.noise(x, self.noise_std)

    def _feature_errors(self, network, x):
        return self._reconstruction(network, x).sub_(x).square_().div_(x.shape[2])

    def _anomaly_scores(self, network, x):
        return self._reconstruction(network, x).sub_(x).square_().mean(2)
