"""Statistics of codes: what `train` leaves for a studio."""

import json

import numpy as np
import pytest
import torch

from facevae.config import ModelConfig
from facevae.io import NotAModel
from facevae.latents.statistics import LatentStatistics, binary_labels, encoded
from facevae.models.vae import FaceVAE
from tests.helpers import one_sentence


class Faces:
    """Faces whose pictures are their codes, for a model that hands them on."""

    framing = "head"

    def __init__(self, codes, labels, **manifest):
        self.codes, self.labels = torch.as_tensor(codes).float(), labels
        self.manifest = {"source": "made", **manifest}

    def __len__(self):
        return len(self.codes)

    def tensor(self, rows):
        return self.codes[rows]

    def conditions(self, names):
        columns = [np.where(self.labels[n] < 0, np.nan, self.labels[n]) for n in names]
        return np.stack(columns, axis=1).astype(np.float32)


class Model(FaceVAE):
    """Its mean is the picture, and in the conditional one less a tenth of the condition."""

    def encode(self, images, condition=None):
        moved = 0.0 if condition is None else 0.1 * condition.sum(1, keepdim=True)
        posterior = super().encode(torch.zeros(len(images), *self.config.image_shape), condition)
        return type(posterior)(images - moved, posterior.logvar)


def model(conditions=()):
    return Model(ModelConfig((1, 4, 4), latents=3, channels=(2,), conditions=conditions))


@pytest.fixture
def confounded():
    """Men have x = 1, and beards y = 2: nine of ten men have one, and two of ten others."""
    rng = np.random.default_rng(0)
    male = np.arange(400) % 2
    beard = np.where(male == 1, rng.random(400) < 0.9, rng.random(400) < 0.2).astype(int)
    codes = np.stack([male, 2.0 * beard, rng.normal(size=400)], axis=1)
    age = np.where(np.arange(400) < 200, 25, 55)
    codes[:, 2] += age
    unknown = np.arange(400) % 7 == 0
    labels = {"gender": 1 - male, "Beard": np.where(unknown, -1, beard), "age": age}
    return Faces(codes, labels)


def test_directions_are_differences_of_means_and_balanced_ones_lose_what_goes_along(confounded):
    rows = np.arange(400)
    found = LatentStatistics.fit(model(), confounded, rows)
    assert set(found.labels) == {"Male", "Beard"} and found.framing == "head"
    beard = found.direction("Beard")
    known = confounded.labels["Beard"]
    expected = confounded.codes[known == 1].mean(0) - confounded.codes[known == 0].mean(0)
    assert torch.allclose(beard, expected, atol=1e-4)
    balanced = found.direction("Beard", "balanced")
    assert beard[0] > 0.6 and abs(balanced[0]) < 1e-4  # a beard means man, but is none
    assert balanced[1] == pytest.approx(2.0, abs=1e-4) and abs(balanced[2]) < 0.5
    row = found.labels.index("Beard")
    assert found.counts[row].tolist() == [(known == 1).sum(), (known == 0).sum()]
    assert found.direction("Male")[0] == pytest.approx(1.0)


def test_ages_have_a_mean_code_for_each_band(confounded):
    found = LatentStatistics.fit(model(), confounded, np.arange(400))
    assert found.ages.tolist() == [25.0, 55.0] and found.age_codes.shape == (2, 3)
    assert (found.age_codes[1] - found.age_codes[0])[2] == pytest.approx(30, abs=0.3)


def test_only_the_given_rows_count_and_no_more_than_asked(confounded):
    found = LatentStatistics.fit(model(), confounded, np.arange(200), max_faces=50)
    assert found.counts.sum(1).max() <= 50 and found.ages.tolist() == [25.0]


def test_the_probe_reads_conditions_from_codes_of_the_mean_condition(confounded):
    conditional = model(("gender", "Beard"))
    found = LatentStatistics.fit(conditional, confounded, np.arange(400))
    given = torch.from_numpy(confounded.conditions(("gender", "Beard")))
    assert torch.allclose(found.mean_condition, given.nanmean(0))
    codes = encoded(
        conditional, confounded, np.arange(400), found.mean_condition.repeat(400, 1)
    ).mean
    read = torch.cat([codes, torch.ones(400, 1)], dim=1) @ found.probe
    known = ~given[:, 1].isnan()
    assert (read - given)[known].abs().max() < 0.05


def test_faces_without_labels_still_give_a_prior():
    codes = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    found = LatentStatistics.fit(model(), Faces(codes, {}), np.arange(100))
    assert found.labels == () and found.with_label.shape == (0, 3) and len(found.ages) == 0
    assert found.probe.shape == (4, 0) and found.counts.shape == (0, 2)
    assert torch.allclose(found.prior.moments()[0], codes.mean(0), atol=1e-3)
    with pytest.raises(ValueError, match="no label 'Smiling': they have none"):
        found.direction("Smiling")


def test_saved_and_loaded_are_equal(confounded, tmp_path):
    found = LatentStatistics.fit(model(("gender",)), confounded, np.arange(400))
    found.save(tmp_path)
    again = LatentStatistics.load(tmp_path)
    assert (again.labels, again.framing, again.source) == (found.labels, "head", "made")
    for name in ("with_label", "without_label", "balanced", "counts", "ages", "probe"):
        assert torch.equal(getattr(again, name), getattr(found, name)), name
    draws = [s.prior.sample(3, torch.Generator().manual_seed(0)) for s in (found, again)]
    assert torch.equal(*draws)
    with pytest.raises(ValueError, match="the method 'best' is unknown"):
        again.direction("Male", "best")


HARMS = {
    "no file": ("studio.json", lambda p: p.unlink(), "studio.json"),
    "no tensors": ("studio.safetensors", lambda p: p.unlink(), "studio.safetensors"),
    "cut short": ("studio.safetensors", lambda p: p.write_bytes(p.read_bytes()[:99]), "Error"),
    "a list": ("studio.json", lambda p: p.write_text("[]"), "holds no statistics"),
    "another format": (
        "studio.json", lambda p: p.write_text('{"format": 9}'), "is not of format 1"),
    "more labels": (
        "studio.json",
        lambda p: p.write_text(json.dumps(json.loads(p.read_text()) | {"labels": ["a"]})),
        "do not fit its labels"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "harm", "words"), HARMS.values(), ids=HARMS)
def test_a_foreign_folder_is_refused_in_one_sentence(name, harm, words, confounded, tmp_path):
    LatentStatistics.fit(model(), confounded, np.arange(400)).save(tmp_path)
    harm(tmp_path / name)
    with pytest.raises(NotAModel) as caught:
        LatentStatistics.load(tmp_path)
    one_sentence(caught, words if words != "Error" else "holds no statistics of training faces")


def test_labels_of_drawn_faces_have_celebas_names(drawn_faces):
    labels = binary_labels(drawn_faces)
    assert {"Male", "Smiling", "Eyeglasses", "Beard"} <= set(labels)
    assert np.array_equal(labels["Male"] == 1, drawn_faces.labels["gender"] == 0)
    smiles = drawn_faces.labels["smile"]
    assert smiles[labels["Smiling"] == 1].min() > 0.3 > -0.3 > smiles[labels["Smiling"] == 0].max()


def test_classes_of_folders_are_labels_unless_they_are_smiles():
    numbers = np.array([0, 1, 2, 0, -1])
    three = binary_labels(Faces(np.zeros((5, 3)), {"class": numbers}, classes=["a", "b", "c"]))
    assert set(three) == {"a", "b", "c"} and three["b"].tolist() == [0, 1, 0, 0, -1]
    two = {"class": np.array([0, 1, 1, 0]), "Smiling": np.array([0, 1, 1, 0])}
    assert set(binary_labels(Faces(np.zeros((4, 3)), two, classes=["non_smile", "smile"]))) == {
        "Smiling"
    }
    names = {"class": np.array([0, 1, 1, 0])}
    assert set(binary_labels(Faces(np.zeros((4, 3)), names, classes=["cat", "dog"]))) == {"dog"}


def test_texts_numbers_and_opposites_are_no_labels():
    labels = {"content": np.arange(3), "person": np.array(["a", "b", "c"]), "race": np.arange(3),
              "No_Beard": np.array([1, 0, -1]), "Beard": np.array([0, 1, -1]),
              "yaw": np.array([0.0, 1.0, 0.0])}  # fmt: skip
    assert set(binary_labels(Faces(np.zeros((3, 3)), labels))) == {"Beard"}
