"""Numbers that belong to a row."""

import numpy as np
from scipy import stats

from skdeepad._random import row_keys, row_normals


def normals_of(X, seed, n_columns):
    return row_normals(row_keys(X, seed), 0, n_columns)


def test_row_normals_are_independent_standard_normals():
    X = np.random.default_rng(0).normal(size=(4000, 3))
    normals = normals_of(X, 5, 4)
    assert stats.kstest(normals.ravel(), "norm").pvalue > 1e-3
    correlation = np.corrcoef(np.c_[normals, X].T) - np.eye(7)
    assert np.abs(correlation).max() < 0.06


def test_row_normals_depend_on_the_rows_values_and_the_seed_alone():
    X = np.random.default_rng(0).normal(size=(50, 3))
    normals = normals_of(X, 5, 4)
    np.testing.assert_array_equal(normals_of(X[10:20], 5, 4), normals[10:20])
    np.testing.assert_array_equal(row_normals(row_keys(X, 5), 1, 3), normals[:, 1:3])
    assert not np.isin(normals_of(X, 6, 4), normals).any()
    assert not np.isin(normals_of(np.nextafter(X, 9), 5, 4), normals).any()
    zeros = normals_of(np.zeros((1, 2)), 5, 4)
    np.testing.assert_array_equal(normals_of(-np.zeros((1, 2)), 5, 4), zeros)


def test_keys_of_rows_go_by_the_order_of_their_columns():
    first, second = row_keys(np.array([[1.0, 2.0], [2.0, 1.0]]), 0)
    assert first != second
