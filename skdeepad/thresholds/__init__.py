"""Strategies that turn scores into labels by choosing an offset."""

from skdeepad.thresholds._strategies import (
    Fixed,
    MaxTrain,
    Quantile,
    ROCOptimal,
    make_threshold,
)

__all__ = ["Fixed", "MaxTrain", "Quantile", "ROCOptimal", "make_threshold"]
