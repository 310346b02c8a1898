"""The benchmark of the sensitivity report in small."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks import sensitivity
from benchmarks.results_file import LOCAL
from benchmarks.sensitivity import Shape
from skdeepad import AutoencoderDetector
from tests.benchmarks.test_images import few_digits

SHAPES = {
    "mlp": {Shape(2, 32, 1, 16): 0.9, Shape(1, 8, 2, 8): 0.8},
    "conv": {Shape(1, 4, 2, 8): 0.7},
}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(sensitivity, "fetch_mnist", few_digits)
    monkeypatch.setattr(sensitivity, "REPORTED", SHAPES)
    dropout = {"mlp": Shape(1, 8, 2, 8), "conv": Shape(1, 4, 2, 8)}
    monkeypatch.setattr(sensitivity, "DROPOUT", dropout)


def test_a_row_for_each_number_of_epochs_and_resumed(
    small, tmp_path, capsys, monkeypatch
):
    path = tmp_path / "sensitivity.csv"
    arguments = ["--results", str(path), "--networks"]
    arguments += ["autoencoder-mlp", "autoencoder-conv"]
    sensitivity.main([*arguments, "--epochs", "2", "4"])
    printed = capsys.readouterr().out
    rows = pd.read_csv(path)
    assert len(rows) == 5 * 2  # three shapes, two of them with dropout as well
    assert (tmp_path / "sensitivity.png").stat().st_size > 0

    data = few_digits()
    train = (data.X_train[data.y_train == 8] - 0.1307) / 0.3081
    test, y = (data.X_test - 0.1307) / 0.3081, np.where(data.y_test == 8, 1, -1)
    for n_epochs in (2, 4):
        detector = AutoencoderDetector(
            hidden_layer_sizes=(32, 16),
            decoder_layer_sizes=(16,),
            latent_dim=32,
            batch_norm=True,
            activation="leaky_relu",
            standardize=False,
            batch_size=128,
            learning_rate=1e-3,
            max_epochs=n_epochs,
            random_state=0,
        ).fit(train)
        row = rows[(rows.encoder_width == 32) & (rows.epochs == n_epochs)].iloc[0]
        auroc = roc_auc_score(y, detector.score_samples(test))
        assert row.auroc == pytest.approx(auroc, abs=1e-4)
        error = -detector.score_samples(test).mean()  # its score is the mean error
        assert row.test_error == pytest.approx(error, rel=1e-4)

    monkeypatch.setattr(sensitivity, "measure", None)  # nothing is left to train
    sensitivity.main([*arguments, "--epochs", "2", "4"])
    assert len(pd.read_csv(path)) == len(rows)
    table = printed[printed.index("epochs") :]
    assert table in capsys.readouterr().out


def test_the_summary_has_what_was_reported_of_plain_autoencoders(small):
    rows = pd.DataFrame(
        [
            unit | {"epochs": n, "auroc": 0.5 + 0.1 * n, "test_error": -n}
            for unit in sensitivity.units(sensitivity.NETWORKS, [0])
            for n in (1, 2)
        ]
    )
    # From epoch to epoch errors fall as AUROC rises; of deeper networks both are more.
    rows["auroc"] += 0.01 * rows.encoder_depth
    rows["test_error"] += 0.01 * rows.encoder_depth
    table = sensitivity.summarize(rows)
    assert list(table.columns) == [1, 2, "reported"]
    found = table.loc[("autoencoder", "mlp", 2, 32, 1, 16, 0.0)]
    assert found.tolist() == [0.62, 0.72, 0.9]
    assert table.loc["variational"].reported.isna().all()
    assert table.xs(0.2, level="dropout").reported.isna().all()
    found = sensitivity.correlations(rows[rows.architecture == "mlp"])
    assert (found["over epochs"] == -1).all()
    assert (found["over shapes"] == 1).all()


def layers(architecture, shape):
    """Units or channels of encoder and decoder."""
    unit = {"architecture": architecture, "objective": "autoencoder"}
    unit |= {"dropout": 0, "seed": 0} | shape._asdict()
    detector = sensitivity.make_detector(unit, 784)
    return detector.hidden_layer_sizes, detector.decoder_layer_sizes


@pytest.mark.parametrize(
    ("shape", "thousands"),
    [
        # Appendix A.5: parameters of the normalisation, which it counts alone.
        (Shape(2, 392, 2, 392), 2.4),
        (Shape(2, 1568, 2, 1568), 9.4),
        (Shape(1, 784, 2, 784), 3.9),
        (Shape(4, 784, 1, 784), 4.5),
        (Shape(4, 784, 4, 784), 5.9),
    ],
)
def test_dense_shapes_are_the_reports(shape, thousands):
    encoder, decoder = layers("mlp", shape)
    assert (encoder[0], decoder[-1]) == (shape.encoder_width, shape.decoder_width)
    units = sum(encoder) + sum(decoder)
    assert round(2 * units / 1000, 1) == thousands  # a scale and a shift for each


@pytest.mark.parametrize(
    ("shape", "thousands"),
    [
        # Appendix A.5: parameters of the layers before and after the code.
        (Shape(2, 16, 2, 16), 51.1),
        (Shape(1, 64, 4, 64), 410),
        (Shape(4, 64, 2, 64), 112),
        (Shape(4, 64, 4, 64), 17.1),
    ],
)
def test_convolutional_shapes_are_the_reports(shape, thousands):
    encoder, decoder = layers("conv", shape)
    assert (encoder[-1], decoder[0]) == (shape.encoder_width, shape.decoder_width)
    sides = {1: 14, 2: 7, 4: 2}
    flat = [
        channels * sides[len(layers)] ** 2
        for channels, layers in ((encoder[-1], encoder), (decoder[0], decoder))
    ]
    weights = 32 * flat[0] + 32 + 33 * flat[1]
    # With a few hundred of the normalisation.
    assert weights / 1000 == pytest.approx(thousands, rel=0.03)


def test_the_docs_have_the_committed_figures():
    results = LOCAL.parent
    rows = pd.read_csv(results / "sensitivity.csv")
    text = (results.parents[1] / "docs" / "defaults.md").read_text()
    table = sensitivity.summarize(rows)
    epochs = [1, 2, 5, 20, 100]
    for network, name in (("mlp", "dense"), ("conv", "convolutions")):
        for shape, reported in sensitivity.REPORTED[network].items():
            found = table.loc[("autoencoder", network, *shape, 0.0)]
            cells = [f"{found[n]:.3f}" for n in epochs] + [f"{reported:.3f}"]
            if network == "mlp":
                variational = table.loc[("variational", network, *shape, 0.0)]
                cells.append(f"{variational[100]:.3f}")
            sizes = [f"{shape[0]} of {shape[1]}", f"{shape[2]} of {shape[3]}"]
            assert f"| {' | '.join([name, *sizes, *cells])} |" in text
