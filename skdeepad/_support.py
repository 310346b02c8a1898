"""Training on the rows that look normal, where anomalies are among them."""

from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval

from skdeepad._shares import round_down


@dataclass(kw_only=True, eq=False, repr=False)
class SupportMixin:
    """What detectors add that can score a row in training by itself.

    Class docstrings hold ``{support_parameter}``.
    """

    support_fraction: float = 1.0

    _support_constraints: ClassVar[dict] = {
        "support_fraction": [Interval(Real, 0, 1, closed="right")]
    }

    def _selection(self, network):
        """Maps rows of a batch ``(k, n, n_features)`` to those to train on."""
        import torch

        if self.support_fraction == 1:
            return None

        def select(x):
            n_kept = max(1, round_down(self.support_fraction * x.shape[1]))
            training = network.training
            network.eval()
            with torch.no_grad():
                scores = self._support_scores(network, x)
            network.train(training)
            kept = scores.topk(n_kept, dim=1, largest=False).indices
            # In their own order, not in that of scores which nearly tie.
            kept = kept.sort(dim=1).values.unsqueeze(2)
            return x.gather(1, kept.expand(-1, -1, x.shape[2]))

        return select

    def _support_scores(self, network, x):
        """Anomaly scores of rows by networks in training, ``(members, n)``."""
        return self._anomaly_scores(network, x)
