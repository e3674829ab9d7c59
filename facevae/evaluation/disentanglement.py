"""Disentanglement scores in 0 … 1: how well latents line up with known factors.

Codes are (N, D), posterior means of N faces; factors name → (N,). A factor of at most BINS values
is taken as classes, any other is cut into BINS ranges of equally many faces; what does not vary is
left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import entropy
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import cohen_kappa_score, mutual_info_score
from sklearn.preprocessing import scale

Array = np.ndarray
Factors = Mapping[str, Array]
BINS = 20
MIN_FACES = 10 * BINS  # faces; with fewer in a range noise looks like information


def classes(factors: Factors) -> dict[str, Array]:
    """Factors that vary, as whole numbers 0 … K − 1."""
    found = {name: np.unique(_ranges(v), return_inverse=True)[1] for name, v in factors.items()}
    return {name: column for name, column in found.items() if column.any()}


def mutual_information(codes: Array, factors: Factors) -> Array:
    """(D, K) nats between each latent, cut into BINS ranges, and each factor's classes."""
    columns = classes(factors).values()
    return np.array([[mutual_info_score(v, _ranges(code)) for v in columns] for code in codes.T])


def mig(codes: Array, factors: Factors) -> float:
    """Mutual information gap: how far each factor's best latent is ahead of the second best, as a
    share of the factor's entropy. Source: Chen et al., arXiv 1802.04942, equation 6."""
    entropies = [mutual_info_score(v, v) for v in classes(factors).values()]
    return _gap(mutual_information(codes, factors) / entropies)


def sap(codes: Array, factors: Factors) -> float:
    """Separated attribute predictability: the same gap of R², of a line from each latent alone.
    Source: Kumar et al., arXiv 1711.00848, section 3.1."""
    values = scale(np.stack([factors[name] for name in classes(factors)], axis=1))  # (N, K)
    return _gap((scale(codes).T @ values / len(codes)) ** 2)


def dci(codes: Array, factors: Factors, seed: int = 0) -> dict[str, float]:
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


def factor_vae(codes: Array, factors: Factors) -> float:
    """How often, above chance, the latent that varies least among the faces of one class of a
    factor names that factor; each class votes with its share of the faces, in place of random
    batches. Source: Kim & Mnih, arXiv 1802.05983, section 4."""
    columns, codes = classes(factors).values(), scale(codes)
    votes = np.zeros((codes.shape[1], len(columns)))
    for k, column in enumerate(columns):
        for value, share in enumerate(np.bincount(column) / len(column)):
            spread = np.where(codes.any(axis=0), codes[column == value].var(axis=0), np.inf)
            votes[spread.argmin(), k] += share / len(columns)
    chance = 1 / len(columns)
    return float(max(0.0, (votes.max(axis=1).sum() - chance) / (1 - chance)))


def scores(codes: Array, factors: Factors, seed: int = 0) -> dict[str, float]:
    """All scores, over the faces whose factors are all known: not NaN, nor −1 among whole numbers.
    A ValueError says that there are too few faces, factors or latents."""
    columns = [np.asarray(v) for v in factors.values()]
    unknown = [v == -1 if v.dtype.kind in "iu" else np.isnan(v) for v in columns]
    rows = ~np.any(unknown, axis=0)
    codes, factors = np.asarray(codes, float)[rows], {n: v[rows] for n, v in factors.items()}
    varying = len(classes(factors))
    if len(codes) < MIN_FACES or varying < 2 or codes.shape[1] < 2:
        raise ValueError(
            f"{len(codes)} faces with {varying} factors that vary and {codes.shape[1]} latents are "
            f"too few for disentanglement scores: give {MIN_FACES}, two and two at least"
        )
    return {"mig": mig(codes, factors), "sap": sap(codes, factors), **dci(codes, factors, seed),
            "factor_vae": factor_vae(codes, factors)}  # fmt: skip


def _ranges(values: Array) -> Array:
    """Values (N,) of more than BINS kinds as numbers of ranges with equally many faces."""
    if len(np.unique(values)) <= BINS:
        return values
    return np.digitize(values, np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))


def _gap(table: Array) -> float:
    """The best latent's number less the second best's, (D, K) → the mean over factors."""
    second, first = np.sort(table, axis=0)[-2:]
    return float(np.mean(first - second))


def _one_each(matrix: Array) -> float:
    """1 − entropy of each row's shares, weighted by the rows' sums: 1 where each has one column."""
    rows = matrix[matrix.sum(axis=1) > 0]
    purity = 1 - entropy(rows, base=matrix.shape[1], axis=1)
    return float(np.average(purity, weights=rows.sum(axis=1))) if len(rows) else 0.0
