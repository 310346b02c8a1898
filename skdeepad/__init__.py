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

# The public list: a new detector is one line here. The same name twice tells type
# checkers that it is public.
from skdeepad import datasets as datasets
from skdeepad import metrics as metrics
from skdeepad import model_selection as model_selection
from skdeepad import thresholds as thresholds
from skdeepad._version import __version__ as __version__
from skdeepad.baselines._kde import KDEDetector as KDEDetector
from skdeepad.baselines._kernel_pca import KernelPCADetector as KernelPCADetector
from skdeepad.baselines._pca import PCADetector as PCADetector
from skdeepad.detectors._anogan import AnoGAN as AnoGAN
from skdeepad.detectors._autoencoder import AutoencoderDetector as AutoencoderDetector
from skdeepad.detectors._dagmm import DAGMM as DAGMM
from skdeepad.detectors._dasvdd import DASVDD as DASVDD
from skdeepad.detectors._deep_svdd import DeepSVDD as DeepSVDD
from skdeepad.detectors._dsebm import DSEBM as DSEBM
from skdeepad.detectors._latent_autoregression import (
    LatentAutoregressionDetector as LatentAutoregressionDetector,
)
from skdeepad.detectors._ocgan import OCGAN as OCGAN
from skdeepad.detectors._pixelcnn import PixelCNNDetector as PixelCNNDetector
from skdeepad.detectors._vae import VAEDetector as VAEDetector
from skdeepad.thresholds._detector import ThresholdedDetector as ThresholdedDetector

__all__ = [
    *(name for name, value in vars().items() if isinstance(value, type)),
    "__version__",
    "datasets",
    "metrics",
    "model_selection",
    "thresholds",
]
