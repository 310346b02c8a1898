"""What detectors that train networks against each other have in common."""

import numpy as np
import pytest

from skdeepad import OCGAN, AnoGAN
from tests.conftest import make

REFUSED = [("dropout", 0.1), ("batch_norm", True)]


@pytest.mark.parametrize(
    "cls, name, value",
    [(cls, *refused) for cls in (AnoGAN, OCGAN) for refused in REFUSED]
    + [(AnoGAN, "early_stopping", True)],
)
def test_what_would_be_another_network_each_time_is_refused(cls, name, value, problem):
    X, _ = problem
    detector = make(cls).fit(X)
    before = detector.score_samples(X)
    message = f"{cls.__name__} takes no {name}.*Set {name}="
    with pytest.raises(ValueError, match=message):
        detector.set_params(**{name: value}).fit(X)
    np.testing.assert_array_equal(detector.score_samples(X), before)
