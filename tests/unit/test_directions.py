"""Directions on codes whose attributes are known: unit, leakage, locks, averages, ages."""

import numpy as np
import pytest
import torch

from facevae.latents.directions import METHODS, AgeCurve, Direction, average, find

SMILE = torch.tensor([0.0, 0.0, 3.0, 0.0])
MALE = torch.tensor([0.0, 4.0, 0.0, 0.0])
BEARD = torch.tensor([2.0, 0.0, 0.0, 0.0])
CHANCE = 0.12  # a mean of 1,000 draws of spread 1 is off by 0.03, a difference of two by 0.05


@pytest.fixture(scope="module")
def world():
    """6,000 codes = what each attribute adds + noise; nine bearded of ten are male."""
    rng = np.random.default_rng(0)
    male, smiling = rng.integers(0, 2, 6000), rng.integers(0, 2, 6000)
    beard = (rng.random(6000) < np.where(male, 0.45, 0.05)).astype(int)
    labels = {"Beard": beard, "Male": male, "Smiling": smiling}
    added = sum(
        torch.from_numpy(labels[name])[:, None] * vector
        for name, vector in (("Beard", BEARD), ("Male", MALE), ("Smiling", SMILE))
    )
    noise = torch.randn(6000, 4, generator=torch.Generator().manual_seed(0))
    return added + noise, labels


def cosine(a, b):
    return torch.cosine_similarity(a, b, dim=0).item()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_a_known_direction_and_its_unit(world, method):
    codes, labels = world
    found = find(codes, labels, "Smiling", method)
    assert cosine(found.vector, SMILE) > 0.99
    # half the distance between the class means
    assert found.vector.norm().item() == pytest.approx(1.5, abs=CHANCE)
    for value, strength in ((1, 1.0), (0, -1.0)):
        codes_of = codes[labels["Smiling"] == value]
        assert found.strength(codes_of).mean().item() == pytest.approx(strength, abs=1e-4)


def test_a_confounded_attribute_leaks_by_mean_difference_and_not_when_balanced(world):
    codes, labels = world
    leaky, clean = (find(codes, labels, "Beard", method) for method in ("mean", "balanced"))
    # P(male | beard) − P(male | none) is 0.9 − 0.37: the mean takes along 0.53 of what male adds
    assert leaky.vector[1].item() / leaky.vector[0].item() == pytest.approx(0.53 * 4 / 2, abs=0.1)
    assert cosine(clean.vector, BEARD) > 0.99


def test_balance_over_chosen_labels_alone(world):
    codes, labels = world
    leaky = find(codes, labels, "Beard", "balanced", ["Smiling"]).vector
    clean = find(codes, labels, "Beard", "balanced", ["Male"]).vector
    assert cosine(leaky, BEARD) < 0.8 and cosine(clean, BEARD) > 0.99


def test_unknown_labels_are_left_out(world):
    codes, labels = world
    hidden = {name: column.copy() for name, column in labels.items()}
    hidden["Smiling"][::2] = -1
    odd = {name: column[1::2] for name, column in hidden.items()}
    for method in METHODS:
        whole = find(codes, hidden, "Smiling", method)
        half = find(codes[1::2], odd, "Smiling", method)
        assert torch.allclose(whole.vector, half.vector, atol=1e-4)


def test_edits_reach_the_class_means_and_always_move(world):
    codes, labels = world
    smile = find(codes, labels, "Smiling")
    own = smile.strength(codes)
    assert torch.allclose(smile.strength(smile.moved(codes, 0.7)), own + 0.7, atol=1e-5)
    with_it = smile.strength(smile.toward(codes, 1.0))
    assert torch.allclose(with_it, (own + 1).clamp(min=1.0), atol=1e-4)
    without = smile.strength(smile.toward(codes, -1.0))
    assert torch.allclose(without, (own - 1).clamp(max=-1.0), atol=1e-4)
    half = smile.strength(smile.toward(codes, 0.5))
    assert torch.allclose(half, (own + with_it) / 2, atol=1e-4)
    assert torch.equal(smile.toward(codes, 0.0), codes)


def test_a_locked_strength_does_not_move(world):
    codes, labels = world
    beard, male, smile = (find(codes, labels, name) for name in ("Beard", "Male", "Smiling"))
    free = beard.without([male, smile])
    moved = free.toward(codes, 1.0)
    for locked in (male, smile):
        assert abs(cosine(free.vector, locked.vector)) < 1e-5
        assert torch.allclose(locked.strength(moved), locked.strength(codes), atol=1e-4)
    assert free.strength(codes[labels["Beard"] == 1]).mean().item() == pytest.approx(1, abs=1e-4)
    twice = beard.without([male, male, smile])  # a lock given twice is one lock
    assert torch.allclose(twice.vector, free.vector, atol=1e-5)
    assert beard.without([]) is beard


def test_a_lock_that_leaves_nothing_is_refused(world):
    codes, labels = world
    smile = find(codes, labels, "Smiling")
    tilted = smile.vector + 0.01 * smile.vector.roll(1)
    near = Direction.along("Grin", tilted, smile.has, smile.lacks)
    with pytest.raises(ValueError, match="'Grin' cannot move while Smiling is locked"):
        near.without([smile])


def test_the_average_person_with_and_without_within_a_gender(world):
    codes, labels = world
    bearded = average(codes, labels, {"Male": 1, "Beard": 1, "Smiling": 0})
    shaven = average(codes, labels, {"Male": 1, "Beard": 0, "Smiling": 0})
    assert bearded.shape == (1, 4)
    assert torch.allclose((bearded - shaven)[0], BEARD, atol=2 * CHANCE)
    assert torch.allclose(shaven[0], MALE, atol=2 * CHANCE)
    with pytest.raises(ValueError, match="only 0 faces with Male 7"):
        average(codes, labels, {"Male": 7})
    with pytest.raises(ValueError, match="no label 'Hat'"):
        average(codes, labels, {"Hat": 1})


def test_what_cannot_be_found_is_said(world):
    codes, labels = world
    with pytest.raises(ValueError, match="'guess' is unknown"):
        find(codes, labels, "Male", "guess")
    rare = {"Hat": (np.arange(6000) < 3).astype(int)}
    with pytest.raises(ValueError, match="only 3 faces with Hat 1"):
        find(codes, rare, "Hat")
    twin = {"Male": labels["Male"], "Man": labels["Male"]}
    with pytest.raises(ValueError, match="no stratum of Man"):
        find(codes, twin, "Male", "balanced")
    same = torch.ones(4)
    with pytest.raises(ValueError, match="'Hat' do not differ"):
        Direction.along("Hat", torch.eye(4)[0], same, same)


@pytest.fixture(scope="module")
def aged():
    """Mean codes of faces whose first latent is age / 10, and 500 such codes of spread 1."""
    generator = torch.Generator().manual_seed(0)
    years = torch.rand(500, generator=generator) * 60 + 10
    codes = torch.randn(500, 3, generator=generator)
    codes[:, 0] += years / 10
    ages = torch.tensor([10.0, 30.0, 50.0, 70.0])
    means = torch.zeros(4, 3)
    means[:, 0] = ages / 10
    return AgeCurve(ages, means, codes.mean(dim=0), codes.std(dim=0)), codes, years


def test_age_curves_are_linear_between_known_ages_and_clipped_beyond(aged):
    curve = aged[0]
    assert curve.span == (10.0, 70.0)
    at = curve.at(torch.tensor([10.0, 40.0, 70.0, 150.0, 0.0]))
    assert torch.allclose(at[:, 0], torch.tensor([1.0, 4.0, 7.0, 7.0, 1.0]))
    assert torch.equal(at[:, 1:], torch.zeros(5, 2))


def test_the_age_of_a_code_is_estimated(aged):
    curve, codes, years = aged
    found = curve.estimate(codes)
    # a latent of spread 1 a decade tells an age to 10 years; the prior draws it to the mean
    assert (found - years).abs().mean() < 10
    assert torch.corrcoef(torch.stack([found, years]))[0, 1] > 0.8
    assert found.min() >= 10 and found.max() <= 70
