"""Warnings that name the user's line."""

import sys
import warnings
from contextlib import contextmanager
from contextvars import ContextVar

# Unlike warnings.catch_warnings, no other thread's.
_SILENT: ContextVar = ContextVar("silent", default=False)

# Whose frames stand between the user's line and what warns.
BETWEEN = {
    "concurrent",
    "contextlib",
    "joblib",
    "multiprocessing",
    "skdeepad",
    "sklearn",
    "threading",
}


def warn(message, category=UserWarning):
    """Warn at the line outside of this package that called into it.

    In a thread or a process of its own there is none: then at the one that warns.
    """
    if _SILENT.get():
        return
    level, frame = 1, sys._getframe()
    while frame is not None and _package(frame) in BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=2 if frame is None else level)


@contextmanager
def silence():
    """Warn of nothing that comes up again."""
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


def _package(frame):
    return (frame.f_globals.get("__name__") or "").partition(".")[0]
