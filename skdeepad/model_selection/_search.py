"""Grid search whose candidates and folds train as members of one network."""

import copy
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from time import perf_counter
from typing import Any

from joblib import effective_n_jobs, parallel_config
from joblib.parallel import ParallelBackendBase, SequentialBackend
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params

from skdeepad._checkpoint import remove_files
from skdeepad._deep import BaseDeepDetector
from skdeepad._together import Requests, Trained, serving
from skdeepad._warnings import silence, warn


class BatchedGridSearchCV(GridSearchCV):
    """:class:`~sklearn.model_selection.GridSearchCV` that trains networks together.

    The same call, attributes and scores: the search is scikit-learn's own, and only the
    training of this package's deep detectors (also within pipelines) is done
    beforehand, by the workers that then score the candidates. Candidates that differ
    only in what leaves the networks' shape alone (learning rate, weight decay, dropout,
    noise, ``beta``, ``gamma``, seeds, ``n_estimators``, ``max_epochs``, thresholds,
    ways of scoring) train together with all folds as members of one network, each on
    its own rows; other parameters split the grid into groups, and so do folds whose
    training parts are not of one size. Candidates that differ only in ``max_epochs``,
    ``threshold``, ``contamination`` or a VAE's scoring are trained once.

    Parameters
    ----------
    estimator : object
        A deep detector, a pipeline that ends in one, or a meta-estimator that has
        one as a parameter and fits it. Others work too, and gain nothing.
    param_grid : dict or list of dict
        Values to try, by parameter name.
    scoring : str, callable, list, tuple or dict, default=None
        As in GridSearchCV; a detector has no score of its own, so that it must be
        given: ``"roc_auc"`` with labels of +1 and -1, ``label_free_scorer`` without
        any.
    n_jobs : int, default=None
        Number of joblib's workers, among which large groups are divided. None means
        1, unless in a :func:`joblib.parallel_config`.
    pre_dispatch : object
        Not used: all candidates must be known to be divided.
    refit, cv, verbose, error_score, return_train_score
        As in GridSearchCV. A candidate that diverges leaves the others alone.

    Attributes
    ----------
    cv_results_, best_estimator_, best_params_, best_score_, best_index_, scorer_, \
n_splits_, refit_time_, multimetric_
        As in GridSearchCV. The time of a fit includes an equal share of the training
        that was done together.

    Notes
    -----
    On the CPU, the networks of a search are GridSearchCV's to the last bit as long as
    they are fully connected and their products are rounded alike beside others, which
    layers, codes and last batches of few or odd sizes may not be. Otherwise scores are
    equal to float32 tolerance. Where rounding grows from step to step they may differ
    more: by a thousandth on a GPU, and by a hundredth with batch normalisation and of
    DAGMM with few units, or more where few rows are scored.

    The winner is fitted as in GridSearchCV. In a pipeline the steps before the
    detector, such as a scaler, then see the labelled anomalies too; around a
    pipeline, a ThresholdedDetector shows it normal rows alone.

    Detectors that have callbacks of their own train alone, where these can see them;
    callbacks of the search see its fits, and no epochs. Those that train together
    print nothing (``verbose``), warn once that early stopping did not stop all that
    have the most epochs, and not of candidates that learned nothing: scores tell. Of
    the fits within a meta-estimator (folds of a ThresholdedDetector) the first of each
    candidate and fold trains with others, and what is parallel within a candidate runs
    one by one, beside the networks.

    The rows of all folds are held at once, in float64 and in float32, and by the worker
    that trains them once more. Where they take more than scikit-learn's
    ``working_memory`` (1 GiB) in float32, the folds beyond it train one by one.

    Warnings of other estimators may come twice, in this process and in a worker.

    With ``random_state=None`` in the detector each fit that is trained draws a seed of
    its own, in another order than GridSearchCV's, whose scores are others then.

    Fits are scored group by group: a scorer that remembers earlier calls (one with a
    ``RandomState`` of its own) sees them in another order than GridSearchCV's.

    With a ``checkpoint_dir`` and a ``random_state`` in the detector, a search that was
    interrupted goes on when it is started again with the same candidates, folds and
    number of jobs: networks that had ended are not trained again (and not counted in
    the times), others go on after the last epoch that was written. Each loop has a
    file there, until the search ends; a refit has its own.

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
        search = copy.copy(self)
        search.pre_dispatch = "all"  # to be divided, all tasks must be known
        together = _Together(self.n_jobs)
        with together.config():
            super(BatchedGridSearchCV, search).fit(X, y, **params)
        for n_fits, why in together.failures:
            warn(
                f"{n_fits} fits could not be trained together ({why}), and train alone."
            )
        if together.n_unused:
            warn(
                f"{together.n_unused} of {together.n_fits} fits were trained together "
                "for nothing and once more alone: their training rows were others the "
                "second time. Set random_state in the detector, in a conformal "
                "threshold, and in the steps before them."
            )
        if self.verbose:
            print(
                f"Trained {together.n_together} fits together in {together.n_groups} "
                f"groups, for {together.seconds:.1f} s in all workers"
            )
        times = search.cv_results_["mean_fit_time"]
        times += together.seconds / (len(times) * search.n_splits_)
        params = self.get_params(deep=False)
        for name, value in vars(search).items():
            if name not in params:
                setattr(self, name, value)
        for path in together.checkpoints:
            with suppress(OSError):  # it is done, whatever becomes of them
                remove_files(path)
        return self


class _Together(ParallelBackendBase):
    """A joblib backend that trains what its tasks ask for together.

    A search's tasks are taken twice. In this process the fit of each is called up to
    the first one of a deep detector, which is noted. Then the tasks are divided among
    the workers by what trains together; a worker trains their networks, and calls them.

    Parameters
    ----------
    n_jobs : int or None
        Of the workers of the joblib backend that is active now.

    Attributes
    ----------
    n_fits, n_groups : int
        What was asked for.
    n_unused : int
        What was trained of it and was not asked for again.
    failures : list of (int, str)
        Numbers of fits that could not be trained together, and why.
    seconds : float
        Sum of the times that training took.
    checkpoints : list of Path
        Files that hold what was trained.
    """

    def __init__(self, n_jobs):
        super().__init__(nesting_level=0)
        self._n_jobs = effective_n_jobs(n_jobs)
        self._workers = Parallel(n_jobs=n_jobs)
        self._tasks = []
        self.n_fits = self.n_groups = self.n_unused = 0
        self.seconds, self.checkpoints, self.failures = 0.0, [], []

    @property
    def n_together(self):
        """Fits that were trained together."""
        return self.n_fits - sum(n_fits for n_fits, _ in self.failures)

    def config(self):
        """A configuration of joblib that ends when the first Parallel is set up.

        It is the search's own. Others, such as a refit's, have nothing to gather.
        """
        self._config = parallel_config(backend=self)
        return self._config

    # What joblib calls.

    def configure(self, n_jobs=1, parallel=None, **params):
        self._config.unregister()
        return super().configure(n_jobs, parallel, **params)

    def effective_n_jobs(self, n_jobs):
        return 2  # with one, joblib would call the tasks itself, one by one

    def get_nested_backend(self):
        # In the thread of the task, where the networks are.
        return SequentialBackend(nesting_level=1), None

    def submit(self, func, callback=None):
        self._tasks.append(_Task(func, callback))
        return self._tasks[-1]

    def retrieve_result(self, task, timeout=None):
        if self._tasks:
            tasks, self._tasks = self._tasks, []
            self._call(tasks)
            for each in tasks:
                each.report()
        return task.result

    # What they come to.

    def _call(self, tasks):
        """Give each task its result."""
        requests = Requests()
        # What is wrong comes up again below.
        with parallel_config(backend="sequential"), silence():
            splits = {}
            wanted = [
                requests.note(partial(_fit_copies, task.fits(), splits))
                for task in tasks
            ]
            del splits
            here = Parallel()
        groups = requests.groups()
        self.n_fits += len(requests)
        self.n_groups += len(groups)
        by_key = {}
        for key, task in zip(wanted, tasks, strict=True):
            by_key.setdefault(key, []).append(task)
        on_cpu, on_gpu = [], []
        for group in groups:
            jobs, n_loops = (on_cpu, self._n_jobs) if group.is_on_cpu else (on_gpu, 1)
            for items in group.parts(n_loops):
                own = [task for key, _, _ in items for task in by_key.pop(key)]
                jobs.append(([items], own))
        # The others train no network, or fail before they do.
        on_cpu += [([], [task]) for tasks in by_key.values() for task in tasks]
        # A GPU is one, whatever the number of workers.
        for workers, jobs in ((self._workers, on_cpu), (here, on_gpu)):
            outcomes = workers(
                delayed(_train_and_call)(parts, [task.release() for task in own])
                for parts, own in jobs
            )
            for (_, own), outcome in zip(jobs, outcomes, strict=True):
                results, seconds, checkpoints, failures, n_unused = outcome
                self.seconds += seconds
                self.checkpoints += checkpoints
                self.failures += failures
                self.n_unused += n_unused
                for task, result in zip(own, results, strict=True):
                    task.result = result


@dataclass
class _Task:
    """A call that joblib asks for, and what it is to be told of it."""

    function: Any
    report: Any
    result: Any = None

    def release(self):
        """The function, with all that it holds; the task keeps it no more."""
        function, self.function = self.function, None
        return function

    def fits(self):
        """The fits that the call will carry out, as :func:`_fit_copies` takes them."""
        return [
            (estimator, X, y, *itemgetter("parameters", "train", "fit_params")(params))
            for _, (estimator, X, y), params in self.function.items
        ]


def _fit_copies(fits, splits):
    """Fit clones, of those that have something to train with others.

    ``splits`` holds what was split before by the indices' id: rows, and labels if there
    are any.
    """
    for estimator, X, y, params, train, fit_params in fits:
        estimator = clone(estimator).set_params(**clone(params, safe=False))
        if not _trains_with_others(estimator):
            continue
        if id(train) not in splits or not isinstance(estimator, BaseDeepDetector):
            # Anew for others, which may change the rows they are given.
            parts = _safe_split(estimator, X, y, train)
            splits[id(train)] = [part for part in parts if part is not None]
        fit_params = _check_method_params(X, fit_params, train)
        estimator.fit(*splits[id(train)], **fit_params)


def _trains_with_others(estimator):
    """Whether there are deep detectors in it, and no callbacks to see them train."""
    parts = [estimator, *estimator.get_params().values()]
    return any(isinstance(part, BaseDeepDetector) for part in parts) and not any(
        getattr(part, "_skl_callbacks", None) for part in parts
    )


def _train_and_call(parts, functions):
    """Train the networks of these parts of groups, and call functions that fit them.

    The list of functions is emptied: what one has fitted is not kept for the others.

    Returns
    -------
    results : list
    seconds : float
        Of the training.
    checkpoints : list of Path
    failures : list of (int, str)
    n_unused : int
        See :class:`skdeepad._together.Trained`.
    """
    start = perf_counter()
    trained = Trained.of(*parts)
    seconds = perf_counter() - start
    results = []
    with serving(trained):
        while functions:
            trained.begin_task()
            results.append(functions.pop(0)())
    return results, seconds, trained.checkpoints, trained.failures, trained.n_unused
