"""Helpers that all detectors share."""

import numpy as np
import pytest

from skdeepad._base import chunked, round_scores


@pytest.mark.parametrize("scale", [1.0, -1.0, 2.0**600, 2.0**-600])
def test_scores_are_rounded_as_float32_rounds(scale):
    """To 24 bits, halves to even; but whatever the exponent."""
    rng = np.random.default_rng(0)
    halves = 1 + np.arange(8) * 2.0**-24
    below_two = [2 - 2.0**-25, 2 - 2.0**-30]
    scores = np.concatenate([rng.lognormal(0, 20, 1000), halves, below_two, [0.0]])
    expected = scores.astype(np.float32).astype(np.float64) * scale
    np.testing.assert_array_equal(round_scores(scores * scale), expected)


def test_what_is_no_number_stays_when_scores_are_rounded():
    scores = np.array([np.inf, -np.inf, np.nan, -0.0])
    rounded = round_scores(scores)
    np.testing.assert_array_equal(rounded, scores)
    np.testing.assert_array_equal(np.signbit(rounded), np.signbit(scores))


def test_scores_may_be_rounded_in_place_and_from_any_array():
    scores = np.linspace(0.1, 0.2, 100_001)  # more than are taken at once
    expected = scores.astype(np.float32)
    np.testing.assert_array_equal(round_scores(scores[::-1]), expected[::-1])
    np.testing.assert_array_equal(round_scores(np.float32([0.1])), expected[:1])
    assert round_scores(scores, out=scores) is scores
    np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize(
    ("n_rows", "expected"),
    [(0, []), (3, [(0, 3)]), (8, [(0, 4), (4, 8)]), (9, [(0, 4), (4, 8), (8, 9)])],
)
def test_chunks_are_of_a_size(n_rows, expected):
    assert [(s.start, s.stop) for s in chunked(n_rows, 4)] == expected
