"""Finding, downloading and verifying data files."""

import os
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4


def get_data_home(data_home=None):
    """Folder in which data sets are looked for and kept.

    Parameters
    ----------
    data_home : path-like, default=None
        None takes the environment variable ``SKDEEPAD_DATA``, or else
        ``~/skdeepad_data``.

    Returns
    -------
    path : Path
        The folder; it need not exist.

    Examples
    --------
    >>> from skdeepad.datasets import get_data_home
    >>> get_data_home("data").name
    'data'
    """
    if data_home is None:
        data_home = os.environ.get("SKDEEPAD_DATA", "~/skdeepad_data")
    return Path(data_home).expanduser()


def fetch_file(name, url, digest, hasher, *, data_home, download_if_missing):
    """Path of a verified file, downloaded first where it is missing.

    Parameters
    ----------
    name : str
        Path below the data folder.
    url : str
        Place to download from.
    digest : str
        What ``hasher(content)`` must give.
    hasher : callable
    data_home, download_if_missing
        See :func:`get_data_home` and the callers.

    Returns
    -------
    path : Path
    """
    path = get_data_home(data_home) / name
    if path.exists():
        _verify(path.read_bytes(), digest, hasher, path)
        return path
    if not download_if_missing:
        raise OSError(
            f"{path} does not exist. Set SKDEEPAD_DATA or data_home to the folder "
            "that holds it, or download_if_missing=True."
        )
    content = _download(url, path)
    _verify(content, digest, hasher, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A reader sees the whole file or none, whenever the writer stops.
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def _download(url, path):
    try:
        with urlopen(url, timeout=60) as response:
            return response.read()
    except (OSError, HTTPException) as error:
        raise OSError(
            f"{path} does not exist and could not be downloaded from {url} ({error}). "
            "Put the file there by hand, or set SKDEEPAD_DATA to a folder that has it."
        ) from error


def _verify(content, digest, hasher, path):
    found = hasher(content)
    if found != digest:
        raise ValueError(
            f"{path.name} is not the published file: its checksum is {found} instead "
            f"of {digest}. If {path} exists, delete it and try again."
        )
