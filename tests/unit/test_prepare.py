"""Preparation: from any source to the same FaceSet, resumed where it was cut, nothing lost."""

import itertools
import re
import signal
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.ndimage import center_of_mass

import facevae
from facevae import ModelConfig, NotPrepared, load_faces
from facevae.data.normalization import normalize
from facevae.data.prepare import prepare, prepare_picture
from facevae.data.sources import SOURCES, BadSource, Item
from facevae.data.synthetic import draw_faces
from facevae.imaging.alignment import FRAMINGS, NoFaceFound, find_faces
from facevae.imaging.photo import open_photo
from tests.helpers import content, encoded
from tests.scripts.kill import killed, photos
from tests.unit.archive_files import DRAWN, JPEG, folder_of, tar_of, zip_of

MALFORMED = "39_1_20170116174525125.jpg.chip.jpg"
BROKEN = "50_0_0_20170119.jpg.chip.jpg"
NAMES = [f"{20 + i}_{i % 2}_{i}_2017011{i}.jpg.chip.jpg" for i in range(4)] + [MALFORMED]
# four good ones, one with a field missing in its name, one broken
UTKFACE = [*zip(NAMES, map(encoded, DRAWN), strict=False), (BROKEN, encoded(DRAWN[5])[:200])]
OPTIONS = {"source": "folders", "size": 64, "framing": "none", "mask": False, "expose": False}
BUILDERS = {"folder": folder_of, "tar": tar_of, "zip": zip_of,
            "tar.gz": lambda path, members: tar_of(path, members, "w:gz")}  # fmt: skip


def made(source, path, out, **options):
    options = {"size": 24, "framing": "none", "workers": 1, "progress": False} | options
    return prepare(source, path, out=out, **options)


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_utkface_as_people_download_it(build, tmp_path, capsys):
    members = [(f"UTKFace/{name}", content) for name, content in UTKFACE]
    faces = made("utkface", build(tmp_path / "in", members), tmp_path / "out", progress=True)
    assert re.search(r"100%.* 6/6 \[\S+<\S+, .* faces/s\]", capsys.readouterr().err)
    about = faces.manifest
    assert (about["seen"], about["faces"]) == (6, 5)
    assert faces.images.shape == (5, 24, 24, 3) and faces.images.dtype == np.uint8
    (reason, broken), = about["skipped"].items()  # fmt: skip
    assert "cannot be read" in reason and broken[0].endswith(BROKEN)
    row = [n.endswith(MALFORMED) for n in faces.labels["name"]].index(True)
    assert [faces.labels[k][row] for k in ("age", "gender", "race")] == [39, -1, -1]


def test_a_finished_folder_is_taken_at_once_and_another_wish_is_refused(tmp_path):
    utkface = folder_of(tmp_path / "UTKFace", UTKFACE)
    contents = made("utkface", utkface, tmp_path / "out").labels["content"]
    other = made("utkface", utkface, tmp_path / "other", size=32)
    assert np.array_equal(other.labels["content"], contents)  # splits do not see the pixels
    (utkface / NAMES[0]).unlink()  # nobody looks
    assert len(made("utkface", utkface, tmp_path / "out")) == 5
    for other in ({"size": 32}, {"framing": "head"}, {"mask": True}):
        with pytest.raises(NotPrepared, match="choose another folder"):
            made("utkface", utkface, tmp_path / "out", **other)


def test_celeba_is_cut_to_the_head_by_numbers():
    """Eyes at (69, 111) and (109, 111) of the official pictures, no face needed to find them."""
    levels = np.zeros((218, 178, 3), np.uint8)
    for x in (69, 109):
        levels[109:113, x - 2 : x + 2] = 255
    options = OPTIONS | {"source": "celeba", "size": 128, "framing": "head"}
    bright = prepare_picture(encoded(levels, "PNG"), options)[..., 0].astype(float)
    for left, eye in ((0, 0.357), (64, 0.643)):
        y, x = center_of_mass(bright[:, left : left + 64])
        assert ((left + x + 0.5) / 128, (y + 0.5) / 128) == pytest.approx((eye, 0.45), abs=0.005)


@pytest.mark.parametrize("framing", ["face", "head"])
def test_photos_are_aligned_to_the_framing_and_others_skipped(framing, portraits, tmp_path):
    members = [(f"{i}/{path.name}", path.read_bytes()) for i, path in enumerate(portraits)]
    members += [("1/wall.png", encoded(np.full((80, 80, 3), 90, np.uint8), "PNG"))]
    folder = folder_of(tmp_path / "in", members)
    faces = made("folders", folder, tmp_path / "out", framing=framing, size=160)
    assert len(faces) == 2 and faces.framing == framing
    assert faces.manifest["skipped"] == {"no face found": ["1/wall.png"]}
    for image in faces.images:
        ((found, _), *_) = find_faces(open_photo(image))
        assert np.abs(found[:2] / 160 - FRAMINGS[framing][:2]).max() < 0.03


def test_frey_keeps_its_own_size(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (560, 9), np.uint8)
    savemat(tmp_path / "frey_rawface.mat", {"ff": frames})
    faces = made("frey", tmp_path / "frey_rawface.mat", tmp_path / "out", framing="face")
    assert faces.images.shape == (9, 28, 20, 1) and faces.framing == "none"
    assert np.array_equal(faces.images[4].ravel(), frames[:, 4])


def test_drawn_faces_are_those_of_draw_faces_with_their_factors(tmp_path):
    faces = made("synthetic", None, tmp_path / "synthetic", size=28, count=150, seed=4)
    images, factors = draw_faces(150, 28, seed=4)
    assert np.array_equal(faces.images, images) and faces.framing == "face"
    assert set(faces.labels) == {*factors, "content"}
    for name, values in factors.items():
        assert np.array_equal(faces.labels[name], values)
    assert len(load_faces("synthetic", root=tmp_path)) == 150
    masked = made("synthetic", None, tmp_path / "m", size=28, count=150, seed=4, mask=True)
    assert np.array_equal(masked.images[3], normalize(images[3], mask=True))
    with pytest.raises(NotPrepared):
        made("synthetic", None, tmp_path / "synthetic", size=28, count=151, seed=4)


class StandIn:
    """A studio of faces in one grey, 50 where male and 200 where not."""

    attributes, can_age, framing = ("Male", "Beard", "Bald", "Black_Hair", "Young"), True, "head"
    model = type("Model", (), {"config": ModelConfig(
        conditions=("gender", "age", "Beard", "Bald", "Black_Hair"), film=True)})  # fmt: skip
    load, asked = classmethod(lambda cls: cls()), []

    def sample(self, n, seed=0, age=None, attributes=None):
        self.asked.append((seed, age, attributes))
        return [Image.new("RGB", (32, 32), (125 - 75 * int(attributes["Male"]),) * 3)] * n


def test_sampled_faces_carry_what_was_asked_for_and_goes_together(tmp_path, monkeypatch):
    monkeypatch.setattr(facevae, "Studio", StandIn, raising=False)
    faces = made("studio", None, tmp_path / "out", count=170, seed=3, size=16, framing="face")
    labels = faces.labels
    assert faces.framing == "head" and faces.images.shape == (170, 16, 16, 3)
    own = {"name", "content", "gender", "age"}
    assert set(labels) == own | {"Male", "Beard", "Bald", "Black_Hair"}
    assert len({seed for seed, *_ in StandIn.asked}) == 170
    for row, (_, age, attributes) in enumerate(StandIn.asked):
        assert labels["age"][row] == age and 5 <= age <= 80
        assert all(labels[name][row] == (has > 0) for name, has in attributes.items())
    assert np.array_equal(labels["gender"], 1 - labels["Male"])
    assert np.array_equal(faces.images[:, 0, 0, 0], np.where(labels["Male"] == 1, 50, 200))
    assert not (labels["Beard"] & (1 - labels["Male"])).any()
    assert not (labels["Beard"] & (labels["age"] < 18)).any()
    assert not (labels["Bald"] & labels["Black_Hair"]).any()
    assert all(10 < labels[name].sum() < 160 for name in ("Male", "Beard", "Bald", "Black_Hair"))


def test_a_model_trained_here_gives_the_same_faces_for_a_seed(tiny_conditional_run, tmp_path):
    one, two = (made("studio", tiny_conditional_run / "best", tmp_path / name, size=32, count=3)
                for name in "ab")  # fmt: skip
    assert np.array_equal(one.images, two.images) and one.framing == "face"
    assert {"Male", "gender", "age"} <= set(one.labels) and one.images.std() > 10


def test_bad_sources_say_what_to_do(tmp_path):
    for source, path, options, words in (
        ("nothing", None, {}, "use one of utkface"), ("utkface", None, {}, "give --archive"),
        ("utkface", tmp_path / "absent", {}, "check the path"),
        ("utkface", tmp_path, {"size": 2}, "for 8 to 1024 pixels"),
        ("utkface", tmp_path, {"framing": "head", "mask": True}, "made for the framing 'face'"),
        ("frey", tmp_path, {"expose": True}, "leave them out"),
        ("synthetic", None, {"count": 0}, "ask for 1 or more"),
        ("utkface", tmp_path, {"framing": "body"}, "one of face, head, none"),
    ):  # fmt: skip
        with pytest.raises(BadSource, match=words):
            made(source, path, tmp_path / "out", **options)
    folder_of(tmp_path / "broken", [("20_0_0_1.jpg", JPEG[:100])])
    with pytest.raises(BadSource, match="no face could be prepared; the first one: 20_0_0_1.jpg"):
        made("utkface", tmp_path / "broken", tmp_path / "none")


def test_a_killed_preparation_goes_on_to_the_same_bytes(tmp_path):
    archive, out = photos(tmp_path / "UTKFace"), tmp_path / "out"
    command = ["prepare", "utkface", "--archive", archive, "--out", str(out), "--size", "24",
               "--framing", "none", "--workers", "1"]  # fmt: skip
    assert killed(command, out, 0.0, awaited="[0-9]*.npz")
    assert not (out / "manifest.json").exists()
    assert len(made("utkface", archive, out)) == 300
    made("utkface", archive, tmp_path / "whole", workers=2)
    assert content(out) == content(tmp_path / "whole")
    assert {*content(out)} == {"images.npy", "labels.npz", "manifest.json"}


class Deadly:
    def __reduce__(self):
        return signal.raise_signal, (9,)  # where it is unpickled: in the worker


def test_a_killed_worker_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "deadly", lambda path, notes: iter([Item("a", Deadly)]))
    with pytest.raises(OSError, match="with fewer --workers; it continues from here"):
        made("deadly", tmp_path, tmp_path / "out", workers=2)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count", "file", "framing", "labels"), [
    ("utkface", 60, "UTKFace.tar", "face", {"age", "gender", "race"}),
    ("morph2", 12, "AllAgeFaces.tar", "head", {"age", "gender"}),
    ("celeba", 24, "celeba.tar", "head", {"Smiling", "gender", "Beard", "person"}),
    ("folders", 60, "GENKI4K.tar", "face", {"Smiling", "part"}),
])  # fmt: skip
def test_real_faces_are_read_found_and_framed(name, count, file, framing, labels, real_data):
    options, notes, kept = OPTIONS | {"source": name, "framing": framing}, {}, 0
    for item in itertools.islice(SOURCES[name](real_data / file, notes), count):
        assert labels <= set(item.labels)
        with suppress(NoFaceFound):
            kept += prepare_picture(item.read(), options).shape == (64, 64, 3)
    assert notes["total"] > 3900 and kept >= 0.85 * count  # of GENKI's crops 5–8 % are not faces
