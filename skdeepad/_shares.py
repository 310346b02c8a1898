"""Whole numbers of shares that rounding has put a last bit beside one."""

from math import ceil, floor


def round_down(number):
    """The largest integer that is not above: 29 of 0.29 * 100 = 28.99..."""
    return floor(number + 1e-9)


def round_up(number):
    """The least integer that is not below: 7 of 0.07 * 100 = 7.00...1."""
    return ceil(number - 1e-9)
