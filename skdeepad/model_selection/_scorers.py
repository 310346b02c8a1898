"""Scorers for ``scoring=``: detection metrics of ``decision_function``."""

from sklearn.metrics import make_scorer

from skdeepad.metrics import (
    average_precision,
    partial_roc_auc,
    precision_at_n,
    recall_at_fpr,
)


def _with_defaults(metric):
    scorer = make_scorer(metric, response_method="decision_function")
    name = f"skdeepad.metrics.{metric.__name__}"
    scorer.__doc__ = f"Scorer of :func:`{name}`, with its defaults."
    return scorer


average_precision_scorer = _with_defaults(average_precision)
precision_at_n_scorer = _with_defaults(precision_at_n)
recall_at_fpr_scorer = _with_defaults(recall_at_fpr)
partial_auc_scorer = _with_defaults(partial_roc_auc)
