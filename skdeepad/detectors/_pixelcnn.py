"""Density of images, pixel by pixel (PixelCNN)."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from skdeepad._deep import BaseDeepDetector
from skdeepad._reconstruction import FeatureErrorsMixin


@dataclass(kw_only=True, eq=False, repr=False)
class PixelCNNDetector(FeatureErrorsMixin, BaseDeepDetector):
    """Network that gives each pixel's distribution, from the pixels before it.

    The probability of an image is the product of those of its pixels, each given the
    pixels before it, above and to the left ([1]_, eq. 1), and one channel of a pixel
    after the other (eq. 2). A pixel has one of ``n_levels`` values, and the network
    gives each of these a probability. The anomaly score is the surprisal, minus the
    logarithm of the probability, which is also the loss.

    Parameters
    ----------
    hidden_layer_sizes : int or tuple of int, default={hidden_layer_sizes}
        Units of a pixel in each of the masked convolutions: the first one of
        ``kernel_size``, others of 3 x 3 pixels. A layer of as many units as the one
        before adds to its output (residual connections).
    kernel_size : int, default={kernel_size}
        Pixels on a side of the first convolution, which sees the half of them that
        comes before its own; odd.
    n_levels : int, default={n_levels}
        Values of a pixel: evenly from the least to the largest one in the training
        rows, to the next of which a pixel is rounded.
    image_shape : tuple (channels, height, width), default=None
        How a row is read. None reads it as one line of pixels.
    {training_parameters}

    Attributes
    ----------
    levels_ : ndarray of shape (n_levels,)
        The values, in the scale of the (scaled) rows.
    {shared_attributes}

    Notes
    -----
    For images, and for rows whose features lie in an order, such as those of a signal:
    one set of weights predicts every pixel, from what is near and before it. That says
    little about the columns of a table.

    The network is the paper's PixelCNN of section 3.5 in small, and has its blind spot:
    of what is above and to the right, a part is not seen.

    Pixels beyond the training rows' least and largest values count as two levels more,
    which no training row has. All pixels share one scale of levels: set
    ``standardize=False`` for images.

    ``feature_errors`` gives the surprisal of each pixel; they add up to the anomaly
    score. A warm start, or another ``partial_fit``, keeps the levels.

    References
    ----------
    .. [1] A. van den Oord, N. Kalchbrenner and K. Kavukcuoglu, *Pixel Recurrent Neural
       Networks*, ICML 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import PixelCNNDetector
    >>> steps = np.random.default_rng(0).normal(size=(200, 8))
    >>> detector = PixelCNNDetector(n_levels=16, random_state=0)
    >>> walks = steps.cumsum(axis=1)
    >>> detector = detector.fit(walks)
    >>> detector.predict([[0, 1, 1, 0, -1, 0, 0, 1], [0, 9, -9, 9, -9, 9, -9, 9]])
    array([ 1, -1])
    """

    hidden_layer_sizes: Any = (32, 32, 32)
    batch_size: int = 16
    kernel_size: int = 7
    n_levels: int = 256

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepDetector._parameter_constraints,
        "kernel_size": [Interval(Integral, 3, None, closed="left")],
        "n_levels": [Interval(Integral, 2, None, closed="left")],
    }

    @property
    def levels_(self):
        check_is_fitted(self)
        lowest, step = (self._state[name].flat[0] for name in ("lowest", "step"))
        return lowest + step * np.arange(self._fitted_params["n_levels"])

    def _check_input(self, X, y):
        if self.kernel_size % 2 == 0:
            raise ValueError(
                "kernel_size must be odd, so that there is a pixel in the middle, got "
                f"{self.kernel_size}."
            )

    def _build_network(self, n_features, members):
        from skdeepad._nn import PixelCNN

        return PixelCNN(
            members,
            self._image_shape(n_features),
            self._hidden_sizes(),
            int(self.kernel_size),
            int(self.n_levels),
            self.activation,
            self.batch_norm,
            float(self.dropout),
        )

    def _image_shape(self, n_features):
        if self.image_shape is None:
            return 1, 1, n_features
        return super()._image_shape(n_features)

    def _before_training(self, network, x, continued):
        from skdeepad._training import chunk_rows

        if continued:
            return
        ends = [chunk.aminmax() for chunk in x.split(chunk_rows(network))]
        lowest = min(end.min.item() for end in ends)
        width = max(end.max.item() for end in ends) - lowest
        if not np.isfinite(width):
            raise ValueError(
                "X holds values too large for levels between the least and the largest "
                "one: remove or clip them, or set standardize=True."
            )
        network.lowest.fill_(lowest)
        # Any step does where all values are the same.
        network.step.fill_(width / (self.n_levels - 1) or 1.0)

    def _loss(self, network, x):
        return {"loss": network(x).sum(2).mean(1)}

    def _feature_errors(self, network, x):
        return network(x)

    def _anomaly_scores(self, network, x, X):
        return network(x).sum(2)
