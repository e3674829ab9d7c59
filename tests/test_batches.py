import numpy as np
import pytest
import torch

from facevae import ModelConfig, Recipe, prepare
from facevae.batches import CONTRAST, MOST, Batches
from facevae.parallel import Part

RECIPE = Recipe("tiny", "a test", ModelConfig(latents=4, channels=(4, 8)), batch=16)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches")
    faces = prepare("synthetic", out=folder / "faces", size=16, count=400, progress=False)
    ages = np.random.default_rng(0).integers(20, 40, len(faces))  # and one in 20 is old
    faces.labels["age"] = np.where(np.arange(len(faces)) % 20 == 0, 80, ages)
    return faces


def drawn(recipe, faces, seed=0):
    return np.concatenate(Batches(recipe, faces, CPU).train(torch.Generator().manual_seed(seed)))


def test_an_epoch_shows_each_training_face_at_most_once(faces):
    rows = drawn(RECIPE, faces)
    assert len(np.unique(rows)) == len(rows) and len(rows) % RECIPE.batch == 0
    assert set(rows) <= set(faces.split(0)["train"])
    assert len(faces.split(0)["train"]) - len(rows) < RECIPE.batch


def test_balance_draws_rare_ages_more_often_but_none_of_them_too_often(faces):
    train = faces.split(0)["train"]
    old = faces.labels["age"] > 70
    plain = old[train].mean()
    many = [drawn(RECIPE.changed(balance="age"), faces, seed) for seed in range(20)]
    balanced = old[np.concatenate(many)].mean()
    assert balanced > 2 * plain
    counts = np.bincount(np.concatenate(many), minlength=len(faces)) / 20
    assert counts.max() < 3 * MOST  # 20 epochs' counts scatter around their expectation


def test_weights_of_the_loss_average_to_one_and_rise_with_rarity(faces):
    batches = Batches(RECIPE.changed(weigh="age"), faces, CPU)
    train = faces.split(0)["train"]
    weights = batches.weight(train)
    assert weights.mean().item() == pytest.approx(1.0, abs=1e-5)
    old = torch.from_numpy(faces.labels["age"][train] > 70)
    assert weights[old].mean() > 2 * weights[~old].mean()
    assert Batches(RECIPE, faces, CPU).weight(train) == 1.0


def test_validation_counts_faces_as_training_does(faces):
    train = faces.split(0)["train"]
    both = Batches(RECIPE.changed(weigh="age", balance="age"), faces, CPU)
    assert torch.equal(both.importance(train), both.weight(train).square())
    assert torch.equal(Batches(RECIPE, faces, CPU).importance(train), torch.ones(len(train)))


@pytest.mark.parametrize("setting", ["tcvae=true", "capacity=5"])
def test_an_objective_of_a_batch_is_validated_in_whole_batches(setting, faces):
    """No rest of a face or two, and each face once."""
    count = len(faces.split(0)["val"])
    batches = Batches(RECIPE.changed(batch=count - 1).with_settings([setting]), faces, CPU)
    assert [len(rows) for rows in batches.validation()] == [count]
    batches = Batches(RECIPE.with_settings([setting]), faces, CPU)
    rows = list(batches.validation())
    assert all(16 <= len(part) < 32 for part in rows)
    assert np.array_equal(np.concatenate(rows), faces.split(0)["val"])


def test_a_label_that_is_not_there_is_named(faces):
    with pytest.raises(ValueError, match="no label 'race' to balance"):
        Batches(RECIPE.changed(weigh="race"), faces, CPU)


@pytest.mark.parametrize("field", ["weigh", "balance"])
def test_a_label_that_tells_nothing_is_named(field, faces, monkeypatch):
    race = np.zeros(len(faces))  # known, but of none that is trained with
    race[faces.split(0)["train"]] = -1
    monkeypatch.setitem(faces.labels, "race", race)
    monkeypatch.setitem(faces.labels, "name", np.full(len(faces), "train"))
    with pytest.raises(ValueError, match="no training face has a known 'race'"):
        Batches(RECIPE.changed(**{field: "race"}), faces, CPU)
    with pytest.raises(ValueError, match="the label 'name' is not in numbers"):
        Batches(RECIPE.changed(**{field: "name"}), faces, CPU)


def test_augmentation_is_mild_and_of_the_generator(faces):
    batches = Batches(RECIPE.changed(augment=True), faces, CPU)
    images, _ = batches.load(np.arange(32))
    part = Part(0, 32, 32)
    first, again, other = (
        batches.varied(images, part, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 1
    change = (first.flatten(1).mean(1) - images.flatten(1).mean(1)).abs()
    assert 0 < change.max() < 1.1 * CONTRAST  # brightness and contrast move a mean by half each


def test_a_part_of_a_batch_is_varied_as_in_the_whole(faces):
    batches = Batches(RECIPE.changed(flip=True, augment=True), faces, CPU)
    images, _ = batches.load(np.arange(32))
    whole = batches.varied(images, Part(0, 32, 32), torch.Generator().manual_seed(0))
    half = batches.varied(images[16:], Part(16, 32, 32), torch.Generator().manual_seed(0))
    assert torch.allclose(whole[16:], half, atol=1e-6)
