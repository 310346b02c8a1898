"""What the deep detectors share whose networks begin with an encoder."""

from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad._base import of_one_fit
from skdeepad._deep import BaseDeepDetector


@dataclass(kw_only=True, eq=False, repr=False)
class BaseEncoderDetector(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseDeepDetector
):
    """Base class of the detectors that give each row a code.

    Their network has ``encode``, or they state ``_codes``.
    """

    latent_dim: int | None = 16
    architecture: str = "mlp"

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepDetector._parameter_constraints,
        "latent_dim": [Interval(Integral, 1, None, closed="left"), None],
        "architecture": [StrOptions({"mlp", "conv"})],
    }

    _fixed_by_first_fit: ClassVar[tuple] = (
        *BaseDeepDetector._fixed_by_first_fit,
        "architecture",
    )

    def _changed_since_fit(self):
        changed = super()._changed_since_fit()
        if (self.latent_dim is None) != (self._as_fitted().latent_dim is None):
            changed.append("latent_dim")
        return changed

    def _note_params(self):
        super()._note_params()
        self._n_features_out = self.n_estimators * self._latent_size()

    @of_one_fit
    def transform(self, X):
        """Latent codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        codes : ndarray of shape (n_samples, n_estimators * latent_dim), float64
            The members' codes side by side.
        """

        def codes(fitted, network, x):
            return fitted._codes(network, x).transpose(0, 1).flatten(1)

        return self._map_rows(self._validate(X), codes)

    def _codes(self, network, x):
        """Latent codes ``(members, n, latent_dim)``."""
        return network.encode(x)

    def _latent_size(self):
        """Width of the code."""
        if self.latent_dim is not None:
            return self.latent_dim
        sizes = self._hidden_sizes()
        if not sizes:
            raise ValueError(
                "hidden_layer_sizes is empty and latent_dim is None: there is no "
                "layer to hold the code. Set latent_dim."
            )
        return sizes[-1]

    def _image_shape(self, n_features):
        """``image_shape`` checked against the data, or None for an MLP."""
        if self.architecture == "conv":
            if self.image_shape is None:
                raise ValueError(
                    "architecture='conv' needs image_shape=(channels, height, width), "
                    "got None."
                )
            return super()._image_shape(n_features)
        if self.image_shape is not None:
            raise ValueError(
                "image_shape is given but architecture='mlp' does not use it. "
                "Set architecture='conv', or image_shape=None."
            )
        return None
