"""Files are found, downloaded whole, and verified."""

import gzip
import re
from http.client import IncompleteRead
from pathlib import Path

import numpy as np
import pytest

from skdeepad.datasets import (
    _adbench,
    _images,
    fetch_adbench,
    fetch_fashion_mnist,
    fetch_mnist,
    get_data_home,
    list_adbench,
)


def test_data_home(monkeypatch, tmp_path):
    monkeypatch.setenv("SKDEEPAD_DATA", str(tmp_path))
    assert get_data_home() == tmp_path
    assert get_data_home("~/x") == Path.home() / "x"
    monkeypatch.delenv("SKDEEPAD_DATA")
    assert get_data_home() == Path.home() / "skdeepad_data"


def test_list_adbench_has_all_47_sets():
    names = list_adbench()
    assert len(names) == len(set(names)) == 47
    assert [int(name.split("_")[0]) for name in names] == list(range(1, 48))


def test_git_blob_id():
    # What `printf hello | git hash-object --stdin` prints.
    assert _adbench.git_blob_id(b"hello") == "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A small set, published by a file URL in ADBench's place."""
    source = tmp_path / "source.npz"
    np.savez(source, X=np.arange(6, dtype=np.int16).reshape(3, 2), y=[[0], [1], [0]])
    monkeypatch.setattr(_adbench, "URL", source.as_uri())
    blob = _adbench.git_blob_id(source.read_bytes())
    monkeypatch.setitem(_adbench.BLOB_IDS, "6_cardio", blob)
    return source


def test_fetch_downloads_once(published, tmp_path):
    home = tmp_path / "home"
    X, y = fetch_adbench("cardio", data_home=home, return_X_y=True)
    assert X.dtype == np.float64
    assert y.tolist() == [1, -1, 1]
    (path,) = (home / "adbench").iterdir()
    assert path.name == "6_cardio.npz"
    # For others to read, where the user's files are.
    assert path.stat().st_mode == published.stat().st_mode
    published.unlink()
    bunch = fetch_adbench("6_Cardio", data_home=home)
    np.testing.assert_array_equal(bunch.data, X)
    assert bunch.name == "6_cardio"


def test_another_file_is_refused_and_not_kept(published, tmp_path):
    published.write_bytes(published.read_bytes() + b"x")
    with pytest.raises(ValueError, match="not the published file"):
        fetch_adbench("cardio", data_home=tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_broken_file_on_disk_is_refused(published, tmp_path):
    path = tmp_path / "home" / "adbench" / "6_cardio.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half")
    with pytest.raises(ValueError, match="delete it and try again"):
        fetch_adbench("cardio", data_home=tmp_path / "home")


def test_a_failed_write_leaves_nothing(published, tmp_path, monkeypatch):
    def full(*args):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        fetch_adbench("cardio", data_home=tmp_path / "home")
    assert list((tmp_path / "home" / "adbench").iterdir()) == []


def test_missing_files_say_where_to_put_them(published, tmp_path):
    with pytest.raises(OSError, match=r"does not exist\. Set SKDEEPAD_DATA"):
        fetch_adbench("cardio", data_home=tmp_path, download_if_missing=False)
    published.unlink()
    with pytest.raises(OSError, match="could not be downloaded"):
        fetch_adbench("cardio", data_home=tmp_path)
    with pytest.raises(ValueError, match="no ADBench data set"):
        fetch_adbench("iris")


@pytest.mark.parametrize(
    ("name", "fetch"), [("mnist", fetch_mnist), ("fashion-mnist", fetch_fashion_mnist)]
)
def test_images_are_read_from_idx_files(name, fetch, monkeypatch, tmp_path):
    def idx(array):
        header = bytes([0, 0, 8, array.ndim])
        sizes = np.array(array.shape, dtype=">u4").tobytes()
        return gzip.compress(header + sizes + array.tobytes())

    images = np.arange(2 * 784, dtype=np.int64).reshape(2, 28, 28).astype(np.uint8)
    labels = np.array([7, 3], dtype=np.uint8)
    with pytest.raises(OSError, match=f"{name}.*download_if_missing"):
        fetch(data_home=tmp_path, download_if_missing=False)
    (tmp_path / name).mkdir()
    digests = []
    for file, array in zip(_images.FILES, [images, labels] * 2, strict=True):
        (tmp_path / name / file).write_bytes(idx(array))
        digests.append(_images._content_digest(idx(array)))
    monkeypatch.setitem(_images.SOURCES, name, ("nowhere", tuple(digests)))
    data = fetch(data_home=tmp_path)
    assert data.image_shape == (1, 28, 28)
    np.testing.assert_allclose(data.X_test * 255, images.reshape(2, 784), rtol=1e-6)
    assert data.y_train.tolist() == [7, 3]
    data.y_train[:] = -data.y_train  # a user's own, signed
    assert data.y_train.tolist() == [-7, -3]
    (tmp_path / name / _images.FILES[0]).write_bytes(b"half")
    with pytest.raises(ValueError, match="not the published file"):
        fetch(data_home=tmp_path)


def test_capitals_and_numbers_of_names_do_not_matter(tmp_path):
    for full in list_adbench():
        _, short = full.split("_", 1)
        for name in (full, full.swapcase(), short.swapcase()):
            with pytest.raises(OSError, match=re.escape(f"{full}.npz does not exist")):
                fetch_adbench(name, data_home=tmp_path, download_if_missing=False)


def test_a_file_runs_no_code(published, tmp_path, monkeypatch):
    np.savez(published, X=np.array([{}], dtype=object), y=[0])
    blob = _adbench.git_blob_id(published.read_bytes())
    monkeypatch.setitem(_adbench.BLOB_IDS, "6_cardio", blob)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        fetch_adbench("cardio", data_home=tmp_path / "home")


def test_a_broken_gzip_file_has_another_checksum():
    packed = gzip.compress(np.random.default_rng(0).bytes(5000))
    whole = _images._content_digest(packed)
    for broken in (packed[:-20], packed[:10] + b"\xff" * 20 + packed[30:], b"half"):
        assert _images._content_digest(broken) != whole


def test_a_download_that_breaks_off_says_what_to_do(tmp_path, monkeypatch):
    def broken(url, timeout):
        raise IncompleteRead(b"half")

    monkeypatch.setattr("skdeepad.datasets._files.urlopen", broken)
    with pytest.raises(OSError, match=r"could not be downloaded .* by hand"):
        fetch_adbench("cardio", data_home=tmp_path)
