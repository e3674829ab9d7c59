"""Directions on codes whose attributes are known: unit, leakage, locks. Edits: see test_studio."""

import numpy as np
import pytest
import torch

from facevae import CannotDo
from facevae.latents.directions import METHODS, Direction, find

ADDED = {"Beard": torch.tensor([2.0, 0, 0, 0]), "Male": torch.tensor([0, 4.0, 0, 0]),
         "Smiling": torch.tensor([0, 0, 3.0, 0])}  # fmt: skip


@pytest.fixture(scope="module")
def world():
    """6,000 codes = what each attribute adds + noise; nine bearded of ten are male."""
    rng = np.random.default_rng(0)
    male, smiling = rng.integers(0, 2, 6000), rng.integers(0, 2, 6000)
    beard = (rng.random(6000) < np.where(male, 0.45, 0.05)).astype(int)
    labels = {"Beard": beard, "Male": male, "Smiling": smiling}
    codes = torch.randn(6000, 4, generator=torch.Generator().manual_seed(0))
    return codes + sum(torch.from_numpy(labels[n])[:, None] * v for n, v in ADDED.items()), labels


def cosine(a, b):
    return torch.cosine_similarity(a, b, dim=0).item()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_a_known_direction_and_its_unit(world, method):
    codes, labels = world
    found = find(codes, labels, "Smiling", method, ["Male"])
    assert cosine(found.vector, ADDED["Smiling"]) > 0.99
    # half the distance between the class means; a difference of means is off by 0.05
    assert found.vector.norm().item() == pytest.approx(1.5, abs=0.12)
    for value, strength in ((1, 1.0), (0, -1.0)):
        codes_of = codes[labels["Smiling"] == value]
        assert found.strength(codes_of).mean().item() == pytest.approx(strength, abs=1e-4)


def test_a_confounded_attribute_leaks_but_not_when_balanced_over_its_cause(world):
    leaky, other, clean = (find(*world, "Beard", *how) for how in (
        ("mean",), ("balanced", ["Smiling"]), ("balanced", ["Male", "Smiling"])))  # fmt: skip
    # P(male | beard) − P(male | none) is 0.9 − 0.37: the mean takes along 0.53 of what male adds
    assert leaky.vector[1].item() / leaky.vector[0].item() == pytest.approx(0.53 * 4 / 2, abs=0.1)
    assert (
        cosine(other.vector, ADDED["Beard"]) < 0.8 and cosine(clean.vector, ADDED["Beard"]) > 0.99
    )


def test_edits_reach_the_class_means_and_always_move(world):
    codes, smile = world[0], find(*world, "Smiling")
    own = smile.strength(codes)
    for strength, there in ((1.0, (own + 1).clamp(min=1.0)), (-1.0, (own - 1).clamp(max=-1.0))):
        assert torch.allclose(smile.strength(smile.toward(codes, strength)), there, atol=1e-4)
        half = smile.strength(smile.toward(codes, strength / 2))
        assert torch.allclose(half, (own + there) / 2, atol=1e-4)
    assert torch.equal(smile.toward(codes, 0.0), codes)


def test_a_locked_strength_does_not_move_and_a_lock_that_leaves_nothing_is_refused(world):
    codes, labels = world
    beard, male, smile = (find(codes, labels, name) for name in ("Beard", "Male", "Smiling"))
    free = beard.without([male, smile])
    for locked in (male, smile):
        assert abs(cosine(free.vector, locked.vector)) < 1e-5
        kept = locked.strength(free.toward(codes, 1.0))
        assert torch.allclose(kept, locked.strength(codes), atol=1e-4)
    assert free.strength(codes[labels["Beard"] == 1]).mean().item() == pytest.approx(1, abs=1e-4)
    twice = beard.without([male, male, smile])  # a lock given twice is one lock
    assert torch.allclose(twice.vector, free.vector, atol=1e-5) and beard.without([]) is beard
    near = Direction("Grin", smile.step + 0.01 * smile.step.roll(1), smile.has, smile.lacks)
    with pytest.raises(CannotDo, match="'Grin' cannot move while Smiling is locked"):
        near.without([smile])
