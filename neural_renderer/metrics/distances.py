"""Distances between sets of pictures, from given features: KID with bootstrap, and FID."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from sim2street.configs import ConfigError

Features = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Kid:
    """Kernel inception distance (Binkowski et al. 2018), lower is better; may be below 0.

    Attributes:
        value: unbiased estimate from all pictures.
        low, high: 95 % bootstrap interval.
        n: pictures on each side. Runs of different n are not to be compared.
    """

    value: float
    low: float
    high: float
    n: int


def kid(real: Features, fake: Features, seed: int = 0, resamples: int = 200) -> Kid:
    """KID of features float (N, F); the larger side is cut to the size of the smaller one.

    The bootstrap draws pictures with repetition on both sides; pairs of a picture with
    itself are left out, so that a resample stays unbiased.
    """
    n = min(len(real), len(fake))
    if n < 2:
        raise ConfigError(f"KID needs at least 2 pictures on each side, got {n}")
    if real.shape[1] != fake.shape[1]:
        raise ConfigError(f"KID: {real.shape[1]} features against {fake.shape[1]}")
    rng = np.random.default_rng(seed)
    x = _chosen(real, n, rng).astype(np.float64)
    y = _chosen(fake, n, rng).astype(np.float64)
    k_xx, k_yy, k_xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    once = np.ones(n)
    values = [_mmd(k_xx, k_yy, k_xy, _repeats(n, rng), _repeats(n, rng)) for _ in range(resamples)]
    low, high = np.quantile(values, (0.025, 0.975))
    return Kid(_mmd(k_xx, k_yy, k_xy, once, once), float(low), float(high), n)


def fid(real: Features, fake: Features) -> float:
    """Frechet distance of Gaussians fitted to features float (N, F).

    Raises:
        ConfigError: fewer pictures than features: the covariance would be singular and the
            number would say more about n than about the pictures.
    """
    size = real.shape[1]
    if min(len(real), len(fake)) <= size:
        raise ConfigError(
            f"FID of {size} features needs more than {size} pictures on each side, got "
            f"{len(real)} and {len(fake)}: use KID"
        )
    gap = real.mean(axis=0) - fake.mean(axis=0)
    c_real, c_fake = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    # tr(sqrt(A B)) from the eigenvalues of A B, which are real and not negative.
    roots = np.sqrt(np.maximum(linalg.eigvals(c_real @ c_fake).real, 0.0))
    return float(gap @ gap + np.trace(c_real) + np.trace(c_fake) - 2.0 * roots.sum())


def _chosen(features: Features, n: int, rng: np.random.Generator) -> Features:
    return features[np.sort(rng.permutation(len(features))[:n])]


def _repeats(n: int, rng: np.random.Generator) -> Features:
    """How often each of n pictures is in a resample of at least two different ones."""
    drawn = rng.integers(n, size=n)
    while (drawn == drawn[0]).all():
        drawn = rng.integers(n, size=n)
    return np.bincount(drawn, minlength=n).astype(np.float64)


def _kernel(x: Features, y: Features) -> Features:
    """Cubic polynomial kernel of the paper."""
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def _mmd(k_xx: Features, k_yy: Features, k_xy: Features, wx: Features, wy: Features) -> float:
    """Unbiased squared MMD with weights per picture."""
    return float(_within(k_xx, wx) + _within(k_yy, wy) - 2.0 * _across(k_xy, wx, wy))


def _within(kernel: Features, weights: Features) -> float:
    own = float((np.diag(kernel) * weights * weights).sum())
    pairs = float(weights.sum() ** 2 - (weights * weights).sum())
    return (float(weights @ kernel @ weights) - own) / pairs


def _across(kernel: Features, wx: Features, wy: Features) -> float:
    return float(wx @ kernel @ wy) / float(wx.sum() * wy.sum())
