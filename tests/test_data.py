import json
import pickle

import numpy as np
import pytest

import facevae
from facevae.data import SPLITS, FaceSet, NotPrepared, load_faces


def face_set(folder, content, **labels):
    """A FaceSet whose pictures are told apart by `content` alone."""
    content = np.asarray(content, np.uint64)
    folder.mkdir(parents=True, exist_ok=True)
    images = np.broadcast_to(content.astype(np.uint8)[:, None, None, None], (len(content), 4, 4, 1))
    np.save(folder / "images.npy", images)
    np.savez(folder / "labels.npz", content=content, **labels)
    (folder / "manifest.json").write_text(json.dumps({"source": "made"}))
    return FaceSet(folder)


def assert_partition(split, n):
    assert sorted(np.concatenate(list(split.values()))) == list(range(n))


def test_faces_go_to_another_process_as_the_folder_they_lie_in(tmp_path):
    faces = face_set(tmp_path, range(5000))
    assert len(faces.images) == len(faces.labels["content"]) == 5000  # both are read by now
    sent = pickle.dumps(faces)
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent).images, faces.images)


def test_a_split_takes_every_face_once_and_parts_no_duplicates(tmp_path):
    content = np.random.default_rng(0).integers(0, 2**60, 600).repeat(2)
    split = face_set(tmp_path, content).split(seed=3)
    assert_partition(split, 1200)
    sets = [set(content[split[name]]) for name in SPLITS]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    assert 0.7 < len(split["train"]) / 1200 < 0.9


def test_a_split_hangs_on_the_seed_and_stays_when_faces_are_added(tmp_path):
    content = np.random.default_rng(0).integers(0, 2**60, 500)
    few, more = face_set(tmp_path / "a", content[:300]), face_set(tmp_path / "b", content)
    for name in SPLITS:
        assert np.array_equal(few.split(1)[name], [r for r in more.split(1)[name] if r < 300])
    assert not np.array_equal(few.split(1)["test"], few.split(2)["test"])


def test_a_person_stays_on_one_side(tmp_path):
    content, person = np.arange(400), np.repeat(np.arange(100), 4)
    content[1] = content[17]  # one picture under two names ties both people together
    split = face_set(tmp_path, content, person=person).split()
    assert_partition(split, 400)
    where = {p: {n for n in SPLITS if p in person[split[n]]} for p in range(100)}
    assert all(len(names) == 1 for names in where.values())
    assert where[person[1]] == where[person[17]]


@pytest.mark.parametrize("texts", [True, False])
def test_unknown_persons_join_nobody(tmp_path, texts):
    content = np.random.default_rng(0).integers(0, 2**60, 1000)
    content[901] = content[17]  # a picture that says for both whose it is
    person = np.repeat(np.arange(250), 4)
    person[:900] = -1
    person = np.where(person < 0, "", person.astype(str)) if texts else person.astype(np.int16)
    split = face_set(tmp_path / "a", content, person=person).split()
    assert_partition(split, 1000)
    assert any({17, 900, 901, 902, 903} <= set(split[name]) for name in SPLITS)
    alone = face_set(tmp_path / "b", content[:900]).split()
    for name in SPLITS:
        unknown = [row for row in split[name] if row < 900 and row != 17]
        assert unknown == [row for row in alone[name] if row != 17]
    assert 0.7 < len(split["train"]) / 1000 < 0.9


def test_faces_of_which_no_person_is_known_are_split_as_without(tmp_path):
    plain = face_set(tmp_path / "a", np.arange(300)).split()
    split = face_set(tmp_path / "b", np.arange(300), person=np.full(300, "")).split()
    assert all(np.array_equal(split[name], plain[name]) for name in SPLITS)


def test_a_split_by_known_persons_is_the_one_that_it_was(tmp_path):
    content, person = np.arange(60), np.repeat(np.arange(20), 3)
    split = face_set(tmp_path, content, person=person).split()
    assert split["val"].tolist() == [0, 1, 2, 39, 40, 41]
    assert split["test"].tolist() == [36, 37, 38, 45, 46, 47]


def test_a_test_folder_stays_the_test_set(tmp_path):
    content = np.arange(200)
    content[0] = content[199]  # a training picture that is in the test folder too
    part = np.array(["train"] * 150 + ["test"] * 50)
    split = face_set(tmp_path, content, part=part).split()
    assert_partition(split, 200)
    assert set(split["test"]) == {0, *range(150, 200)}
    assert 0 < len(split["val"]) < 40


def test_a_film_is_cut_in_sequence(tmp_path):
    split = face_set(tmp_path, np.arange(100)).split(by="order")
    assert [len(split[name]) for name in SPLITS] == [80, 10, 10]
    assert np.array_equal(np.concatenate([split[name] for name in SPLITS]), np.arange(100))
    with pytest.raises(ValueError, match="'content' or 'order'"):
        face_set(tmp_path, [1]).split(by="luck")


def test_conditions_are_scaled_and_a_missing_one_is_named(tmp_path):
    faces = face_set(tmp_path, [1, 2], age=np.array([20, -1]), gender=np.array([0, 1]))
    conditions = faces.conditions(("age", "gender"))
    assert conditions.dtype == np.float32 and np.allclose(conditions[0], (0.2, 0))
    assert np.isnan(conditions[1, 0]) and conditions[1, 1] == 1
    with pytest.raises(ValueError, match="no label 'race'"):
        faces.conditions(("race",))


def test_balanced_weights_make_rare_ages_as_likely(tmp_path):
    age = np.array([20] * 90 + [80] * 9 + [-1])
    weights = face_set(tmp_path, np.arange(100), age=age).balanced_weights(bins=6)
    assert weights[:90].sum() == pytest.approx(weights[90:99].sum())
    assert weights[99] == 0 and weights.mean() == pytest.approx(1)


def test_labels_that_cannot_be_balanced_are_named(tmp_path):
    name, race = np.array(["a", "b"]), np.array([-1, -1])
    faces = face_set(tmp_path, [1, 2], name=name, race=race)
    for label, reason in (
        ("age", "no label 'age' to balance"),
        ("name", "'name' is not in numbers"),
        ("race", "no face has a known 'race'"),
    ):
        with pytest.raises(ValueError, match=reason):
            faces.balanced_weights(label)


def test_images_are_mapped_not_read(tmp_path):
    faces = face_set(tmp_path, np.arange(10))
    assert isinstance(faces.images, np.memmap) and faces.image_shape == (1, 4, 4)
    assert faces.tensor(np.array([3, 5])).shape == (2, 1, 4, 4)


def test_load_faces_finds_or_says_how_to_make(tmp_path):
    with pytest.raises(NotPrepared, match="python -m facevae prepare utkface"):
        load_faces("utkface", root=tmp_path)
    with pytest.raises(NotPrepared, match="holds no prepared faces"):
        FaceSet(tmp_path)
    facevae.prepare("synthetic", out=tmp_path / "synthetic28", size=28, count=20, progress=False)
    assert len(load_faces("synthetic", root=tmp_path, size=28)) == 20
    assert len(load_faces(tmp_path / "synthetic28")) == 20
