import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from facevae import prepare, sources
from facevae.__main__ import main
from facevae.data import FaceSet, NotPrepared
from facevae.folder import Options
from facevae.packets import _prepare_picture
from facevae.photo import UnreadablePhoto
from facevae.sources import BadSource
from facevae.synthetic import draw_faces
from facevae.treatment import treat

DRAWN = draw_faces(6, size=32)[0]
MALFORMED = "39_1_20170116174525125.jpg.chip.jpg"


def jpeg(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def utkface(tmp_path):
    """Six names: four good, one with a field missing, one broken."""
    folder = tmp_path / "UTKFace"
    folder.mkdir()
    names = [f"{20 + i}_{i % 2}_{i}_2017011{i}.jpg.chip.jpg" for i in range(4)] + [MALFORMED]
    for name, face in zip(names, DRAWN, strict=False):
        (folder / name).write_bytes(jpeg(face))
    (folder / "50_0_0_20170119.jpg.chip.jpg").write_bytes(jpeg(DRAWN[5])[:200])
    return folder


def packed(folder, kind):
    if kind == "folder":
        return folder
    path = folder.with_name(f"UTKFace.{kind}")
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, f"UTKFace/{file.name}")
    else:
        with tarfile.open(path, "w:gz" if kind.endswith("gz") else "w") as archive:
            archive.add(folder, "UTKFace")
    return path


def made(source, path, out, **options):
    options = {"size": 24, "align": False, "workers": 2, "progress": False} | options
    return prepare(source, path, out=out, **options)


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "zip"])
def test_utkface_as_people_download_it(utkface, tmp_path, kind):
    faces = made("utkface", packed(utkface, kind), tmp_path / "out")
    about = faces.manifest
    assert (about["seen"], about["faces"]) == (6, 5)
    assert faces.images.shape == (5, 24, 24, 3) and faces.images.dtype == np.uint8
    (reason, broken), = about["skipped"].items()  # fmt: skip
    assert "cannot be read" in reason and broken[0].endswith("50_0_0_20170119.jpg.chip.jpg")
    (incomplete,) = about["incomplete_labels"]
    row = [n.endswith(MALFORMED) for n in faces.labels["name"]].index(True)
    assert incomplete.endswith(MALFORMED)
    assert [faces.labels[k][row] for k in ("age", "gender", "race")] == [39, -1, -1]
    assert sorted(faces.labels["age"]) == [20, 21, 22, 23, 39]


def test_a_truncated_archive_gives_what_is_whole_and_says_so(utkface, tmp_path):
    path = packed(utkface, "tar")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"50_0_0") + 600])
    faces = made("utkface", path, tmp_path / "out")
    assert faces.manifest["faces"] == 5
    assert "damage" in faces.manifest or faces.manifest["skipped"]


def test_names_that_point_outside_do_no_harm(utkface, tmp_path):
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("../../20_0_0_2017.jpg", "/etc/21_1_1_2017.jpg"):
            info = tarfile.TarInfo(name)
            content = jpeg(DRAWN[0])
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("22_0_0_2017.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = sorted(p.name for p in tmp_path.iterdir())
    faces = made("utkface", path, tmp_path / "out")
    assert len(faces) == 2 and faces.manifest["duplicates"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*before, "out"])


def test_a_finished_folder_is_taken_at_once_and_another_wish_is_refused(
    utkface, tmp_path, monkeypatch
):
    made("utkface", utkface, tmp_path / "out")
    engine = sys.modules["facevae.prepare"]  # the name in the package is the function
    monkeypatch.setattr(engine, "items_of", lambda *_: pytest.fail("it was read again"))
    assert len(made("utkface", utkface, tmp_path / "out")) == 5
    with pytest.raises(NotPrepared, match="choose another folder"):
        made("utkface", utkface, tmp_path / "out", size=32)


def test_a_folder_of_before_the_treatments_is_still_the_same(utkface, tmp_path):
    faces = made("utkface", utkface, tmp_path / "out")
    path = faces.folder / "manifest.json"
    about = json.loads(path.read_text())
    assert (about["options"].pop("mask"), about["options"].pop("expose")) == (False, False)
    path.write_text(json.dumps(about))
    assert len(made("utkface", utkface, tmp_path / "out")) == 5
    with pytest.raises(NotPrepared, match="prepared in another way"):
        made("utkface", utkface, tmp_path / "out", mask=True)


def test_treated_folders_hold_the_treated_crops(utkface, tmp_path, capsys):
    plain = made("utkface", utkface, tmp_path / "plain", workers=1)
    faces = made("utkface", utkface, tmp_path / "out", workers=1, mask=True, expose=True)
    for one, other in zip(faces.images, plain.images, strict=True):
        assert np.array_equal(one, treat(other, mask=True, expose=True))
        assert not np.array_equal(one, treat(other, mask=True))
    for name in ("mask", "expose"):  # each alone, as the command line is given it
        out = str(tmp_path / name)
        command = ["prepare", "synthetic", "--out", out, "--size", "32", "--count", "6"]
        assert main([*command, f"--{name}"]) == 0
        assert np.array_equal(FaceSet(out).images[3], treat(DRAWN[3], **{name: True}))
        assert main(command) == 2 and "prepared in another way" in capsys.readouterr().err


def test_a_killed_preparation_goes_on_to_the_same_bytes(tmp_path):
    folder = tmp_path / "UTKFace"
    folder.mkdir()
    for i, face in enumerate(draw_faces(700, size=64)[0]):
        (folder / f"{i % 90}_0_0_{i:06d}.jpg").write_bytes(jpeg(face))
    command = [sys.executable, "-m", "facevae", "prepare", "utkface", "--archive", str(folder),
               "--out", str(tmp_path / "out"), "--no-align", "--workers", "1"]  # fmt: skip
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob(".partial/0*.npz")):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.002)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    killed = not (tmp_path / "out" / "manifest.json").exists()
    faces = made("utkface", folder, tmp_path / "out", size=64)
    whole = made("utkface", folder, tmp_path / "whole", size=64)
    assert killed and len(faces) == 700
    for name in ("images.npy", "labels.npz"):
        assert (faces.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert not (faces.folder / ".partial").exists()


def test_celeba_counts_what_is_missing(tmp_path):
    images = tmp_path / "img_align_celeba"
    images.mkdir()
    for i in range(3):
        (images / f"00000{i}.jpg").write_bytes(jpeg(DRAWN[i]))
    rows = ["5", "No_Beard Male Smiling"] + [f"00000{i}.jpg  1 -1  1" for i in range(5)]
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(rows))
    faces = made("celeba", tmp_path, tmp_path.parent / f"{tmp_path.name}-out")
    assert len(faces) == 3 and faces.manifest["missing_images"] == 2
    assert list(faces.labels["Smiling"]) == [1] * 3 and list(faces.labels["Beard"]) == [0] * 3
    assert list(faces.labels["gender"]) == [1] * 3


@pytest.mark.parametrize("parts", [("",), ("train", "test")])
def test_class_folders_with_and_without_a_test_set(tmp_path, parts):
    for number, (part, kind) in enumerate(itertools.product(parts, ("smile", "non_smile"))):
        folder = tmp_path / "in" / part / kind
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(jpeg(DRAWN[number]))
    faces = made("folders", tmp_path / "in", tmp_path / "out")
    smiles = dict(zip(faces.labels["name"], faces.labels["Smiling"], strict=True))
    assert all(value == ("non_smile" not in name) for name, value in smiles.items())
    assert ("part" in faces.labels) == (parts != ("",))


def test_morph2_reads_its_table(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(3):
        (tmp_path / "in" / f"{i}.png").write_bytes(jpeg(DRAWN[i]))
    table = "Path,Age,Gender\nx/0.png,31,M\nx/1.png,,F\nx/2.png,64,?\nx/3.png,1,F\n"
    (tmp_path / "in" / "labels.csv").write_text("\ufeff" + table)
    faces = made("morph2", tmp_path / "in", tmp_path / "out")
    assert list(faces.labels["age"]) == [31, -1, 64] and list(faces.labels["gender"]) == [0, 1, -1]
    assert faces.manifest["missing_images"] == 1 and len(faces.manifest["incomplete_labels"]) == 2


def test_frey_keeps_its_own_size(tmp_path):
    from scipy.io import savemat

    frames = np.random.default_rng(0).integers(0, 256, (560, 9), np.uint8)
    savemat(tmp_path / "frey_rawface.mat", {"ff": frames})
    faces = made("frey", tmp_path / "frey_rawface.mat", tmp_path / "out")
    assert faces.images.shape == (9, 28, 20, 1)
    assert np.array_equal(faces.images[4].ravel(), frames[:, 4])
    (tmp_path / "other.mat").write_bytes(b"no")
    with pytest.raises(BadSource, match="neither masked nor exposed"):
        made("frey", tmp_path / "frey_rawface.mat", tmp_path / "masked", mask=True)
    with pytest.raises(BadSource, match=r"not frey_rawface\.mat"):
        made("frey", tmp_path / "other.mat", tmp_path / "other")


def test_a_hub_dataset_from_local_parquet(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = {"image": [{"bytes": jpeg(face), "path": None} for face in DRAWN], "age": range(6)}
    features = datasets.Features({"image": datasets.Image(), "age": datasets.Value("int64")})
    (tmp_path / "in").mkdir()
    table = datasets.Dataset.from_dict({k: list(v) for k, v in rows.items()}, features=features)
    table.to_parquet(tmp_path / "in" / "train.parquet")
    faces = made(f"hub:{tmp_path / 'in'}", None, tmp_path / "out")
    assert len(faces) == 6 and list(faces.labels["age"]) == list(range(6))


def test_lfw_through_a_stand_in_for_its_fetcher(tmp_path, monkeypatch):
    people = type("Bunch", (), {"images": DRAWN[:3] / np.float32(255), "target": [0, 1, 0],
                                "target_names": np.array(["Ann", "Bob"])})  # fmt: skip
    monkeypatch.setattr("sklearn.datasets.fetch_lfw_people", lambda **_: people)
    faces = made("lfw", None, tmp_path / "out")
    assert list(faces.labels["person"]) == ["Ann", "Bob", "Ann"]


def test_bad_sources_say_what_to_do(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tar").write_text("no archive")
    for source, path, says in (
        ("nothing", None, "use one of utkface"),
        ("utkface", None, "give --archive"),
        ("utkface", tmp_path / "absent", "check the path"),
        ("utkface", tmp_path / "empty", "holds no pictures"),
        ("utkface", tmp_path / "text.tar", "download it again"),
        ("folders", tmp_path, "holds no pictures"),
    ):
        with pytest.raises(BadSource, match=says):
            made(source, path, tmp_path / "out")
    with pytest.raises(BadSource, match="ask for 8 or more"):
        made("utkface", tmp_path, tmp_path / "out", size=2)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    with pytest.raises(NotPrepared):
        prepare("synthetic", out=tmp_path / "a", count=20, size=28, progress=False)
        prepare("synthetic", out=tmp_path / "a", count=21, size=28, progress=False)


def test_real_archives_are_read_as_they_are(real_data, tmp_path):
    """A slice of each, prepared as the whole would be; nothing leaves the temporary folder."""
    for name, count, file in (
        ("utkface", 100, "UTKFace.tar"),
        ("morph2", 24, "AllAgeFaces.tar"),
        ("celeba", 24, "celeba.tar"),
        ("folders", 100, "GENKI4K.tar"),
    ):
        notes: dict = {}
        items = itertools.islice(sources.SOURCES[name](real_data / file, notes), count)
        kept = failed = 0
        for item in items:
            try:
                face = _prepare_picture(item.read(), Options(name, "", 64, align=True))
                kept += face.shape == (64, 64, 3)
            except (ValueError, UnreadablePhoto):
                failed += 1
            assert item.labels
        assert kept >= 0.85 * (kept + failed), name  # of GENKI's crops 5–8 % are no face
    faces = prepare("frey", real_data / "frey_rawface.mat", out=tmp_path / "frey", progress=False)
    assert faces.images.shape == (1965, 28, 20, 1)


def test_a_picture_falls_to_the_same_part_of_the_split_whatever_becomes_of_its_pixels(tmp_path):
    """Crops differ by a hair between libraries: a model's unseen faces must stay unseen."""
    for k in range(40):
        path = tmp_path / "archive" / f"{k % 2}" / f"{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(DRAWN[k % len(DRAWN)] // (1 + k // len(DRAWN))))
    small, large = (
        prepare("folders", tmp_path / "archive", tmp_path / str(size), size, align=False, workers=1)
        for size in (32, 48)
    )
    assert np.array_equal(small.labels["content"], large.labels["content"])
    for part, rows in small.split(1).items():
        assert np.array_equal(rows, large.split(1)[part])
    assert "content" not in small.manifest["labels"]
