"""The embedded problems have the sizes that ODDS gives."""

import numpy as np
import pytest
from sklearn import datasets as sklearn_datasets

from skdeepad.datasets import load_digits, load_wbc, load_wine


@pytest.mark.parametrize(
    ("load", "shape", "n_anomalies"),
    [(load_wbc, (378, 30), 21), (load_wine, (129, 13), 10)],
)
def test_odds_sizes(load, shape, n_anomalies):
    bunch = load()
    assert bunch.data.shape == shape
    assert (bunch.target == -1).sum() == n_anomalies
    assert (bunch.target == 1).sum() == shape[0] - n_anomalies
    assert len(bunch.feature_names) == shape[1]
    X, y = load(return_X_y=True)
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)
    other, _ = load(random_state=1, return_X_y=True)
    assert not np.array_equal(other, X)


def test_normal_rows_are_benign():
    X, y = load_wbc(return_X_y=True)
    original = sklearn_datasets.load_breast_cancer()
    benign = {row.tobytes() for row in original.data[original.target == 1]}
    assert all(
        (row.tobytes() in benign) == (label == 1)
        for row, label in zip(X, y, strict=True)
    )


@pytest.mark.parametrize(
    ("load", "original", "name"),
    [
        (load_wbc, sklearn_datasets.load_breast_cancer, "wbc"),
        (load_wine, sklearn_datasets.load_wine, "wine"),
        (load_digits, sklearn_datasets.load_digits, "digit 8"),
    ],
)
def test_names_are_those_of_the_columns(load, original, name):
    bunch = load()
    assert bunch.name == name
    assert bunch.feature_names == list(original().feature_names)


def test_digits_leave_one_in():
    bunch, (_, eights) = load_digits(), load_digits(8, return_X_y=True)
    np.testing.assert_array_equal(bunch.target, eights)
    assert bunch.image_shape == (1, 8, 8)
    X, y = load_digits(3, return_X_y=True)
    assert X.shape == (1797, 64)
    assert (X.min(), X.max()) == (0, 1)
    np.testing.assert_array_equal(y == 1, sklearn_datasets.load_digits().target == 3)
    with pytest.raises(ValueError, match="one of 0 to 9"):
        load_digits(10)


def test_rows_keep_their_order():
    _, y = load_wine(return_X_y=True)
    assert y.tolist() == [-1] * 10 + [1] * 119
