"""Measures of how well scores rank anomalies; anomalies are the positive class.

Labels are +1 normal and -1 anomaly, scores higher for more normal rows, as
``decision_function`` and ``score_samples`` give them. The area under the whole ROC
curve is scikit-learn's own: ``roc_auc_score(y_true, y_score)``.
"""

from skdeepad.metrics._detection import (
    average_precision,
    partial_roc_auc,
    precision_at_n,
    recall_at_fpr,
)

__all__ = [
    "average_precision",
    "partial_roc_auc",
    "precision_at_n",
    "recall_at_fpr",
]
