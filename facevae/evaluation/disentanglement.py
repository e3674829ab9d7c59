"""Disentanglement scores in 0 … 1: how well latents line up with known factors.

Codes are (N, D), posterior means of N faces; factors name → (N,). A factor of at most BINS values
is taken as classes, any other is cut into BINS ranges of equally many faces; constants are out."""

from collections.abc import Mapping

import numpy as np
from scipy.stats import entropy
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import cohen_kappa_score, mutual_info_score

Factors = Mapping[str, np.ndarray]
BINS = 20
MIN_FACES = 10 * BINS  # faces; with fewer in a range noise looks like information


def classes(factors: Factors) -> dict[str, np.ndarray]:
    """Factors that vary, as whole numbers 0 … K − 1."""
    found = {name: np.unique(_ranges(v), return_inverse=True)[1] for name, v in factors.items()}
    return {name: column for name, column in found.items() if column.any()}


def mutual_information(codes: np.ndarray, factors: Factors) -> np.ndarray:
    """(D, K) nats between each latent, cut into BINS ranges, and each factor's classes."""
    columns = classes(factors).values()
    return np.array([[mutual_info_score(v, _ranges(code)) for v in columns] for code in codes.T])


def mig(codes: np.ndarray, factors: Factors) -> float:
    """Mutual information gap: how far each factor's best latent is ahead of the second best, as a
    share of the factor's entropy. Source: Chen et al., arXiv 1802.04942, equation 6."""
    entropies = [mutual_info_score(v, v) for v in classes(factors).values()]
    second, first = np.sort(mutual_information(codes, factors) / entropies, axis=0)[-2:]
    return float(np.mean(first - second))


def dci(codes: np.ndarray, factors: Factors, seed: int = 0) -> dict[str, float]:
    """Disentanglement (does a latent serve one factor?), completeness (is a factor served by one
    latent?) and informativeness (Cohen's κ of held-out predictions), by a random forest a factor.
    Source: Eastwood & Williams, ICLR 2018, section 2."""
    # faces on disk often lie in the order of a label: the first half would say little of the rest
    grown, held = np.array_split(np.random.default_rng(seed).permutation(len(codes)), 2)
    importances, informed = [], []
    for values in classes(factors).values():
        # every split may use any latent, and none serves a handful of faces: importances stay pure
        forest = RandomForestClassifier(20, max_features=None, min_samples_leaf=20, max_depth=8,
                                        random_state=seed)  # fmt: skip
        importances.append(forest.fit(codes[grown], values[grown]).feature_importances_)
        informed.append(max(0.0, cohen_kappa_score(values[held], forest.predict(codes[held]))))
    matrix = np.array(importances).T  # (D, K)
    return {"disentanglement": _one_each(matrix), "completeness": _one_each(matrix.T),
            "informativeness": float(np.mean(informed))}  # fmt: skip


def scores(codes: np.ndarray, factors: Factors, seed: int = 0) -> dict[str, float]:
    """MIG and DCI, over the faces whose factors are all known: not NaN, nor −1 among whole numbers.
    A ValueError says that there are too few faces, factors or latents."""
    unknown = [v == -1 if v.dtype.kind in "iu" else np.isnan(v) for v in factors.values()]
    rows = ~np.any(unknown, axis=0)
    codes, factors = np.asarray(codes, float)[rows], {n: v[rows] for n, v in factors.items()}
    (faces, latents), varying = codes.shape, len(classes(factors))
    if faces < MIN_FACES or min(varying, latents) < 2:
        raise ValueError(f"{faces} faces with {varying} factors that vary and {latents} latents "
                         f"are too few to score: give {MIN_FACES}, 2 and 2 at least")  # fmt: skip
    return {"mig": mig(codes, factors), **dci(codes, factors, seed)}


def _ranges(values: np.ndarray) -> np.ndarray:
    """Values (N,) of more than BINS kinds as numbers of ranges with equally many faces."""
    if len(np.unique(values)) <= BINS:
        return values
    return np.digitize(values, np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))


def _one_each(matrix: np.ndarray) -> float:
    """1 − entropy of each row's shares, weighted by the rows' sums: 1 where each has one column."""
    rows = matrix[matrix.sum(axis=1) > 0]
    purity = 1 - entropy(rows, base=matrix.shape[1], axis=1)
    return float(np.average(purity, weights=rows.sum(axis=1))) if len(rows) else 0.0
