"""Anomaly problems made of scikit-learn's bundled data, as ODDS made its own."""

import numpy as np
from sklearn import datasets
from sklearn.utils import Bunch, check_random_state


def load_wbc(*, random_state=0, return_X_y=False):
    """Breast cancer (Wisconsin, diagnostic): malignant tumours are anomalies.

    All 357 benign rows and 21 of the malignant ones, as in the ODDS set *wbc*
    (S. Rayana, *ODDS Library*, 2016), which does not say which 21.

    Parameters
    ----------
    random_state : int, RandomState instance or None, default=0
        Draws the malignant rows.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : Bunch
        ``data`` (378, 30), ``target`` (378,) with +1 normal and -1 anomaly,
        ``feature_names``, ``name``.

    Examples
    --------
    >>> from skdeepad.datasets import load_wbc
    >>> X, y = load_wbc(return_X_y=True)
    >>> X.shape, int((y == -1).sum())
    ((378, 30), 21)
    """
    bunch = datasets.load_breast_cancer()
    anomalous = bunch.target == 0
    return _problem("wbc", bunch, anomalous, 21, random_state, return_X_y)


def load_wine(*, random_state=0, return_X_y=False):
    """Wine: the first cultivar is anomalous.

    All 119 wines of the second and third cultivar and 10 of the first, as in the
    ODDS set *wine* (S. Rayana, *ODDS Library*, 2016), which does not say which 10.

    Parameters
    ----------
    random_state : int, RandomState instance or None, default=0
        Draws the anomalous rows.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : Bunch
        ``data`` (129, 13), ``target`` (129,) with +1 normal and -1 anomaly,
        ``feature_names``, ``name``.

    Examples
    --------
    >>> from skdeepad.datasets import load_wine
    >>> X, y = load_wine(return_X_y=True)
    >>> X.shape, int((y == -1).sum())
    ((129, 13), 10)
    """
    bunch = datasets.load_wine()
    anomalous = bunch.target == 0
    return _problem("wine", bunch, anomalous, 10, random_state, return_X_y)


def load_digits(digit=8, *, return_X_y=False):
    """Handwritten digits, 8 x 8 pixels: one digit is normal, the others anomalies.

    Parameters
    ----------
    digit : int in 0..9, default=8
        The normal class ("leave one in").
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    data : Bunch
        ``data`` (1797, 64) in [0, 1], ``target`` (1797,) with +1 normal and -1
        anomaly, ``feature_names``, ``name``, ``image_shape`` (1, 8, 8).

    Examples
    --------
    >>> from skdeepad.datasets import load_digits
    >>> X, y = load_digits(8, return_X_y=True)
    >>> X.shape, int((y == 1).sum())
    ((1797, 64), 174)
    """
    if digit not in range(10):
        raise ValueError(f"digit must be one of 0 to 9, got {digit!r}.")
    bunch = datasets.load_digits()
    bunch.data = bunch.data / 16
    anomalous = bunch.target != digit
    problem = _problem(f"digit {digit}", bunch, anomalous, None, None, return_X_y)
    if not return_X_y:
        problem.image_shape = (1, 8, 8)
    return problem


def _problem(name, bunch, anomalous, n_anomalies, random_state, return_X_y):
    """Labels, and where asked for only ``n_anomalies`` of the anomalous rows."""
    rows = np.arange(len(anomalous))
    if n_anomalies is not None:
        anomalies = check_random_state(random_state).permutation(rows[anomalous])
        rows = np.sort(np.r_[rows[~anomalous], anomalies[:n_anomalies]])
    X, y = bunch.data[rows], np.where(anomalous[rows], -1, 1)
    if return_X_y:
        return X, y
    return Bunch(data=X, target=y, feature_names=list(bunch.feature_names), name=name)
