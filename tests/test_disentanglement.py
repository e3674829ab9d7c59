import numpy as np
import pytest

from facevae import disentanglement as d

N, K = 4000, 5
RNG = np.random.default_rng(0)
FACTORS = {f"factor{i}": RNG.random(N) for i in range(K - 1)}
FACTORS["gender"] = RNG.integers(0, 2, N)
IDENTITY = np.stack(list(FACTORS.values()), axis=1) * [1, -2, 3, 0.5, 4]  # scale is no matter
ROTATION = np.linalg.qr(RNG.normal(size=(K, K)))[0]
NOISE = RNG.normal(size=(N, K))
MIXED = (IDENTITY - IDENTITY.mean(0)) / IDENTITY.std(0) @ ROTATION


def test_a_latent_a_factor_scores_near_one():
    """DCI's and FactorVAE's keep some noise of the forest and of the votes."""
    scores = d.scores(IDENTITY, FACTORS)
    for name, least in {"mig": 0.95, "sap": 0.95, "disentanglement": 0.9, "completeness": 0.9,
                        "informativeness": 0.8, "factor_vae": 0.95}.items():  # fmt: skip
        assert least < scores[name] <= 1.0 + 1e-9, name


def test_codes_that_know_nothing_score_near_zero():
    for codes in (np.zeros((N, K)), NOISE):
        scores = d.scores(codes, FACTORS)
        for name in ("mig", "sap", "informativeness"):
            assert 0 <= scores[name] < 0.05, name
        assert scores["factor_vae"] < 0.2


def test_zeros_raise_no_warning_and_give_zero():
    with np.errstate(all="raise"):
        assert set(d.scores(np.zeros((N, K)), FACTORS).values()) == {0.0}


def test_a_rotation_keeps_the_information_and_loses_the_alignment():
    whole, turned = d.scores(IDENTITY, FACTORS), d.scores(MIXED, FACTORS)
    assert turned["informativeness"] > 0.25
    for name in ("mig", "sap", "disentanglement", "completeness"):
        assert turned[name] < 0.5 * whole[name], name


def test_a_factor_in_two_latents_leaves_no_gap_but_a_pure_latent_each():
    doubled = np.concatenate([IDENTITY, IDENTITY], axis=1)
    scores = d.scores(doubled, FACTORS)
    assert scores["mig"] < 0.01 and scores["sap"] < 0.01
    assert scores["disentanglement"] > 0.9 > scores["completeness"]


def test_mig_of_a_noisy_bit_by_hand():
    """A latent that gives a fair bit right 9 times in 10 holds log 2 − H(0.1) of its log 2 nats."""
    bit = np.arange(N) % 2
    seen = np.where(np.arange(N) % 20 < 2, 1 - bit, bit)
    codes = np.stack([seen, NOISE[:, 0]], axis=1)
    entropy = -(0.1 * np.log(0.1) + 0.9 * np.log(0.9))
    expected = 1 - entropy / np.log(2)
    assert d.mig(codes, {"bit": bit}) == pytest.approx(expected, abs=0.01)  # noise's own, estimated


def test_mutual_information_has_a_row_a_latent_and_a_column_a_factor():
    table = d.mutual_information(IDENTITY, FACTORS)
    assert table.shape == (K, K) and (table.argmax(axis=1) == np.arange(K)).all()


def test_unknown_faces_and_constant_factors_are_left_out():
    some = {**FACTORS, "gender": np.where(np.arange(N) < 2000, np.nan, FACTORS["gender"])}
    kept = {name: values[2000:] for name, values in FACTORS.items()}
    expected = d.scores(IDENTITY[2000:], kept)
    assert d.scores(IDENTITY, {**some, "always": np.ones(N)}) == expected


def test_too_little_is_refused():
    with pytest.raises(ValueError, match="50 faces with 5 factors"):
        d.scores(IDENTITY[:50], {name: values[:50] for name, values in FACTORS.items()})
    with pytest.raises(ValueError, match="1 factors that vary"):
        d.scores(IDENTITY, {"gender": FACTORS["gender"]})
    with pytest.raises(ValueError, match="two latents"):
        d.mig(IDENTITY[:, :1], FACTORS)
