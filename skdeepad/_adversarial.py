"""What detectors that train networks against each other share."""

from functools import partial


class AdversarialMixin:
    """What they add: critics and generator take turns, for points drawn in each step.

    The network has ``points``, a random layer. A detector states
    ``_critics_loss(network, x)``, a dict of ``(members,)`` tensors of which
    ``"critics"`` is lowered. It calls ``_draw(network, x)``, for the points that
    ``_loss`` finds in ``network.drawn``.
    """

    def _critics_loss(self, network, x):
        """Losses of the critics, for a generator as it is."""
        raise NotImplementedError

    def _draw(self, network, x):
        """Points ``(members, batch, latent_dim)`` of a step, for both turns."""
        like = x[:, :, :1].expand(-1, -1, self._latent_size())
        network.drawn = network.points.noise_like(like).expand(len(x), -1, -1)
        return network.drawn

    def _turns(self, network, critics, generator):
        """The phases that train the parameters of critics and of a generator."""
        from skdeepad._training import GradientPhase

        of_critics = partial(self._critics_loss, network)
        of_generator = partial(self._loss, network)
        return [
            GradientPhase(of_critics, critics, self._adam, lowered="critics"),
            GradientPhase(of_generator, generator, self._adam),
        ]

    def _check_input(self, X, y):
        super()._check_input(X, y)
        for name, off in (("dropout", 0.0), ("batch_norm", False)):
            if getattr(self, name):
                raise ValueError(
                    f"{type(self).__name__} takes no {name}: in a step rows and "
                    "generated ones pass through the same layers, which would be "
                    "another network, or one of other statistics, each time. Set "
                    f"{name}={off}."
                )


def logits(critic, rows):
    """What a critic says of rows, ``(k, n)``: positive for what is normal.

    That is the first of its outputs, which fill a vector register: a product with fewer
    columns rounds in another way beside other networks.
    """
    return critic(rows)[:, :, 0]


def cross_entropy(logits, normal=True):
    """Cross-entropy of logits with one and the same label."""
    from skdeepad._nn import softplus

    return softplus(-logits if normal else logits)


def told_apart(critic, normal, others):
    """Mean cross-entropy ``(k,)`` of a critic that tells rows from others."""
    losses = cross_entropy(logits(critic, normal))
    losses = losses + cross_entropy(logits(critic, others), normal=False)
    return 0.5 * losses.mean(1)
