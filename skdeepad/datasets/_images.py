"""MNIST and Fashion-MNIST as their original IDX files."""

import gzip
import hashlib
import zlib

import numpy as np
from sklearn.utils import Bunch

from skdeepad.datasets._files import fetch_file

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
# Where to download from, and the SHA-256 of each file once unpacked.
SOURCES = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
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

    Notes
    -----
    Labels for a detector are made of classes, with the digit 8 as normal say, by
    ``np.where(data.y_train == 8, 1, -1)``: other values are no labels to it, and all
    rows would be trained on.
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
            base + file,
            digest,
            _content_digest,
            data_home=data_home,
            download_if_missing=download_if_missing,
        )
        arrays.append(_read_idx(path))
    X_train, y_train, X_test, y_test = arrays
    return Bunch(
        X_train=_pixels(X_train),
        y_train=y_train.astype(int),
        X_test=_pixels(X_test),
        y_test=y_test.astype(int),
        image_shape=(1, 28, 28),
    )


def _content_digest(content):
    """SHA-256 of the unpacked file: mirrors differ in how they packed it."""
    try:
        return hashlib.sha256(gzip.decompress(content)).hexdigest()
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return "that of a broken gzip file"


def _read_idx(path):
    """Array of a gzipped IDX file of bytes: type and rank, sizes, values."""
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=rank, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape)


def _pixels(images):
    return images.reshape(len(images), -1).astype(np.float32) / 255
