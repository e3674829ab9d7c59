"""Batches: order, balance, validation and augmentation."""

import numpy as np
import pytest
import torch

from facevae.config import ModelConfig, Recipe
from facevae.data.face_set import FaceSet
from facevae.training.batches import MAX_WEIGHT, Batches, augmentation

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


def test_processes_share_each_batch_of_training_and_validation(faces):
    whole = Batches(RECIPE, faces).train(1)
    shares = [Batches(RECIPE, faces, share=slice(rank, None, 2)) for rank in (0, 1)]
    for one, a, b in zip(whole, *(share.train(1) for share in shares), strict=True):
        assert len(a) == len(b) == 8 and set(one) == {*a, *b}
    seen = np.concatenate([rows for share in shares for rows in share.validation()])
    assert np.array_equal(np.sort(seen), faces.split(0)["val"])
    rows = Batches(RECIPE, faces).validation()
    assert all(16 <= len(part) < 32 for part in rows)  # no rest of one


def test_rare_ages_are_drawn_more_often_or_weigh_more_but_none_of_them_too_much(faces):
    train, old = faces.split(0)["train"], faces.labels["age"] > 70
    many = [order(RECIPE.changed(balance="age"), faces, epoch) for epoch in range(20)]
    assert old[np.concatenate(many)].mean() > 2 * old[train].mean()
    counts = np.bincount(np.concatenate(many), minlength=len(faces)) / 20
    assert counts.max() < 3 * MAX_WEIGHT  # 20 epochs' counts scatter around their expectation
    batches = Batches(RECIPE.changed(weigh="age"), faces)
    assert batches.weights[train].mean().item() == pytest.approx(1.0, abs=1e-5)
    assert batches.weights[old].mean() > 2 * batches.weights[~old].mean()
    assert (batches.draws == 1.0).all() and (Batches(RECIPE, faces).weights == 1.0).all()


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
    for label, words in (("wealth", "no label 'wealth'"), ("race", "no training face has a known")):
        with pytest.raises(ValueError, match=words):
            Batches(RECIPE.changed(**{field: label}), faces)


def test_each_part_of_the_augmentation_does_what_it_says():
    torch.manual_seed(0)
    ramp = torch.linspace(0.0, 0.99, 100).repeat(1, 100, 1)  # (1, 100, 100), brighter to the right

    def made(count, *settings):
        vary = augmentation((100, 100), *settings)
        return torch.stack([vary(ramp) for _ in range(count)])

    moved = made(100, False, 0.03, 0.0)[:, 0, 50, 50]
    assert [moved.min(), moved.max()] == pytest.approx([0.47, 0.53], abs=1e-5)
    lit = made(100, False, 0.0, 0.1)
    brightness, spread = lit.mean((1, 2, 3)) / ramp.mean(), lit.std((1, 2, 3)) / ramp.std()
    assert 0.88 < brightness.min() < 0.93 and 1.07 < brightness.max() < 1.12
    assert spread.min() < 0.92 and spread.max() > 1.08 and lit.max() <= 1
    blurred = augmentation((100, 100), False, 0.0, 0.0, blur=1.0)(torch.eye(100)[None])
    assert blurred.max() < 1 and blurred.mean() == pytest.approx(0.01, rel=0.02)
    turned = made(200, True, 0.0, 0.0)
    mirrored = (turned == ramp.flip(2)).flatten(1).all(1)
    assert 70 < mirrored.sum() < 130 and (turned[~mirrored] == ramp).all()


def test_only_training_images_vary_and_each_in_its_own_way(faces):
    batches, rows = Batches(RECIPE.changed(augment=True), faces), np.arange(32)
    images, _ = batches.load(rows)
    assert torch.equal(images, faces.tensor(rows))
    torch.manual_seed(0)
    first, other = (batches.load(rows, varied=True)[0] for _ in range(2))
    torch.manual_seed(0)
    assert torch.equal(first, batches.load(rows, varied=True)[0])
    assert not torch.equal(first, other)
    change = first.mean((1, 2, 3)) - images.mean((1, 2, 3))
    assert change.min() < -0.01 and change.max() > 0.01  # brightness goes both ways
    assert torch.equal(Batches(RECIPE, faces).load(rows, varied=True)[0], images)
