"""More pictures in a finished folder: only new ones are prepared, and nothing is lost half way."""

import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from facevae import FaceSet, NotPrepared, adding, prepare
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
    preparing = sys.modules["facevae.prepare"]
    monkeypatch.setattr(preparing, "ProcessPoolExecutor", lambda n, *_, **__: ThreadPoolExecutor(n))


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
    """Two names that are known, here with nothing behind them, and two new faces."""
    folder = tmp_path / "second"
    folder.mkdir()
    for name in ("21_0_1_1.jpg", "50_0_0_9.jpg"):
        (folder / name).write_bytes(b"")
    for i in (4, 5):
        (folder / f"{60 + i}_1_2_{i}.jpg").write_bytes(jpeg(DRAWN[i]))
    return folder


def test_only_new_names_are_prepared_and_stand_behind_the_old(first, second, tmp_path):
    before = {"images": np.array(first.images), "content": first.labels["content"]}
    faces = add("utkface", second, first.folder, **QUIET)
    assert faces.labels["age"].tolist() == [20, 21, 22, 64, 65]
    assert np.array_equal(faces.images[:3], before["images"])
    assert np.array_equal(faces.labels["content"][:3], before["content"])
    alone = prepare("utkface", second, tmp_path / "alone", size=16, align=False, **QUIET)
    assert np.array_equal(faces.images[3:], alone.images)
    # had the empty files been opened, each would be one more that was skipped
    assert (faces.manifest["seen"], faces.manifest["faces"]) == (6, 5)
    assert sum(map(len, faces.manifest["skipped"].values())) == 1
    assert faces.manifest["added"] == [{"source": "utkface", "path": str(second.resolve())}]
    assert sorted(p.name for p in faces.folder.iterdir()) == sorted(adding.FILES)


def test_adding_it_once_more_changes_nothing(first, second):
    add("utkface", second, first.folder, **QUIET)
    stamps = [(first.folder / name).stat().st_mtime_ns for name in adding.FILES]
    assert len(add("utkface", second, first.folder, **QUIET)) == 5
    assert stamps == [(first.folder / name).stat().st_mtime_ns for name in adding.FILES]
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
