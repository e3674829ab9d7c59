"""The training loop, its batches, the exact rescaling after it, and the editing classifier."""

import numpy as np
import pytest
import torch

from facevae import FaceSet, FaceVAE, ModelConfig, read_history, train
from facevae.latents.diagnostics import encoded
from facevae.models.classifier import AttributeClassifier, ClassifierConfig
from facevae.training.batches import MAX_WEIGHT, Batches, augmentation
from facevae.training.classifier import train_classifier
from facevae.training.rescaling import rescale, rescale_to_prior
from facevae.training.trainer import Diverged, learning_rate
from tests.helpers import QUIET, TINY, failing, refused
from tests.unit.studios import tiny_classifier


def test_another_seed_is_another_run_of_its_own_noise(small_faces, small_run, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(TINY.changed(epochs=1, seed=1), small_faces, tmp_path, **QUIET)
    assert torch.equal(torch.rand(1), expected)
    assert read_history(small_run)[0]["train_loss"] != read_history(tmp_path)[0]["train_loss"]


def test_divergence_stops_and_keeps_the_last_good_epoch(small_faces, tmp_path):
    def broken(rows):
        return torch.full((len(rows), 3, 16, 16), float("nan"))

    reads = len(small_faces.split(0)["train"]) // 16 + 4
    with refused(Diverged, "no longer a number in epoch 2: lower the learning rate (now 0.001)"):
        train(TINY, failing(small_faces, reads, broken), tmp_path, **QUIET)
    state = torch.load(tmp_path / "checkpoint.pt")
    assert len(read_history(tmp_path)) == len(state["history"]) == 1


def test_validation_is_the_training_objective_on_unseen_faces(small_faces, tmp_path):
    """By hand: β and the weights by age as in training, whatever the warm-up is at."""
    recipe = TINY.changed(weigh="age", beta=3.0, warmup=10, keep_every=3, batch=8)
    train(recipe, small_faces, tmp_path, **QUIET)
    model, val = FaceVAE.from_pretrained(tmp_path / "epoch_003"), small_faces.split(0)["val"]
    weights = torch.from_numpy(small_faces.balanced_weights("age")).float().clamp(max=5.0)[val]
    generator, losses, kls = torch.Generator().manual_seed(0), [], []
    for rows in np.array_split(val, max(1, len(val) // 8)):
        log_likelihood, posterior = model(small_faces.tensor(rows), None, generator)
        losses += (3 * posterior.kl() - log_likelihood).tolist()
        kls += posterior.kl().tolist()
    expected, row = np.average(losses, weights=weights), read_history(tmp_path)[-1]
    assert row["val_loss"] == pytest.approx(expected, rel=1e-5)
    assert row["kl"] == pytest.approx(np.average(kls, weights=weights))
    assert abs(np.mean(losses) - expected) > 3e-5 * abs(expected)  # and not unweighted


def test_the_warm_up_weighs_the_kl_from_none_to_all(small_faces, tmp_path):
    recipe, found = TINY.with_settings(["model.sigma=1", "model.dropout=0", "epochs=1"]), []
    for beta, warmup in ((0.0, 0), (20.0, 0), (20.0, 1)):
        out = tmp_path / f"{beta}, {warmup}"
        train(recipe.changed(beta=beta, warmup=warmup, lr=0.0), small_faces, out, **QUIET)
        found.append(read_history(out)[0]["train_loss"])
    steps = len(small_faces.split(0)["train"]) // 16
    share = (found[2] - found[0]) / (found[1] - found[0])  # of the KL that is weighed, on average
    assert share == pytest.approx(np.mean(np.arange(steps) / steps), rel=0.1)


def test_a_plateau_halves_the_rate_after_four_epochs_and_the_cosine_falls_from_all_to_almost_none():
    rates = {
        0.8: ([], [5, 4, 3], [5, 4, 4, 4, 4], [-5] + 4 * [-5.0006]),
        0.4: ([5, 4, 4, 4, 4, 4], [5] + 7 * [6], [-5] + 4 * [-5.0004]),  # better by too little
        0.2: ([5] + 8 * [6],),
    }
    recipe = TINY.changed(schedule="plateau", lr=0.8)
    assert all(learning_rate(recipe, one) == rate for rate, many in rates.items() for one in many)
    recipe = TINY.changed(schedule="cosine", lr=1.0, epochs=4)
    rates = [learning_rate(recipe, [0.0] * done) for done in range(4)]
    assert rates == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert learning_rate(recipe.changed(schedule="constant"), [0.0] * 3) == 1.0


RECIPE = TINY.changed(flip=False)


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


@pytest.mark.parametrize("changes", [{}, {"spread_grid": 2}, {"conditions": ("age",)}])
def test_rescaling_leaves_pictures_and_their_likelihood_as_they_were(changes):
    torch.manual_seed(0)
    model = FaceVAE(ModelConfig((3, 16, 16), latents=4, channels=(4, 8), **changes)).eval()
    images = torch.rand(6, 3, 16, 16)
    condition = torch.rand(6, 1) if "conditions" in changes else None
    before = model.encode(images, condition)
    picture = model.decode(before.sample(torch.Generator().manual_seed(0)), condition)
    centre, scale = torch.randn(4), torch.rand(4) + 0.3
    rescale(model, centre, scale)
    after = model.encode(images, condition)
    assert torch.allclose(after.mean, (before.mean - centre) / scale, atol=1e-5)
    assert torch.allclose(after.std, before.std / scale, rtol=1e-4)
    same_z = after.sample(torch.Generator().manual_seed(0))
    assert torch.allclose(model.decode(same_z, condition), picture, atol=1e-5)


def test_a_model_is_rescaled_to_the_prior_where_off_it_and_draws_the_same(small_faces, small_run):
    losses = [row["val_loss"] for row in read_history(small_run)]
    assert min(losses) == losses[-1]  # so that the last is the best, before it was rescaled
    raw, model = (FaceVAE.from_pretrained(small_run / kind) for kind in ("epoch_003", "best"))
    rows = small_faces.split(0)["train"]
    before, after = encoded(raw, small_faces, rows), encoded(model, small_faces, rows)
    assert after.mean.mean(0).abs().max() < 1e-4
    square = (after.mean.square() + after.std.square()).mean(0)
    assert torch.allclose(square, torch.ones(4), atol=1e-3)
    assert after.kl().mean() < before.kl().mean()
    assert torch.allclose(model.decode(after.mean), raw.decode(before.mean), atol=1e-4)
    model, rows = FaceVAE(raw.config), np.arange(60)
    assert rescale_to_prior(model, small_faces, rows) is True
    assert rescale_to_prior(model, small_faces, rows) is False
    for centre, scale in ((0.01, 1.0), (0.0, 1.01)):
        rescale(model, torch.full((4,), centre), torch.full((4,), scale))
        assert rescale_to_prior(model, small_faces, rows) is True


def test_predictions_are_probabilities_and_years_of_a_mirror_too_and_what_is_saved_is_loaded(
    tmp_path,
):
    classifier, images = tiny_classifier().half().float(), torch.rand(5, 3, 40, 40)
    found, mirrored = classifier.predict(images), classifier.predict(images.flip(3))
    assert [*found] == ["Smiling", "Bangs", "Bald", "Male", "Eyeglasses", "age"]
    for name, most in (dict.fromkeys(found, 1) | {"age": 100}).items():
        assert found[name].shape == (5,) and 0 <= found[name].min() <= found[name].max() <= most
        assert torch.allclose(found[name], mirrored[name], atol=1e-3)
    grey = images[:, :1]
    alike = classifier.predict(grey)["Male"], classifier.predict(grey.expand(-1, 3, -1, -1))["Male"]
    assert torch.equal(*alike)
    classifier.save(tmp_path)
    again = AttributeClassifier.load(tmp_path)
    assert again.config == classifier.config and again.framing == "face"
    assert ClassifierConfig(("Male",)).framing == "head"
    for name, value in again.predict(images).items():
        assert torch.allclose(value, found[name], atol=1e-4)


def test_it_learns_what_the_labels_say_and_refuses_one_that_no_face_has(drawn_faces):
    rows = drawn_faces.split()["train"]
    small = {"channels": (8, 16), "size": 32, "cells": 2}
    config = ClassifierConfig(("Male",), **small)
    found = train_classifier(drawn_faces, rows, config, epochs=30, batch=16, progress=False)
    read = found.predict(drawn_faces.tensor(rows))
    gender = torch.from_numpy(drawn_faces.labels["gender"][rows].astype(np.int64))
    assert read["Male"][gender == 0].mean() - read["Male"][gender == 1].mean() > 0.15
    ages = torch.from_numpy(drawn_faces.labels["age"][rows].astype(np.float32))
    assert torch.corrcoef(torch.stack([read["age"], ages]))[0, 1] > 0.4
    with pytest.raises(ValueError, match="Wearing_Hat"):
        train_classifier(drawn_faces, np.arange(9), ClassifierConfig(("Wearing_Hat",), **small))
