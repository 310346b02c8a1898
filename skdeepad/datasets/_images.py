"""MNIST and Fashion-MNIST as their original IDX files."""

import gzip
import hashlib

import numpy as np
from sklearn.utils import Bunch

from skdeepad.datasets._files import fetch_file

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
SOURCES = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
            "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
            "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
            "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
        ),
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
            "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
            "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
            "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
        ),
    ),
}


def fetch_mnist(*, data_home=None, download_if_missing=True):
    """Load MNIST, 70,000 handwritten digits of 28 x 28 pixels (CC BY-SA 3.0).

    Parameters
    ----------
    data_home : path-like, default=None
        Folder of the data, see :func:`get_data_home`; the files are
        ``mnist/train-images-idx3-ubyte.gz`` and so on in it.
    download_if_missing : bool, default=True
        Download the files if they are not there.

    Returns
    -------
    data : Bunch
        ``X_train`` (60000, 784) and ``X_test`` (10000, 784), float32 in [0, 1];
        ``y_train`` and ``y_test``, the classes 0 to 9; ``image_shape``.
    """
    return _fetch("mnist", data_home, download_if_missing)


def fetch_fashion_mnist(*, data_home=None, download_if_missing=True):
    """Load Fashion-MNIST, 70,000 articles of 28 x 28 pixels (MIT licence).

    Parameters
    ----------
    data_home : path-like, default=None
        Folder of the data, see :func:`get_data_home`; the files are
        ``fashion-mnist/train-images-idx3-ubyte.gz`` and so on in it.
    download_if_missing : bool, default=True
        Download the files if they are not there.

    Returns
    -------
    data : Bunch
        As :func:`fetch_mnist`.
    """
    return _fetch("fashion-mnist", data_home, download_if_missing)


def _fetch(name, data_home, download_if_missing):
    base, digests = SOURCES[name]
    arrays = []
    for file, digest in zip(FILES, digests, strict=True):
        path = fetch_file(
            f"{name}/{file}",
            [base + file],
            digest,
            lambda content: hashlib.sha256(content).hexdigest(),
            data_home=data_home,
            download_if_missing=download_if_missing,
        )
        arrays.append(_read_idx(path))
    X_train, y_train, X_test, y_test = arrays
    return Bunch(
        X_train=_pixels(X_train),
        y_train=y_train,
        X_test=_pixels(X_test),
        y_test=y_test,
        image_shape=(1, 28, 28),
    )


def _read_idx(path):
    """Array of a gzipped IDX file of bytes: type and rank, sizes, values."""
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=rank, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape)


def _pixels(images):
    return images.reshape(len(images), -1).astype(np.float32) / 255
