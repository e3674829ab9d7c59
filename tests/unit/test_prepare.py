"""Preparation: from any source to the same FaceSet, resumed where it was cut, nothing lost."""

import itertools
import json
import re

import numpy as np
import pytest
from PIL import Image

import facevae
from facevae.config import ModelConfig
from facevae.data.archives import BadSource
from facevae.data.face_set import NotPrepared, load_faces
from facevae.data.normalization import normalize
from facevae.data.prepare import prepare, prepare_picture
from facevae.data.sampled import draw_requests
from facevae.data.sources import SOURCES
from facevae.data.synthetic import draw_faces
from facevae.data.writer import Options
from facevae.imaging.photo import open_photo
from tests.unit.archive_files import DRAWN, JPEG, encoded, folder_of, tar_of, zip_of

MALFORMED = "39_1_20170116174525125.jpg.chip.jpg"
BROKEN = "50_0_0_20170119.jpg.chip.jpg"
NAMES = [f"{20 + i}_{i % 2}_{i}_2017011{i}.jpg.chip.jpg" for i in range(4)] + [MALFORMED]
UTKFACE = [*zip(NAMES, map(encoded, DRAWN), strict=False), (BROKEN, encoded(DRAWN[5])[:200])]


@pytest.fixture
def utkface(tmp_path):
    """Six pictures: four good ones, one with a field missing in its name, one broken."""
    return folder_of(tmp_path / "UTKFace", UTKFACE)


def made(source, path, out, **options):
    options = {"size": 24, "framing": "none", "workers": 2, "progress": False} | options
    return prepare(source, path, out=out, **options)


BUILDERS = {"folder": folder_of, "tar": tar_of, "zip": zip_of,
            "tar.gz": lambda path, members: tar_of(path, members, "w:gz")}  # fmt: skip


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_utkface_as_people_download_it(build, tmp_path, capsys):
    members = [(f"UTKFace/{name}", content) for name, content in UTKFACE]
    faces = made("utkface", build(tmp_path / "in", members), tmp_path / "out", progress=True)
    assert re.search(r"100%.* 6/6 \[\S+<\S+, .* faces/s\]", capsys.readouterr().err)
    about = faces.manifest
    assert (about["seen"], about["faces"]) == (6, 5) and "total" not in about
    assert faces.images.shape == (5, 24, 24, 3) and faces.images.dtype == np.uint8
    (reason, broken), = about["skipped"].items()  # fmt: skip
    assert "cannot be read" in reason and broken[0].endswith(BROKEN)
    assert about["skipped_counts"] == {reason: 1}
    (incomplete,) = about["incomplete_labels"]
    row = [n.endswith(MALFORMED) for n in faces.labels["name"]].index(True)
    assert incomplete.endswith(MALFORMED)
    assert [faces.labels[k][row] for k in ("age", "gender", "race")] == [39, -1, -1]
    assert sorted(faces.labels["age"]) == [20, 21, 22, 23, 39]
    assert "content" in faces.labels and "content" not in about["labels"]


def test_a_truncated_archive_gives_what_is_whole_and_says_so(tmp_path):
    path = tar_of(tmp_path / "in.tar", UTKFACE)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"50_0_0") + 600])
    faces = made("utkface", path, tmp_path / "out")
    assert len(faces) == 5
    assert "damage" in faces.manifest or faces.manifest["skipped"]


def test_pictures_of_every_kind_become_faces(tmp_path):
    picture, turned = Image.fromarray(draw_faces(1, size=96)[0][0]), Image.Exif()
    turned[0x0112] = 6  # by 90 degrees
    kinds = {
        "plain": (picture, "PNG", {}),
        "cmyk": (picture.convert("CMYK"), "JPEG", {"quality": 95}),
        "alpha": (picture.convert("RGBA"), "WEBP", {"lossless": True}),
        "turned": (picture.transpose(Image.Transpose.ROTATE_90), "JPEG", {"exif": turned}),
    }
    for i, (name, (image, kind, options)) in enumerate(kinds.items()):
        (tmp_path / "in" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "in" / str(i % 2) / f"{name}.png", kind, **options)
    faces = made("folders", tmp_path / "in", tmp_path / "out")
    assert len(faces) == 4 and not faces.manifest["skipped"]
    plain = faces.images[faces.labels["name"].tolist().index("0/plain.png")].astype(int)
    assert np.abs(faces.images - plain).mean((1, 2, 3)).max() < 4


def test_a_finished_folder_is_taken_at_once_and_another_wish_is_refused(utkface, tmp_path):
    made("utkface", utkface, tmp_path / "out")
    (utkface / NAMES[0]).unlink()  # nobody looks
    assert len(made("utkface", utkface, tmp_path / "out")) == 5
    for other in ({"size": 32}, {"framing": "head"}, {"mask": True}):
        with pytest.raises(NotPrepared, match="choose another folder"):
            made("utkface", utkface, tmp_path / "out", **other)


def test_a_folder_of_an_earlier_version_is_still_the_same(utkface, tmp_path):
    """It said `align` for the framing, and nothing of mask and exposure."""
    path = made("utkface", utkface, tmp_path / "out").folder / "manifest.json"
    about = json.loads(path.read_text())
    for name in ("framing", "mask", "expose"):
        about["options"].pop(name)
    about["options"]["align"] = False
    path.write_text(json.dumps(about))
    assert made("utkface", utkface, tmp_path / "out").framing == "none"
    about["options"]["align"] = True
    path.write_text(json.dumps(about))
    assert made("utkface", utkface, tmp_path / "out", framing="face").framing == "face"
    with pytest.raises(NotPrepared, match="prepared in another way"):
        made("utkface", utkface, tmp_path / "out", framing="face", mask=True)


def test_normalized_folders_hold_the_normalized_crops(utkface, tmp_path):
    plain = made("utkface", utkface, tmp_path / "plain")
    faces = made("utkface", utkface, tmp_path / "out", mask=True, expose=True)
    for one, other in zip(faces.images, plain.images, strict=True):
        assert np.array_equal(one, normalize(other, mask=True, expose=True))
    drawn = made("synthetic", None, tmp_path / "drawn", size=32, count=6, mask=True)
    assert np.array_equal(drawn.images[3], normalize(DRAWN[3], mask=True))
    with pytest.raises(BadSource, match="made for the framing 'face'"):
        made("utkface", utkface, tmp_path / "head", framing="head", mask=True)


# --- framings


def test_celeba_is_cut_to_the_head_by_numbers(tmp_path):
    """Eyes at (69, 111) and (109, 111) of the official pictures, no face needed to find them."""
    levels = np.zeros((218, 178, 3), np.uint8)
    for x in (69, 109):
        levels[109:113, x - 2 : x + 2] = 255
    pixels = prepare_picture(encoded(levels, "PNG"), Options("celeba", "", 128, "head"))
    bright = pixels[..., 0].astype(float)
    assert pixels.shape == (128, 128, 3)
    for half, eye in ((slice(0, 64), 0.357), (slice(64, 128), 0.643)):
        weights = bright[:, half] / bright[:, half].sum()
        x = (weights.sum(0) * (np.arange(128)[half] + 0.5)).sum() / 128
        y = (weights.sum(1) * (np.arange(128) + 0.5)).sum() / 128
        assert (x, y) == pytest.approx((eye, 0.45), abs=0.005)


@pytest.mark.parametrize("framing", ["face", "head"])
def test_photos_are_aligned_to_the_framing_and_others_skipped(framing, portraits, tmp_path):
    from facevae.imaging.alignment import FRAMINGS, find_faces

    members = [(f"{i}/{path.name}", path.read_bytes()) for i, path in enumerate(portraits)]
    members += [("1/wall.png", encoded(np.full((80, 80, 3), 90, np.uint8), "PNG"))]
    folder = folder_of(tmp_path / "in", members)
    faces = made("folders", folder, tmp_path / "out", framing=framing, size=160)
    assert len(faces) == 2 and faces.framing == framing
    assert faces.manifest["skipped"] == {"no face found": ["1/wall.png"]}
    for image in faces.images:
        (found, *_) = find_faces(open_photo(image))
        assert np.abs(found.points[:2] / 160 - FRAMINGS[framing][:2]).max() < 0.03


# --- sources that are drawn, and others of their own size


def test_frey_keeps_its_own_size(tmp_path):
    from scipy.io import savemat

    frames = np.random.default_rng(0).integers(0, 256, (560, 9), np.uint8)
    savemat(tmp_path / "frey_rawface.mat", {"ff": frames})
    faces = made("frey", tmp_path / "frey_rawface.mat", tmp_path / "out", framing="face")
    assert faces.images.shape == (9, 28, 20, 1) and faces.framing == "none"
    assert np.array_equal(faces.images[4].ravel(), frames[:, 4])
    with pytest.raises(BadSource, match="neither masked nor exposed"):
        made("frey", tmp_path / "frey_rawface.mat", tmp_path / "masked", mask=True)


def test_drawn_faces_are_those_of_draw_faces_with_their_factors(tmp_path):
    faces = made("synthetic", None, tmp_path / "synthetic28", size=28, count=150, seed=4)
    images, factors = draw_faces(150, 28, seed=4)
    assert np.array_equal(faces.images, images) and faces.framing == "face"
    assert set(faces.labels) == {*factors, "content"} and faces.manifest["seed"] == 4
    for name, values in factors.items():
        assert np.array_equal(faces.labels[name], values)
    assert len(load_faces("synthetic", root=tmp_path, size=28)) == 150
    with pytest.raises(NotPrepared):
        made("synthetic", None, tmp_path / "synthetic28", size=28, count=151, seed=4)


class StandIn:
    """A studio of faces in one grey, 50 where male and 200 where not, for what asks of it."""

    attributes, can_age, framing = ("Male", "Eyeglasses", "Wavy_Hair", "Young"), True, "head"
    model = type("Model", (), {
        "config": ModelConfig(conditions=("gender", "age", "Eyeglasses"), film=True)})  # fmt: skip
    asked: list = []

    @classmethod
    def load(cls, folder="shipped"):
        cls.folder = folder
        return cls()

    def sample(self, n, seed=0, age=None, attributes=None):
        self.asked.append((seed, age, attributes))
        return [Image.new("RGB", (32, 32), (125 - 75 * int(attributes["Male"]),) * 3)] * n


def test_sampled_faces_carry_what_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(facevae, "Studio", StandIn, raising=False)
    faces = made("studio", None, tmp_path / "out", count=70, seed=3, size=16, framing="face")
    assert faces.framing == "head" and faces.images.shape == (70, 16, 16, 3)
    assert set(faces.labels) == {"name", "content", "Male", "gender", "age", "Eyeglasses"}
    assert StandIn.folder == "shipped" and len({seed for seed, *_ in StandIn.asked}) == 70
    for row, (_, age, attributes) in enumerate(StandIn.asked):
        assert faces.labels["age"][row] == age and 5 <= age <= 80
        assert faces.labels["Male"][row] == (attributes["Male"] == 1)
        assert faces.labels["gender"][row] == 1 - faces.labels["Male"][row]
        assert faces.images[row, 0, 0, 0] == (50 if attributes["Male"] == 1 else 200)
        assert attributes["Eyeglasses"] == 2 * faces.labels["Eyeglasses"][row] - 1
    assert 20 < faces.labels["Male"].sum() < 50
    made("studio", "runs/best", tmp_path / "other", count=1)
    assert StandIn.folder == "runs/best"


def test_a_model_that_was_trained_here_gives_the_same_faces_for_a_seed(
    tiny_conditional_run, tmp_path
):
    one, two = (made("studio", tiny_conditional_run / "best", tmp_path / name, size=32, count=3)
                for name in "ab")  # fmt: skip
    assert np.array_equal(one.images, two.images) and one.framing == "face"
    assert {"Male", "gender", "age"} <= set(one.labels) and one.images.std() > 10


def test_what_is_asked_of_one_face_goes_together():
    names = ["Male", "Beard", "Mustache", "Bald", "Bangs", "Black_Hair", "Gray_Hair"]
    rows = draw_requests(names, ages=True, count=500, seed=0)
    assert rows == draw_requests(names, ages=True, count=500, seed=0)
    for row in rows:
        assert row["Male"] or not (row["Beard"] or row["Mustache"] or row["Bald"])
        assert row["Beard"] or not row["Mustache"]
        assert row["Bald"] + row["Black_Hair"] + row["Gray_Hair"] <= 1
        assert not (row["Bald"] and row["Bangs"])
        assert row["age"] >= 18 or not (row["Beard"] or row["Gray_Hair"])
    for name in names:
        assert 20 < sum(row[name] for row in rows) < 480


# --- what is refused


def test_bad_sources_say_what_to_do(tmp_path):
    (tmp_path / "empty").mkdir()
    for source, path, options, words in (
        ("nothing", None, {}, "use one of utkface"),
        ("utkface", None, {}, "give --archive"),
        ("utkface", tmp_path / "absent", {}, "check the path"),
        ("utkface", tmp_path / "empty", {}, "holds no pictures"),
        ("utkface", tmp_path, {"size": 2}, "ask for 8 or more"),
        ("utkface", tmp_path, {"workers": 0}, "ask for 1 or more"),
        ("utkface", tmp_path, {"framing": "body"}, "use one of face, head, none"),
    ):
        with pytest.raises(BadSource, match=words):
            made(source, path, tmp_path / "out", **options)
    folder_of(tmp_path / "broken", [("20_0_0_1.jpg", JPEG[:100])])
    with pytest.raises(BadSource, match="no face could be prepared; the first one: 20_0_0_1.jpg"):
        made("utkface", tmp_path / "broken", tmp_path / "none")


def test_a_picture_falls_to_the_same_part_of_the_split_whatever_becomes_of_its_pixels(tmp_path):
    """Crops differ slightly between libraries: a model's unseen faces must stay unseen."""
    members = [(f"{k % 2}/{k}.jpg", encoded(DRAWN[k % 6] // (1 + k // 6))) for k in range(40)]
    folder = folder_of(tmp_path / "in", members)
    small, large = (made("folders", folder, tmp_path / str(s), size=s) for s in (32, 48))
    assert np.array_equal(small.labels["content"], large.labels["content"])
    for part, rows in small.split(1).items():
        assert np.array_equal(rows, large.split(1)[part])


@pytest.mark.slow
def test_real_faces_are_found_and_framed(real_data):
    for name, count, file, framing in (
        ("utkface", 60, "UTKFace.tar", "face"),
        ("morph2", 12, "AllAgeFaces.tar", "head"),
        ("celeba", 24, "celeba.tar", "head"),
        ("folders", 60, "GENKI4K.tar", "face"),
    ):
        options, kept = Options(name, "", 64, framing), 0
        for item in itertools.islice(SOURCES[name](real_data / file, {}), count):
            try:
                kept += prepare_picture(item.read(), options).shape == (64, 64, 3)
            except ValueError:
                continue
        assert kept >= 0.85 * count, name  # of GENKI's crops 5–8 % are not faces
