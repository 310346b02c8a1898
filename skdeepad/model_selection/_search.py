"""Grid search whose candidates and folds train as members of one network."""

import copy
import warnings
from contextlib import suppress
from time import perf_counter

import numpy as np
from joblib import parallel_config
from sklearn.base import is_classifier
from sklearn.model_selection import GridSearchCV, check_cv

from skdeepad._together import Requests, serving


class BatchedGridSearchCV(GridSearchCV):
    """:class:`~sklearn.model_selection.GridSearchCV` that trains networks together.

    The same call, attributes and scores: the search is scikit-learn's own, and only
    the training of this package's deep detectors (also within pipelines) is done
    beforehand. Candidates that differ only in what leaves the networks' shape alone
    (learning rate, weight decay, dropout, noise, ``beta``, ``gamma``, seeds,
    ``n_estimators``, ``max_epochs``, thresholds, ways of scoring) train together with
    all folds as members of one network, each on its own rows; other parameters split
    the grid into groups. Candidates that differ only in ``max_epochs``,
    ``threshold``, ``contamination`` or a VAE's scoring are trained once.

    Parameters
    ----------
    estimator : object
        A deep detector, a pipeline that ends in one, or a meta-estimator that fits
        one. Others work too, and gain nothing: they are fitted twice, and one at a
        time.
    param_grid : dict or list of dict
        Values to try, by parameter name.
    scoring : str, callable, list, tuple or dict, default=None
        As in GridSearchCV; a detector has no score of its own, so that it must be
        given: ``"roc_auc"`` with labels of +1 and -1, ``label_free_scorer`` without
        any.
    n_jobs : int, default=None
        Of joblib's workers to train in: large groups are divided among them. None
        means 1, unless in a :func:`joblib.parallel_config`.
    refit, cv, verbose, pre_dispatch, error_score, return_train_score
        As in GridSearchCV. A candidate that diverges leaves the others alone.

    Attributes
    ----------
    cv_results_, best_estimator_, best_params_, best_score_, best_index_, scorer_, \
n_splits_, refit_time_, multimetric_
        As in GridSearchCV. The time of a fit includes an equal share of the training
        that was done together.

    Notes
    -----
    On the CPU, the scores of fully connected networks are GridSearchCV's to the last
    bit; those of convolutional ones, and on a GPU, to float32 tolerance.

    Detectors that have callbacks of their own train alone, where these can see them.
    Those that train together print nothing (``verbose``), and warn once that early
    stopping did not stop all of them. Of the fits within a meta-estimator (folds of
    a ThresholdedDetector) the first of each candidate and fold trains with others.

    Examples
    --------
    >>> from skdeepad import AutoencoderDetector
    >>> from skdeepad.datasets import load_wine
    >>> from skdeepad.model_selection import BatchedGridSearchCV, OneClassKFold
    >>> X, y = load_wine(return_X_y=True)
    >>> search = BatchedGridSearchCV(
    ...     AutoencoderDetector(max_epochs=20, random_state=0),
    ...     {"learning_rate": [1e-3, 1e-2], "dropout": [0.1, 0.3]},
    ...     scoring="roc_auc",
    ...     cv=OneClassKFold(5),
    ... ).fit(X, y)
    >>> search.cv_results_["mean_test_score"].shape
    (4,)
    """

    def fit(self, X, y=None, **params):
        """Search the grid.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Labels: +1 normal, -1 anomaly.
        **params : dict
            As in GridSearchCV: ``groups`` for the splitter.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            As GridSearchCV: when all fits fail, or one does and
            ``error_score="raise"``.
        """
        self._validate_params()
        self._get_scorers()
        # Equal in all, but for folds that are the same at each call.
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        search = copy.copy(self)
        search.cv = _SameFolds(splitter)
        noting = copy.copy(search).set_params(
            refit=False, verbose=0, error_score=np.nan, n_jobs=None
        )
        vars(noting).pop("_skl_callbacks", None)
        requests = Requests()
        # In this process and thread, where the requests and later the networks are.
        with (
            parallel_config(backend="sequential"),
            warnings.catch_warnings(),
            serving(requests),
        ):
            # All fits fail; what else is wrong comes up again below.
            warnings.simplefilter("ignore")
            with suppress(Exception):
                super(BatchedGridSearchCV, noting).fit(X, y, **params)
        started = perf_counter()
        trained = requests.train(self.n_jobs)
        seconds = perf_counter() - started
        if self.verbose:
            print(
                f"Trained {len(requests)} fits together in {len(requests.groups())} "
                f"groups, {seconds:.1f} s"
            )
        with parallel_config(backend="sequential"), serving(trained):
            super(BatchedGridSearchCV, search).fit(X, y, **params)
        times = search.cv_results_["mean_fit_time"]
        times += seconds / (len(times) * search.n_splits_)
        search._checked_cv_orig = splitter
        for name, value in vars(search).items():
            if name not in self.get_params(deep=False):
                setattr(self, name, value)
        return self


class _SameFolds:
    """A splitter that gives the folds of its first call again."""

    def __init__(self, splitter):
        self._splitter, self._folds = splitter, None

    def split(self, X, y=None, groups=None):
        """Indices of training and test rows, fold by fold."""
        if self._folds is None:
            self._folds = list(self._splitter.split(X, y, groups))
        return iter(self._folds)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._splitter, name)
