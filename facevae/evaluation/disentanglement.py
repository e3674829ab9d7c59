"""Disentanglement scores: how well latents line up with known factors.

Codes are (N, D), posterior means of N faces; factors name → (N,). A factor of at most BINS values
is taken as classes, any other is cut into BINS ranges of equally many faces. Factors that do not
vary are left out. All scores lie in 0 … 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import mutual_info_score

Array = np.ndarray
BINS = 20
MIN_FACES = 10 * BINS  # faces; with fewer in a range noise looks like information
MIN_VARIANCE = 1e-8  # of a latent that is not constant


def known(factors: Mapping[str, Array]) -> Array:
    """(N,) whether all factors of a face are known: not NaN, nor −1 among whole numbers."""
    columns = map(np.asarray, factors.values())
    return ~np.any([v == -1 if v.dtype.kind in "iu" else np.isnan(v) for v in columns], axis=0)


def classes(factors: Mapping[str, Array]) -> dict[str, Array]:
    """Factors as whole numbers 0 … K − 1; what does not vary is left out."""
    found = {}
    for name, values in factors.items():
        values = np.asarray(values, dtype=float)
        if len(np.unique(values)) > BINS:
            values = np.digitize(values, np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
        distinct, column = np.unique(values, return_inverse=True)
        if len(distinct) > 1:  # a value that nearly all faces have can fill every range
            found[name] = column
    return found


def mutual_information(codes: Array, factors: Mapping[str, Array]) -> Array:
    """(D, K) nats between each latent, cut into BINS ranges, and each factor's classes."""
    factors, cut = classes(factors), _ranges(codes)
    return np.array([[mutual_info_score(v, code) for v in factors.values()] for code in cut.T])


def mig(codes: Array, factors: Mapping[str, Array]) -> float:
    """Mutual information gap: how far each factor's best latent is ahead of the second best, as a
    share of the factor's entropy; the mean over factors.

    Source: Chen et al., arXiv 1802.04942, equation 6.
    """
    informations = np.sort(mutual_information(codes, factors), axis=0)[::-1]  # (D, K)
    if len(informations) < 2:
        raise ValueError("a gap needs two latents at least")
    entropies = [mutual_info_score(v, v) for v in classes(factors).values()]
    return float(np.mean((informations[0] - informations[1]) / entropies))


def sap(codes: Array, factors: Mapping[str, Array]) -> float:
    """Separated attribute predictability: the gap between the two latents that predict a factor
    best, each alone; the mean over factors.

    A latent predicts two classes by a threshold and more by one guess in each of its ranges
    (balanced accuracy, rescaled to 0 … 1), and any other factor by a line (R²).
    Source: Kumar et al., arXiv 1711.00848, section 3.1.
    """
    cut, gaps = _ranges(codes), []
    for name, column in classes(factors).items():
        values = np.asarray(factors[name], dtype=float)
        kinds = len(np.unique(values))
        if kinds == 2:
            alone = [_threshold(code, values) for code in codes.T]
        elif kinds <= BINS:
            alone = [_guesses(ranges, column) for ranges in cut.T]
        else:
            alone = [_line(code, values) for code in codes.T]
        second, first = np.sort(alone)[-2:]
        gaps.append(first - second)
    return float(np.mean(gaps))


def dci(codes: Array, factors: Mapping[str, Array], seed: int = 0) -> dict[str, float]:
    """Disentanglement (does a latent serve one factor?), completeness (is a factor served by one
    latent?) and informativeness (are held-out factors predicted at all? above chance, 0 … 1).

    Importances are those of a random forest a factor, grown on a random half of the faces.
    Source: Eastwood & Williams, "A framework for the quantitative evaluation of disentangled
    representations", ICLR 2018, section 2.
    """
    # faces on disk often lie in the order of a label: the first half would say little of the rest
    order, half = np.random.default_rng(seed).permutation(len(codes)), len(codes) // 2
    codes, importances, informed = codes[order], [], []
    for values in classes(factors).values():
        values = values[order]
        # every split may use any latent, and none serves a handful of faces: importances stay pure
        forest = RandomForestClassifier(
            20, max_features=None, min_samples_leaf=20, max_depth=8, random_state=seed
        )
        forest.fit(codes[:half], values[:half])
        importances.append(forest.feature_importances_)
        chance = np.bincount(values[half:]).max() / len(values[half:])
        right = (forest.predict(codes[half:]) == values[half:]).mean()
        if chance < 1:  # else a rare class has no held-out face to test with
            informed.append(max(0.0, (right - chance) / (1 - chance)))
    matrix = np.array(importances).T * (codes.var(axis=0) > MIN_VARIANCE)[:, None]  # (D, K)
    return {
        "disentanglement": _one_each(matrix),
        "completeness": _one_each(matrix.T),
        "informativeness": float(np.mean(informed)) if informed else 0.0,
    }


def factor_vae(
    codes: Array, factors: Mapping[str, Array], seed: int = 0, votes: int = 800, batch: int = 64
) -> float:
    """Share of votes in which the latent that varies least names the factor that was held still.

    On a fixed set the held factor is a class of `classes`; a majority vote fitted on half of the
    votes is tested on the others, and rescaled so that chance is 0. Source: Kim & Mnih,
    "Disentangling by factorising", arXiv 1802.05983, section 4.
    """
    rng, factors = np.random.default_rng(seed), classes(factors)
    spread = codes.var(axis=0)
    used = np.flatnonzero(spread > MIN_VARIANCE)
    if not len(used) or len(factors) < 2:
        return 0.0
    table = np.zeros((2, len(used), len(factors)))
    columns = list(factors.values())
    for vote in range(votes):
        k = rng.integers(len(columns))
        same = np.flatnonzero(columns[k] == columns[k][rng.integers(len(codes))])
        rows = rng.choice(same, min(batch, len(same)), replace=False)
        if len(rows) > 1:  # one face varies in nothing
            table[vote % 2, (codes[rows][:, used].var(axis=0) / spread[used]).argmin(), k] += 1
    named = table[0].argmax(axis=1)  # (D',) the factor that a latent stands for
    right = table[1][np.arange(len(used)), named].sum() / table[1].sum()
    chance = 1 / len(columns)
    return float(max(0.0, (right - chance) / (1 - chance)))


def scores(codes: Array, factors: Mapping[str, Array], seed: int = 0) -> dict[str, float]:
    """mig, sap, disentanglement, completeness, informativeness and factor_vae of the faces whose
    factors are all known.

    Raises:
        ValueError: fewer than two factors vary, or too few faces are left.
    """
    codes = np.asarray(codes, dtype=float)
    rows = known(factors)
    codes, columns = codes[rows], {name: np.asarray(v)[rows] for name, v in factors.items()}
    varying = len(classes(columns)) if len(codes) else 0
    if len(codes) < MIN_FACES or varying < 2:
        raise ValueError(
            f"{len(codes)} faces with {varying} factors that vary are too few for "
            f"disentanglement scores: give {MIN_FACES} and two at least"
        )
    return {
        "mig": mig(codes, columns),
        "sap": sap(codes, columns),
        **dci(codes, columns, seed),
        "factor_vae": factor_vae(codes, columns, seed),
    }


def _ranges(codes: Array) -> Array:
    """(N, D) codes → (N, D) numbers of ranges with equally many faces; 0 for a constant one."""
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    cut = [
        np.digitize(c, np.quantile(c, inner)) if c.var() > MIN_VARIANCE else 0 * c for c in codes.T
    ]
    return np.stack(cut, axis=1).astype(int)


def _line(code: Array, values: Array) -> float:
    """R² of the best line from one latent."""
    return float(np.corrcoef(code, values)[0, 1] ** 2) if code.var() > MIN_VARIANCE else 0.0


def _threshold(code: Array, values: Array) -> float:
    """Balanced accuracy of the best threshold of one latent, 0 at chance: Youden's J."""
    if code.var() <= MIN_VARIANCE:
        return 0.0
    order = np.argsort(code)
    positive = (values == values.max())[order]
    ends = np.append(np.diff(code[order]) > 0, True)  # a threshold cannot part equal codes
    gap = np.cumsum(positive) / positive.sum() - np.cumsum(~positive) / (~positive).sum()
    return float(np.abs(gap[ends]).max())


def _guesses(ranges: Array, column: Array) -> float:
    """Balanced accuracy of the best guess in each range of one latent, 0 at chance."""
    table = np.zeros((ranges.max() + 1, column.max() + 1))
    np.add.at(table, (ranges, column), 1)
    right = (table / table.sum(axis=0)).max(axis=1).sum()  # of as many as there are classes
    return float((right - 1) / (table.shape[1] - 1))


def _one_each(matrix: Array) -> float:
    """1 − entropy of each row's shares, weighted by the rows' sums: 1 where each has one column."""
    total = matrix.sum()
    if total <= 0 or matrix.shape[1] < 2:
        return 0.0
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-12)
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1) / np.log(matrix.shape[1])
    return float(((1 - entropy) * matrix.sum(axis=1)).sum() / total)
