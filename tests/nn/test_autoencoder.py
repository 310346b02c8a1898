"""The networks have the layers that the parameters describe."""

import pytest

from skdeepad import AutoencoderDetector, VAEDetector
from skdeepad._nn._autoencoder import conv_sizes


def widths(part):
    return [tuple(m.weight.shape[1:]) for m in part if hasattr(m, "fan_in")]


def network(n_features=9, cls=AutoencoderDetector, **params):
    return cls(**params)._build_network(n_features, 2)


def test_last_hidden_layer_is_the_code_without_latent_dim():
    net = network(hidden_layer_sizes=(64, 32), latent_dim=None)
    assert widths(net.encoder) == [(9, 64), (64, 32)]
    assert widths(net.decoder) == [(32, 64), (64, 9)]
    assert len(net.encoder) == 4  # the code keeps its activation
    assert len(net.decoder) == 3  # the output has none


def test_latent_dim_adds_a_linear_code():
    net = network(hidden_layer_sizes=(64, 32), latent_dim=5)
    assert widths(net.encoder) == [(9, 64), (64, 32), (32, 5)]
    assert widths(net.decoder) == [(5, 32), (32, 64), (64, 9)]
    assert len(net.encoder) == 5


def test_encoder_and_decoder_have_their_own_depth_and_width():
    net = network(hidden_layer_sizes=7, decoder_layer_sizes=(3, 4, 5), latent_dim=2)
    assert widths(net.encoder) == [(9, 7), (7, 2)]
    assert widths(net.decoder) == [(2, 3), (3, 4), (4, 5), (5, 9)]


@pytest.mark.parametrize("latent_dim", [None, 32])
def test_vae_has_two_heads(latent_dim):
    hidden = (64, 32) if latent_dim is None else (64,)
    net = network(cls=VAEDetector, hidden_layer_sizes=hidden, latent_dim=latent_dim)
    assert widths(net.encoder) == [(9, 64), (64, 64)]
    assert widths(net.decoder) == [(32, 64), (64, 9)]


def test_no_hidden_layer_is_a_linear_autoencoder():
    net = network(hidden_layer_sizes=(), latent_dim=2)
    assert widths(net.encoder) == [(9, 2)]
    assert widths(net.decoder) == [(2, 9)]
    with pytest.raises(ValueError, match="Set latent_dim"):
        network(hidden_layer_sizes=(), latent_dim=None)


def test_block_order_is_layer_norm_activation_dropout():
    params = {"hidden_layer_sizes": (8, 4), "latent_dim": 2, "activation": "elu"}
    net = network(batch_norm=True, dropout=0.1, **params)
    names = [type(m).__name__ for m in net.encoder]
    assert names == [*["Linear", "BatchNorm", "Activation", "Dropout"] * 2, "Linear"]


def test_conv_network_of_the_ed_vae_paper():
    net = network(
        784,
        architecture="conv",
        image_shape=(1, 28, 28),
        hidden_layer_sizes=(32, 32),
        latent_dim=32,
    )
    assert widths(net.encoder) == [(32, 1, 3, 3), (32, 32, 3, 3), (1568, 32)]
    assert widths(net.decoder) == [(32, 1568), (32, 32, 3, 3), (32, 1, 3, 3)]


def test_conv_sizes_round_up():
    assert conv_sizes((28, 5), 3) == [(28, 5), (14, 3), (7, 2), (4, 1)]


@pytest.mark.parametrize("sizes", [(0,), (3, -1), (2.5,), "ab"])
def test_bad_layer_sizes(sizes):
    with pytest.raises(ValueError, match="positive integers"):
        network(hidden_layer_sizes=sizes)


def test_width_and_work_are_counted():
    net = network(9, hidden_layer_sizes=(64, 32), latent_dim=5)
    assert net.width == 64
    weights = 9 * 64 + 64 * 32 + 32 * 5
    assert net.work == 2 * 2 * weights  # two members, encoder and decoder
    conv = {"architecture": "conv", "image_shape": (1, 28, 28), "latent_dim": 3}
    net = network(784, hidden_layer_sizes=(4,), decoder_layer_sizes=(5,), **conv)
    assert net.width == max(784, 5 * 14 * 14)
    encoder = 9 * 4 * 14 * 14 + 4 * 14 * 14 * 3
    decoder = 3 * 5 * 14 * 14 + 9 * 5 * 28 * 28
    assert net.work == 2 * (encoder + decoder)
