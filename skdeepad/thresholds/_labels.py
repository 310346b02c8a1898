"""Reading label vectors and scores, and saying what is wrong with them."""

import sys
from numbers import Real

import numpy as np
from scipy.sparse import issparse

from skdeepad._warnings import warn

# Share of other values than +1 and -1 up to which a vector is labels with mistakes.
MOST_WRONG = 0.1

# Of 0 and 1, which the user may not have written.
ENCODED = (
    " If y was +1 and -1, scikit-learn has turned it into 0 and 1, as does "
    "cross_val_predict for other methods than predict, and StackingClassifier: "
    "help(OneClassKFold) has a way to scores of rows that were not trained on, and "
    "StackingClassifier takes fitted detectors with cv='prefit'."
)


def to_labels(y):
    """``y`` as an int array of +1 and -1, or None where it holds anything else."""
    y = _to_numbers(y)
    if y is None or y.dtype.kind == "b" or not np.isin(y, (-1, 1)).all():
        return None
    return y.astype(int)


def check_other_labels(y):
    """Raise ValueError where labels have mistakes in them; warn of two other classes.

    ``y`` holds other values than +1 and -1, or has another shape than a vector's. All
    else is no label vector.
    """
    if issparse(y) and y.ndim == 2 and y.shape[1] > 1:
        return  # several labels a row, for a classifier behind this detector
    y = _column_as_vector(y)
    if y.ndim != 1:
        if y.ndim == 0 or _are_labels(y):
            raise ValueError(_one_a_row(y))
        return
    numbers = _to_numbers(y)
    if numbers is None:
        if y.dtype.kind not in "OSU":
            return
        _refuse_mistakes(y, np.array([_read(value) for value in y.tolist()]))
        _warn_of_two_classes({str(v) for v in y.tolist() if not _is_missing(v)})
        return
    lacks = np.isnan(numbers)
    known = set(numbers[~lacks].tolist())
    if known and (
        (lacks.any() and known <= {-1, 1}) or (-1 in known and known <= {-1, 0, 1})
    ):
        missing = "0" if 0 in known else "NaN"
        raise ValueError(
            f"y holds {missing} beside labels of +1 (normal) or -1 (anomaly). Leave "
            "rows without a label out, or label them +1 to train on them. (Classes for "
            "a classifier behind this detector, give as text.)"
        )
    _refuse_mistakes(numbers, numbers)
    _warn_of_two_classes(known)


def _column_as_vector(y):
    """``y`` as an array; a table of one column is its column."""
    y = np.asarray(y)
    return y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y


def _are_labels(y):
    return y.dtype.kind in "iuf" and bool(np.isin(y, (-1, 1)).all())


def _one_a_row(y):
    got = f"shape {y.shape}" if y.ndim else f"a {type(y.item()).__name__}"
    return f"y must hold one label a row, of shape (n_samples,), got {got}."


def _read(value):
    """A text's number, NaN of what is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _refuse_mistakes(y, numbers):
    """Refuse few other values among both labels."""
    others = ~np.isin(numbers, (-1, 1))
    if {-1, 1} <= set(numbers[~others].tolist()) and 0 < others.mean() <= MOST_WRONG:
        found = ", ".join(list(dict.fromkeys(map(repr, y[others].tolist())))[:5])
        raise ValueError(
            f"y holds [{found}] beside labels of +1 (normal) or -1 (anomaly), in row "
            f"{np.flatnonzero(others)[0]} first. Correct these labels, or leave the "
            "rows out."
        )


def _warn_of_two_classes(values):
    zeros = values == {0}
    names = [_name(value) for value in sorted({0, 1} if zeros else values)]
    if len(names) == 2:
        a, b = names
        warn(
            f"y holds {a if zeros else f'{a} and {b}'} only and is ignored: all rows "
            "count as normal ones. Labels are +1 for normal rows and -1 for anomalies: "
            f"use np.where(y == {b}, -1, 1) if {b} means anomaly, and np.where(y == "
            f"{b}, 1, -1) if it means normal.{ENCODED if values <= {0, 1} else ''} "
            "(Where this detector only transforms rows for a classifier in a pipeline, "
            "y is meant for that one, and all is well.)",
        )


def _name(value):
    """A class as it is written, a number without more digits than it needs."""
    short = value if isinstance(value, str) else f"{value:g}"
    return repr(value) if short == value or float(short) != value else short


def _to_numbers(y):
    """``y`` as a vector of numbers, or None where it is none."""
    y = _column_as_vector(y)
    if y.dtype == object and not any(isinstance(value, str) for value in y.flat):
        # A column of a table with mixed types.
        try:
            present = ~np.vectorize(_is_missing, otypes=[bool])(y)
            numbers = np.full(y.shape, np.nan)
            numbers[present] = y[present].astype(np.float64)
            y = numbers
        except (TypeError, ValueError):
            return None
    return y if y.ndim == 1 and y.dtype.kind in "iufb" else None


def _is_missing(value):
    pandas = sys.modules.get("pandas")  # without it nobody has its NA
    if value is None or (pandas is not None and value is pandas.NA):
        return True
    return isinstance(value, Real) and bool(value != value)  # NaN


def check_labels(y, what):
    """Return y as an array of +1 and -1, or raise ValueError.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or None
    what : str
        What needs the labels, for the message.
    """
    if y is None:
        raise ValueError(
            f"{what} needs labels: pass y with +1 for normal rows and -1 for anomalies."
        )
    labels = to_labels(y)
    if labels is None:
        y = _column_as_vector(y)
        if y.ndim != 1:
            raise ValueError(f"{_one_a_row(y)} {what} needs them.")
        found = np.unique(y.astype(str) if y.dtype == object else y)
        found = found[:5].tolist()
        advice = "Make them with np.where(is_anomaly, -1, 1)."
        if set(found) == {0, 1}:
            advice = f"If 1 means anomaly, use np.where(y == 1, -1, 1).{ENCODED}"
        elif -1 in found and 1 in found:
            advice = "Correct the others, or leave these rows out."
        raise ValueError(
            f"Labels must be +1 (normal) and -1 (anomaly), got values {found}. {what} "
            f"needs them. {advice}"
        )
    return labels


def check_both_classes(y, what, advice="Add such rows."):
    """As :func:`check_labels`, with both classes present, or advice what to do."""
    y = check_labels(y, what)
    if not (np.any(y == 1) and np.any(y == -1)):
        missing = "-1 (anomaly)" if np.all(y == 1) else "+1 (normal)"
        raise ValueError(
            f"{what} needs both classes in y; no row is {missing}. {advice}"
        )
    return y


def check_scores(scores):
    """Scores as a float64 array; ValueError where one is not finite."""
    scores = to_vector(scores)
    if not np.isfinite(scores).all():
        raise ValueError(
            "Scores hold NaN or infinity, and must be finite. Look for extreme values "
            "in X, and scale or clip them; or the detector gives no finite score far "
            "from its training rows, as a KernelDensity whose kernel ends: take "
            "another."
        )
    return scores


def normal_scores(scores, y):
    """Finite scores of the rows not labelled as anomalies."""
    scores = to_vector(scores)
    if y is not None:
        labels = check_labels(y, "A threshold")
        if len(labels) != len(scores):
            raise ValueError(f"Got {len(scores)} scores and {len(labels)} labels.")
        scores = scores[labels == 1]
    if not len(scores):
        none = "There are no scores" if y is None else "No row is labelled +1 (normal)"
        raise ValueError(f"{none}: no threshold can be set.")
    return check_scores(scores)


def to_vector(scores):
    """Scores as a float64 array; ValueError where they are not one number a row."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1:
        raise ValueError(
            f"Scores must be one number per row, of shape (n_samples,), got "
            f"{scores.shape}."
        )
    return scores
