"""Scorers for ``scoring=``: detection metrics of ``decision_function``."""

from sklearn.metrics import make_scorer

from skdeepad.metrics import (
    average_precision,
    partial_roc_auc,
    precision_at_n,
    recall_at_fpr,
)


def make_detection_scorer(metric, **kwargs):
    """Scorer of a metric of scores, for any detector with ``decision_function``.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_score, **kwargs)``, higher is better; ``y_true`` holds +1
        normal and -1 anomaly, ``y_score`` is higher for more normal rows.
    **kwargs : dict
        Further arguments of the metric.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y)``, for ``scoring=``. Raises ValueError where the
        metric does. It can be pickled where the metric is a module's function.

    Raises
    ------
    ValueError
        When ``metric`` is not callable.

    Examples
    --------
    >>> from sklearn.ensemble import IsolationForest
    >>> from sklearn.model_selection import cross_val_score
    >>> from skdeepad.datasets import load_wbc
    >>> from skdeepad.metrics import recall_at_fpr
    >>> from skdeepad.model_selection import OneClassKFold, make_detection_scorer
    >>> X, y = load_wbc(return_X_y=True)
    >>> scorer = make_detection_scorer(recall_at_fpr, max_fpr=0.1)
    >>> forest = IsolationForest(n_estimators=20, random_state=0)
    >>> recalls = cross_val_score(forest, X, y, cv=OneClassKFold(3), scoring=scorer)
    >>> bool(recalls.mean() > 0.7)
    True
    """
    return make_scorer(metric, response_method="decision_function", **kwargs)


def _with_defaults(metric):
    scorer = make_detection_scorer(metric)
    name = f"skdeepad.metrics.{metric.__name__}"
    scorer.__doc__ = f"Scorer of :func:`{name}`, with its defaults."
    return scorer


average_precision_scorer = _with_defaults(average_precision)
precision_at_n_scorer = _with_defaults(precision_at_n)
recall_at_fpr_scorer = _with_defaults(recall_at_fpr)
partial_auc_scorer = _with_defaults(partial_roc_auc)
