"""Distances between two sets of images, given their features: KID with bootstrap, and FID."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from sim2street.configs import ConfigError

Features = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Kid:
    """Kernel inception distance (Binkowski et al., ICLR 2018); lower is better, may be below 0.

    Attributes:
        value: unbiased estimate from all images.
        low, high: bounds of the 95 % bootstrap interval.
        n: number of images in each set; values for different n are not comparable.
    """

    value: float
    low: float
    high: float
    n: int


def kid(real: Features, fake: Features, seed: int = 0, resamples: int = 200) -> Kid:
    """KID of features float (N, F); of the larger set, a random subset of equal size is used.

    The bootstrap draws from both sets with replacement. It leaves out pairs of an image with
    itself, so that the estimate of a resample is unbiased as well.

    Raises:
        ConfigError: a set has fewer than 2 images, or the feature counts differ.
    """
    n = min(len(real), len(fake))
    if n < 2:
        raise ConfigError(f"KID needs at least 2 images in each set, got {n}")
    if real.shape[1] != fake.shape[1]:
        raise ConfigError(
            f"KID needs the same features for both sets, got {real.shape[1]} features against "
            f"{fake.shape[1]}"
        )
    rng = np.random.default_rng(seed)
    x = _random_subset(real, n, rng).astype(np.float64)
    y = _random_subset(fake, n, rng).astype(np.float64)
    k_xx, k_yy, k_xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    once = np.ones(n)
    values = [
        _mmd(k_xx, k_yy, k_xy, _bootstrap_counts(n, rng), _bootstrap_counts(n, rng))
        for _ in range(resamples)
    ]
    low, high = np.quantile(values, (0.025, 0.975))
    return Kid(_mmd(k_xx, k_yy, k_xy, once, once), float(low), float(high), n)


def fid(real: Features, fake: Features) -> float:
    """Frechet distance of Gaussians fitted to features float (N, F) (Heusel et al., NIPS 2017).

    Raises:
        ConfigError: there are no more images than features, so the covariance would be singular
            and the value would depend mostly on n.
    """
    size = real.shape[1]
    if min(len(real), len(fake)) <= size:
        raise ConfigError(
            f"FID of {size} features needs more than {size} images in each set, got "
            f"{len(real)} and {len(fake)}: use KID"
        )
    gap = real.mean(axis=0) - fake.mean(axis=0)
    c_real, c_fake = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    # tr(sqrt(A B)) from the eigenvalues of A B, which are real and not negative.
    roots = np.sqrt(np.maximum(linalg.eigvals(c_real @ c_fake).real, 0.0))
    return float(gap @ gap + np.trace(c_real) + np.trace(c_fake) - 2.0 * roots.sum())


def _random_subset(features: Features, n: int, rng: np.random.Generator) -> Features:
    return features[np.sort(rng.permutation(len(features))[:n])]


def _bootstrap_counts(n: int, rng: np.random.Generator) -> Features:
    """How often each of n images occurs in a resample with at least two different images."""
    drawn = rng.integers(n, size=n)
    while (drawn == drawn[0]).all():
        drawn = rng.integers(n, size=n)
    return np.bincount(drawn, minlength=n).astype(np.float64)


def _kernel(x: Features, y: Features) -> Features:
    """Cubic polynomial kernel of the KID paper."""
    kernel: Features = (x @ y.T / x.shape[1] + 1.0) ** 3
    return kernel


def _mmd(k_xx: Features, k_yy: Features, k_xy: Features, wx: Features, wy: Features) -> float:
    """Unbiased squared maximum mean discrepancy, with the weight of each image."""
    between = float(wx @ k_xy @ wy) / float(wx.sum() * wy.sum())
    return _mean_within(k_xx, wx) + _mean_within(k_yy, wy) - 2.0 * between


def _mean_within(kernel: Features, weights: Features) -> float:
    """Weighted mean of the kernel over pairs of different images of one set."""
    same = float((np.diag(kernel) * weights * weights).sum())
    pairs = float(weights.sum() ** 2 - (weights * weights).sum())
    return (float(weights @ kernel @ weights) - same) / pairs
