"""Batches: order, balance, validation and augmentation."""

import numpy as np
import pytest
import torch

from facevae.config import ModelConfig, Recipe
from facevae.data.face_set import FaceSet
from facevae.training.batches import CONTRAST, MAX_WEIGHT, SHIFT, Batches, augmented

RECIPE = Recipe("tiny", "a test", ModelConfig(latents=4, channels=(4, 8)), batch=16)


@pytest.fixture(scope="module")
def faces(drawn_faces):
    faces = FaceSet(drawn_faces.folder)
    ages = np.random.default_rng(0).integers(20, 40, len(faces))  # and one in 20 is old
    faces.labels["age"] = np.where(np.arange(len(faces)) % 20 == 0, 80, ages)
    return faces


def order(recipe, faces, epoch=0):
    return np.concatenate(Batches(recipe, faces).train(epoch))


def test_an_epoch_shows_each_training_face_at_most_once_in_an_order_of_its_own(faces):
    rows = order(RECIPE, faces)
    assert len(np.unique(rows)) == len(rows) and len(rows) % RECIPE.batch == 0
    assert set(rows) <= set(faces.split(0)["train"])
    assert len(faces.split(0)["train"]) - len(rows) < RECIPE.batch
    assert np.array_equal(rows, order(RECIPE, faces))
    assert not np.array_equal(rows, order(RECIPE, faces, epoch=1))
    assert not np.array_equal(rows, order(RECIPE.changed(seed=1), faces))


def test_processes_share_each_batch(faces):
    whole = Batches(RECIPE, faces).train(1)
    parts = [Batches(RECIPE, faces, share=slice(rank, None, 2)).train(1) for rank in (0, 1)]
    for one, a, b in zip(whole, *parts, strict=True):
        assert len(a) == len(b) == 8 and set(one) == {*a, *b}
    shares = [Batches(RECIPE, faces, share=slice(rank, None, 2)).validation() for rank in (0, 1)]
    seen = np.concatenate([rows for share in shares for rows in share])
    assert np.array_equal(np.sort(seen), faces.split(0)["val"])


def test_balance_draws_rare_ages_more_often_but_none_of_them_too_often(faces):
    train = faces.split(0)["train"]
    old = faces.labels["age"] > 70
    many = [order(RECIPE.changed(balance="age"), faces, epoch) for epoch in range(20)]
    assert old[np.concatenate(many)].mean() > 2 * old[train].mean()
    counts = np.bincount(np.concatenate(many), minlength=len(faces)) / 20
    assert counts.max() < 3 * MAX_WEIGHT  # 20 epochs' counts scatter around their expectation


def test_weights_of_the_loss_average_to_one_and_rise_with_rarity(faces):
    batches, train = Batches(RECIPE.changed(weigh="age"), faces), faces.split(0)["train"]
    weights = batches.weight(train)
    assert weights.mean().item() == pytest.approx(1.0, abs=1e-5)
    old = torch.from_numpy(faces.labels["age"][train] > 70)
    assert weights[old].mean() > 2 * weights[~old].mean()
    assert (Batches(RECIPE, faces).weight(train) == 1.0).all()


def test_validation_counts_faces_as_training_does(faces):
    train = faces.split(0)["train"]
    both = Batches(RECIPE.changed(weigh="age", balance="age"), faces)
    assert torch.equal(both.importance(train), both.weight(train).square())
    assert (Batches(RECIPE, faces).importance(train) == 1.0).all()


@pytest.mark.parametrize("setting", ["tcvae=true", "capacity=5"])
def test_an_objective_of_a_batch_is_validated_in_whole_batches(setting, faces):
    """No rest of a face or two, and each face once."""
    count = len(faces.split(0)["val"])
    batches = Batches(RECIPE.changed(batch=count - 1).with_settings([setting]), faces)
    assert [len(rows) for rows in batches.validation()] == [count]
    rows = Batches(RECIPE.with_settings([setting]), faces).validation()
    assert all(16 <= len(part) < 32 for part in rows)
    assert np.array_equal(np.concatenate(rows), faces.split(0)["val"])
    plain = Batches(RECIPE, faces).validation()
    assert [len(part) for part in plain[:-1]] == [16] * (count // 16)


def test_faces_whose_condition_is_unknown_take_no_part(faces, monkeypatch):
    gender = faces.labels["gender"].astype(int)
    monkeypatch.setitem(faces.labels, "gender", np.where(np.arange(len(faces)) % 3, gender, -1))
    batches = Batches(RECIPE.with_settings(["model.conditions=gender"]), faces)
    assert all((rows % 3).all() for rows in batches.rows.values())
    images, condition = batches.load(np.array([1, 2]))
    assert images.shape == (2, 3, 32, 32)
    assert condition.flatten().tolist() == gender[[1, 2]].tolist()
    monkeypatch.setitem(faces.labels, "gender", np.full(len(faces), -1))
    with pytest.raises(ValueError, match="gives train fewer than two faces"):
        Batches(RECIPE.with_settings(["model.conditions=gender"]), faces)


@pytest.mark.parametrize("field", ["weigh", "balance"])
def test_a_label_that_tells_nothing_is_named(field, faces, monkeypatch):
    race = np.zeros(len(faces))  # known, but of none that is trained with
    race[faces.split(0)["train"]] = -1
    monkeypatch.setitem(faces.labels, "race", race)
    monkeypatch.setitem(faces.labels, "name", np.full(len(faces), "train"))
    for label, words in (("wealth", "no label 'wealth' to balance"),
                         ("race", "no training face has a known 'race'"),
                         ("name", "the label 'name' is not in numbers")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            Batches(RECIPE.changed(**{field: label}), faces)


def drawn(**values):
    names = ("x", "y", "brightness", "contrast")
    return torch.tensor([[float(values.get(name, 0)) for name in names]])


def test_each_part_of_the_augmentation_does_what_it_says():
    images = torch.linspace(0.2, 0.8, 100)[None, None, None].repeat(1, 1, 100, 1)  # a ramp in x
    assert torch.allclose(augmented(images, drawn()), images, atol=1e-5)
    for sign in (-1, 1):
        brighter = augmented(images, drawn(brightness=sign))
        assert torch.allclose(brighter, images + sign * CONTRAST / 2, atol=1e-5)
        stretched = augmented(images, drawn(contrast=sign))
        expected = 0.5 + (1 + sign * CONTRAST) * (images - 0.5)
        assert torch.allclose(stretched, expected, atol=1e-5)
    steps = round(100 * SHIFT)
    moved = augmented(images, drawn(x=1))
    assert torch.allclose(moved[..., :-steps], images[..., steps:], atol=1e-4)
    turned = augmented(images.mT, drawn(y=1))
    assert torch.allclose(turned[..., :-steps, :], images.mT[..., steps:, :], atol=1e-4)
    assert augmented(images + 0.3, drawn(brightness=1)).max() == 1


def test_variation_is_of_the_generator_and_of_each_face(faces):
    batches = Batches(RECIPE.changed(augment=True), faces)
    images, _ = batches.load(np.arange(32))
    first, again, other = (
        batches.varied(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    change = first.mean((1, 2, 3)) - images.mean((1, 2, 3))
    assert change.min() < -0.01 and change.max() > 0.01  # brightness goes both ways
    assert torch.equal(Batches(RECIPE, faces).varied(images, torch.Generator()), images)


def test_half_of_the_faces_are_mirrored(faces):
    batches = Batches(RECIPE.changed(flip=True), faces)
    images, _ = batches.load(np.arange(200))
    varied = batches.varied(images, torch.Generator().manual_seed(0))
    mirrored = (varied == images.flip(3)).flatten(1).all(1)
    assert 70 < mirrored.sum() < 130
    assert torch.equal(varied[~mirrored], images[~mirrored])
