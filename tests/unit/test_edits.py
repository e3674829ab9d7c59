"""evaluation.edits: figures of edits whose effect is known."""

import numpy as np
import pytest
import torch

from facevae.evaluation import edits
from tests.unit.features_stand_in import write_faces

SIDE = 16
NAMES = ("Smiling", "Beard", "Male", "Young")
PLACE = {"Smiling": (0, 0), "Beard": (0, 1), "Male": (1, 0), "Young": (1, 1)}  # cell of 2 × 2


class CellClassifier:
    """Reads an attribute off the red and the age off the blue of a cell: no training."""

    heads = dict.fromkeys((*NAMES, "age"))
    report = dict.fromkeys(heads, 1.0)

    def predict(self, images):
        return self.read(cell_features(images))

    def read(self, found):
        cells = found[:, :8].unflatten(1, (2, 2, 2))  # (N, red and blue, 2, 2)
        read = {name: cells[:, 0][:, *PLACE[name]] for name in NAMES}
        return read | {"age": 100 * cells[:, 1].mean(dim=(1, 2))}


def cell_features(images):
    """(N, 3, H, W) → red and blue of the 2 × 2 cells (N, 8), and noise-like rest (N, 8)."""
    cells = torch.nn.functional.adaptive_avg_pool2d(images, 2)  # (N, 3, 2, 2)
    return torch.cat([cells[:, [0, 2]].flatten(1), images[:, 1, :2, :4].flatten(1)], dim=1)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    rng, n = np.random.default_rng(0), 800
    labels = {name: rng.integers(0, 2, n) for name in NAMES} | {"age": rng.integers(15, 76, n)}
    images = np.zeros((n, SIDE, SIDE, 3))
    images[..., 1] = rng.random((n, SIDE, SIDE))
    images[..., 2] = labels["age"][:, None, None] / 100
    for name, (y, x) in PLACE.items():
        red = 0.2 + 0.6 * labels[name][:, None, None]
        images[:, y * 8 : y * 8 + 8, x * 8 : x * 8 + 8, 0] = red
    folder = tmp_path_factory.mktemp("cells")
    faces = write_faces(folder, 255 * images, gender=1 - labels["Male"], **labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edits, "features", cell_features)
        yield edits.ReadFaces(CellClassifier(), faces, np.arange(n))


def editor(pool, leak=None):
    """Sets the red of an attribute's cell to what was asked for, and that of `leak`, too."""

    def edit(places, wanted):
        images = pool.images(places)
        for name, value in wanted.items():
            if name == "age":
                images[:, 2] = value / 100
            for y, x in (PLACE[one] for one in (name, leak) if one in PLACE):
                images[:, 0, y * 8 : y * 8 + 8, x * 8 : x * 8 + 8] = 0.5 + 0.3 * value
        return images

    return edit


def measured(pool, edit, names=("Smiling",), most=30):
    found = edits.evaluate_edits(pool, edit, names, most)
    return found["edits"]["+" + names[0]], found


def test_faces_to_edit_lack_it_in_all_and_those_to_compare_are_of_their_gender_and_age(pool):
    places = pool.having("Smiling", False)
    assert (pool.faces.labels["Smiling"][places] == 0).all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pool.labels, "Smiling", np.ones(len(pool.rows)))  # it contradicts the reading
        assert not len(pool.having("Smiling", False))
        assert not set(places) & set(pool.having("Smiling", True))
    old_men = np.flatnonzero((pool.read["Male"] > 0.5) & (pool.read["Young"] < 0.5))[:20]
    alike = pool.like(old_men, pool.having("Beard", False))
    assert len(set(alike)) == 40
    assert (pool.read["Male"][alike] > 0.5).all() and (pool.read["Young"][alike] < 0.5).all()


def test_a_perfect_edit_turns_all_and_leaks_nothing(pool):
    found = measured(pool, editor(pool), NAMES)[1]
    assert len(found["edits"]) == 2 * len(NAMES)
    for one in found["edits"].values():
        assert one["faces"] == 30 and one["turned"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
        assert one["leaks"] == {} and one["years"]["mean"] == pytest.approx(0, abs=0.01)
    assert found["turned"]["gender male"]["average"]["mean"] == 1.0


def test_what_an_edit_leaves_and_what_it_takes_along_is_seen(pool):
    idle, _ = measured(pool, lambda places, _: pool.images(places))
    assert idle["turned"]["mean"] == 0.0 and idle["identity"]["mean"] == 1.0
    another, _ = measured(pool, lambda *asked: editor(pool)(*asked).roll(1, 0))
    assert another["identity"]["mean"] < 0.3
    leaky, _ = measured(pool, editor(pool, leak="Young"))
    assert leaky["leaks"]["Young"] > 0.2 and "Beard" not in leaky["leaks"]
    tied, _ = measured(pool, editor(pool, leak="Male"), ("Beard",))  # by nature: no leak
    assert tied["leaks"] == {}


def test_ages_that_are_obeyed_and_ages_that_are_ignored(pool):
    found = edits.evaluate_ages(pool, editor(pool), most=30)
    assert found["span"]["mean"] == pytest.approx(1, abs=0.05)
    assert found["never falls"]["mean"] == found["gender kept"]["mean"] == 1.0
    still = edits.evaluate_ages(pool, lambda places, _: pool.images(places), 30)
    assert still["span"]["mean"] == pytest.approx(0, abs=1e-6)
    young = edits.ReadFaces(CellClassifier(), pool.faces, pool.rows[pool.labels["age"] < 60])
    few = edits.evaluate_ages(young, editor(young))
    assert few["too few faces about these ages"]["70"] == 0


def test_real_looking_edits_are_near_real_faces_and_painted_ones_are_not(pool):
    def painted(places, wanted):
        images = editor(pool)(places, wanted)
        images[:, 1, :4] = 1.0
        return images

    good, bad = (measured(pool, one, ("Smiling", "Beard"), 100) for one in (editor(pool), painted))
    assert good[0]["Fréchet"] < 2 < bad[0]["Fréchet"]
    seen = [found["critic"]["accuracy"]["mean"] for _, found in (good, bad)]
    assert seen[0] < 0.7 < 0.9 < seen[1]
