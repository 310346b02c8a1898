"""Results are kept row by row."""

import errno
import io
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import defaults, images, results_file, tabular, thresholds
from benchmarks.results_file import LOCAL, ResultsFile, params_id, versions

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["a, b", "a\x0bb", "a\u2028b\x85", '"a"'])
def test_rows_are_found_again(name, tmp_path):
    path = tmp_path / "new" / "results.csv"
    file = ResultsFile(path, ["set", "seed", "auroc"], ["set", "seed"])
    file.append({"set": name, "seed": 0, "auroc": 0.5, "more": 1})
    assert file.has({"set": name, "seed": 0})
    again = ResultsFile(path, ["set", "seed", "auroc"], ["set", "seed"])
    assert again.rows == [{"set": name, "seed": "0", "auroc": "0.5"}]
    assert again.has({"set": name, "seed": 0})
    assert not again.has({"set": name, "seed": 1})


def test_a_torn_last_row_is_dropped(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("set,auroc\na,0.5\nb,0.")
    file = ResultsFile(path, ["set", "auroc"], ["set"])
    assert [row["set"] for row in file.rows] == ["a"]
    file.append({"set": "b", "auroc": 0.75})
    assert path.read_text() == "set,auroc\na,0.5\nb,0.75\n"


@pytest.mark.parametrize(
    "content",
    [
        b"set,auc\na,0.5\n",
        b"set,auc\n",
        b"set,auc\na,0.5\nb,0.7",
        b"one line",
        b"PAR1\x15\x04\n\xff\xfe\x00",
    ],
)
def test_a_file_of_another_kind_is_refused_and_left_alone(content, tmp_path):
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="other columns"):
        ResultsFile(path, ["set", "auroc"], ["set"])
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"set,au", b"set,auroc"])
def test_a_header_that_was_not_written_whole_is_written_again(content, tmp_path):
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    ResultsFile(path, ["set", "auroc"], ["set"]).append({"set": "a", "auroc": 0.5})
    assert path.read_text() == "set,auroc\na,0.5\n"


def test_versions_name_what_matters():
    assert {"python", "numpy", "scikit-learn", "torch", "skdeepad"} == set(versions())


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("rows_before", [0, 1])
def test_a_row_that_is_not_written_whole_is_undone(
    error, rows_before, tmp_path, monkeypatch
):
    class Failing(io.FileIO):
        """Takes half of what it is given first, as a disk that fills up."""

        failed = False

        def write(self, content):
            if self.failed:
                raise error
            self.failed = True
            return super().write(content[: len(content) // 2])

    def failing_open(path, mode, buffering):
        return Failing(path, mode.replace("b", ""))

    path = tmp_path / "results.csv"
    file = ResultsFile(path, ["set", "auroc"], ["set"])
    for _ in range(rows_before):
        file.append({"set": "a", "auroc": 0.5})
    before = path.read_bytes() if rows_before else b""
    monkeypatch.setattr(results_file, "open", failing_open, raising=False)
    with pytest.raises(type(error)) as info:
        file.append({"set": "b", "auroc": 0.75})
    if isinstance(error, OSError):
        assert info.value.errno == errno.ENOSPC
        assert "No space left on device" in str(info.value)
        assert "run the same command again" in str(info.value)
        assert str(path) in str(info.value)
    assert path.read_bytes() == before
    assert not file.has({"set": "b"})

    monkeypatch.undo()
    file.append({"set": "b", "auroc": 0.75})
    again = ResultsFile(path, ["set", "auroc"], ["set"])
    assert [row["set"] for row in again.rows] == ["a"] * rows_before + ["b"]


LIMITED = """
import resource, sys
from benchmarks.results_file import ResultsFile
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
file = ResultsFile(sys.argv[1], ["set", "auroc"], ["set"])
for i in range(10):
    file.append({"set": f"a set with a long name, {i}", "auroc": 0.5})
"""


def test_a_file_at_its_limit_keeps_whole_rows(tmp_path):
    pytest.importorskip("resource")
    path = tmp_path / "results.csv"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "File too large: a row could not be written" in done.stderr
    # 100 bytes hold the header, two rows and the beginning of a third.
    row = '"a set with a long name, {}",0.5\n'
    assert path.read_text() == "set,auroc\n" + row.format(0) + row.format(1)


def test_a_row_follows_whole_rows_only(tmp_path):
    path = tmp_path / "results.csv"
    file = ResultsFile(path, ["set", "auroc"], ["set"])
    # Another run on the same file was killed in the middle of a row.
    path.write_text("set,auroc\na,0.5\nb,0.")
    file.append({"set": "c", "auroc": 0.75})
    assert path.read_text() == "set,auroc\na,0.5\nc,0.75\n"


def test_runs_wait_for_each_other(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "results.csv"
    file = ResultsFile(path, ["set"], ["set"])
    other = threading.Thread(target=file.append, args=[{"set": "a"}], daemon=True)
    with open(path, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert path.read_text() == ""
    other.join(10)
    assert path.read_text() == "set\na\n"


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(file, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "results.csv"
    ResultsFile(path, ["set"], ["set"]).append({"set": "a"})
    assert ResultsFile(path, ["set"], ["set"]).has({"set": "a"})


APPENDING = """
import sys
from benchmarks.results_file import ResultsFile
file = ResultsFile(sys.argv[1], ["run", "i", "text"], ["run", "i"])
print("ready", flush=True)
input()
for i in range(50):
    file.append({"run": sys.argv[2], "i": i, "text": sys.argv[2] * 20_000})
"""


def test_rows_of_several_runs_stay_whole(tmp_path):
    path = tmp_path / "results.csv"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDING, str(path), name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    ]
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    for run in runs:
        run.communicate(timeout=600)
        assert run.returncode == 0
    assert path.read_text().count("run,i,text\n") == 1
    rows = ResultsFile(path, ["run", "i", "text"], ["run", "i"]).rows
    assert len(rows) == 150
    assert all(row["text"] == row["run"] * 20_000 for row in rows)
    for name in "abc":
        assert [row["i"] for row in rows if row["run"] == name] == [
            str(i) for i in range(50)
        ]


@pytest.mark.parametrize("name", ["defaults", "images", "tabular", "thresholds"])
def test_committed_rows_are_known_again(name):
    """A run that begins with them measures nothing twice."""
    makers = {
        "defaults": lambda row: made[row["detector"], row["settings"]],
        "images": lambda row: images.METHODS[row["method"]](0, 0),
        "tabular": lambda row: tabular.ALL[row["method"]](0),
        "thresholds": lambda row: thresholds.make(row | {"seed": 0}),
    }
    made = {
        (detector, defaults.describe(settings)): defaults.DETECTORS[detector](
            **settings
        )
        for detector, settings in defaults.all_settings()
    }
    files = list(LOCAL.parent.glob(f"{name}*.csv"))
    assert files
    for path in files:
        rows = pd.read_csv(path)
        columns = {"detector", "settings", "method", "threshold", "training"}
        columns = [*columns.intersection(rows.columns), "params_id"]
        for row in rows[columns].drop_duplicates().to_dict("records"):
            assert params_id(makers[name](row)) == row["params_id"], (path.name, row)
