"""From what a user writes as ``threshold`` to a strategy object."""

from functools import partial
from math import isfinite
from numbers import Real

from skdeepad.thresholds._automatic import MAD, ParetoTail
from skdeepad.thresholds._conformal import Conformal
from skdeepad.thresholds._strategies import Fixed, MaxTrain, Quantile, ROCOptimal

# A new strategy with a name is one line here.
STRATEGIES = {
    "max_train": MaxTrain,
    "quantile": Quantile,
    "roc": ROCOptimal,
    "youden": partial(ROCOptimal, "youden"),
    "f1": partial(ROCOptimal, "f_beta"),
    "conformal": Conformal,
    "mad": MAD,
    "pareto": ParetoTail,
}


def make_threshold(threshold="auto", contamination="auto"):
    """Strategy object for a detector's ``threshold`` and ``contamination``.

    Parameters
    ----------
    threshold : str, float or object, default="auto"
        A strategy's name ("max_train", "quantile", "roc", "youden", "f1",
        "conformal", "mad", "pareto"), a fixed anomaly score, or any object with a
        method ``find_offset(scores, y)``. "auto" is "max_train", or "quantile"
        where ``contamination`` is a number.
    contamination : "auto" or float in (0, 0.5], default="auto"
        The share of training rows to flag; 0.1 where "quantile" is asked for
        without one.

    Returns
    -------
    strategy : object

    Raises
    ------
    ValueError
        When a number for ``contamination`` meets a strategy that has no use for
        it, or the threshold is not known.

    Examples
    --------
    >>> from skdeepad.thresholds import make_threshold
    >>> make_threshold("auto", contamination=0.05)
    Quantile(contamination=0.05)
    """
    given = contamination != "auto"
    if isinstance(threshold, str) and threshold == "auto":
        threshold = "quantile" if given else "max_train"
    if given and not (isinstance(threshold, str) and threshold == "quantile"):
        raise ValueError(
            f"contamination={contamination!r} has no effect with "
            f"threshold={threshold!r}: leave contamination='auto', or use "
            "threshold='quantile'."
        )
    strategy = Quantile(contamination) if given else _strategy(threshold)
    if hasattr(strategy, "_validate_params"):
        # Before training, not after.
        strategy._validate_params()
    size = getattr(strategy, "calibration_size", None)
    if size is not None and not 0 < size < 1:
        raise ValueError(
            f"{strategy!r} has calibration_size={size!r}, which is the share of normal "
            "rows to hold out of training: give a number in (0, 1), or None."
        )
    return strategy


def _strategy(threshold):
    if isinstance(threshold, str):
        if threshold not in STRATEGIES:
            raise ValueError(
                f"threshold={threshold!r} is not known: use 'auto', "
                f"{', '.join(map(repr, STRATEGIES))}, a number, or an object with "
                "find_offset(scores, y)."
            )
        return STRATEGIES[threshold]()
    if isinstance(threshold, Real) and not isinstance(threshold, bool):
        if not isfinite(threshold):
            raise ValueError(
                f"threshold={threshold!r} is no anomaly score that rows could be above "
                "or below: give a finite number."
            )
        return Fixed(threshold)
    if isinstance(threshold, type) or not callable(
        getattr(threshold, "find_offset", None)
    ):
        raise ValueError(
            f"threshold={threshold!r} is neither a name, a number, nor an object with "
            "a method find_offset(scores, y)."
        )
    return threshold
