"""Codes whose attributes are known: statistics, directions, paths, traversals and the prior."""

import numpy as np
import pytest
import torch

from facevae import CannotDo, FaceSet, FaceVAE, ModelConfig
from facevae.latents import diagnostics
from facevae.latents.diagnostics import LatentStatistics
from facevae.latents.directions import METHODS, Direction, find
from facevae.latents.paths import PATHS, linear, spherical, traversal
from facevae.models.priors import MixturePrior

ROWS = np.arange(400)


class Faces(FaceSet):
    """Faces whose pictures are their codes, for a model that hands them on."""

    framing = "head"

    def __init__(self, codes, labels, **manifest):
        self.images, self.labels = torch.as_tensor(codes).float(), labels
        self.manifest = {"source": "made", **manifest}

    def tensor(self, rows):
        return self.images[rows]


class Model(FaceVAE):
    """Its mean is the picture, and in the conditional one less a tenth of the condition."""

    def __init__(self, *conditions):
        super().__init__(ModelConfig((1, 4, 4), latents=3, channels=(2,), conditions=conditions))

    def encode(self, images, condition=None):
        moved = 0.0 if condition is None else 0.1 * condition.sum(1, keepdim=True)
        posterior = super().encode(torch.zeros(len(images), *self.config.image_shape), condition)
        return type(posterior)(images - moved, posterior.logvar)


@pytest.fixture
def confounded():
    """Men have x = 1, and beards y = 2: nine of ten men have one, and two of ten others."""
    rng = np.random.default_rng(0)
    male, age = ROWS % 2, np.where(ROWS < 200, 25, 55)
    beard = np.where(male == 1, rng.random(400) < 0.9, rng.random(400) < 0.2).astype(int)
    codes = np.stack([male, 2.0 * beard, rng.normal(size=400) + age], axis=1)
    labels = {"gender": 1 - male, "Beard": np.where(ROWS % 7 == 0, -1, beard), "age": age}
    return Faces(codes, labels)


def test_labels_have_mean_codes_and_a_balanced_difference_and_each_band_of_ages_a_code(confounded):
    found = LatentStatistics.fit(Model(), confounded, ROWS)
    assert set(found.labels) == {"Male", "Beard"} and found.framing == "head"
    row, known = found.labels.index("Beard"), confounded.labels["Beard"]
    for mean, value in ((found.with_label, 1), (found.without_label, 0)):
        assert torch.allclose(mean[row], confounded.images[known == value].mean(0), atol=1e-4)
    assert found.counts[row].tolist() == [(known == 1).sum(), (known == 0).sum()]
    assert (found.with_label - found.without_label)[row, 0] > 0.6  # a beard means man …
    x, y, z = found.balanced[row].tolist()  # … but is none
    assert abs(x) < 1e-4 and y == pytest.approx(2.0, abs=1e-4) and abs(z) < 0.5
    assert found.ages.tolist() == [25.0, 55.0] and found.age_codes.shape == (2, 3)
    at = found.age_code(torch.tensor([10.0, 40.0, 55.0, 90.0]))[:, 2] - found.age_codes[0, 2]
    assert at.tolist() == pytest.approx([0, 15, 30, 30], abs=0.3)
    ages = torch.from_numpy(confounded.labels["age"]).float()
    assert torch.allclose(found.estimated_age(confounded.images), ages, atol=1e-3)
    assert LatentStatistics.fit(Model(), confounded, ROWS[:200]).ages.tolist() == [25.0]


def test_the_probe_reads_conditions_from_codes_of_the_mean_condition(confounded):
    model = Model("gender", "Beard")
    found = LatentStatistics.fit(model, confounded, ROWS)
    given = torch.from_numpy(confounded.conditions(("gender", "Beard")))
    assert torch.allclose(found.mean_condition, given.nanmean(0))
    codes = diagnostics.encoded(model, confounded, ROWS, found.mean_condition.repeat(400, 1)).mean
    read = torch.cat([codes, torch.ones(400, 1)], dim=1) @ found.probe
    assert (read - given)[~given[:, 1].isnan()].abs().max() < 0.05


def test_labels_of_drawn_faces_have_celebas_names(drawn_faces):
    labels = drawn_faces.binary_labels()
    assert {"Eyeglasses", "Beard"} <= set(labels)
    assert np.array_equal(labels["Male"] == 1, drawn_faces.labels["gender"] == 0)
    smiles = drawn_faces.labels["smile"]
    assert smiles[labels["Smiling"] == 1].min() > 0.3 > -0.3 > smiles[labels["Smiling"] == 0].max()


@pytest.mark.parametrize(("labels", "classes", "expected"), [
    ({"class": [0, 1, 2]}, ["a", "b", "c"], {"a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0, 1]}),
    ({"class": [0, 1, -1]}, ["cat", "dog"], {"dog": [0, 1, -1]}),
    ({"class": [0, 1], "Smiling": [0, 1]}, ["non_smile", "smile"], {"Smiling": [0, 1]}),
    ({"content": [0, 1], "person": ["a", "b"], "race": [0, 1], "yaw": [0.0, 1.0],
      "No_Beard": [1, -1], "Beard": [0, -1]}, [], {"Beard": [0, -1]}),
])  # fmt: skip
def test_classes_are_labels_but_texts_numbers_and_opposites_are_not(labels, classes, expected):
    columns = {name: np.array(values) for name, values in labels.items()}
    found = Faces(np.zeros((3, 3)), columns, classes=classes).binary_labels()
    assert {name: values.tolist() for name, values in found.items()} == expected


def test_active_latents_maps_and_linear_readings():
    kl = torch.tensor([[0.5, 0.001, 3.0, 0.02], [0.7, 0.0, 1.0, 0.04]])
    assert diagnostics.by_kl(kl) == [2, 0, 3]
    codes, noise = torch.randn(2, 2000, 6, generator=torch.Generator().manual_seed(0))
    for share, values in ((0.5, codes[:, 0] + noise[:, 0]), (0.0, noise[:, 0])):
        parts = codes[:1500], values[:1500].numpy(), codes[1500:], values[1500:].numpy()
        assert diagnostics.r_squared(*parts) == pytest.approx(share, abs=0.07)
    codes[1000:, 3] += 12
    points = diagnostics.map_2d(codes)
    assert points.shape == (2000, 2) and torch.equal(points, diagnostics.map_2d(codes))
    assert (points[:1000].mean(0) - points[1000:].mean(0)).norm() > 11


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
    assert cosine(other.vector, ADDED["Beard"]) < 0.8
    assert cosine(clean.vector, ADDED["Beard"]) > 0.99


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


A, B = torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
T = torch.linspace(0, 1, 5)


@pytest.mark.parametrize("path", PATHS.values())
def test_paths_begin_and_end_to_the_bit(path):
    a, b = torch.randn(1, 64), torch.randn(1, 64)
    points = path(a, b, T)
    assert points.shape == (5, 64)
    assert torch.equal(points[:1], a) and torch.equal(points[-1:], b)


def test_the_arc_keeps_its_length_and_a_traversal_moves_one_latent_by_its_own_deviations():
    assert torch.allclose(linear(A, B, T)[2], (A + B)[0] / 2)
    points = spherical(A, B, T)
    assert torch.allclose(points.norm(dim=1), torch.linspace(3, 1, 5), atol=1e-5)
    assert torch.allclose(points[2] / 2.0, torch.tensor([0.5**0.5, 0.5**0.5, 0.0]), atol=1e-5)
    for b in (2 * A, torch.zeros(1, 3), -A):  # no arc
        assert torch.allclose(spherical(A, b, T), linear(A, b, T))
    codes = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 8.0]])
    path = traversal(codes, 0, steps=3, reach=2.0)
    assert torch.equal(path[:, 0], torch.tensor([-2.0, 2.0, 6.0]))  # mean 2, deviation 2
    assert torch.equal(path[:, 1], torch.full((3,), 4.0))


def test_a_known_mixture_is_found_again_and_draws_repeat_by_seed_with_its_moments():
    """Two clusters, 3 of 10 near −2, the rest wider about 2; latent 1 follows latent 0."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2000, 3, generator=generator)
    noise[:, 1] += noise[:, 0]
    few = torch.rand(2000, 1, generator=generator) < 0.3
    codes = torch.where(few, 0.15 * noise - 2, 0.3 * noise + 2)
    prior = MixturePrior.fit(codes, components=2)
    low, high = prior.means[:, 0].argsort().tolist()
    assert torch.allclose(prior.weights[[low, high]], torch.tensor([0.3, 0.7]), atol=0.03)
    assert torch.allclose(prior.means[low], torch.full((3,), -2.0), atol=0.05)
    expected = 0.09 * torch.tensor([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    for which, share in ((high, 1.0), (low, 0.25)):
        found = prior.factors[which] @ prior.factors[which].T
        assert torch.allclose(found, share * expected, atol=0.02)
    draws = [prior.sample(20_000, torch.Generator().manual_seed(1), 1.0) for _ in range(2)]
    assert torch.equal(*draws)
    for found in (codes, draws[0]):
        assert torch.allclose(prior.mean, found.mean(0), atol=0.06)
    assert torch.allclose(codes.std(0), draws[0].std(0), rtol=0.04)
    cold = prior.sample(9, torch.Generator().manual_seed(2), temperature=0.0)
    assert all((prior.means == one).all(1).any() for one in cold)


def test_few_codes_share_a_covariance_and_many_have_one_for_each_component():
    codes = torch.randn(4000, 200, generator=torch.Generator().manual_seed(0))
    shared = MixturePrior.fit(codes[:60, :40])
    assert shared.factors.shape == (1, 40, 40) and len(shared.weights) == 3
    assert MixturePrior.fit(codes[:12]).means.shape == (1, 200)
    draws = shared.sample(20_000, torch.Generator().manual_seed(0), 1.0)
    assert torch.allclose(draws.std(0), codes[:60, :40].std(0, correction=0), rtol=0.03)
    assert [len(MixturePrior.fit(codes[:, :k]).factors) for k in (200, 10)] == [4, 16]
