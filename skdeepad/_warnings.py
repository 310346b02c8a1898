"""Warnings that name the user's line."""

import sys
import warnings

# Whose frames stand between the user's line and what warns.
BETWEEN = {"skdeepad", "sklearn", "joblib", "contextlib"}


def warn(message, category=UserWarning):
    """Warn at the line outside of this package that called into it."""
    level, frame = 1, sys._getframe()
    while frame.f_back and _package(frame) in BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _package(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0]
