"""Splitters that train on normal rows only and test on both classes."""

from numbers import Integral
from typing import ClassVar

import numpy as np
from sklearn.model_selection import (
    BaseCrossValidator,
    KFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    TimeSeriesSplit,
)
from sklearn.model_selection._split import GroupsConsumerMixin
from sklearn.utils import indexable
from sklearn.utils._param_validation import (
    Interval,
    RealNotInt,
    StrOptions,
    validate_parameter_constraints,
)

from skdeepad._warnings import warn
from skdeepad.thresholds._labels import check_both_classes, check_labels

COUNT = Interval(Integral, 1, None, closed="left")
FOLDS = {
    "n_splits": [Interval(Integral, 2, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
}


class OneClassSplitter(BaseCrossValidator):
    """Base class: states ``_splitter`` and ``_folds``, and checks what they give.

    ``_splitter()`` is scikit-learn's splitter with these parameters, ``_folds(y,
    groups)`` gives rows to train and to test on, in any order; rows to train on
    may hold anomalies, which are left out here.
    """

    _parameter_constraints: ClassVar[dict]
    # scikit-learn's splitter for rows without anomalies.
    _without_anomalies: ClassVar[str]
    # What to change where the "training" or "test" part of a fold lacks a class; not
    # needed where that can't happen.
    _advice: ClassVar[dict]

    def _check_parameters(self):
        validate_parameter_constraints(
            self._parameter_constraints, vars(self), type(self).__name__
        )
        self._splitter()

    def split(self, X, y=None, groups=None):
        """Give the rows of each fold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            +1 normal, -1 anomaly.
        groups : array-like of shape (n_samples,), default=None
            Needed by a splitter of groups; others ignore it, with a warning.

        Returns
        -------
        folds : iterator of (train, test)
            Sorted row numbers, two int arrays a fold. All folds are checked
            before the first is given.

        Raises
        ------
        ValueError
            When ``y`` is not given, not of +1 and -1, or lacks a class, lengths
            differ, there are too few rows for the folds, or the rows of a fold
            lack a class.
        """
        X, y, groups = indexable(X, y, groups)
        y = self._check_y(y)
        if groups is not None and not isinstance(self, GroupsConsumerMixin):
            warn(f"The groups parameter is ignored by {type(self).__name__}")
        folds = []
        for fold, (train, test) in enumerate(self._folds(y, groups)):
            train = train[y[train] == 1]
            self._check_fold(fold, "training", y[train], (1,))
            self._check_fold(fold, "test", y[test], (1, -1))
            folds.append((np.sort(train), np.sort(test)))
        return iter(folds)

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : object
            Ignored; there for scikit-learn's tools.

        Returns
        -------
        n_splits : int
        """
        return self.n_splits

    def _check_y(self, y):
        name = type(self).__name__
        y = check_labels(y, name)
        if not np.any(y == -1):
            raise ValueError(
                f"{name} tests on both classes, and no row in y is -1 (anomaly). "
                f"Without anomalies use sklearn's {self._without_anomalies} and a "
                "scoring that needs no labels. In a search within another's folds, "
                "divide the outer rows by StratifiedKFold: this splitter leaves the "
                "search no anomaly."
            )
        return check_both_classes(y, name)

    def _check_fold(self, fold, part, labels, needed):
        for label in needed:
            if label not in labels:
                kind = "+1 (normal)" if label == 1 else "-1 (anomaly)"
                raise ValueError(
                    f"{type(self).__name__}: no row in the {part} part of fold {fold} "
                    f"(counted from 0) is {kind}; {self._advice[part]}."
                )

    def _check_enough(self, n_found, what, advice="lower n_splits"):
        if n_found < self.n_splits:
            raise ValueError(
                f"{type(self).__name__} with n_splits={self.n_splits} needs as many "
                f"{what} at least, got {n_found}: {advice}."
            )


class OneClassKFold(OneClassSplitter):
    """K folds of the normal rows; anomalies are in the test parts only.

    Each normal row is tested once, by a model trained on the other folds' normal
    rows.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, 2 at least.
    shuffle : bool, default=False
        Shuffle rows before they are split into folds.
    random_state : int, RandomState instance or None, default=None
        Draws the order where ``shuffle=True``; else leave None.
    anomalies : {"all", "split"}, default="all"
        Which anomalies a fold is tested on. "all" makes the most of few: each fold is
        tested on all of them, which the folds' scores then have in common, and holds
        ``n_splits`` times their share. ROC AUC stays comparable, while average
        precision, precision and F-measure come out too high. "split" tests each in one
        fold only, as ``cross_val_predict`` needs. For out-of-fold scores call that as
        ``cross_val_predict(detector, X, cv=list(splitter.split(X, y)),
        method="decision_function")``: without ``y``, which scikit-learn would recode,
        and of a detector with ``threshold=0.0``, whose decision function is its score
        (others are above a threshold of their fold's own, and not to be compared).

    Raises
    ------
    ValueError
        When a parameter is out of its range. For ``split``, see there.

    See Also
    --------
    sklearn.model_selection.KFold : Makes the folds.

    Examples
    --------
    >>> from skdeepad.model_selection import OneClassKFold
    >>> X, y = [[0.0]] * 6, [1, 1, 1, 1, -1, -1]
    >>> for train, test in OneClassKFold(2).split(X, y):
    ...     print(train, test)
    [2 3] [0 1 4 5]
    [0 1] [2 3 4 5]
    >>> for train, test in OneClassKFold(2, anomalies="split").split(X, y):
    ...     print(train, test)
    [2 3] [0 1 4]
    [0 1] [2 3 5]
    """

    _parameter_constraints: ClassVar[dict] = {
        **FOLDS,
        "anomalies": [StrOptions({"all", "split"})],
    }
    _without_anomalies = "KFold"

    def __init__(
        self, n_splits=5, *, shuffle=False, random_state=None, anomalies="all"
    ):
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state
        self.anomalies = anomalies
        self._check_parameters()

    def _splitter(self):
        return KFold(
            self.n_splits, shuffle=self.shuffle, random_state=self.random_state
        )

    def _folds(self, y, groups):
        normal, anomalies = np.flatnonzero(y == 1), np.flatnonzero(y == -1)
        self._check_enough(len(normal), "normal rows (+1)")
        tested = [anomalies] * self.n_splits
        if self.anomalies == "split":
            advice = "lower n_splits, or use anomalies='all'"
            self._check_enough(len(anomalies), "anomalies (-1)", advice)
            tested = [anomalies[part] for _, part in self._splitter().split(anomalies)]
        for (train, test), extra in zip(
            self._splitter().split(normal), tested, strict=True
        ):
            yield normal[train], np.r_[normal[test], extra]


class OneClassShuffleSplit(OneClassSplitter):
    """Train on a random part of the normal rows, test on the rest and all anomalies.

    With half of the normal rows, the default, the usual protocol of the field
    ([1]_, [2]_).

    Parameters
    ----------
    n_splits : int, default=10
        Number of draws.
    test_size : float in (0, 1), int or None, default=None
        Share or number of the normal rows to test on; None takes those that
        ``train_size`` leaves (half, where it is None too).
    train_size : float in (0, 1), int or None, default=None
        Share or number of the normal rows to train on; None takes those that
        ``test_size`` leaves.
    random_state : int, RandomState instance or None, default=None
        Draws the rows. Searches by successive halving need an int.

    Raises
    ------
    ValueError
        When a parameter is out of its range. For ``split``, see there.

    See Also
    --------
    sklearn.model_selection.ShuffleSplit : Draws the normal rows.

    References
    ----------
    .. [1] B. Zong et al., *Deep autoencoding Gaussian mixture model for unsupervised
       anomaly detection*, ICLR 2018.
    .. [2] L. Bergman and Y. Hoshen, *Classification-based anomaly detection for
       general data*, ICLR 2020.

    Examples
    --------
    >>> from skdeepad.model_selection import OneClassShuffleSplit
    >>> X, y = [[0.0]] * 6, [1, 1, 1, 1, -1, -1]
    >>> for train, test in OneClassShuffleSplit(2, random_state=0).split(X, y):
    ...     print(train, test)
    [0 1] [2 3 4 5]
    [1 3] [0 2 4 5]
    """

    _parameter_constraints: ClassVar[dict] = {
        "n_splits": [COUNT],
        "test_size": [Interval(RealNotInt, 0, 1, closed="neither"), COUNT, None],
        "train_size": [Interval(RealNotInt, 0, 1, closed="neither"), COUNT, None],
        "random_state": ["random_state"],
    }
    _without_anomalies = "ShuffleSplit"

    def __init__(
        self, n_splits=10, *, test_size=None, train_size=None, random_state=None
    ):
        self.n_splits = n_splits
        self.test_size = test_size
        self.train_size = train_size
        self.random_state = random_state
        self._check_parameters()

    def _splitter(self):
        both_free = self.test_size is None and self.train_size is None
        return ShuffleSplit(
            self.n_splits,
            test_size=0.5 if both_free else self.test_size,
            train_size=self.train_size,
            random_state=self.random_state,
        )

    def _folds(self, y, groups):
        normal, anomalies = np.flatnonzero(y == 1), np.flatnonzero(y == -1)
        try:
            folds = list(self._splitter().split(normal))
        except ValueError as error:
            raise ValueError(
                f"{type(self).__name__} can't split the {len(normal)} normal rows "
                f"(+1): {error}"
            ) from error
        for train, test in folds:
            yield normal[train], np.r_[normal[test], anomalies]


class OneClassGroupKFold(GroupsConsumerMixin, OneClassSplitter):
    """K folds of whole groups; training rows are the normal ones of other groups.

    For rows that belong together (one patient's, one machine's): no group is in both
    parts of a fold, and each row is tested once. Folds have about equal shares of
    both classes. Groups are passed as to scikit-learn's splitters of groups:
    ``cross_val_score(..., groups=groups)`` and ``search.fit(X, y, groups=groups)``, or
    with metadata routing ``cross_val_score(..., params={"groups": groups})``.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, 2 at least. As many groups must have normal rows, and as many
        must have anomalies. Folds of few, uneven groups may still lack a class where
        others would not: the way that groups are shared out is a heuristic.
    shuffle : bool, default=False
        Shuffle groups of the same composition before they are shared out.
    random_state : int, RandomState instance or None, default=None
        Draws the order where ``shuffle=True``; else leave None.

    Raises
    ------
    ValueError
        When a parameter is out of its range. For ``split``, see there; also when
        ``groups`` are not given.

    See Also
    --------
    sklearn.model_selection.StratifiedGroupKFold : Makes the folds.

    Examples
    --------
    >>> from skdeepad.model_selection import OneClassGroupKFold
    >>> X, y = [[0.0]] * 6, [1, 1, -1, 1, 1, -1]
    >>> groups = ["a", "a", "a", "b", "b", "b"]
    >>> for train, test in OneClassGroupKFold(2).split(X, y, groups):
    ...     print(train, test)
    [3 4] [0 1 2]
    [0 1] [3 4 5]
    """

    _parameter_constraints: ClassVar[dict] = FOLDS
    _advice: ClassVar[dict] = dict.fromkeys(
        ("training", "test"),
        "lower n_splits, try shuffle=True with another random_state, or give folds of "
        "your own (PredefinedSplit)",
    )
    _without_anomalies = "GroupKFold"

    def __init__(self, n_splits=5, *, shuffle=False, random_state=None):
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state
        self._check_parameters()

    def _splitter(self):
        return StratifiedGroupKFold(
            self.n_splits, shuffle=self.shuffle, random_state=self.random_state
        )

    def _folds(self, y, groups):
        if groups is None:
            raise ValueError(
                f"{type(self).__name__} needs groups: pass one label a row, as in "
                "cross_val_score(..., groups=groups) or search.fit(X, y, "
                "groups=groups); where no groups can be passed, give "
                "cv=list(splitter.split(X, y, groups))."
            )
        groups = np.asarray(groups)
        if groups.ndim == 2 and groups.shape[1] == 1:
            groups = groups.ravel()
        if groups.ndim != 1:
            raise ValueError(
                f"groups must be one label a row, got an array of shape {groups.shape}."
            )
        try:
            np.unique(groups)
        except TypeError as error:
            raise ValueError(
                "groups hold values that can't be put in order, such as None beside "
                f"text: give one number or one text a row ({error})."
            ) from error
        for label, rows in ((1, "normal rows (+1)"), (-1, "anomalies (-1)")):
            n_groups = len(np.unique(groups[y == label]))
            self._check_enough(n_groups, f"groups with {rows}")
        return self._splitter().split(y, y, groups)


class OneClassTimeSeriesSplit(OneClassSplitter):
    """Train on the normal rows of the past, test on all rows of the next window.

    Rows are in order of time.

    Parameters
    ----------
    n_splits : int, default=5
        Number of windows, 2 at least.
    max_train_size : int or None, default=None
        Most rows of the past, the latest ones; anomalies, which are then left out of
        training, count among them. None takes all.
    test_size : int or None, default=None
        Rows in a window. None is ``n_samples // (n_splits + 1)``.
    gap : int, default=0
        Rows to leave out before a window.

    Raises
    ------
    ValueError
        When a parameter is out of its range. For ``split``, see there.

    See Also
    --------
    sklearn.model_selection.TimeSeriesSplit : Makes the windows.

    Examples
    --------
    >>> from skdeepad.model_selection import OneClassTimeSeriesSplit
    >>> X, y = [[0.0]] * 6, [1, -1, 1, -1, -1, 1]
    >>> for train, test in OneClassTimeSeriesSplit(2).split(X, y):
    ...     print(train, test)
    [0] [2 3]
    [0 2] [4 5]
    """

    _parameter_constraints: ClassVar[dict] = {
        "n_splits": FOLDS["n_splits"],
        "max_train_size": [COUNT, None],
        "test_size": [COUNT, None],
        "gap": [Interval(Integral, 0, None, closed="left")],
    }
    _advice: ClassVar[dict] = {
        "training": "lower n_splits, test_size or gap, or raise max_train_size",
        "test": "lower n_splits or raise test_size for windows that hold both",
    }
    _without_anomalies = "TimeSeriesSplit"

    def __init__(self, n_splits=5, *, max_train_size=None, test_size=None, gap=0):
        self.n_splits = n_splits
        self.max_train_size = max_train_size
        self.test_size = test_size
        self.gap = gap
        self._check_parameters()

    def _splitter(self):
        return TimeSeriesSplit(
            self.n_splits,
            max_train_size=self.max_train_size,
            test_size=self.test_size,
            gap=self.gap,
        )

    def _folds(self, y, groups):
        return self._splitter().split(y)
