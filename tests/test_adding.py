"""More pictures in a finished folder: only new ones are prepared, and nothing is lost half way."""

import io
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from facevae import FaceSet, NotPrepared, adding, packets, prepare
from facevae.adding import add
from facevae.sources import BadSource
from facevae.synthetic import draw_faces

DRAWN = draw_faces(6, size=32)[0]
QUIET = {"workers": 1, "progress": False}


def jpeg(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """Workers in this process: each one of their own would import torch for two seconds."""
    monkeypatch.setattr(packets, "ProcessPoolExecutor", lambda n, *_, **__: ThreadPoolExecutor(n))


@pytest.fixture
def first(tmp_path):
    """A folder of three faces and a broken file, and what was prepared from it."""
    folder = tmp_path / "first"
    folder.mkdir()
    for i in range(3):
        (folder / f"{20 + i}_0_1_{i}.jpg").write_bytes(jpeg(DRAWN[i]))
    (folder / "50_0_0_9.jpg").write_bytes(jpeg(DRAWN[3])[:100])
    return prepare("utkface", folder, tmp_path / "out", size=16, align=False, **QUIET)


@pytest.fixture
def second(tmp_path):
    """A folder of two new faces."""
    folder = tmp_path / "second"
    folder.mkdir()
    for i in (4, 5):
        (folder / f"{60 + i}_1_2_{i}.jpg").write_bytes(jpeg(DRAWN[i]))
    return folder


def class_folder(folder, drawn):
    """Six pictures in two classes, called alike in every such folder."""
    for i, face in enumerate(drawn):
        file = folder / ("smile" if i % 2 else "non_smile") / f"{i // 2}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg(face))
    return folder


@pytest.fixture
def three(tmp_path):
    """Three folders of the same names and other faces."""
    drawn = draw_faces(18, size=32, seed=1)[0]
    return [class_folder(tmp_path / "abc"[i], drawn[6 * i : 6 * i + 6]) for i in range(3)]


@pytest.fixture
def classes(three, tmp_path):
    """What was prepared from the first of the three."""
    return prepare("folders", three[0], tmp_path / "out", size=16, align=False, **QUIET)


def stamps(faces):
    return [(faces.folder / name).stat().st_mtime_ns for name in adding.FILES]


def test_of_a_place_only_new_names_are_prepared_and_stand_behind_the_old(first, second, tmp_path):
    before = {"images": np.array(first.images), "content": first.labels["content"]}
    folder = tmp_path / "first"
    for name in ("21_0_1_1.jpg", "50_0_0_9.jpg"):  # known: nobody looks into them
        (folder / name).write_bytes(b"")
    shutil.copytree(second, folder, dirs_exist_ok=True)
    faces = add("utkface", folder, first.folder, **QUIET)
    assert faces.labels["age"].tolist() == [20, 21, 22, 64, 65]
    assert np.array_equal(faces.images[:3], before["images"])
    assert np.array_equal(faces.labels["content"][:3], before["content"])
    alone = prepare("utkface", second, tmp_path / "alone", size=16, align=False, **QUIET)
    assert np.array_equal(faces.images[3:], alone.images)
    # had the empty files been opened, each would be one more that was skipped
    assert (faces.manifest["seen"], faces.manifest["faces"]) == (6, 5)
    assert sum(map(len, faces.manifest["skipped"].values())) == 1
    place = {"source": "utkface", "path": str(folder.resolve())}
    assert faces.manifest["added"] == [place | {"faces": 2, "skipped": [], "there": []}]
    assert sorted(p.name for p in faces.folder.iterdir()) == sorted(adding.FILES)


def test_equal_names_of_another_place_are_other_faces(classes, three, tmp_path):
    for folder in three[1:]:
        faces = add("folders", folder, classes.folder, **QUIET)
    alone = [prepare("folders", folder, tmp_path / f"alone{i}", size=16, align=False, **QUIET)
             for i, folder in enumerate(three)]  # fmt: skip
    assert np.array_equal(faces.images, np.concatenate([each.images for each in alone]))
    assert faces.labels["name"].tolist() == 3 * alone[0].labels["name"].tolist()
    assert (faces.manifest["seen"], faces.manifest["duplicates"]) == (18, 0)
    before = stamps(faces)
    for folder in three:
        assert len(add("folders", folder, faces.folder, **QUIET)) == 18
    assert stamps(faces) == before
    (three[0] / "smile" / "9.jpg").write_bytes(jpeg(DRAWN[0]))  # a place that grows
    assert len(add("folders", three[0], faces.folder, **QUIET)) == 19
    (three[1] / "smile" / "9.jpg").write_bytes(jpeg(DRAWN[1]))  # by a name of another's
    assert len(add("folders", three[1], faces.folder, **QUIET)) == 20


def test_rows_of_another_hub_dataset_are_other_faces(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features({"image": datasets.Image(), "age": datasets.Value("int64")})
    for name, rows in (("one", range(3)), ("two", range(3, 6))):
        cells = [{"bytes": jpeg(DRAWN[row]), "path": None} for row in rows]
        table = datasets.Dataset.from_dict({"image": cells, "age": [*rows]}, features=features)
        (tmp_path / name).mkdir()
        table.to_parquet(tmp_path / name / "train.parquet")
    one, two = (f"hub:{tmp_path / name}" for name in ("one", "two"))
    prepare(one, None, tmp_path / "out", size=16, align=False, **QUIET)
    for source in (two, two, one):
        faces = add(source, None, tmp_path / "out", **QUIET)
        assert faces.labels["age"].tolist() == [*range(6)]


def test_a_moved_archive_gives_no_face_twice(classes, three, tmp_path):
    moved = shutil.copytree(three[0], tmp_path / "moved")
    names = classes.labels["name"].tolist()
    (moved / "smile" / "9.jpg").write_bytes((moved / "smile" / "0.jpg").read_bytes())
    faces = add("folders", moved, classes.folder, **QUIET)
    # one picture under two names is kept twice, as `prepare` does it, and told
    assert (len(faces), faces.manifest["seen"], faces.manifest["duplicates"]) == (7, 7, 1)
    assert faces.manifest["added"][0]["there"] == names
    copy = shutil.copytree(three[0], tmp_path / "copy")
    faces = add("folders", copy, faces.folder, **QUIET)
    assert (len(faces), faces.manifest["seen"]) == (7, 7)
    before = stamps(faces)
    for folder in (moved, three[0], copy):
        assert len(add("folders", folder, faces.folder, **QUIET)) == 7
    assert stamps(faces) == before


def test_equal_names_that_gave_no_face_are_known_to_each_place(first, tmp_path):
    folder = tmp_path / "second"
    folder.mkdir()
    (folder / "50_0_0_9.jpg").write_bytes(b"")
    (folder / "20_0_1_0.jpg").write_bytes(jpeg(DRAWN[5]))
    faces = add("utkface", folder, first.folder, **QUIET)
    assert (len(faces), faces.manifest["seen"]) == (4, 6)
    before = stamps(faces)
    for place in (folder, tmp_path / "first"):
        assert len(add("utkface", place, faces.folder, **QUIET)) == 4
    assert stamps(faces) == before


def test_equal_names_are_added_whole_after_an_interruption(classes, three, tmp_path, monkeypatch):
    monkeypatch.setattr(packets, "CHUNK", 2)
    whole = shutil.copytree(classes.folder, tmp_path / "whole")
    add("folders", three[1], whole, **QUIET)
    work, cut = packets._prepare_packet, True

    def broken(packet, path, options):
        if cut and path.name == "000001.npz":
            raise KeyboardInterrupt
        work(packet, path, options)

    monkeypatch.setattr(packets, "_prepare_packet", broken)
    with pytest.raises(KeyboardInterrupt):
        add("folders", three[1], classes.folder, **QUIET)
    assert [*classes.folder.glob(".adding/.partial/0*.npz")] and len(FaceSet(classes.folder)) == 6
    cut = False
    add("folders", three[1], classes.folder, **QUIET)
    for name in adding.FILES:
        assert (classes.folder / name).read_bytes() == (whole / name).read_bytes()


def test_sets_of_before_the_additions_were_counted_take_more(classes, three):
    """In such a set nothing says which face came from where, and no name is there twice."""
    for file in three[1].rglob("*.jpg"):
        file.rename(file.with_name(f"b{file.name}"))
    faces = add("folders", three[1], classes.folder, **QUIET)
    path = faces.folder / "manifest.json"
    about = json.loads(path.read_text())
    about["added"] = [{key: came[key] for key in ("source", "path")} for came in about["added"]]
    path.write_text(json.dumps(about))
    before = stamps(faces)
    for folder in three[:2]:
        assert len(add("folders", folder, faces.folder, **QUIET)) == 12
    assert stamps(faces) == before
    for _ in range(2):
        assert len(add("folders", three[2], faces.folder, **QUIET)) == 18
    assert len(add("folders", three[0], faces.folder, **QUIET)) == 18


def test_adding_it_once_more_changes_nothing(first, second):
    add("utkface", second, first.folder, **QUIET)
    before = stamps(first)
    assert len(add("utkface", second, first.folder, **QUIET)) == 5
    assert stamps(first) == before
    source = first.manifest["options"]["path"]
    again = prepare("utkface", source, first.folder, size=16, align=False, **QUIET)
    assert len(again) == 5  # the first command still finds its folder finished


def test_labels_that_only_one_source_has_are_unknown_in_the_other(first, tmp_path):
    folder = tmp_path / "morph"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(DRAWN[4]))
    (folder / "labels.csv").write_text("path,age,gender,person\na.jpg,33,F,somebody\n")
    faces = add("morph2", folder, first.folder, **QUIET)
    assert faces.labels["race"].tolist() == [1, 1, 1, -1]
    assert faces.labels["person"].tolist() == ["", "", "", "somebody"]
    assert faces.labels["gender"].tolist() == [0, 0, 0, 1]


def test_an_unknown_number_among_texts_is_an_unknown_text(tmp_path):
    for name, cells in (("numbers", ("7", "")), ("texts", ("Ann", ""))):
        (tmp_path / name).mkdir()
        for i in range(2):
            (tmp_path / name / f"{name}{i}.jpg").write_bytes(jpeg(DRAWN[i]))
        rows = [f"{name}{i}.jpg,33,F,{cell}" for i, cell in enumerate(cells)]
        table = "\n".join(["path,age,gender,person", *rows])
        (tmp_path / name / "labels.csv").write_text(table)
    out = tmp_path / "out"
    faces = prepare("morph2", tmp_path / "numbers", out, size=16, align=False, **QUIET)
    labels = faces.labels | {"person": np.array([7, -1], np.int16)}  # as a hub dataset tells them
    np.savez(out / "labels.npz", **labels)
    faces = add("morph2", tmp_path / "texts", out, **QUIET)
    assert faces.labels["person"].tolist() == ["7", "", "Ann", ""]


@pytest.mark.parametrize("moved", range(len(adding.FILES)))
def test_cut_short_while_moving_it_is_unfinished_and_then_whole(first, second, monkeypatch, moved):
    replace, archive = os.replace, first.manifest["options"]["path"]

    def broken(source, target):
        if str(target) == str(first.folder / adding.FILES[moved]):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(adding.os, "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        add("utkface", second, first.folder, **QUIET)
    with pytest.raises(NotPrepared):  # not the old faces with the new labels
        FaceSet(first.folder)
    monkeypatch.setattr(adding.os, "replace", replace)
    faces = prepare("utkface", archive, first.folder, size=16, align=False, **QUIET)
    assert faces.labels["age"].tolist() == [20, 21, 22, 64, 65]
    assert len(faces.images) == 5 and not (first.folder / adding.BESIDE).exists()


def test_what_cannot_be_mixed_is_refused_and_nothing_changes(first, tmp_path):
    for kind in ("happy", "sad"):
        (tmp_path / "classes" / kind).mkdir(parents=True)
        (tmp_path / "classes" / kind / f"{kind}.jpg").write_bytes(jpeg(DRAWN[4]))
    with pytest.raises(BadSource, match="classes are"):
        add("folders", tmp_path / "classes", first.folder, **QUIET)
    with pytest.raises(BadSource, match="synthetic cannot be added"):
        add("synthetic", None, first.folder)
    with pytest.raises(NotPrepared):
        add("utkface", tmp_path / "classes", tmp_path / "nothing")
    assert len(FaceSet(first.folder)) == 3
