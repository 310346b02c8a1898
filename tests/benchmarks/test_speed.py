"""The speed benchmark in small, without the packages that it compares with."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.results_file import ResultsFile
from benchmarks.speed import (
    defaults,
    memory,
    precision,
    scale,
    scoring,
    steps,
    subjects,
)
from benchmarks.speed.__main__ import SECTIONS, main
from benchmarks.speed.measurements import (
    COLUMNS,
    KEY,
    Measurements,
    cost,
    difference,
    print_ratios,
    ratio,
    slope,
)
from skdeepad.datasets import load_wine


@pytest.fixture
def measurements(tmp_path):
    """Measurements of a section that go to a new file."""
    return lambda section: Measurements(
        ResultsFile(tmp_path / "speed.csv", COLUMNS, KEY), section
    )


def rows(*values, **same):
    """A table of one value a round."""
    return pd.DataFrame(
        [same | {"round": i, "value": value} for i, value in enumerate(values)]
    )


def table(*parts):
    return pd.concat(parts, ignore_index=True)


def test_ratios_of_known_costs(capsys):
    a, b = cost(rows(4.0, 2.0, 9.0)), cost(rows(1.0, 2.0, 3.0))
    assert ratio(a, b) == (2.0, 3.0)  # 2 / 1; the median of 4, 1 and 3
    assert (a.best, a.median, (a / 2).best, (a / 2).median) == (2.0, 4.0, 1.0, 2.0)
    beyond = difference(cost(rows(7.0, 5.0, 6.0)), cost(rows(1.0, 4.0, 2.0)))
    assert (beyond.best, beyond.median) == (4.0, 4.0)  # 5 - 1; 6, 1 and 4
    print_ratios([("a / b", a, b, "<= 2"), ("a / c", a, None, "")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split() == ["a", "/", "b", "2.000", "3.000", "<=", "2"]
    assert lines[-1].split() == ["a", "/", "c", "-", "-"]


def test_ratios_go_by_round_whatever_the_order():
    a = pd.DataFrame({"round": [1, 0], "value": [8.0, 2.0]})
    b = pd.DataFrame({"round": [0, 1], "value": [1.0, 2.0]})
    assert ratio(cost(a), cost(b))[1] == 3.0  # of 2 and 4


def test_slope_of_a_power_law():
    sizes = np.array([10, 100, 1000])
    assert slope(sizes, 3.0 * sizes**1.5) == pytest.approx(1.5)


def test_measurements_are_kept_and_found_again(measurements, tmp_path, capsys):
    unit = {"subject": "a", "rows": 5, "features": 2, "round": 0}
    first = measurements("steps")
    assert first.take(["seconds", "bytes"], lambda: (0.5, 2e9), **unit) == [0.5, 2e9]
    assert capsys.readouterr().out == "[0] a, 5 x 2: seconds 0.5, bytes 2e+09\n"
    again = measurements("steps")
    assert again.table().empty
    # None can't be called: it isn't.
    assert again.take(["seconds", "bytes"], None, **unit) == [0.5, 2e9]
    assert (first.found, again.found) == (0, 1)
    assert again.table()["value"].tolist() == [0.5, 2e9]
    assert again.table()["batch_size"].isna().all()
    assert measurements("scale").take(["seconds"], lambda: [1.5], **unit) == [1.5]

    path = tmp_path / "speed.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]))  # stopped before the second row
    resumed = measurements("steps").take(
        ["seconds", "bytes"], lambda: (9.0, 3e9), **unit
    )
    assert resumed == [0.5, 3e9]


def test_subjects_are_chosen_by_their_beginning(monkeypatch):
    monkeypatch.setattr(subjects, "installed", lambda package: package == "pyod")
    names = [*subjects.DEEP, *subjects.CLASSICAL]
    available = [name for name in names if subjects.is_available(name)]
    assert available == [name for name in names if not name.startswith("DeepOD")]
    wanted = ["skdeepad", "DeepOD", "Iso"]
    chosen = [name for name in names if subjects.is_available(name, wanted)]
    assert chosen == ["skdeepad", "skdeepad CUDA graphs", "IsolationForest"]


def test_a_network_one_by_one_is_the_mean():
    X = np.arange(6.0).reshape(3, 2)
    made = iter([1.0, 3.0])

    def make():
        factor = next(made)
        detector = SimpleNamespace(decision_function=lambda X: factor * X[:, 0])
        detector.fit = lambda X: detector
        return detector

    detector = subjects.OneByOne(make, 2).fit(X)
    np.testing.assert_array_equal(detector.decision_function(X), 2 * X[:, 0])


def test_the_bare_loop_trains(monkeypatch):
    before = torch.get_rng_state()
    trained = []
    mse_loss = torch.nn.functional.mse_loss

    def noting(*args):
        loss = mse_loss(*args)
        trained.append(loss.item())
        return loss

    monkeypatch.setattr(torch.nn.functional, "mse_loss", noting)
    X = np.random.default_rng(0).normal(size=(64, 3))
    subjects.BareLoop(epochs=40, batch_size=32).fit(X)
    torch.set_rng_state(before)
    assert len(trained) == 80
    assert np.mean(trained[-4:]) < np.mean(trained[:4]) / 2


def test_steps(measurements, tmp_path, capsys):
    X = np.random.default_rng(0).normal(size=(100, 4))
    chosen = [("bare loop", "plain", 1), ("skdeepad", "regularised", 2)]
    section = measurements("steps")
    steps.measure(section, X, 2, chosen)
    assert len(section.table()) == 8
    steps.report(section.table())
    out = capsys.readouterr().out
    assert "skdeepad, regularised" in out
    assert "<= 0.025" in out
    steps.draw(section.table(), tmp_path / "steps.png")
    assert (tmp_path / "steps.png").stat().st_size > 5000


def test_step_costs_of_known_fits(capsys):
    def fits(subject, members, one, three):
        same = {"subject": subject, "variant": "plain", "members": members}
        same |= {"rows": 320}  # ten steps
        return table(rows(*one, epochs=1, **same), rows(*three, epochs=3, **same))

    known = table(
        fits("bare loop", 1, (0.2, 0.3), (0.6, 0.9)),
        fits("skdeepad", 1, (0.1, 0.1), (0.3, 0.7)),
        fits("skdeepad", 64, (0.1, 0.1), (12.9, 12.9)),
        fits("PyOD", 1, (1.0, 3.0), (5.0, 5.0)),
    )
    costs = steps.step_costs(known)
    ours = costs["skdeepad", "plain", 1]
    assert ours.best == pytest.approx(0.01)
    assert ours.median == pytest.approx(0.02)
    steps.report(known)
    lines = capsys.readouterr().out.splitlines()
    found = {line[:56].strip(): line[56:].split()[:2] for line in lines}
    assert found["one network / bare loop's, plain"] == ["0.500", "0.750"]
    # A network of the 64 takes 0.01 s; PyOD's best step 0.2 s, in rounds 0.2 and 0.1.
    assert found["64 networks / PyOD's, each, plain"] == ["0.050", "0.075"]
    assert found["sixteen networks / one, plain"] == ["-", "-"]


def test_defaults(measurements, capsys):
    section = measurements("defaults")
    ours = [name for name in defaults.SUBJECTS if name.startswith("skdeepad")]
    defaults.measure(section, {"wine": load_wine}, 1, ours, max_rows=40)
    found = section.table().set_index(["subject", "measure"])["value"]
    assert (found.xs("AUROC", level="measure") > 0.8).all()
    assert (section.table()["rows"] == 40).all()
    defaults.report(section.table())
    assert "against" not in capsys.readouterr().out  # PyOD's were not measured


def test_defaults_of_known_figures(capsys):
    ours, theirs = defaults.PAIRS[0]

    def known(data, subject, seconds, auroc):
        same = {"data": data, "subject": subject}
        return table(
            rows(*seconds, measure="fit seconds", **same),
            rows(*auroc, measure="AUROC", **same),
        )

    known = table(
        known("6_cardio", ours, (1.0, 2.0), (0.8, 1.0)),
        known("6_cardio", theirs, (4.0, 4.0), (0.7, 0.7)),
        known("a", ours, (1.0, 1.0), (0.6, 0.6)),
        known("a", theirs, (6.0, 8.0), (0.9, 0.9)),
    )
    sets = defaults.compare(known, ours, theirs)
    assert sets["x best"].to_dict() == {"6_cardio": 4.0, "a": 6.0}
    assert sets["x median"].to_dict() == {"6_cardio": 3.0, "a": 7.0}
    defaults.report(known)
    out = capsys.readouterr().out
    assert "median factor: best 5.00, median 5.00   goal >= 3" in out
    of = "mean AUROC of 1 sets the defaults were"
    assert f"{of} not chosen by: 0.6000, theirs 0.9000   goal: not lower" in out
    assert f"{of} chosen by: 0.9000, theirs 0.7000   goal: not lower" in out


def test_scoring(measurements, tmp_path, capsys):
    X = np.random.default_rng(0).normal(size=(400, 5))
    names = ("skdeepad", scoring.PRODUCTS, "IsolationForest", "LocalOutlierFactor")
    chosen = [(n, v, most) for n, v, most in scoring.SUBJECTS if n in names]
    chosen = [(n, v, 300 if n.startswith("Local") else most) for n, v, most in chosen]
    section = measurements("scoring")
    scoring.measure(section, X[:100], X, 1, chosen)
    scoring.report(section.table())
    out = capsys.readouterr().out
    assert "LocalOutlierFactor (from 300 rows)" in out
    assert "seconds / those of its matrix products" in out
    scoring.draw(section.table(), tmp_path / "scoring.png")
    assert (tmp_path / "scoring.png").stat().st_size > 5000


def test_scoring_of_known_figures(capsys):
    known = table(
        rows(2.0, 1.0, subject="skdeepad", variant="", rows=1000),
        rows(30.0, 20.0, subject="PyOD", variant="", rows=1000),
        rows(1.0, 3.0, subject="OneClassSVM", variant="", rows=10),
        rows(0.5, 0.9, subject=scoring.PRODUCTS, variant="chunks of 1", rows=1000),
        rows(0.4, 0.4, subject=scoring.PRODUCTS, variant="chunks of 2", rows=1000),
        rows(0.1, 0.1, subject="skdeepad", variant=scoring.ONE_BY_ONE, rows=1),
        rows(0.4, 0.4, subject="PyOD", variant=scoring.ONE_BY_ONE, rows=1),
    )
    scoring.report(known)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-2:] == ["best", "median"]
    assert lines[2].split() == ["skdeepad", "1,000", "667"]
    found = {line[:56].strip(): line[56:].split()[:2] for line in lines}
    assert found["rows a second / PyOD's"] == ["20.000", "17.500"]
    assert found["rows a second / OneClassSVM's"] == ["100.000", "175.000"]
    assert found["seconds / those of its matrix products"] == ["2.500", "3.750"]
    assert found["seconds of one row / PyOD's"] == ["0.250", "0.250"]
    assert found["seconds of one row / IsolationForest's"] == ["-", "-"]


def test_the_products_are_those_of_the_network(monkeypatch):
    shapes, mm = [], torch.mm

    def noting(x, weight, out):
        shapes.append((x.dtype, *x.shape, weight.shape[1]))
        return mm(x, weight, out=out)

    monkeypatch.setattr(torch, "mm", noting)
    assert scoring.products_seconds(np.zeros((5, 3)), chunk=4) > 0
    once = [
        (torch.float64, n, *widths)
        for n in (4, 1)
        for widths in ((3, 64), (64, 32), (32, 64), (64, 3))
    ]
    assert shapes == once * 2


needs_proc = pytest.mark.skipif(
    not memory.STATUS.exists(), reason="reads Linux's /proc"
)


@needs_proc
def test_memory_counts_what_is_made_and_not_what_is_mapped(tmp_path):
    path = tmp_path / "rows.npy"
    memory.write_rows(path, 100_000, 50)  # 40 MB
    X = np.load(path, mmap_mode="r")
    assert X.shape == (100_000, 50)
    assert abs(X.mean()) < 0.01
    assert X.std() == pytest.approx(1, abs=0.01)
    with memory.PeakMemory() as mapped:
        X.sum()
    assert mapped.extra < 10e6
    with memory.PeakMemory() as made:
        # A pause, for the thread to look in.
        copy = np.array(X)
        made._over.wait(0.2)
        del copy
    assert 35e6 < made.extra < 60e6


@needs_proc
def test_memory_of_calls_in_a_fresh_process(measurements, capsys):
    section = measurements("memory")
    memory.measure(section, 3000, 1)
    found = section.table()
    assert found["variant"].tolist() == ["score_samples"] * 2 + ["fit"] * 2
    assert found["measure"].tolist() == ["bytes", "seconds"] * 2
    memory.report(found)
    assert "a file of 2 MB" in capsys.readouterr().out


def test_memory_of_known_figures(capsys):
    known = [
        rows(*values, variant=variant, measure=measure, rows=10**6, features=100)
        for variant, n_bytes, seconds in (
            ("score_samples", (1e8, 2e8), (3.0, 2.0)),
            ("fit", (4e8, 3e8), (20.0, 30.0)),
        )
        for measure, values in (("bytes", n_bytes), ("seconds", seconds))
    ]
    memory.report(table(*known))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("a file of 800 MB")
    assert lines[-2].split() == ["score_samples", "2.0", "200", "<", "300"]
    assert lines[-1].split() == ["fit", "20.0", "400", "<", "300"]


def test_a_full_disk_is_told_before_writing(tmp_path, monkeypatch):
    disk = SimpleNamespace(free=10**6)
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda path: disk)
    with pytest.raises(OSError, match=r"0\.0 GB left, and the file takes 0\.8 GB"):
        memory.write_rows(tmp_path / "rows.npy", 10**6)
    assert not list(tmp_path.iterdir())


def test_precision(measurements, capsys):
    X = np.random.default_rng(0).random((60, 784))
    data = X[:40], X[40:], np.arange(20) < 10
    section = measurements("precision")
    precision.measure(section, data, rounds=1, epochs=2, seeds=2)
    assert len(section.table()) == 8
    precision.report(section.table())
    out = capsys.readouterr().out
    assert "bf16's rate / float32's" in out
    assert "difference" in out


def test_precision_of_known_figures(capsys):
    def known(variant, one, nine, auroc):
        same = {"variant": variant, "rows": 100}
        return table(
            rows(*one, measure="fit seconds", epochs=1, **same),
            rows(*nine, measure="fit seconds", epochs=9, **same),
            rows(*auroc, measure="AUROC", epochs=50, **same),
        )

    known = table(
        known("float32", (1.0, 5.0), (17.0, 17.0), (0.90, 0.92, 0.94)),
        known("bf16", (1.0, 1.0), (9.0, 5.0), (0.92, 0.92, 0.95)),
    )
    costs = precision.epoch_costs(known)
    assert (costs["float32"].best, costs["bf16"].best) == (2.0, 0.5)
    assert ratio(costs["float32"], costs["bf16"]) == (4.0, 2.5)
    values = precision.auroc_difference(known)
    assert values["float32"] == pytest.approx((0.92, 0.02 / np.sqrt(3)))
    # Differences of 0.02, 0 and 0.01.
    assert values["difference"] == pytest.approx((0.01, 0.01 / np.sqrt(3)))
    precision.report(known)
    assert "mean (0.0115)" in capsys.readouterr().out


def test_scale(measurements, tmp_path, capsys):
    section = measurements("scale")
    panels = {"rows": [100, 200], "features": [3, 5], "members": [1, 2]}
    base = {"rows": 100, "features": 4, "members": 1}
    scale.measure(section, 1, ["skdeepad", "IsolationForest"], panels, base, 60)
    found = section.table()
    assert len(found) == 2 * (4 + 4 + 2)  # no forest has members
    large = found[(found["variant"] == "rows") & (found["rows"] == 200)]
    assert set(large["subject"]) == {"skdeepad", "IsolationForest"}
    scale.report(found)
    assert "from 1e5 to 1e7 rows: -" in capsys.readouterr().out
    scale.draw(found, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").stat().st_size > 10_000


def test_scale_ends_at_the_limit(measurements):
    section = measurements("scale")
    panels, base = {"rows": [100, 200, 300]}, {"features": 4, "members": 1}
    scale.measure(section, 1, ["skdeepad"], panels, base, limit=0)
    assert set(section.table()["rows"]) == {100}


def test_expected_seconds():
    assert scale.expected_seconds([], 10) == 0
    assert scale.expected_seconds([(10, 2.0)], 30) == pytest.approx(6.0)
    quadratic = [(1, 50.0), (10, 2.0), (20, 8.0)]
    assert scale.expected_seconds(quadratic, 40) == pytest.approx(32.0)
    # What has grown slowly so far may be about to grow.
    assert scale.expected_seconds([(10, 2.0), (20, 2.1)], 40) == pytest.approx(4.2)


def test_slope_is_that_of_our_curve_where_it_is_long():
    points = [(10**4, 1.0), (10**5, 2.0), (10**6, 20.0), (10**7, 200.0)]
    known = table(
        *(
            rows(s, 2 * s, subject="skdeepad", variant="rows", rows=n, measure="fit")
            for n, s in points
        ),
        rows(1.0, subject="PyOD", variant="rows", rows=10**5, measure="fit"),
    )
    assert scale.linear_slope(known, "fit") == pytest.approx(1.0)
    curves = scale.curves(known, "rows", "fit")
    assert curves["skdeepad"].tolist() == [1.0, 2.0, 20.0, 200.0]
    assert scale.linear_slope(known[known["rows"] < 10**6], "fit") is None


def test_command(tmp_path, capsys, monkeypatch):
    options = ["scale", "--subjects", "skdeepad", "--max-rows", "1000"]
    options += ["--results", str(tmp_path / "speed.csv")]
    small = {"rows": [1000, 3000], "features": [3], "members": [2]}
    monkeypatch.setattr(scale, "PANELS", small)
    main(options)
    out = capsys.readouterr().out
    assert "goal: about 1" in out
    assert (tmp_path / "speed_scale.png").exists()
    content = (tmp_path / "speed.csv").read_text()
    assert content.count("\n") == 1 + 2 * 3

    monkeypatch.setattr(scale, "timed_fit", None)  # nothing is left to run
    main([*options, "--no-plots"])
    assert (tmp_path / "speed.csv").read_text() == content
    report = out[out.index("\nfit seconds") : out.index("\nPicture")]
    again = capsys.readouterr().out
    assert report in again
    assert "not measured now: 3 unit(s)" in again

    main(["scale", "--subjects", "nobody", *options[3:]])
    assert "Nothing was measured." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["spee"])
    assert f"there are {list(SECTIONS)}" in capsys.readouterr().err
