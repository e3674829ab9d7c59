"""evaluation.disentanglement: scores of codes that are perfect, rotated, doubled, or noise."""

import numpy as np
import pytest

from facevae.evaluation import disentanglement as d

N, K = 4000, 5
RNG = np.random.default_rng(0)
FACTORS = {f"factor{i}": RNG.random(N) for i in range(K - 1)}
FACTORS["factor0"].sort()  # folders are sorted by age or class: the held-out half must not suffer
FACTORS["gender"] = RNG.integers(0, 2, N)
IDENTITY = np.stack(list(FACTORS.values()), axis=1) * [1, -2, 3, 0.5, 4]  # scale is no matter
ROTATION = np.linalg.qr(RNG.normal(size=(K, K)))[0]
NOISE = RNG.normal(size=(N, K))
CODES = {"identity": IDENTITY, "noise": NOISE, "zeros": np.zeros((N, K)),
         "rotated": (IDENTITY - IDENTITY.mean(0)) / IDENTITY.std(0) @ ROTATION,
         "doubled": np.concatenate([IDENTITY, IDENTITY], axis=1)}  # fmt: skip


def test_a_latent_a_factor_scores_near_one_and_what_is_rotated_doubled_or_noise_less():
    with np.errstate(all="raise"):
        scores = {name: d.scores(codes, FACTORS) for name, codes in CODES.items()}
    assert all(0.95 < score <= 1.0 + 1e-9 for score in scores["identity"].values())
    assert all(abs(score) < 1e-9 for score in scores["zeros"].values())
    assert all(0 <= score < 0.05 for score in scores["noise"].values())
    assert scores["rotated"]["informativeness"] > 0.25
    for name in ("mig", "disentanglement", "completeness"):
        assert scores["rotated"][name] < 0.5 * scores["identity"][name], name
    doubled = scores["doubled"]
    assert doubled["mig"] < 0.01 and doubled["disentanglement"] > 0.9 > doubled["completeness"]


def test_mig_of_a_noisy_bit_by_hand():
    """A latent that gives a fair bit right 9 times in 10 holds log 2 − H(0.1) of its log 2 nats."""
    bit = np.arange(N) % 2
    seen = np.where(np.arange(N) % 20 < 2, 1 - bit, bit)
    codes = np.stack([seen, NOISE[:, 0]], axis=1)
    entropy = -(0.1 * np.log(0.1) + 0.9 * np.log(0.9))
    assert d.mig(codes, {"bit": bit}) == pytest.approx(1 - entropy / np.log(2), abs=0.01)


def test_unknown_faces_and_constant_factors_are_left_out():
    """−1 is unknown among whole numbers only."""
    row, factors = np.arange(N), dict(FACTORS)
    factors["gender"] = np.where(row < 1000, -1, FACTORS["gender"])
    factors["factor0"] = np.where(row < 2000, np.nan, FACTORS["factor0"])
    factors["factor1"] = np.where(row == 2000, -1.0, FACTORS["factor1"])
    kept = {name: values[2000:] for name, values in factors.items()}
    assert d.scores(IDENTITY, factors | {"always": np.ones(N)}) == d.scores(IDENTITY[2000:], kept)


@pytest.mark.filterwarnings("error")
def test_a_class_of_a_few_faces_gives_numbers_and_no_warning():
    rare = np.where(np.arange(N) < 2, 1, 0)
    spike = np.where(np.arange(N) < 30, 1 + RNG.random(N), 0.0)  # one range would hold all
    assert set(d.classes({**FACTORS, "spike": spike})) == set(FACTORS)
    scores = d.scores(IDENTITY, {**FACTORS, "rare": rare, "spike": spike})
    assert all(0 <= score <= 1 for score in scores.values())


def test_too_little_is_refused():
    for codes, factors, words in (
        (IDENTITY[:50], {name: values[:50] for name, values in FACTORS.items()}, "50 faces with 5"),
        (IDENTITY, {"gender": FACTORS["gender"]}, "1 factors that vary"),
        (IDENTITY[:, :1], FACTORS, "1 latents"),
    ):
        with pytest.raises(ValueError, match=words):
            d.scores(codes, factors)
