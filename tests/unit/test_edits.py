"""evaluation.edits and realism: figures of edits whose effect is known."""

import json

import numpy as np
import pytest
import torch

from facevae.data.face_set import FaceSet
from facevae.evaluation import edits, realism
from facevae.evaluation.metrics import group_masks

SIDE = 16
NAMES = ("Smiling", "Beard", "Male", "Young")
PLACE = {"Smiling": (0, 0), "Beard": (0, 1), "Male": (1, 0), "Young": (1, 1)}  # cell of 2 × 2


class CellClassifier:
    """Reads an attribute off the red and the age off the blue of a cell: no training."""

    attributes = NAMES
    report = {"age": 1.0}

    def predict(self, images):
        return self.predict_features(cell_features(images))

    def predict_features(self, found):
        cells = found[:, :8].unflatten(1, (2, 2, 2))  # (N, red and blue, 2, 2)
        read = {name: cells[:, 0][:, *PLACE[name]] for name in NAMES}
        return read | {"age": 100 * cells[:, 1].mean(dim=(1, 2))}


def cell_features(images, batch=64):
    """(N, 3, H, W) → red and blue of the 2 × 2 cells (N, 8), and noise-like rest (N, 8)."""
    half = SIDE // 2
    cells = images.unflatten(2, (2, half)).unflatten(4, (2, half)).mean(dim=(3, 5))  # (N, 3, 2, 2)
    rest = images[:, 1, :2, :4].flatten(1)
    return torch.cat([cells[:, [0, 2]].flatten(1), rest], dim=1)


@pytest.fixture(autouse=True)
def cells_as_features(monkeypatch):
    from facevae.evaluation import features

    monkeypatch.setattr(features, "features", cell_features)
    monkeypatch.setattr(edits, "features", cell_features)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_faces(tmp_path_factory.mktemp("cells"))


def write_faces(folder, n=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = {name: rng.integers(0, 2, n) for name in NAMES}
    age = rng.integers(15, 76, n)
    images = np.zeros((n, SIDE, SIDE, 3))
    images[..., 1] = rng.random((n, SIDE, SIDE))
    for name, (y, x) in PLACE.items():
        red = np.where(labels[name] == 1, 0.8, 0.2)
        images[:, y * 8 : y * 8 + 8, x * 8 : x * 8 + 8, 0] = red[:, None, None]
    images[..., 2] = age[:, None, None] / 100
    np.save(folder / "images.npy", (255 * images).round().astype(np.uint8))
    np.savez(folder / "labels.npz", content=np.arange(n, dtype=np.uint64), age=age,
             gender=1 - labels["Male"], **labels)  # fmt: skip
    about = {"source": "celeba", "options": {"framing": "head"}}
    (folder / "manifest.json").write_text(json.dumps(about))
    return FaceSet(folder)


@pytest.fixture(scope="module")
def pool(faces):
    with pytest.MonkeyPatch.context() as patch:
        from facevae.evaluation import features

        patch.setattr(features, "features", cell_features)
        return edits.ReadFaces.of(CellClassifier(), faces, np.arange(len(faces)))


def editor(pool, leak=None, strength=1.0):
    """Sets the red of an attribute's cell to what was asked for, and that of `leak`, too."""

    def edit(places, wanted):
        images = pool.images(places).clone()
        for name, value in wanted.items():
            if name == "age":
                images[:, 2] = value / 100
                continue
            for one in (name, leak) if leak else (name,):
                y, x = PLACE[one]
                images[:, 0, y * 8 : y * 8 + 8, x * 8 : x * 8 + 8] = 0.5 + 0.3 * strength * value
        return images

    return edit


def test_faces_to_edit_lack_it_both_by_reading_and_by_label(pool, faces):
    places = pool.to_edit("Smiling", True, 40)
    assert len(places) == 40 and (faces.labels["Smiling"][places] == 0).all()
    pool.labels["Smiling"][places[0]] = 1  # a label that contradicts the reading
    try:
        assert places[0] not in pool.to_edit("Smiling", True, 1000)
        assert places[0] not in pool.to_edit("Smiling", False, 1000)
    finally:
        pool.labels["Smiling"][places[0]] = 0


def test_a_perfect_edit_turns_all_and_leaks_nothing(pool):
    found = edits.evaluate_edits(CellClassifier(), pool, editor(pool), most=30)
    for name in NAMES:
        for side in ("on", "off"):
            one = found["attributes"][name][side]
            assert one["faces"] == 30 and one["turned"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
            assert not any(one["leaked"].values()) and not any(one["tied"].values())
            assert one["age_moved"]["mean"] == pytest.approx(0, abs=0.01)
    assert found["groups"]["gender male"]["mean"] == 1.0
    assert set(found["groups"]) == set(group_masks(pool.faces, pool.rows))
    assert max(found["unsteady"].values()) < 0.05 and "critic" not in found


def test_an_edit_that_does_nothing_turns_nobody_and_a_leak_is_seen(pool):
    idle = edits.evaluate_edits(
        CellClassifier(), pool, lambda places, _: pool.images(places), None, ("Smiling",), most=30
    )
    assert idle["attributes"]["Smiling"]["on"]["turned"]["mean"] == 0.0
    leaky = edits.evaluate_edits(
        CellClassifier(), pool, editor(pool, leak="Young"), None, ("Smiling",), most=30
    )
    assert leaky["attributes"]["Smiling"]["on"]["leaked"]["Young"] > 0.2
    assert leaky["attributes"]["Smiling"]["on"]["leaked"]["Beard"] == 0.0


def test_what_is_tied_by_nature_is_no_leak(pool):
    found = edits.evaluate_edits(
        CellClassifier(), pool, editor(pool, leak="Male"), None, ("Beard",), most=30
    )
    one = found["attributes"]["Beard"]["on"]
    assert one["tied"]["Male"] > 0.2 and "Male" not in one["leaked"]


def test_ages_that_are_obeyed_and_ages_that_are_ignored(pool, faces):
    real = edits.real_ages(CellClassifier(), faces, np.arange(len(faces)))
    assert real[20] == pytest.approx(20, abs=3) and real[70] == pytest.approx(70, abs=3)
    found = edits.evaluate_ages(CellClassifier(), pool, editor(pool), real, most=30)
    assert found["span"]["mean"] == pytest.approx(50 / (real[70] - real[20]), rel=0.02)
    assert found["monotone"]["mean"] == found["gender_kept"]["mean"] == 1.0
    assert found["error"]["mean"] < 0.5
    ignored = edits.evaluate_ages(
        CellClassifier(), pool, lambda places, _: pool.images(places), real, most=30
    )
    assert ignored["span"]["mean"] == pytest.approx(0, abs=1e-6)
    young = np.flatnonzero(faces.labels["age"] < 60)
    with pytest.raises(ValueError, match="about 70 years old"):
        edits.real_ages(CellClassifier(), faces, young)


def test_identity_is_kept_by_the_same_face_and_lost_to_another(pool):
    class Recogniser:
        def features(self, images):
            return images[:, 1].flatten(1)

    same = edits.evaluate_edits(
        CellClassifier(), pool, editor(pool), None, ("Smiling",), Recogniser(), most=20
    )
    assert same["attributes"]["Smiling"]["on"]["identity"]["mean"] == 1.0

    def swapped(places, wanted):
        return editor(pool)(places, wanted).roll(1, 0)

    other = edits.evaluate_edits(
        CellClassifier(), pool, swapped, None, ("Smiling",), Recogniser(), most=20
    )
    assert other["attributes"]["Smiling"]["on"]["identity"]["mean"] < 0.2


def test_real_looking_edits_are_near_real_faces_and_painted_ones_are_not(pool, tmp_path):
    real = edits.ReadFaces.of(CellClassifier(), write_faces(tmp_path, 600, 1), np.arange(600))

    def painted(places, wanted):
        images = editor(pool)(places, wanted)
        images[:, 1, :4] = 1.0
        return images

    found = [
        edits.evaluate_edits(CellClassifier(), pool, one, real, ("Smiling", "Beard"), most=100)
        for one in (editor(pool), painted)
    ]
    ratios = [one["attributes"]["Smiling"]["on"]["frechet"]["ratio"] for one in found]
    assert ratios[0] < 2 < ratios[1]
    accuracies = [one["critic"]["accuracy"]["mean"] for one in found]
    assert accuracies[0] < 0.7 < 0.9 < accuracies[1]
    assert set(found[0]["critic"]["attributes"]) == {"Smiling", "Beard"}


def test_frechet_distance_of_known_gaussians():
    """Means 3 apart and variances 1 and 4, in each of 2 dimensions: 2 · (9 + (2 − 1)²)."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(5000, 2, generator=generator)
    b = 2 * torch.randn(4000, 2, generator=generator) + 3
    assert realism.frechet(a, b) == pytest.approx(20, rel=0.03)
    assert realism.frechet(a, a) == pytest.approx(0, abs=1e-6)
    few = realism.against_halves(a[:10], b)
    assert few == {"faces": 10}
    alike = realism.against_halves(a[:500], a[500:])
    assert alike["ratio"] == pytest.approx(1, abs=0.7) and alike["faces"] == 500


def test_matched_faces_have_the_same_strata():
    wanted, available = np.array([0, 0, 0, 1, 2]), np.array([0, 0, 0, 0, 1, 1, 1])
    ours, theirs = realism.matched(wanted, available, each=2)
    assert sorted(wanted[ours]) == [0, 0, 1]  # two of the first, one of the second, no third
    assert sorted(available[theirs]) == [0, 0, 0, 0, 1, 1]
