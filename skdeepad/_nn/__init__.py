"""Networks that hold several members at once; importing this imports torch."""

from skdeepad._nn._autoencoder import Autoencoder
from skdeepad._nn._autoregressive import Autoregression
from skdeepad._nn._layers import (
    FLOAT32_LANES,
    FLOAT64_LANES,
    Activation,
    Center,
    GaussianNoise,
    Linear,
    Origin,
    UniformNoise,
    empty,
    has_convolutions,
    is_narrow,
    refresh,
    set_dtype,
    sigmoid,
    softplus,
    squared_error,
    sum_of_squares,
)
from skdeepad._nn._pixelcnn import PixelCNN

__all__ = [
    "FLOAT32_LANES",
    "FLOAT64_LANES",
    "Activation",
    "Autoencoder",
    "Autoregression",
    "Center",
    "GaussianNoise",
    "Linear",
    "Origin",
    "PixelCNN",
    "UniformNoise",
    "empty",
    "has_convolutions",
    "is_narrow",
    "refresh",
    "set_dtype",
    "sigmoid",
    "softplus",
    "squared_error",
    "sum_of_squares",
]
