"""A criterion for detectors where no anomaly is labelled."""

import numpy as np
from sklearn.utils import check_random_state


def permuted_rows(X, random_state=None):
    """Rows whose features come from different rows of ``X``.

    Each feature keeps its distribution and loses its dependence on the others.
    """
    rng = check_random_state(random_state)
    X = np.asarray(X)
    order = rng.random(X.shape).argsort(axis=0)
    return np.take_along_axis(X, order, axis=0)


def uniform_rows(X, random_state=None):
    """Rows that are uniform in the smallest box around ``X``."""
    rng = check_random_state(random_state)
    X = np.asarray(X, dtype=np.float64)
    return rng.uniform(X.min(axis=0), X.max(axis=0), size=X.shape)
