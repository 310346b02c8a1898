"""Density of images, pixel by pixel (PixelCNN)."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from skdeepad._deep import BaseDeepDetector, FeatureErrorsMixin
from skdeepad._warnings import warn

# Share of the numbers that differ from which one level for them says too little, and
# share of all that may be beyond the levels in further training.
SAME_LEVEL, FEW_BEYOND = 0.99, 0.05


@dataclass(kw_only=True, eq=False, repr=False)
class PixelCNNDetector(FeatureErrorsMixin, BaseDeepDetector):
    """Network that gives each pixel's distribution, from the pixels before it.

    The probability of an image is the product of those of its pixels, each given the
    pixels before it, above and to the left ([1]_, eq. 1), and one channel of a pixel
    after the other (eq. 2). The network sees those of them that are near. A pixel has
    one of ``n_levels`` values, each of which is given a probability. The anomaly score
    is the surprisal, minus the logarithm of the image's probability, which is also
    the loss.

    Parameters
    ----------
    hidden_layer_sizes : int or tuple of int, default={hidden_layer_sizes}
        Units of a pixel in each of the masked convolutions: the first one of
        ``kernel_size``, others of 3 x 3 pixels. A layer of as many units as the one
        before adds to its output (residual connections). With () the output is a
        convolution of ``kernel_size`` itself.
    kernel_size : int, default={kernel_size}
        Pixels on a side of the first convolution, which sees the half of them that
        comes before its own; odd. Each hidden layer after it sees one pixel farther.
    n_levels : int, default={n_levels}
        Values of a pixel, evenly from the least to the largest one in the training
        rows; a pixel is rounded to the nearest.
    image_shape : tuple (channels, height, width), default=None
        How a row is read, one channel after the other. None reads it as one line of
        pixels.
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
    of what is above and to the right, a part is not seen. ``batch_norm=True`` is
    refused: a pixel's probability would depend on those after it.

    Numbers farther beyond the least and the largest level than half the distance
    between levels, however far, have two levels of their own, which no training row
    has. A warm start, or another ``partial_fit``, keeps the levels: numbers beyond them
    are not learnt, and do not count in the loss.

    A row that is easy to predict is likely, whatever the training rows were: a line
    that is flat, an image without strokes. All pixels share one scale of levels. With
    ``standardize=True`` it is that of each pixel's own mean and standard deviation, so
    that a pixel which was seldom lit is far out when it is; with ``standardize=False``
    it is that of the images, by which half of MNIST's digits are told apart worse than
    by chance.

    ``feature_errors`` gives the surprisal of each pixel; they add up to the anomaly
    score. The first pixels of a row are surprising as no others are before them, and
    those after an odd one often more than this itself.

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

    _fixed_by_first_fit: ClassVar[tuple] = (
        *BaseDeepDetector._fixed_by_first_fit,
        "kernel_size",
        "n_levels",
    )

    @property
    def levels_(self):
        check_is_fitted(self)
        lowest, step = (self._state[name].flat[0] for name in ("lowest", "step"))
        return lowest + step * np.arange(self._as_fitted().n_levels)

    def _check_input(self, X, y):
        if self.batch_norm:
            raise ValueError(
                "PixelCNNDetector takes no batch_norm=True: with it a pixel's "
                "probability would depend on those after it. Set batch_norm=False."
            )
        if self.kernel_size % 2 == 0:
            raise ValueError(
                "kernel_size must be odd, so that there is a pixel in the middle, got "
                f"{self.kernel_size}."
            )

    def _build_network(self, n_features, members):
        from skdeepad._nn import PixelCNN

        image_shape, hidden = self._image_shape(n_features), self._hidden_sizes()
        if hidden and min(hidden) < image_shape[0]:
            raise ValueError(
                f"hidden_layer_sizes={hidden} must be {image_shape[0]} or more, a unit "
                "for each channel of the image."
            )
        return PixelCNN(
            members,
            image_shape,
            hidden,
            self.kernel_size,
            self.n_levels,
            self.activation,
            self.dropout,
        )

    def _image_shape(self, n_features):
        if self.image_shape is None:
            return 1, 1, n_features
        return super()._image_shape(n_features)

    def _before_training(self, network, x, continued):
        from skdeepad._rows import chunk_size

        chunks = x.split(chunk_size(x.shape[1]))
        if continued:
            n_beyond = 0
            for chunk in chunks:
                levels = network.levels(chunk[None])[0]
                n_beyond += network.is_beyond(levels).sum().item()
            share = n_beyond / (x.shape[0] * x.shape[1])
            if share > FEW_BEYOND:
                warn(
                    f"{share:.0%} of the numbers are beyond the levels, which the "
                    "first fit or partial_fit settled: they are not learnt. Begin with "
                    "rows of all values that are to come, or fit anew.",
                )
            return
        ends = [chunk.aminmax() for chunk in chunks]
        # In float32, which the levels are told apart in.
        lowest = np.float32(min(end.min.item() for end in ends))
        with np.errstate(over="ignore", invalid="ignore"):
            width = np.float32(max(end.max.item() for end in ends)) - lowest
        if not np.isfinite(width):
            raise ValueError(
                "X holds values too large for levels between the least and the largest "
                "one: remove or clip them, or set standardize=True."
            )
        network.lowest.fill_(float(lowest))
        # Any step does where all values are the same.
        network.step.fill_(float(width / np.float32(self.n_levels - 1)) or 1.0)

    def _warn_if_alike(self, X, network):
        import torch

        x = self._scale(X)
        levels = network.levels(torch.as_tensor(x, device=network.step.device)[None])
        levels = levels[0].cpu().numpy()
        differ = x != np.median(x)
        usual = levels == np.median(levels)
        if differ.any() and usual[differ].mean() > SAME_LEVEL:
            warn(
                "Nearly all numbers have the same one of n_levels values. A few that "
                "are far out may have set the range of these: remove or clip them. Or "
                "float32 can't tell the numbers apart: subtract an offset.",
            )

    def _loss(self, network, x):
        # That there is nothing beyond the levels is not to be unlearnt.
        return {"loss": network(x, beyond=False).sum(2).mean(1)}

    def _feature_errors(self, network, x):
        return network(x)
