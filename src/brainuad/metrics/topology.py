"""Holes in a cloud of points by persistent homology, against noise of the same spread.

Batson, Haaf, Kahn and Roberts, "Topological obstructions to autoencoding", JHEP 2021 (arXiv
2102.08380): data whose shape does not fit into the latent space force an autoencoder to tear them
somewhere, so that some healthy data are always reconstructed badly.

The Vietoris-Rips complex of a cloud has connected pieces and loops at every scale. A bar is the
range of scales at which one of them exists. A bar counts here if it is longer than the longest bar
of 95 % of Gaussian clouds with the same covariance; the paper has no such test.
"""

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from brainuad.errors import InputError

MOST_POINTS = 200
"""Largest number of points of a cloud. The time grows with the third power of it and faster."""

DIMENSIONS = 20
"""Number of principal components that a cloud is reduced to."""

SURROGATES = 20
"""Number of Gaussian clouds that the longest bars are compared with."""

SURE = 0.95
"""Share of the Gaussian clouds whose longest bar is shorter than a bar that counts."""

LEAST_SHARE = 0.05
"""Smallest share of the points in a piece; fewer are outliers."""

NEIGHBOURS = 5
"""Number of nearest points whose images in another cloud are compared."""


@dataclass(frozen=True)
class Shape:
    """Pieces and loops of a cloud.

    Attributes:
        pieces: number of connected pieces of at least `LEAST_SHARE` of the points, 1 or more (the
            Betti number of dimension 0 without the outliers).
        loops: number of loops (the Betti number of dimension 1).
        outliers: number of points in smaller pieces.
        bars: births and deaths `(N, 2)` of the pieces that join others, and of the loops.
        limits: length that a bar of pieces, and one of loops, has to exceed.
    """

    pieces: int
    loops: int
    outliers: int
    bars: tuple[np.ndarray, np.ndarray]
    limits: tuple[float, float]

    @property
    def strength(self) -> float:
        """Length of the longest loop divided by the limit."""
        return float(_lengths(self.bars[1]).max(initial=0.0) / max(self.limits[1], 1e-12))


def shape_of(points: np.ndarray, seed: int = 0) -> Shape:
    """Return the pieces and loops of a cloud that noise of its covariance does not have.

    Args:
        points: `(N, k)`, reduced and scaled by `reduced`; at most `MOST_POINTS`.
        seed: seed of the Gaussian clouds.

    Raises:
        InputError: the extra `topology` is not installed.
    """
    generator = np.random.default_rng(seed)
    spread = np.atleast_2d(np.cov(points, rowvar=False))
    zero = np.zeros(len(spread))
    longest = np.zeros((SURROGATES, 2))
    for row in longest:
        cloud = generator.multivariate_normal(zero, spread, len(points), method="eigh")
        row[:] = [_lengths(bars).max(initial=0.0) for bars in bars_of(cloud)]
    limits = np.quantile(longest, SURE, axis=0)
    found = bars_of(points)
    # Pieces that are apart at a scale are the clusters of single linkage there, which have sizes.
    sizes = np.bincount(fcluster(linkage(points, "single"), limits[0], "distance"))[1:]
    large = sizes >= LEAST_SHARE * len(points)
    return Shape(
        pieces=max(int(large.sum()), 1),
        loops=int((_lengths(found[1]) > limits[1]).sum()),
        outliers=int(sizes[~large].sum()) if large.any() else 0,
        bars=found,
        limits=(float(limits[0]), float(limits[1])),
    )


def bars_of(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return births and deaths of the pieces, without the one that stays, and of the loops.

    Raises:
        InputError: the extra `topology` is not installed.
    """
    try:
        from ripser import ripser
    except ImportError:
        raise InputError(
            "the shape of a cloud needs ripser; install it with pip install 'brainuad[topology]'"
        ) from None
    pieces, loops = ripser(points, maxdim=1)["dgms"]
    return pieces[np.isfinite(pieces[:, 1])], loops


def bottleneck(first: np.ndarray, second: np.ndarray) -> float:
    """Return the bottleneck distance of two sets of bars.

    Each bar is matched with one of the other set or with a bar without length. The distance is the
    largest move of the best matching.
    """
    from persim import bottleneck as distance

    # Bars of length 0 match one of their own, and an empty set draws a warning.
    kept = [bars[_lengths(bars) > 0] for bars in (first, second)]
    if not all(map(len, kept)):
        return float(max((_lengths(bars).max(initial=0.0) / 2 for bars in kept), default=0.0))
    return float(distance(*kept))


def reduced(points: np.ndarray) -> np.ndarray:
    """Return a cloud `(N, k)` of any vectors: centred, principal components, mean norm 1."""
    centred = points.reshape(len(points), -1).astype(np.float64)
    centred = centred - centred.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    cloud = left[:, :DIMENSIONS] * values[:DIMENSIONS]
    norm = np.linalg.norm(cloud, axis=1).mean()
    return cloud / norm if norm > 0 else cloud


def spread_out(points: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
    """Return the indices of at most `most` points, each the farthest from those before it."""
    chosen = [int(np.linalg.norm(points - points.mean(axis=0), axis=1).argmax())]
    distance = np.full(len(points), np.inf)
    while len(chosen) < min(most, len(points)):
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return np.array(chosen)


def tearing(points: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return how far the images of each point's nearest neighbours lie from its own image.

    Args:
        points: `(N, k)`.
        images: `(N, l)`, of the same points in another cloud.

    Returns:
        `(N,)`: the largest distance to one of `NEIGHBOURS`, 1 for the median point.
    """
    from scipy.spatial import KDTree

    count = min(NEIGHBOURS + 1, len(points))
    near = KDTree(points).query(points, count)[1][:, 1:]
    far = np.linalg.norm(images[near] - images[:, None], axis=2).max(axis=1)
    middle = np.median(far)
    return far / middle if middle > 0 else np.ones(len(far))


def _lengths(bars: np.ndarray) -> np.ndarray:
    return bars[:, 1] - bars[:, 0]
