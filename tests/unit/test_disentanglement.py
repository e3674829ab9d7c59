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
    assert turned["factor_vae"] < whole["factor_vae"]  # the most lenient: a range is a small part


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
    row = np.arange(N)
    some = {
        "gender": np.where(row < 1000, -1, FACTORS["gender"]),
        "factor0": np.where((row >= 1000) & (row < 2000), np.nan, FACTORS["factor0"]),
        "always": np.ones(N),
    }
    some = {name: some.get(name, FACTORS.get(name)) for name in [*FACTORS, "always"]}
    kept = {name: values[2000:] for name, values in FACTORS.items()}
    expected = d.scores(IDENTITY[2000:], kept)
    assert d.scores(IDENTITY, some) == expected


def test_minus_one_is_unknown_among_whole_numbers_only():
    factors = {"gender": np.array([0, -1, 1]), "smile": np.array([-1.0, 0.5, np.nan])}
    assert d.known(factors).tolist() == [True, False, False]


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


def test_several_classes_are_guessed_not_put_on_a_line():
    """The middle of three kinds, 1, has the extreme latent: no line, but a guess a range."""
    kind = np.arange(N) % 3
    codes = np.stack([np.array([0.0, 9.0, 1.0])[kind] + 0.01 * NOISE[:, 0], NOISE[:, 1]], axis=1)
    # a range of 5 % that two kinds share costs at most its own faces; noise guesses some by luck
    assert d.sap(codes, {"kind": kind}) > 0.85


def test_too_little_is_refused():
    with pytest.raises(ValueError, match="50 faces with 5 factors"):
        d.scores(IDENTITY[:50], {name: values[:50] for name, values in FACTORS.items()})
    with pytest.raises(ValueError, match="1 factors that vary"):
        d.scores(IDENTITY, {"gender": FACTORS["gender"]})
    with pytest.raises(ValueError, match="two latents"):
        d.mig(IDENTITY[:, :1], FACTORS)
