"""evaluation.disentanglement: scores of codes that are perfect, rotated, doubled, or noise."""

import numpy as np
import pytest

from facevae.evaluation import disentanglement as d

N, K = 4000, 5
RNG = np.random.default_rng(0)
FACTORS = {f"factor{i}": RNG.random(N) for i in range(K - 1)}
FACTORS["gender"] = RNG.integers(0, 2, N)
IDENTITY = np.stack(list(FACTORS.values()), axis=1) * [1, -2, 3, 0.5, 4]  # scale is no matter
ROTATION = np.linalg.qr(RNG.normal(size=(K, K)))[0]
NOISE = RNG.normal(size=(N, K))
CODES = {
    "identity": IDENTITY,
    "rotated": (IDENTITY - IDENTITY.mean(0)) / IDENTITY.std(0) @ ROTATION,
    "doubled": np.concatenate([IDENTITY, IDENTITY], axis=1),
    "noise": NOISE,
    "zeros": np.zeros((N, K)),
}


@pytest.fixture(scope="module")
def scores():
    with np.errstate(all="raise"):
        return {name: d.scores(codes, FACTORS) for name, codes in CODES.items()}


def test_a_latent_a_factor_scores_near_one(scores):
    assert all(0.95 < score <= 1.0 + 1e-9 for score in scores["identity"].values())


def test_codes_that_know_nothing_score_near_zero(scores):
    assert all(abs(score) < 1e-9 for score in scores["zeros"].values())
    assert all(0 <= score < 0.05 for name, score in scores["noise"].items() if name != "factor_vae")
    assert scores["noise"]["factor_vae"] < 0.3  # a majority of few votes is above chance


def test_a_rotation_keeps_the_information_and_loses_the_alignment(scores):
    assert scores["rotated"]["informativeness"] > 0.25
    for name in ("mig", "sap", "disentanglement", "completeness"):
        assert scores["rotated"][name] < 0.5 * scores["identity"][name], name
    assert scores["rotated"]["factor_vae"] < scores["identity"]["factor_vae"]


def test_a_factor_in_two_latents_leaves_no_gap_but_a_pure_latent_each(scores):
    assert scores["doubled"]["mig"] < 0.01 and scores["doubled"]["sap"] < 0.01
    assert scores["doubled"]["disentanglement"] > 0.9 > scores["doubled"]["completeness"]


def test_mig_of_a_noisy_bit_by_hand():
    """A latent that gives a fair bit right 9 times in 10 holds log 2 − H(0.1) of its log 2 nats."""
    bit = np.arange(N) % 2
    seen = np.where(np.arange(N) % 20 < 2, 1 - bit, bit)
    codes = np.stack([seen, NOISE[:, 0]], axis=1)
    entropy = -(0.1 * np.log(0.1) + 0.9 * np.log(0.9))
    expected = 1 - entropy / np.log(2)
    assert d.mig(codes, {"bit": bit}) == pytest.approx(expected, abs=0.01)


def test_unknown_faces_and_constant_factors_are_left_out():
    """−1 is unknown among whole numbers only."""
    row, factors = np.arange(N), dict(FACTORS)
    factors["gender"] = np.where(row < 1000, -1, FACTORS["gender"])
    factors["factor0"] = np.where(row < 2000, np.nan, FACTORS["factor0"])
    factors["factor1"] = np.where(row == 2000, -1.0, FACTORS["factor1"])
    kept = {name: values[2000:] for name, values in factors.items()}
    assert d.scores(IDENTITY, factors | {"always": np.ones(N)}) == d.scores(IDENTITY[2000:], kept)


def test_faces_in_the_order_of_a_label_score_as_any_others():
    """Folders are sorted by age or class: the held-out half must not be of another kind."""
    order = np.argsort(FACTORS["factor0"])
    scores = d.dci(IDENTITY[order], {name: values[order] for name, values in FACTORS.items()})
    assert scores == pytest.approx(d.dci(IDENTITY, FACTORS), abs=0.03)  # another random half


@pytest.mark.filterwarnings("error")
def test_a_class_of_a_few_faces_gives_numbers_and_no_warning():
    rare = np.where(np.arange(N) < 2, 1, 0)
    spike = np.where(np.arange(N) < 30, 1 + RNG.random(N), 0.0)  # one range would hold all
    assert set(d.classes({**FACTORS, "spike": spike})) == set(FACTORS)
    scores = d.scores(IDENTITY, {**FACTORS, "rare": rare, "spike": spike})
    assert all(0 <= score <= 1 for score in scores.values())


def test_too_little_is_refused():
    with pytest.raises(ValueError, match="50 faces with 5 factors"):
        d.scores(IDENTITY[:50], {name: values[:50] for name, values in FACTORS.items()})
    with pytest.raises(ValueError, match="1 factors that vary"):
        d.scores(IDENTITY, {"gender": FACTORS["gender"]})
    with pytest.raises(ValueError, match="1 latents"):
        d.scores(IDENTITY[:, :1], FACTORS)
