"""Metrics of detectors' scores, with anomalies as the positive class."""

from numbers import Integral, Real

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from sklearn.utils._param_validation import Interval, validate_params

from skdeepad.thresholds._labels import check_both_classes, check_scores


def average_precision(y_true, y_score):
    """Mean precision over the cuts that find one more anomaly.

    Of random scores it is about the share of anomalies. Unlike the area under the
    ROC curve it weighs the most anomalous rows most ([1]_).

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        +1 normal, -1 anomaly.
    y_score : array-like of shape (n_samples,)
        Higher is more normal.

    Returns
    -------
    score : float in (0, 1]
        As :func:`sklearn.metrics.average_precision_score` of the anomalies.

    Raises
    ------
    ValueError
        When labels are not +1 and -1, a class is missing, scores are not finite, or
        the lengths differ.

    References
    ----------
    .. [1] J. Davis and M. Goadrich, *The relationship between precision-recall and
       ROC curves*, ICML 2006.

    Examples
    --------
    >>> from skdeepad.metrics import average_precision
    >>> average_precision([-1, 1, 1, -1, 1], [0.1, 0.2, 0.3, 0.4, 0.5])
    0.75
    """
    anomalous, errors = _check(y_true, y_score, "average_precision")
    return float(average_precision_score(anomalous, errors))


@validate_params(
    {"n": [Interval(Integral, 1, None, closed="left"), None]},
    prefer_skip_nested_validation=True,
)
def precision_at_n(y_true, y_score, n=None):
    """Share of anomalies among the n most anomalous rows.

    Of rows with equal scores at the cut, the share of anomalies counts: the result is
    the mean over all orders of ties ([2]_) and does not depend on the order of rows.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        +1 normal, -1 anomaly.
    y_score : array-like of shape (n_samples,)
        Higher is more normal.
    n : int or None, default=None
        How many rows, at most all. None is the number of anomalies, where
        precision and recall are the same ([1]_).

    Returns
    -------
    score : float in [0, 1]

    Raises
    ------
    ValueError
        When labels are not +1 and -1, a class is missing, scores are not finite, the
        lengths differ, or ``n`` is less than 1 or more than the number of rows.

    References
    ----------
    .. [1] G. O. Campos et al., *On the evaluation of unsupervised outlier
       detection*, Data Mining and Knowledge Discovery 30, 2016.
    .. [2] F. McSherry and M. Najork, *Computing information retrieval performance
       measures efficiently in the presence of tied scores*, ECIR 2008.

    Examples
    --------
    >>> from skdeepad.metrics import precision_at_n
    >>> y, scores = [-1, 1, -1, 1, 1], [0.1, 0.2, 0.3, 0.3, 0.5]
    >>> precision_at_n(y, scores)
    0.5
    >>> precision_at_n(y, scores, n=3)  # one of two tied rows
    0.5
    """
    anomalous, errors = _check(y_true, y_score, "precision_at_n")
    if n is None:
        n = int(anomalous.sum())
    if n > len(errors):
        raise ValueError(
            f"precision_at_n needs n={n} rows or more, got {len(errors)}: lower n, or "
            "leave n=None for the number of anomalies."
        )
    cut = -np.partition(-errors, n - 1)[n - 1]
    above, tied = errors > cut, errors == cut
    hits = anomalous[above].sum() + (n - above.sum()) * anomalous[tied].mean()
    return float(hits / n)


@validate_params(
    {"max_fpr": [Interval(Real, 0, 1, closed="both")]},
    prefer_skip_nested_validation=True,
)
def recall_at_fpr(y_true, y_score, max_fpr=0.05):
    """Largest recall at a false-positive rate of at most ``max_fpr``.

    Rows with equal scores are flagged together, as any threshold does.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        +1 normal, -1 anomaly.
    y_score : array-like of shape (n_samples,)
        Higher is more normal.
    max_fpr : float in [0, 1], default=0.05
        Largest share of normal rows that may be flagged.

    Returns
    -------
    score : float in [0, 1]

    Raises
    ------
    ValueError
        When labels are not +1 and -1, a class is missing, scores are not finite, the
        lengths differ, or ``max_fpr`` is out of range.

    Examples
    --------
    >>> from skdeepad.metrics import recall_at_fpr
    >>> y, scores = [-1, 1, -1, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5]
    >>> recall_at_fpr(y, scores), recall_at_fpr(y, scores, max_fpr=0.5)
    (0.5, 1.0)
    """
    anomalous, errors = _check(y_true, y_score, "recall_at_fpr")
    # Of points on a line, dropping could drop the one that is asked for.
    fpr, tpr, _ = roc_curve(anomalous, errors, drop_intermediate=False)
    # With room for rounding, as of 1 - 0.9.
    return float(tpr[fpr <= max_fpr * (1 + 1e-9)].max())


@validate_params(
    {"max_fpr": [Interval(Real, 0, 1, closed="right")]},
    prefer_skip_nested_validation=True,
)
def partial_roc_auc(y_true, y_score, max_fpr=0.1):
    """Area under the ROC curve where false alarms are few, standardised.

    Standardised by McClish ([1]_): 0.5 for random scores and 1 for perfect ones,
    whatever ``max_fpr``. Below 0.5 the range depends on ``max_fpr``.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        +1 normal, -1 anomaly.
    y_score : array-like of shape (n_samples,)
        Higher is more normal.
    max_fpr : float in (0, 1], default=0.1
        Where the area ends; 1 is the whole area.

    Returns
    -------
    score : float in [0, 1]

    Raises
    ------
    ValueError
        When labels are not +1 and -1, a class is missing, scores are not finite, the
        lengths differ, or ``max_fpr`` is out of range.

    References
    ----------
    .. [1] D. K. McClish, *Analyzing a portion of the ROC curve*, Medical Decision
       Making 9, 1989.

    Examples
    --------
    >>> from skdeepad.metrics import partial_roc_auc
    >>> y, scores = [-1, 1, -1, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5]
    >>> round(partial_roc_auc(y, scores), 3)
    0.737
    """
    anomalous, errors = _check(y_true, y_score, "partial_roc_auc")
    return float(roc_auc_score(anomalous, errors, max_fpr=max_fpr))


def _check(y_true, y_score, what):
    """Which rows are anomalies, and the anomaly score of each."""
    labels = check_both_classes(
        y_true,
        what,
        "Add such rows, or use scoring=label_free_scorer, which needs none; where "
        "training rows are normal only, set return_train_score=False.",
    )
    scores = check_scores(y_score)
    if scores.shape != labels.shape:
        raise ValueError(
            f"{what} got {len(labels)} labels and scores of shape {scores.shape}: "
            "pass one score per row, as decision_function gives them."
        )
    return labels == -1, -scores
