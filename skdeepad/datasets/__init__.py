"""Anomaly problems on real data: embedded ones, and ones to download.

Labels are +1 for normal rows and -1 for anomalies, but for the images', which are
classes.
"""

from skdeepad.datasets._adbench import fetch_adbench, list_adbench
from skdeepad.datasets._embedded import load_digits, load_wbc, load_wine
from skdeepad.datasets._files import get_data_home
from skdeepad.datasets._images import fetch_fashion_mnist, fetch_mnist

__all__ = [
    "fetch_adbench",
    "fetch_fashion_mnist",
    "fetch_mnist",
    "get_data_home",
    "list_adbench",
    "load_digits",
    "load_wbc",
    "load_wine",
]
