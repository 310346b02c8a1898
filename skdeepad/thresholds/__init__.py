"""Strategies that turn scores into labels by choosing an offset."""

from skdeepad.thresholds._automatic import MAD, ParetoTail
from skdeepad.thresholds._conformal import (
    Conformal,
    benjamini_hochberg,
    conformal_p_values,
)
from skdeepad.thresholds._make import make_threshold
from skdeepad.thresholds._strategies import Fixed, MaxTrain, Quantile, ROCOptimal

__all__ = [
    "MAD",
    "Conformal",
    "Fixed",
    "MaxTrain",
    "ParetoTail",
    "Quantile",
    "ROCOptimal",
    "benjamini_hochberg",
    "conformal_p_values",
    "make_threshold",
]
