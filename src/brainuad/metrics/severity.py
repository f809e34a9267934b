"""Agreement of scores with disease severity (multilevel anomaly detection)."""

import numpy as np


def anomaly_score(score: np.ndarray) -> float:
    """Return the subject score, the mean of the top 1 % of brain voxels."""
    hottest = max(len(score) // 100, 1)
    return float(np.partition(score, -hottest)[-hottest:].mean())


def spearman(score: np.ndarray, burden: np.ndarray) -> float:
    """Return the rank correlation of scores `(N,)` and lesion volumes `(N,)`; NaN if undefined."""
    from scipy import stats  # its import takes half a second, which a prediction does not need

    if len(score) < 2 or np.ptp(score) == 0 or np.ptp(burden) == 0:
        return float("nan")
    return float(stats.spearmanr(score, burden).statistic)


def concordance(score: np.ndarray, burden: np.ndarray) -> float:
    """Return the C-index: share of pairs with different burden whose scores have the same order.

    Equal scores count a half (Harrell et al. 1982); NaN without such a pair.

    Args:
        score: `(N,)` subject scores.
        burden: `(N,)` lesion volumes.
    """
    higher = burden[:, None] > burden[None, :]
    if not higher.any():
        return float("nan")
    order = np.sign(score[:, None] - score[None, :])[higher]
    return float((order + 1).mean() / 2)
