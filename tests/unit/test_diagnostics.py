"""Statistics of codes: what `train` leaves for a studio; active latents, maps, linear readings."""

import numpy as np
import pytest
import torch

from facevae.config import ModelConfig
from facevae.io import NotAModel
from facevae.latents import diagnostics
from facevae.latents.diagnostics import LatentStatistics, binary_labels
from facevae.models.vae import FaceVAE
from tests.helpers import one_sentence

ROWS = np.arange(400)


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


def test_labels_have_mean_codes_and_a_balanced_difference_without_what_goes_along(confounded):
    found = LatentStatistics.fit(Model(), confounded, ROWS)
    assert set(found.labels) == {"Male", "Beard"} and found.framing == "head"
    row, known = found.labels.index("Beard"), confounded.labels["Beard"]
    for mean, value in ((found.with_label, 1), (found.without_label, 0)):
        assert torch.allclose(mean[row], confounded.codes[known == value].mean(0), atol=1e-4)
    assert found.counts[row].tolist() == [(known == 1).sum(), (known == 0).sum()]
    assert (found.with_label - found.without_label)[row, 0] > 0.6  # a beard means man …
    x, y, z = found.balanced[row].tolist()  # … but is none
    assert abs(x) < 1e-4 and y == pytest.approx(2.0, abs=1e-4) and abs(z) < 0.5


def test_ages_have_a_mean_code_for_each_band_and_are_estimated(confounded):
    found = LatentStatistics.fit(Model(), confounded, ROWS)
    assert found.ages.tolist() == [25.0, 55.0] and found.age_codes.shape == (2, 3)
    at = found.age_code(torch.tensor([10.0, 40.0, 55.0, 90.0]))[:, 2] - found.age_codes[0, 2]
    assert at.tolist() == pytest.approx([0, 15, 30, 30], abs=0.3)
    ages = torch.from_numpy(confounded.labels["age"]).float()
    assert torch.allclose(found.estimated_age(confounded.codes), ages, atol=1e-3)
    assert LatentStatistics.fit(Model(), confounded, ROWS[:200]).ages.tolist() == [25.0]


def test_the_probe_reads_conditions_from_codes_of_the_mean_condition(confounded):
    model = Model("gender", "Beard")
    found = LatentStatistics.fit(model, confounded, ROWS)
    given = torch.from_numpy(confounded.conditions(("gender", "Beard")))
    assert torch.allclose(found.mean_condition, given.nanmean(0))
    codes = diagnostics.encoded(model, confounded, ROWS, found.mean_condition.repeat(400, 1)).mean
    read = torch.cat([codes, torch.ones(400, 1)], dim=1) @ found.probe
    assert (read - given)[~given[:, 1].isnan()].abs().max() < 0.05


def test_faces_without_labels_still_give_a_prior():
    codes = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    found = LatentStatistics.fit(Model(), Faces(codes, {}), ROWS[:100])
    assert found.labels == () and found.with_label.shape == (0, 3) and len(found.ages) == 0
    assert found.probe.shape == (4, 0) and found.counts.shape == (0, 2)
    assert torch.allclose(found.prior.moments()[0], codes.mean(0), atol=1e-3)


def test_saved_and_loaded_are_equal(confounded, tmp_path):
    found = LatentStatistics.fit(Model("gender"), confounded, ROWS)
    found.save(tmp_path)
    again = LatentStatistics.load(tmp_path)
    for one, other in ((found, again), (found.prior, again.prior)):
        for name, value in vars(one).items():
            same = vars(other)[name]
            assert name == "prior" or np.array_equal(value, same), name


@pytest.mark.parametrize(
    ("name", "harm", "words"),
    [
        ("studio.json", None, "studio.json"),
        ("studio.safetensors", None, "studio.safetensors"),
        ("studio.safetensors", lambda old: old[:99], "holds no statistics of training faces"),
        ("studio.json", lambda _: b"[]", "holds no statistics of training faces"),
        ("studio.json", lambda _: b'{"format": 9}', "is not of format 1"),
        (
            "studio.json",
            lambda old: old.replace(b'"Male"', b'"Male", "a"'),
            "do not fit its labels",
        ),
    ],
)
def test_a_foreign_folder_is_refused_in_one_sentence(name, harm, words, confounded, tmp_path):
    LatentStatistics.fit(Model(), confounded, ROWS).save(tmp_path)
    path = tmp_path / name
    path.write_bytes(harm(path.read_bytes())) if harm else path.unlink()
    with pytest.raises(NotAModel) as caught:
        LatentStatistics.load(tmp_path)
    one_sentence(caught, words)


def test_labels_of_drawn_faces_have_celebas_names(drawn_faces):
    labels = binary_labels(drawn_faces)
    assert {"Eyeglasses", "Beard"} <= set(labels)
    assert np.array_equal(labels["Male"] == 1, drawn_faces.labels["gender"] == 0)
    smiles = drawn_faces.labels["smile"]
    assert smiles[labels["Smiling"] == 1].min() > 0.3 > -0.3 > smiles[labels["Smiling"] == 0].max()


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ({"class": [0, 1, 2]}, ["a", "b", "c"], {"a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0, 1]}),
        ({"class": [0, 1, -1]}, ["cat", "dog"], {"dog": [0, 1, -1]}),
        ({"class": [0, 1], "Smiling": [0, 1]}, ["non_smile", "smile"], {"Smiling": [0, 1]}),
        ({"content": [0, 1], "person": ["a", "b"], "race": [0, 1], "yaw": [0.0, 1.0],
          "No_Beard": [1, -1], "Beard": [0, -1]}, [], {"Beard": [0, -1]}),
    ],
)  # fmt: skip
def test_classes_are_labels_but_texts_numbers_and_opposites_are_not(labels, classes, expected):
    columns = {name: np.array(values) for name, values in labels.items()}
    found = binary_labels(Faces(np.zeros((3, 3)), columns, classes=classes))
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
