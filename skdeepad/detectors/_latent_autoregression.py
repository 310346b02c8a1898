"""Autoencoder with an autoregressive density of its codes."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from skdeepad._base import round_scores
from skdeepad._reconstruction import BaseEstimationDetector
from skdeepad._support import SupportMixin


@dataclass(kw_only=True, eq=False, repr=False)
class LatentAutoregressionDetector(SupportMixin, BaseEstimationDetector):
    """Autoencoder scored by its error and by how unlikely a row's code is.

    The code's numbers lie between 0 and 1 and are divided into bins; the estimation
    network gives the probabilities of a number's bins from the numbers before it. The
    loss is the squared reconstruction error, summed over the features, plus
    ``surprisal_weight`` times the code's surprisal, minus the logarithm of its
    probability ([1]_). The anomaly score is the sum of both, each scaled by its least
    and largest value of the training rows to be between 0 and 1 there ([1]_, eq. 9 and
    10, where it is those of rows held out).

    Parameters
    ----------
    n_bins : int, default={n_bins}
        Bins of each of the code's numbers; 100 in [1]_.
    estimation_layer_sizes : int or tuple of int, default={estimation_layer_sizes}
        Units in the estimation network's hidden layers, of each of the code's
        numbers; 32 in each of four layers in [1]_.
    surprisal_weight : float, default={surprisal_weight}
        Weight of the surprisal in the loss, lambda in [1]_.
    {support_parameter}
    {shared_parameters}
    {decoder_parameters}

    Attributes
    ----------
    error_range_, surprisal_range_ : ndarray of shape (n_estimators, 2)
        Least and largest value of training rows.
    {shared_attributes}

    Notes
    -----
    The code goes through a sigmoid; with ``latent_dim=None`` in place of the last
    hidden layer's activation. The estimation network's weights grow with the square of
    the code's width: 256 numbers make it a hundred times slower than 16.

    On ADBench sets a larger ``learning_rate`` is better up to 0.01, and much worse from
    0.02.

    Codes of training rows become likely ones: by the default threshold 8 % of new
    normal rows are flagged on ADBench (documentation, *What thresholds do on new
    rows*). Take ``threshold="conformal"``, which holds rows out.

    ``feature_errors`` gives the squared errors of the reconstruction, whose sum enters
    the score scaled. ``partial_fit`` takes the ranges from the rows of its last call.
    ``history_`` has the loss's parts, ``reconstruction`` and ``surprisal``, before they
    are weighted.

    References
    ----------
    .. [1] D. Abati, A. Porrello, S. Calderara and R. Cucchiara, *Latent Space
       Autoregression for Novelty Detection*, CVPR 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import LatentAutoregressionDetector
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> detector = LatentAutoregressionDetector(random_state=0).fit(X)
    >>> detector.predict([[0, 0, 0], [9, -9, 9]])
    array([ 1, -1])
    """

    max_epochs: int = 60
    learning_rate: float = 5e-3
    n_bins: int = 20
    estimation_layer_sizes: Any = (8,)
    surprisal_weight: float = 0.01

    _parameter_constraints: ClassVar[dict] = {
        **BaseEstimationDetector._parameter_constraints,
        **SupportMixin._support_constraints,
        "n_bins": [Interval(Integral, 2, None, closed="left")],
        # At zero the estimation network would not learn.
        "surprisal_weight": [Interval(Real, 0, None, closed="neither")],
    }

    _code_activation: ClassVar[str] = "sigmoid"

    _used_within: ClassVar[dict] = {
        **BaseEstimationDetector._used_within,
        "surprisal_weight": 1,
    }

    def _build_estimator(self, members):
        from skdeepad._nn import Autoregression

        return Autoregression(
            members,
            self._latent_size(),
            self._layer_sizes("estimation_layer_sizes"),
            self.n_bins,
            self.activation,
        )

    def _surprisal(self, network, code):
        """Minus the logarithm of a code's probability, ``(members, n)``."""
        log_probabilities = network.estimator(code).log_softmax(3)
        bins = (code.detach() * self.n_bins).long().clamp_(0, self.n_bins - 1)
        return -log_probabilities.gather(3, bins.unsqueeze(3)).sum((2, 3))

    def _losses(self, network, x, code, back):
        error = (back - x).square().sum(2).mean(1)
        surprisal = self._surprisal(network, code).mean(1)
        return {
            "loss": error + self.surprisal_weight * surprisal,
            "reconstruction": error,
            "surprisal": surprisal,
        }

    def _set_threshold(self, task):
        parts = self._errors_and_surprisals(task.training_rows(streams=True))
        ranges = np.stack([parts.min(0), parts.max(0)], axis=2)
        self.error_range_, self.surprisal_range_ = ranges
        super()._set_threshold(task)

    def _errors_and_surprisals(self, X):
        """Squared errors and surprisals of validated rows, ``(n, 2, members)``."""
        import torch

        def both(fitted, network, x):
            code = network.encode(x)
            error = (network.decode(code) - x).square().sum(2)
            surprisal = fitted._surprisal(network, code)
            return torch.stack([error, surprisal]).permute(2, 0, 1)

        # Rounding noise would be left where a row is at the range's end.
        values = self._map_rows(X, both)
        return round_scores(values, out=values)

    def _score_samples(self, X):
        ranges = np.stack([self.error_range_, self.surprisal_range_])
        least, largest = np.moveaxis(ranges, 2, 0)
        width = largest - least
        # Where all training rows are alike, what differs counts as it is.
        width[width == 0] = 1.0
        return -((self._errors_and_surprisals(X) - least) / width).sum(1).mean(1)
