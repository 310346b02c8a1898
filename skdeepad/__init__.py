"""Deep anomaly detectors that are scikit-learn estimators.

- ``AutoencoderDetector``: autoencoder, scored by its reconstruction error.
- ``VAEDetector``: variational autoencoder, scored at the expected latent code.
- ``DASVDD``: autoencoder with a trained centre of its codes.
- ``DeepSVDD``: network that maps normal rows close to a point.
- ``DSEBM``: energy-based model, trained by score matching.
- ``DAGMM``: autoencoder with a Gaussian mixture of its codes and errors.
- ``AnoGAN``: generative adversarial network, scored by the nearest row it generates.
- ``OCGAN``: denoising autoencoder, trained against discriminators of its codes and of
  what it decodes.
- ``LatentAutoregressionDetector``: autoencoder with a density of its codes, number by
  number.
- ``PixelCNNDetector``: density of images, pixel by pixel.
- ``KDEDetector``, ``PCADetector``, ``KernelPCADetector``: kernel density and principal
  components.
- ``ThresholdedDetector``: thresholds, p-values and probabilities for any detector.

``skdeepad.thresholds``, ``skdeepad.model_selection``, ``skdeepad.metrics`` and
``skdeepad.datasets`` hold the rest. Importing this package imports no torch: a
detector does, when it is fitted.
"""

from importlib import import_module

__version__ = "0.1.0.dev0"

# Public name to the module that defines it: a new detector is one line here.
_PUBLIC = {
    "AutoencoderDetector": "skdeepad.detectors._autoencoder",
    "VAEDetector": "skdeepad.detectors._vae",
    "DAGMM": "skdeepad.detectors._dagmm",
    "DASVDD": "skdeepad.detectors._dasvdd",
    "DSEBM": "skdeepad.detectors._dsebm",
    "DeepSVDD": "skdeepad.detectors._deep_svdd",
    "AnoGAN": "skdeepad.detectors._anogan",
    "OCGAN": "skdeepad.detectors._ocgan",
    "LatentAutoregressionDetector": "skdeepad.detectors._latent_autoregression",
    "PixelCNNDetector": "skdeepad.detectors._pixelcnn",
    "KDEDetector": "skdeepad.baselines._kde",
    "KernelPCADetector": "skdeepad.baselines._kernel_pca",
    "PCADetector": "skdeepad.baselines._pca",
    "ThresholdedDetector": "skdeepad.thresholds._detector",
}

_SUBMODULES = ("datasets", "metrics", "model_selection", "thresholds")

__all__ = [*_PUBLIC, *_SUBMODULES, "__version__"]


def __getattr__(name):
    if name in _SUBMODULES:
        return import_module(f"skdeepad.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_PUBLIC[name]), name)
    except AttributeError as error:  # which an import statement would not show
        raise ImportError(f"skdeepad.{name} can not be imported: {error}") from error


def __dir__():
    return sorted({*globals(), *__all__})
