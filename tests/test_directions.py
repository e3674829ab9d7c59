import numpy as np
import pytest
import torch

from facevae import directions
from facevae.ages import AgeCurves, age_groups

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


@pytest.mark.parametrize("method", directions.METHODS)
def test_every_method_finds_a_known_direction_and_its_unit(world, method):
    codes, labels = world
    found = directions.find(codes, labels, "Smiling", method)
    assert cosine(found.vector, SMILE) > 0.99
    # half the distance between the class means
    assert found.vector.norm().item() == pytest.approx(1.5, abs=CHANCE)
    assert found.strength(codes[labels["Smiling"] == 1]).mean().item() == pytest.approx(1, abs=1e-4)
    assert found.strength(codes[labels["Smiling"] == 0]).mean().item() == pytest.approx(
        -1, abs=1e-4
    )


@pytest.mark.parametrize("method", ["balanced", "joint", "logistic"])
def test_a_confounded_attribute_leaks_by_mean_difference_and_not_otherwise(world, method):
    codes, labels = world
    leaky = directions.find(codes, labels, "Beard", "mean")
    clean = directions.find(codes, labels, "Beard", method)
    # P(male | beard) − P(male | none) is 0.9 − 0.37: the mean takes along 0.53 of what male adds
    assert leaky.vector[1].item() / leaky.vector[0].item() == pytest.approx(0.53 * 4 / 2, abs=0.1)
    if method == "logistic":  # a plane between classes may see less of it, not none
        assert cosine(clean.vector, BEARD) > cosine(leaky.vector, BEARD)
    else:
        assert cosine(clean.vector, BEARD) > 0.99


@pytest.mark.parametrize("method", directions.METHODS)
def test_no_method_points_along_an_idle_latent(world, method):
    """One that hardly moves, and says a little of the label all the same: it draws nothing."""
    codes, labels = world
    idle = torch.from_numpy(labels["Smiling"])[:, None] + torch.randn(
        len(codes), 1, generator=torch.Generator().manual_seed(1)
    )
    found = directions.find(torch.cat([codes, 1e-3 * idle], dim=1), labels, "Smiling", method)
    assert found.vector[4].abs() < 0.01 * found.vector.norm()


def test_balance_over_chosen_labels_alone(world):
    codes, labels = world
    leaky = directions.balanced_difference(codes, labels, "Beard", ["Smiling"])
    clean = directions.balanced_difference(codes, labels, "Beard", ["Male"])
    assert leaky[1].item() > 1.5 and abs(clean[1].item()) < 2 * CHANCE


def test_unknown_labels_are_left_out(world):
    codes, labels = world
    hidden = {name: column.copy() for name, column in labels.items()}
    hidden["Smiling"][::2] = -1
    hidden["Male"][1::4] = -1
    odd = {name: column[1::2] for name, column in hidden.items()}
    for method in ("mean", "joint", "logistic"):
        whole = directions.find(codes, hidden, "Smiling", method)
        half = directions.find(codes[1::2], odd, "Smiling", method)
        assert torch.allclose(whole.vector, half.vector, atol=1e-4)


def test_moving_adds_to_the_strength_and_placing_sets_it(world):
    codes, labels = world
    found = directions.find(codes, labels, "Smiling")
    before = found.strength(codes)
    assert torch.allclose(found.strength(found.moved(codes, 0.7)), before + 0.7, atol=1e-5)
    assert torch.allclose(found.strength(found.placed(codes, -2.0)), torch.tensor(-2.0), atol=1e-5)
    assert torch.equal(found.moved(codes, 0.0), codes)


def test_a_locked_strength_does_not_move(world):
    codes, labels = world
    beard = directions.find(codes, labels, "Beard", "mean")
    male = directions.find(codes, labels, "Male", "mean")
    smile = directions.find(codes, labels, "Smiling", "mean")
    free = beard.without([male, smile])
    moved = free.placed(codes, 2.0)
    for locked in (male, smile):
        assert abs(cosine(free.vector, locked.vector)) < 1e-5
        assert torch.allclose(locked.strength(moved), locked.strength(codes), atol=1e-4)
    assert free.strength(codes[labels["Beard"] == 1]).mean().item() == pytest.approx(1, abs=1e-4)
    twice = beard.without([male, male, smile])  # a lock given twice is one lock
    assert torch.allclose(twice.vector, free.vector, atol=1e-5)
    assert beard.without([]) is beard


def test_a_lock_that_leaves_nothing_is_refused(world):
    codes, labels = world
    smile = directions.find(codes, labels, "Smiling", "mean")
    near = directions.Direction.along(
        "Grin", "mean", smile.vector + 0.01 * smile.vector.roll(1), smile.has, smile.lacks
    )
    with pytest.raises(ValueError, match="'Grin' cannot move while Smiling is locked"):
        near.without([smile])


def test_the_average_person_with_and_without_within_a_gender(world):
    codes, labels = world
    bearded = directions.average(codes, labels, {"Male": 1, "Beard": 1, "Smiling": 0})
    shaven = directions.average(codes, labels, {"Male": 1, "Beard": 0, "Smiling": 0})
    assert bearded.shape == (1, 4)
    assert torch.allclose((bearded - shaven)[0], BEARD, atol=2 * CHANCE)
    assert torch.allclose(shaven[0], MALE, atol=2 * CHANCE)
    with pytest.raises(ValueError, match="only 0 faces with Male 7"):
        directions.average(codes, labels, {"Male": 7})
    with pytest.raises(ValueError, match="no label 'Hat'"):
        directions.average(codes, labels, {"Hat": 1})


def test_what_cannot_be_found_is_said(world):
    codes, labels = world
    with pytest.raises(ValueError, match="'guess' is unknown"):
        directions.find(codes, labels, "Male", "guess")
    rare = {"Hat": (np.arange(6000) < 3).astype(int)}
    with pytest.raises(ValueError, match="only 3 faces with Hat 1"):
        directions.find(codes, rare, "Hat")
    twin = {"Male": labels["Male"], "Man": labels["Male"]}
    with pytest.raises(ValueError, match="no stratum of Man"):
        directions.find(codes, twin, "Male", "balanced")


@pytest.fixture(scope="module")
def aged():
    """4,000 codes whose first latent is age / 10, the other way round for gender 1."""
    rng = np.random.default_rng(0)
    ages, genders = rng.integers(20, 61, 4000), rng.integers(0, 2, 4000)
    codes = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    codes[:, 0] += torch.from_numpy(ages * (1 - 2 * genders) / 10).float()
    return codes, ages, genders


def test_age_curves_follow_a_known_course_up_to_both_ends(aged):
    curves = AgeCurves.fit(*aged)
    assert curves.span == (20, 60)
    years = torch.tensor([20.0, 40.5, 60.0])
    # a smoothed mean of about 200 faces of spread 1 is off by 0.07; the ends see half of them
    for gender, sign in ((0, 1), (1, -1)):
        means = curves.mean(years, torch.full((3,), gender))
        assert torch.allclose(means[:, 0], sign * years / 10, atol=0.35)
        assert means[:, 1:].abs().max() < 0.35
    unknown = curves.mean(years, torch.full((3,), -1))
    assert torch.allclose(unknown[:, 0], torch.zeros(3), atol=0.35)


def test_an_age_shift_is_the_way_between_two_ages_and_nothing_at_home(aged):
    curves = AgeCurves.fit(*aged)
    own, genders = torch.tensor([25, 30, 50]), torch.tensor([0, 1, 0])
    shift = curves.shift(own, 50, genders)
    assert torch.allclose(shift[:, 0], torch.tensor([2.5, -2.0, 0.0]), atol=0.5)
    assert torch.equal(shift[2], torch.zeros(3))


def test_ages_outside_those_seen_are_clipped(aged):
    curves = AgeCurves.fit(*aged)
    own, gender = torch.tensor([30]), torch.tensor([0])
    assert torch.equal(curves.shift(own, 150, gender), curves.shift(own, 60, gender))
    assert torch.equal(curves.shift(torch.tensor([99]), 75, gender), torch.zeros(1, 3))


def test_one_old_face_does_not_widen_the_range(aged):
    codes, ages, genders = aged
    ages = ages.copy()
    ages[0] = 110
    assert AgeCurves.fit(codes, ages, genders).span[1] < 70
    with pytest.raises(ValueError, match="no two ages"):
        AgeCurves.fit(codes[:20], ages[:20], genders[:20])


def test_age_curves_come_back_to_the_bit(aged, tmp_path):
    codes, ages, _ = aged
    curves = AgeCurves.fit(codes, ages)  # faces of unlabelled gender: one curve
    assert curves.genders.tolist() == [-1]
    curves.save(tmp_path / "ages.safetensors")
    again = AgeCurves.load(tmp_path / "ages.safetensors")
    assert torch.equal(again.means, curves.means) and again.span == curves.span


def test_age_groups():
    assert age_groups(np.array([-1, 0, 9, 10, 39, 60, 99])).tolist() == [-1, 0, 0, 1, 2, 4, 4]
