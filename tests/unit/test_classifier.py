"""The editing classifier: what it reads, how it is trained, stored and refused."""

import numpy as np
import pytest
import torch

from facevae.models.classifier import AttributeClassifier, ClassifierConfig, NotAClassifier
from facevae.training.classifier import blurred, disturbed, train_classifier

SMALL = {"channels": (8, 16), "size": 32, "cells": 2}


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return AttributeClassifier(ClassifierConfig(("Smiling", "Male"), **SMALL)).eval()


def test_predictions_are_probabilities_and_years_and_a_mirror_changes_nothing(classifier):
    images = torch.rand(5, 3, 40, 40)
    found = classifier.predict(images, batch=2)
    assert [*found] == ["Smiling", "Male", "age"]
    assert all(value.shape == (5,) for value in found.values())
    assert found["Smiling"].min() >= 0 and found["Smiling"].max() <= 1
    assert found["age"].min() >= 0 and found["age"].max() <= 100
    mirrored = classifier.predict(images.flip(3))
    assert torch.allclose(found["age"], mirrored["age"], atol=1e-3)


def test_grey_pictures_are_read_too(classifier):
    grey = torch.rand(2, 1, 32, 32)
    assert torch.equal(
        classifier.predict(grey)["Male"], classifier.predict(grey.expand(-1, 3, -1, -1))["Male"]
    )


def test_what_is_saved_is_loaded(classifier, tmp_path):
    classifier.half().float()
    classifier.save(tmp_path)
    again = AttributeClassifier.load(tmp_path)
    images = torch.rand(3, 3, 32, 32)
    assert again.attributes == ("Smiling", "Male") and again.framing == "head"
    for name, value in classifier.predict(images).items():
        assert torch.allclose(value, again.predict(images)[name], atol=1e-4)


@pytest.mark.parametrize("broken", ["missing", "format", "weights", "json"])
def test_a_foreign_folder_is_refused_in_a_sentence(classifier, tmp_path, broken):
    classifier.save(tmp_path)
    about = tmp_path / "classifier.json"
    if broken == "missing":
        about.unlink()
    elif broken == "format":
        about.write_text('{"format": 99, "config": {}}')
    elif broken == "json":
        about.write_text("[1, 2]")
    else:
        (tmp_path / "classifier.safetensors").write_bytes(b"nothing")
    with pytest.raises(NotAClassifier, match="python -m facevae classifier"):
        AttributeClassifier.load(tmp_path)


def test_it_learns_what_the_labels_say(drawn_faces):
    rows = drawn_faces.split()["train"]
    config = ClassifierConfig(("Male",), **SMALL)
    found = train_classifier([(drawn_faces, rows)], config, epochs=30, batch=16, progress=False)
    read = found.predict(drawn_faces.tensor(rows))
    gender = torch.from_numpy(drawn_faces.labels["gender"][rows].astype(np.int64))
    male = read["Male"][gender == 0].mean() - read["Male"][gender == 1].mean()
    assert male > 0.15
    ages = torch.from_numpy(drawn_faces.labels["age"][rows].astype(np.float32))
    assert torch.corrcoef(torch.stack([read["age"], ages]))[0, 1] > 0.4


def test_a_label_that_no_face_has_is_refused(drawn_faces):
    with pytest.raises(ValueError, match="Wearing_Hat"):
        train_classifier([(drawn_faces, np.arange(9))], ClassifierConfig(("Wearing_Hat",), **SMALL))


def test_disturbed_faces_differ_in_brightness_and_stay_in_range():
    images = torch.full((64, 3, 32, 32), 0.5)
    changed = disturbed(images, torch.Generator().manual_seed(0))
    assert changed.min() >= 0 and changed.max() <= 1
    levels = changed.mean(dim=(1, 2, 3))
    assert levels.std() > 0.05 and abs(levels.mean() - 0.5) < 0.05


def test_blur_keeps_the_mean_and_spreads_a_point():
    point = torch.zeros(1, 3, 33, 33)
    point[:, :, 16, 16] = 1.0
    soft = blurred(point, 1.0)
    assert soft.sum() == pytest.approx(3.0, abs=1e-3)
    assert soft[0, 0, 16, 16] == pytest.approx(1 / (2 * np.pi), abs=0.01)
