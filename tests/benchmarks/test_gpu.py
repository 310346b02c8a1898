"""The benchmark of GPUs in small, and the figures that are told of it."""

from pathlib import Path

import pandas as pd
import pytest
import torch

import benchmarks
from benchmarks import gpu
from skdeepad import AutoencoderDetector
from skdeepad.datasets import load_wine

ROOT = Path(benchmarks.__file__).parents[1]


@pytest.fixture
def small(monkeypatch):
    """A task that is quick."""
    detector = AutoencoderDetector(max_epochs=2)
    tasks = {"wine": ("wine", detector, gpu.FLOAT32 | {gpu.PYOD: {}})}
    monkeypatch.setattr(gpu, "TASKS", tasks)
    wine = load_wine(return_X_y=True)
    monkeypatch.setattr(gpu, "fetch_adbench", lambda name, return_X_y: wine)


def test_a_row_a_fit_and_resumed(small, tmp_path, capsys, monkeypatch):
    path = tmp_path / "gpu.csv"
    arguments = ["--tasks", "wine", "--rounds", "2", "--without-pyod"]
    arguments += ["--results", str(path)]
    gpu.main(arguments)
    rows = pd.read_csv(path)
    variants = list(gpu.FLOAT32) if torch.cuda.is_available() else ["cpu"]
    assert list(rows.variant) == variants * 2
    assert set(rows["round"]) == {0, 1}
    assert (rows.epochs == 2).all()
    assert (rows.fit_seconds > 0).all()
    assert rows.auroc.between(0.5, 1).all()
    before = path.read_text()
    monkeypatch.setattr(gpu, "run_unit", None)
    gpu.main(arguments)
    assert path.read_text() == before


def test_half_of_the_normal_rows_train(small):
    X, X_new, anomalies = gpu.load("wine")
    normal = (load_wine(return_X_y=True)[1] == 1).sum()
    assert len(X) == normal // 2
    assert len(X_new) - anomalies.sum() == normal - len(X)


def test_documented_seconds_are_the_rows():
    rows = pd.read_csv(ROOT / "benchmarks" / "results" / "gpu_h200.csv")
    text = (ROOT / "docs" / "scale.md").read_text()
    for _, own in rows.groupby("task"):
        seconds = own.set_index("variant").fit_seconds
        cells = [
            f"{seconds[name]:.2f}" if name in seconds else "—"
            for name in ("cpu", "gpu", "gpu, no graphs")
        ]
        assert "| " + " | ".join(cells) + " |\n" in text
