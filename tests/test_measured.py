import numpy as np
import pytest
import torch

from facevae import FaceVAE, ModelConfig, measured

RNG = np.random.default_rng(0)
CODES = RNG.normal(size=(500, 4))


class Labelled:
    """As much of a FaceSet as labels need: four faces."""

    def __init__(self, classes=(), **labels):
        self.manifest = {"classes": list(classes)}
        self.labels = {name: np.array(values) for name, values in labels.items()}

    def __len__(self):
        return 4


def test_a_label_with_names_becomes_an_indicator_a_name():
    faces = Labelled(race=[0, 1, 2, -1], gender=[0, 1, 1, 0], age=[3, 4, 5, -1])
    race, gender, age = measured.labels_of(faces)
    assert list(race.columns()) == ["race white", "race black", "race asian"]
    assert np.array_equal(race.columns()["race black"], [0, 1, 0, np.nan], equal_nan=True)
    assert list(gender.columns()) == ["gender female"]  # the other one is 1 − this one
    assert np.array_equal(age.columns()["age"], [3, 4, 5, np.nan], equal_nan=True)
    assert np.array_equal(age.of([2, 0]).values, [5, 3])


def test_text_constants_and_twins_are_no_labels():
    faces = Labelled(name=list("abcd"), part=[1, 1, 1, 1], gender=[0, 1, 1, 0], Male=[1, 0, 0, 1])
    assert [label.name for label in measured.labels_of(faces)] == ["gender"]
    faces = Labelled(classes=["non_smile", "smile"], **{"class": [1, 0, 0, 1]})
    assert list(measured.labels_of(faces)[0].columns()) == ["class smile"]


def test_faces_without_labels_are_told_by_their_place():
    (label,) = measured.labels_of(Labelled(name=list("abcd")))
    assert label.name == "place in the data" and label.values.tolist() == [0, 1, 2, 3]


def test_correlations_of_known_codes():
    unknown = np.where(np.arange(500) < 100, np.nan, 2 * CODES[:, 1] + 3)
    found = measured.correlations(
        CODES, {"second": unknown, "against": -CODES[:, 2], "constant": np.ones(500)}
    )
    assert list(found) == ["second", "against"]
    assert found["second"][1] == pytest.approx(1) and found["against"][2] == pytest.approx(-1)
    assert np.abs(found["second"][[0, 2, 3]]).max() < 0.2  # chance: 4 / √400
    assert measured.correlations(np.zeros((9, 2)), {"x": np.arange(9.0)})["x"].tolist() == [0, 0]


def test_the_map_finds_the_two_widest_axes():
    wide = CODES * [1, 9, 1, 5]
    points, shares = measured.project(wide)
    assert abs(np.corrcoef(points[:, 0], CODES[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(points[:, 1], CODES[:, 3])[0, 1]) > 0.99
    assert shares == pytest.approx([81 / 108, 25 / 108], abs=0.06)  # of sampled variances
    assert measured.explained(points, {"a": points[:, 0] - points[:, 1]}) == pytest.approx(1)
    assert measured.explained(points, {"noise": RNG.normal(size=500)}) < 0.03


def test_a_traversal_moves_one_latent_as_far_as_codes_go():
    model = FaceVAE(ModelConfig((1, 16, 16), latents=4, channels=(4, 8))).eval()
    codes = torch.from_numpy(CODES).float()
    path = measured.traverse(model, codes, 2, reach=2.0, steps=5)
    with torch.no_grad():
        assert torch.allclose(path[2:3], model.decode(codes.mean(0, keepdim=True)), atol=1e-6)
        end = codes.mean(0, keepdim=True)
        end[0, 2] += 2 * codes[:, 2].std()
        assert torch.allclose(path[4:], model.decode(end), atol=1e-6)


def test_change_says_how_much_where_and_whether_brighter():
    pictures = torch.zeros(3, 3, 9, 6)
    pictures[2, :, 6:] = 0.5
    moved, brighter, thirds = measured.change(pictures)
    assert moved == pytest.approx(255 / 6) and brighter == pytest.approx(255 / 6)
    assert thirds == pytest.approx([0, 0, 1])
    pictures[2, 0, 6:], pictures[2, 1:, 6:] = 0.5, -0.25  # a change of hue alone
    moved, brighter, _ = measured.change(pictures)
    assert moved == pytest.approx(255 / 9) and brighter == pytest.approx(0, abs=1e-4)
