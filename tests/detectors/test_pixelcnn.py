"""PixelCNNDetector against its formula, written out, and what a density is."""

import warnings
from contextlib import nullcontext
from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from skdeepad import PixelCNNDetector
from skdeepad._nn._pixelcnn import _Surprisal
from tests.conftest import make, weights_of

IMAGE = {"image_shape": (2, 3, 4), "kernel_size": 5, "hidden_layer_sizes": (4, 5, 5)}


def stripes(n, rng, shape=(6, 6)):
    """Images of stripes, each of its own two shades and phase."""
    phase = rng.integers(2, size=(n, 1, 1))
    is_dark = (np.arange(shape[1]) + phase) % 2
    shades = rng.random((n, 2, 1, 1))
    images = np.where(is_dark, 0.3 * shades[:, 0], 1 - 0.3 * shades[:, 1])
    return np.broadcast_to(images, (n, *shape)).reshape(n, -1)


def masked_convolution(h, weight, bias, size, channels, strict):
    """Of ``(height, width, units)``, one output, pixel and tap at a time."""
    height, width, n_in = h.shape
    n_out, half = weight.shape[1], size // 2
    y = np.tile(bias[0], (height, width, 1))
    above, aside = min(half, height - 1), min(half, width - 1)
    taps = [(-i, j) for i in range(above, 0, -1) for j in range(-aside, aside + 1)]
    taps += [(0, j) for j in range(-aside, 1)]
    weight = weight.reshape(len(taps), n_in, n_out)
    for row, column, (t, (i, j)) in product(
        range(height), range(width), enumerate(taps)
    ):
        if not (0 <= row + i and 0 <= column + j < width):
            continue
        for a, b in product(range(n_in), range(n_out)):
            own, other = a * channels // n_in, b * channels // n_out
            if (i, j) != (0, 0) or own < other or (own == other and not strict):
                y[row, column, b] += h[row + i, column + j, a] * weight[t, a, b]
    return y


def test_levels_of_the_first_members_alone():
    network = PixelCNNDetector(image_shape=(1, 1, 3))._build_network(3, members=4)
    network.lowest.fill_(-1.0)
    network.step.fill_(0.5)
    x = torch.tensor([[[-1.0, 0.1, 0.9]]])
    assert network.levels(x).tolist() == [[[0, 2, 4]]]
    assert network.levels(x.expand(4, -1, -1)).shape == (4, 1, 3)


def written_out(detector, X):
    """Surprisals of each feature."""
    w = weights_of(detector)
    channels, height, width = detector.image_shape
    n_levels = detector.n_levels
    Z = detector.scaler_.transform(X)
    levels = np.rint((Z - w["lowest"][0, 0]) / w["step"][0, 0])
    levels = np.clip(levels, -1, n_levels).astype(int)
    surprisals = []
    for row in levels:
        image = np.moveaxis(row.reshape(channels, height, width), 0, 2)
        h = -1 + 2 * image / (n_levels - 1)
        n_layers = len(detector.hidden_layer_sizes) + 1
        for i in range(n_layers):
            is_first, is_last = i == 0, i == n_layers - 1
            size = detector.kernel_size if is_first else 1 if is_last else 3
            layer = "last" if is_last else f"hidden.{i}.0"
            parts = (w[f"{layer}.{name}"] for name in ("weight", "bias"))
            y = masked_convolution(h, *parts, size, channels, strict=is_first)
            if not is_last:
                y = np.maximum(y, 0)
                if not is_first and y.shape == h.shape:
                    y = y + h
            h = y
        log_p = log_softmax(h.reshape(height, width, channels, n_levels + 2), axis=3)
        own = np.take_along_axis(log_p, image[..., None] + 1, 3)[..., 0]
        surprisals.append(-np.moveaxis(own, 2, 0).ravel())
    return np.array(surprisals)


@pytest.mark.parametrize("image_shape", [(2, 3, 4), (1, 4, 6), (3, 8, 1)])
def test_surprisals_are_the_formulas(image_shape):
    X = np.random.default_rng(0).normal(size=(30, 24))
    params = IMAGE | {"image_shape": image_shape, "n_levels": 6}
    detector = make(PixelCNNDetector, learning_rate=0.02, **params).fit(X)
    new = 2 * X[:4]  # some values are beyond the levels
    expected = written_out(detector, new)
    np.testing.assert_allclose(detector.feature_errors(new), expected, rtol=1e-5)
    np.testing.assert_allclose(-detector.score_samples(new), expected.sum(1), rtol=1e-5)


@pytest.mark.parametrize("kernel_size", [3, 7])
@pytest.mark.parametrize(
    "image_shape", [(1, 1, 1), (1, 1, 2), (1, 1, 4), (4, 1, 1), (1, 4, 1), (1, 2, 2)]
)
def test_probabilities_of_all_rows_add_up_to_one(image_shape, kernel_size):
    n_features = np.prod(image_shape)
    X = np.random.default_rng(0).normal(size=(40, n_features))
    params = {"image_shape": image_shape, "kernel_size": kernel_size, "n_levels": 3}
    detector = make(PixelCNNDetector, learning_rate=0.02, **params).fit(X)
    lowest, _, largest = detector.levels_
    levels = [lowest - 9, *detector.levels_, largest + 9]
    rows = np.array(list(product(levels, repeat=n_features)))
    scores = detector.score_samples(detector.scaler_.inverse_transform(rows))
    assert np.exp(scores).sum() == pytest.approx(1, abs=1e-6)


def test_a_number_goes_by_those_before_it_alone():
    rng = np.random.default_rng(0)
    X = rng.random((50, 24))
    # No unit of a hyperbolic tangent is dead.
    detector = make(PixelCNNDetector, activation="tanh", **IMAGE).fit(X)
    errors = detector.feature_errors(X[:1])[0]
    # Features by when they are read: pixels, and the channels of each.
    order = np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0).ravel()
    for i, feature in enumerate(order):
        other = X[:1].copy()
        other[0, feature] = (other[0, feature] + 0.5) % 1
        changed = np.flatnonzero(detector.feature_errors(other)[0] != errors)
        assert set(changed) <= set(order[i:])
        if i < 23:  # the last one is seen by none
            assert set(changed) & set(order[i + 1 :])


def test_a_chains_surprisal_is_its_entropy():
    rng = np.random.default_rng(0)
    turns = rng.random((600, 12)) < 0.1
    X = (turns.cumsum(axis=1) % 2).astype(float)
    detector = PixelCNNDetector(
        n_levels=2, hidden_layer_sizes=(8,), learning_rate=1e-2, random_state=0
    ).fit(X[:400])
    probability = np.where(turns[400:], 0.1, 0.9)  # of a first one, to begin at one
    expected = -np.log(probability)
    errors = detector.feature_errors(X[400:])
    assert errors.mean() == pytest.approx(expected.mean(), rel=0.05)
    assert np.corrcoef(errors.sum(1), expected.sum(1))[0, 1] > 0.99


def test_finds_what_single_pixels_do_not_show():
    rng = np.random.default_rng(0)
    X = stripes(300, rng)
    shuffled = rng.permuted(stripes(50, rng), axis=1)
    detector = PixelCNNDetector(
        image_shape=(1, 6, 6),
        n_levels=16,
        hidden_layer_sizes=(16, 16),
        standardize=False,
        random_state=0,
    ).fit(X[:250])
    scores = detector.score_samples(np.r_[X[250:], shuffled])
    assert roc_auc_score(np.repeat([1, 0], 50), scores) > 0.99
    (row,) = stripes(1, rng)
    row = row.copy()
    row[20] = 1 - row[20]
    assert detector.feature_errors([row])[0].argmax() in (20, 21, 26)


def test_levels_lie_evenly_between_least_and_largest(problem):
    X, y = problem
    detector = make(PixelCNNDetector, n_levels=5, standardize=False).fit(X, y)
    normal = X[y == 1]
    np.testing.assert_allclose(
        detector.levels_, np.linspace(normal.min(), normal.max(), 5), rtol=1e-5
    )
    # To the nearest of which numbers are rounded.
    row = np.full((1, 6), detector.levels_[2])
    step = np.diff(detector.levels_)[0]
    scores = [detector.score_samples(row + d * step)[0] for d in (0, 0.49, -0.49, 0.51)]
    assert scores[0] == scores[1] == scores[2] != scores[3]


def test_beyond_the_levels_is_less_likely_than_any_of_them():
    X = np.random.default_rng(0).uniform(size=(300, 4))
    detector = make(PixelCNNDetector, n_levels=4, max_epochs=30).fit(X)
    inside = detector.feature_errors(X).max(0)
    for far in (-0.5, 1.5, 1e30):
        assert (detector.feature_errors(np.full((1, 4), far))[0, 0] > inside[0]).all()


def test_between_two_levels_training_and_scoring_agree():
    # Zeros lie between the second and the third of four levels.
    X = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], size=(200, 3))
    detector = make(PixelCNNDetector, n_levels=4, standardize=False).fit(X)
    trained = detector._build_network(3, 1)
    trained.load_state_dict({k: torch.tensor(v) for k, v in detector._state.items()})
    x = torch.tensor(X)[None]
    scoring = detector._scoring_network(torch.device("cpu"))
    assert torch.equal(scoring.levels(x), trained.levels(x.float()))


@pytest.mark.parametrize("X", [np.full((30, 5), 7.0), np.arange(30.0)[:, None]])
def test_rows_without_much_to_say(X):
    detector = make(PixelCNNDetector).fit(X)
    assert np.isfinite(detector.score_samples(X)).all()


def test_without_hidden_layers_it_is_a_linear_model_of_what_is_before(problem):
    X, _ = problem
    detector = make(PixelCNNDetector, hidden_layer_sizes=(), n_levels=8).fit(X)
    assert detector._state["last.weight"].shape == (1, 4, 10)  # the own pixel is masked


def test_members_train_as_if_alone():
    X = np.random.default_rng(0).random((40, 24))
    # A GPU's products of several matrices round otherwise than those of one.
    params = IMAGE | {"standardize": False, "n_levels": 8, "device": "cpu"}
    alone = make(PixelCNNDetector, **params).fit(X)
    among = make(PixelCNNDetector, n_estimators=3, **params).fit(X)
    for name, value in alone._state.items():
        np.testing.assert_array_equal(among._state[name][:1], value, err_msg=name)


def test_what_is_beyond_the_first_levels_is_not_learnt():
    X = np.random.default_rng(0).uniform(size=(200, 6))
    detector = make(PixelCNNDetector, n_levels=8, standardize=False).partial_fit(X)
    levels, far = detector.levels_, np.full((1, 6), 1e30)
    with pytest.warns(UserWarning, match=r"6\d% of the numbers are beyond the levels"):
        detector.partial_fit(3 * X)
    for _ in range(10):
        with warnings.catch_warnings(action="ignore"):
            detector.partial_fit(3 * X)
    np.testing.assert_array_equal(detector.levels_, levels)
    assert detector.score_samples(far) < detector.score_samples(X).min()
    # Nor does it count in a loss, of rows that are held out neither.
    x = torch.full((1, 4, 6), 9.0, dtype=torch.float64)
    network = detector._scoring_network(torch.device("cpu"))
    assert (detector._loss(network, x)["loss"] == 0).all()
    assert (detector._anomaly_scores(network, x) > 0).all()


def test_a_gradient_is_cross_entropys():
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    target, weight = torch.tensor([0, 3, 1, 1, 2]), torch.arange(5.0)
    both = [
        torch.autograd.grad(loss @ weight.double(), logits)
        for loss in (
            _Surprisal.apply(logits, target),
            torch.nn.functional.cross_entropy(logits, target, reduction="none"),
        )
    ]
    torch.testing.assert_close(*both)


def test_a_users_default_dtype_makes_no_difference(problem):
    X, _ = problem
    scores = make(PixelCNNDetector).fit(X).score_samples(X)
    torch.set_default_dtype(torch.float16)
    try:
        np.testing.assert_array_equal(
            make(PixelCNNDetector).fit(X).score_samples(X), scores
        )
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("spoiled", [0, 1])
def test_warns_where_one_number_takes_all_levels(spoiled):
    X = np.random.default_rng(0).normal(size=(100, 8))
    X[0, 0] = 1e5 if spoiled else 1
    detector = make(PixelCNNDetector, n_levels=16, standardize=False)
    match = "same one of n_levels values"
    with pytest.warns(UserWarning, match=match) if spoiled else nullcontext():
        detector.fit(X * 1e-5)  # small, and told apart


@pytest.mark.parametrize("tiny", [1.4e-45, 1e-43, 1e-40])
def test_numbers_too_small_to_be_told_apart(tiny):
    X = tiny * np.random.default_rng(0).integers(2, size=(30, 4))
    detector = make(PixelCNNDetector, standardize=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector.fit(X)
    assert np.isfinite(detector.score_samples(X)).all()


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"kernel_size": 4}, "must be odd"),
        ({"image_shape": (1, 2, 2)}, "holds 4 values, but X has 6"),
        ({"image_shape": (6,)}, "must be .channels, height, width."),
        ({"n_levels": 1}, "n_levels"),
        ({"kernel_size": 1}, "kernel_size"),
        ({"batch_norm": True}, "takes no batch_norm=True"),
        ({"image_shape": (3, 1, 2), "hidden_layer_sizes": (8, 2)}, "3 or more"),
    ],
)
def test_refuses(params, match, problem):
    with pytest.raises(ValueError, match=match):
        PixelCNNDetector(**params).fit(problem[0])


@pytest.mark.parametrize("ends", [(0, 1e60), (-3e38, 3e38)])
def test_refuses_numbers_without_room_for_levels(ends, problem):
    X = problem[0].copy()
    X[:2, 0] = ends
    with pytest.raises(ValueError, match="too large for levels"):
        make(PixelCNNDetector, standardize=False).fit(X)
