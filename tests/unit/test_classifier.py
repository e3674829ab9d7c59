"""The editing classifier: what it reads, how it is trained, stored and refused."""

import numpy as np
import pytest
import torch

from facevae.models.classifier import AttributeClassifier, ClassifierConfig
from facevae.training.classifier import train_classifier
from tests.unit.studios import tiny_classifier

SMALL = {"channels": (8, 16), "size": 32, "cells": 2}


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
    config = ClassifierConfig(("Male",), **SMALL)
    found = train_classifier(drawn_faces, rows, config, epochs=30, batch=16, progress=False)
    read = found.predict(drawn_faces.tensor(rows))
    gender = torch.from_numpy(drawn_faces.labels["gender"][rows].astype(np.int64))
    assert read["Male"][gender == 0].mean() - read["Male"][gender == 1].mean() > 0.15
    ages = torch.from_numpy(drawn_faces.labels["age"][rows].astype(np.float32))
    assert torch.corrcoef(torch.stack([read["age"], ages]))[0, 1] > 0.4
    with pytest.raises(ValueError, match="Wearing_Hat"):
        train_classifier(drawn_faces, np.arange(9), ClassifierConfig(("Wearing_Hat",), **SMALL))
