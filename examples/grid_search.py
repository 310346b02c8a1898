"""
A grid search with labels
=========================

Labels are +1 and -1, so that ``scoring="roc_auc"`` works as it is, and detectors of
scikit-learn and of skdeepad stand in one grid.
"""

from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skdeepad import AutoencoderDetector
from skdeepad.datasets import load_wbc

X, y = load_wbc(return_X_y=True)
pipeline = Pipeline([("scale", StandardScaler()), ("detect", OneClassSVM())])
grid = [
    {"detect": [OneClassSVM()], "detect__nu": [0.1, 0.5]},
    {
        "detect": [AutoencoderDetector(max_epochs=30, random_state=0)],
        "detect__latent_dim": [2, 8],
    },
]
folds = StratifiedKFold(5, shuffle=True, random_state=0)
search = GridSearchCV(pipeline, grid, scoring="roc_auc", cv=folds).fit(X, y)

for params, auroc in zip(
    search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
):
    rest = {k.removeprefix("detect__"): v for k, v in params.items() if k != "detect"}
    print(f"{type(params['detect']).__name__:<20} {rest!s:<20} AUROC {auroc:.3f}")
