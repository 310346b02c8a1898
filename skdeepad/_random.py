"""Private random streams: one seed a member, one generator a purpose.

A stream depends on the member's seed and on the purpose alone, never on the
other members, and no global generator is read or seeded.
"""

import numpy as np
from sklearn.utils import check_random_state

INITIALIZE, SPLIT, SHUFFLE, LAYER = range(4)


def member_seeds(random_state, n_members):
    """Integer seeds, shape (n_members,); fewer members get the same first seeds."""
    return check_random_state(random_state).randint(2**31 - 1, size=n_members)


def make_generators(seeds, device, *purpose):
    """One ``torch.Generator`` a seed, for the purpose that the integers name."""
    import torch

    generators = []
    for seed in seeds:
        state = np.random.SeedSequence([int(seed), *purpose]).generate_state(1)
        generators.append(torch.Generator(device).manual_seed(int(state[0])))
    return generators


def row_keys(X, seed):
    """A 64-bit number for each row, a hash of the row's values and the seed.

    Parameters
    ----------
    X : ndarray of shape (n, n_features), float64
    seed : int

    Returns
    -------
    keys : ndarray of shape (n,), uint64
    """
    # Adding 0.0 turns -0.0 into 0.0: equal rows, equal bits.
    bits = np.ascontiguousarray(X + 0.0, dtype=np.float64).view(np.uint64)
    keys = np.full(len(X), seed, dtype=np.uint64)
    for column in bits.T:
        keys = _splitmix64(keys ^ column)
    return keys


def row_normals(keys, start, stop):
    """Standard normal numbers ``start`` to ``stop`` of each row's own sequence.

    The key counts up, each count is mixed (SplitMix64), and the result is sent
    through the normal quantile function: a row gets the same numbers wherever and
    beside whatever it stands, however many are asked for at once.

    Parameters
    ----------
    keys : ndarray of shape (n,), uint64
        From :func:`row_keys`.
    start, stop : int

    Returns
    -------
    normals : ndarray of shape (n, stop - start), float64
    """
    from scipy.special import ndtri

    golden = np.uint64(0x9E3779B97F4A7C15)
    counts = np.arange(start + 1, stop + 1, dtype=np.uint64)
    mixed = _splitmix64(keys[:, None] + golden * counts)
    # 53 bits, centred in their cell: never 0 or 1, where the quantile is infinite.
    return ndtri(((mixed >> np.uint64(11)) + 0.5) * 2.0**-53)


def _splitmix64(x):
    """Steele, Lea and Flood (2014), the output function of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
