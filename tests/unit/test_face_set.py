"""FaceSet: splits that keep together what belongs together, conditions, and joined sets."""

import numpy as np
import pytest

from facevae.data.face_set import SPLITS, FaceSet, NotPrepared, evenly, load_faces
from tests.helpers import write_faces

RANDOM = np.random.default_rng(0).integers(0, 2**60, 1200)


def face_set(folder, content, size=4, manifest=None, **labels):
    """A FaceSet whose pictures are told apart by `content` alone."""
    content = np.asarray(content, np.uint64)
    levels = (content % 256).reshape(-1, 1, 1, 1).repeat(size, 1).repeat(size, 2)
    about = {"source": "made", "faces": len(content)} | (manifest or {})
    return write_faces(folder, levels, about, content=content, **labels)


def assert_partition(split, n):
    assert sorted(np.concatenate(list(split.values()))) == list(range(n))


def test_a_split_takes_every_face_once_keeps_duplicates_together_and_stays(tmp_path):
    content = RANDOM[:600].repeat(2)
    faces = face_set(tmp_path / "a", content)
    split = faces.split(seed=3)
    assert_partition(split, 1200)
    train, val, test = (set(content[split[name]]) for name in SPLITS)
    assert not train & val and not train & test and not val & test
    assert 0.7 < len(split["train"]) / 1200 < 0.9
    few = face_set(tmp_path / "b", content[:300]).split(seed=3)
    assert all(np.array_equal(few[n], split[n][split[n] < 300]) for n in SPLITS)
    assert not np.array_equal(split["test"], faces.split(seed=4)["test"])


@pytest.mark.parametrize("texts", [True, False])
def test_a_person_stays_on_one_side_and_unknown_ones_join_nobody(tmp_path, texts):
    content = RANDOM[:1000].copy()
    content[901] = content[17]  # a picture that says for both whose it is
    person = np.repeat(np.arange(250), 4)
    person[:900] = -1
    person = np.where(person < 0, "", person.astype(str)) if texts else person.astype(np.int16)
    split = face_set(tmp_path / "a", content, person=person).split()
    assert_partition(split, 1000)
    for one in [{17, 900, 901, 902, 903}, *({*range(i, i + 4)} for i in range(904, 1000, 4))]:
        assert any(one <= set(split[name]) for name in SPLITS)
    alone = face_set(tmp_path / "b", content[:900]).split()
    for name in SPLITS:
        unknown = [row for row in split[name] if row < 900 and row != 17]
        assert unknown == [row for row in alone[name] if row != 17]


def test_splits_are_those_of_earlier_versions(tmp_path):
    """A model's unseen faces must stay unseen: these rows were computed by version 1."""
    content, person = np.arange(60), np.repeat(np.arange(20), 3)
    split = face_set(tmp_path / "a", content, person=person).split()
    assert split["val"].tolist() == [0, 1, 2, 39, 40, 41]
    assert split["test"].tolist() == [36, 37, 38, 45, 46, 47]
    split = face_set(tmp_path / "b", content).split(seed=5)
    assert split["val"].tolist() == [6, 42, 50, 51]
    assert split["test"].tolist() == [10, 15, 18, 19, 32, 38, 49]


def test_a_test_folder_stays_the_test_set_and_a_film_is_cut_in_sequence(tmp_path):
    content = np.arange(200)
    content[0] = content[199]  # a training picture that is in the test folder too
    part = np.array(["train"] * 150 + ["test"] * 50)
    split = face_set(tmp_path / "a", content, part=part).split()
    assert_partition(split, 200)
    assert set(split["test"]) == {0, *range(150, 200)} and 0 < len(split["val"]) < 40
    film = face_set(tmp_path / "b", np.arange(100))
    split = film.split(by="order")
    assert [len(split[name]) for name in SPLITS] == [80, 10, 10]
    assert np.array_equal(np.concatenate([split[name] for name in SPLITS]), np.arange(100))
    with pytest.raises(ValueError, match="'content' or 'order'"):
        film.split(by="luck")


def test_conditions_are_scaled_and_balanced_weights_make_rare_ages_as_likely(tmp_path):
    labels = {"age": [20, -1], "gender": [0, 1], "race": [-1, -1], "name": ["a", "b"]}
    faces = face_set(tmp_path, [1, 2], **labels)
    conditions = faces.conditions(("age", "gender"))
    assert conditions.dtype == np.float32 and np.allclose(conditions[0], (0.2, 0))
    assert np.isnan(conditions[1, 0]) and conditions[1, 1] == 1
    with pytest.raises(ValueError, match="no label 'name' in numbers"):
        faces.conditions(["name"])
    for label, words in (("smile", "no label 'smile' in numbers"), ("race", "no face has a known")):
        with pytest.raises(ValueError, match=words):
            faces.balanced_weights(label)
    age = np.array([20] * 90 + [80] * 9 + [-1])
    weights = face_set(tmp_path / "b", np.arange(100), age=age).balanced_weights(bins=6)
    assert weights[:90].sum() == pytest.approx(weights[90:99].sum())
    assert weights[99] == 0 and weights.mean() == pytest.approx(1)


def test_images_are_mapped_and_become_levels_between_0_and_1(tmp_path):
    faces = face_set(tmp_path, np.arange(256), manifest={"options": {"framing": "head"}})
    assert isinstance(faces.images, np.memmap) and faces.image_shape == (1, 4, 4)
    assert faces.framing == "head" and face_set(tmp_path / "b", [1]).framing == "none"
    tensor = faces.tensor(np.array([0, 51, 255]))
    assert tensor.shape == (3, 1, 4, 4)
    assert tensor[:, 0, 0, 0].tolist() == pytest.approx([0, 0.2, 1])


@pytest.mark.parametrize(("name", "content"), [
    ("manifest.json", b"{"), ("manifest.json", b"[1]"), ("images.npy", b"\x93NUMPY"),
    ("labels.npz", b"PK\x03\x04 broken"),
])  # fmt: skip
def test_a_folder_is_found_and_a_broken_or_missing_one_is_named(tmp_path, name, content):
    folder = face_set(tmp_path / "made", range(20)).folder
    assert len(load_faces("made", root=tmp_path)) == len(load_faces(folder)) == 20
    (folder / name).write_bytes(content)
    with pytest.raises(NotPrepared, match=rf"{folder} is broken \(.+\): prepare these"):
        FaceSet(folder)
    with pytest.raises(NotPrepared, match="prepare SOURCE --out .*/utkface"):
        load_faces("utkface", root=tmp_path)


def test_joined_sets_read_as_one(tmp_path):
    """Seven faces with ages, then five with genders and persons."""
    a = face_set(tmp_path / "a", range(7), age=np.arange(7))
    people = np.array(["Ann"] * 4 + [""])
    b = face_set(tmp_path / "b", range(90, 95), gender=np.ones(5, int), person=people)
    both = load_faces([a.folder, b.folder])
    assert len(both) == 12 and both.image_shape == a.image_shape and both.framing == "none"
    assert np.array_equal(both.images, np.concatenate([a.images, b.images]))
    assert both.tensor(np.array([0, 11]))[1, 0, 0, 0] == pytest.approx(94 / 255)
    assert both.labels["age"].tolist() == [*range(7)] + [-1] * 5
    assert both.labels["gender"].tolist() == [-1] * 7 + [1] * 5
    assert both.labels["person"].tolist() == [*[""] * 7, *["Ann"] * 4, ""]
    assert np.isnan(both.conditions(["age"])[7:]).all() and both.manifest["source"] == "made"
    assert [part["faces"] for part in both.manifest["parts"]] == [7, 5]


@pytest.mark.parametrize("by", ["content", "order"])
def test_each_part_is_split_as_it_is_alone(tmp_path, by):
    a, b = face_set(tmp_path / "a", RANDOM[:300]), face_set(tmp_path / "b", RANDOM[300:500])
    split = load_faces([a.folder, b.folder]).split(3, by=by)
    assert_partition(split, 500)
    for name in SPLITS:
        alone = [*a.split(3, by=by)[name], *(b.split(3, by=by)[name] + 300)]
        assert split[name].tolist() == alone


@pytest.mark.parametrize("other", [
    {"size": 6}, {"manifest": {"options": {"framing": "head"}}},
    {"manifest": {"options": {"mask": True}}}, {"manifest": {"classes": ["cat", "dog"]}},
])  # fmt: skip
def test_sets_that_do_not_fit_together_are_refused(tmp_path, other):
    one = face_set(tmp_path / "a", [1], manifest={"classes": ["smile", "non_smile"]})
    face_set(tmp_path / "b", [2], **other)
    with pytest.raises(ValueError, match="cannot be joined"):
        load_faces([one.folder, tmp_path / "b"])
    face_set(tmp_path / "b", [2])  # states no classes
    assert load_faces([tmp_path / "b", one.folder]).manifest["classes"] == ["smile", "non_smile"]


def test_rows_are_taken_at_even_distances():
    assert evenly(np.arange(11), 12).tolist() == [*range(11)]
    assert evenly(np.arange(11), 3).tolist() == [0, 5, 10]
