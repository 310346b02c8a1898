"""Model selection for detectors: train on normal rows, test on both classes.

Splitters for ``cv=`` and scorers for ``scoring=`` of scikit-learn's own tools
(``cross_validate``, ``GridSearchCV``, ``HalvingGridSearchCV``...), for any detector
with labels +1 normal and -1 anomaly. Of scikit-learn's names for ``scoring=``,
``"roc_auc"`` judges the scores, and ``"balanced_accuracy"`` and
``"matthews_corrcoef"`` the labels that the threshold gives; ``"average_precision"``,
``"f1"``, ``"precision"`` and ``"recall"`` are those of the normal class. For anomalies
as the positive class use the scorers here:
``average_precision_scorer``, ``precision_at_n_scorer`` (n is the number of anomalies),
``recall_at_fpr_scorer`` (at 0.05) and ``partial_auc_scorer`` (to 0.1) are the functions
of :mod:`skdeepad.metrics` with their defaults. For other values use scikit-learn's
``make_scorer(recall_at_fpr, response_method="decision_function", max_fpr=0.1)``.

Training parts hold one class, which has no ROC curve: leave, or for
``HalvingGridSearchCV`` set, ``return_train_score=False``. ``learning_curve`` and
``validation_curve`` always ask for it: their training scores are NaN, with warnings.
Halving by ``n_samples`` also draws rows from the test parts; ``min_resources`` must be
high enough that both classes are among them, or another resource chosen, as
``max_epochs``.
"""

from skdeepad.model_selection._label_free import LabelFreeScorer, label_free_scorer
from skdeepad.model_selection._scorers import (
    average_precision_scorer,
    partial_auc_scorer,
    precision_at_n_scorer,
    recall_at_fpr_scorer,
)
from skdeepad.model_selection._search import BatchedGridSearchCV
from skdeepad.model_selection._split import (
    OneClassGroupKFold,
    OneClassKFold,
    OneClassShuffleSplit,
    OneClassTimeSeriesSplit,
)

__all__ = [
    "BatchedGridSearchCV",
    "LabelFreeScorer",
    "OneClassGroupKFold",
    "OneClassKFold",
    "OneClassShuffleSplit",
    "OneClassTimeSeriesSplit",
    "average_precision_scorer",
    "label_free_scorer",
    "partial_auc_scorer",
    "precision_at_n_scorer",
    "recall_at_fpr_scorer",
]
