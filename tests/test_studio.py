import math
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import facevae
from facevae import latent, metrics
from facevae.__main__ import main
from facevae.align import FRAME
from facevae.pictures import to_tensor
from facevae.studio import FOLDER

PORTRAITS = [FOLDER.parent / "portraits" / f"{n}.jpg" for n in ("grace_hopper", "eileen_collins")]


@pytest.fixture(scope="module")
def studio():
    return facevae.Studio.load()


@pytest.fixture(scope="module")
def pair(studio):
    return [studio.read(photo) for photo in PORTRAITS]


def test_importing_facevae_loads_nothing_heavy():
    program = (
        "import sys, facevae, facevae.train; print(sorted({'gradio', 'facenet_pytorch', "
        "'matplotlib', 'sklearn', 'skimage', 'datasets'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_shipped_weights_are_small_enough_for_a_space():
    assert all(path.stat().st_size < 10_000_000 for path in FOLDER.iterdir())


@pytest.mark.parametrize("size", [None, 320])
@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_a_morph_with_detail_begins_and_ends_with_the_photos_themselves(studio, pair, path, size):
    a, b = pair
    strip = studio.morph_strip(a, b, steps=5, path=path, size=size)
    assert len(strip) == 5
    for frame, face in ((strip[0], a), (strip[-1], b)):
        assert np.array_equal(frame, face.crop_at(size or studio.size))
    assert np.array_equal(studio.morph(a, b, 0, path=path), a.crop)
    assert np.array_equal(studio.morph(a, b, 1, path=path), b.crop)


def test_every_step_of_a_morph_is_a_face_to_the_detector(studio, pair):
    from facevae.align import find_faces

    for detail in (0.0, 1.0):
        for frame in studio.morph_strip(*pair, steps=9, detail=detail, size=256):
            assert len(find_faces(frame)) == 1


def test_without_detail_a_morph_is_the_decoders_own_picture(studio, pair):
    a, b = pair
    assert np.array_equal(studio.morph(a, b, 0, detail=0), studio.reconstruct(a))
    half = np.asarray(studio.morph(a, b, 0, detail=0.5), float)
    mean = (np.asarray(a.crop, float) + np.asarray(studio.reconstruct(a), float)) / 2
    assert np.abs(half - mean).max() <= 1


def test_the_shipped_model_draws_the_portraits_recognisably(studio, pair):
    for face in pair:
        near = metrics.psnr(to_tensor([face.crop]), face.decoded).item()
        average = studio.model.decode(studio.prior.sample(99, torch.Generator(), 0).mean(0)[None])
        assert near > metrics.psnr(to_tensor([face.crop]), average).item() + 5


def test_pasting_back_leaves_the_rest_of_the_photo(studio, pair):
    a, b = pair
    assert np.array_equal(studio.morph(a, b, 0, paste=True), a.photo)
    pasted = np.asarray(studio.morph(a, b, 1, paste=True))
    changed = (pasted != np.asarray(a.photo)).any(-1)
    left, top, right, bottom = a.alignment._bounds(margin=0)
    assert changed.any()
    changed[max(top, 0) : bottom, max(left, 0) : right] = False
    assert not changed.any()
    assert studio.reconstruct(a, paste=True).size == a.photo.size


def test_a_blend_is_each_face_at_its_corner_and_in_proportion_between(studio, pair):
    a, b = pair
    for weights, face in (((1, 0), a), ((0, 7), b)):  # only ratios count
        blended = studio.blend(pair, weights, size=200)
        assert np.array_equal(blended, face.crop_at(200))
    edge = np.asarray(studio.blend((a, b, a), (0.5, 0.25, 0.25), detail=0), float)
    morph = np.asarray(studio.morph(a, b, 0.25, detail=0), float)
    assert np.abs(edge - morph).max() <= 1  # rounding: the sums run in another order
    itself = np.asarray(studio.blend((a, a, a), (1, 2, 3)), float)
    assert np.abs(itself - np.asarray(a.crop)).max() <= 1  # its landmarks stay where they are


def test_a_blend_put_back_changes_the_first_photo_alone_and_only_where_its_face_is(studio, pair):
    a, b = pair
    whole = studio.blend(pair, (1, 0), paste=True)
    assert np.array_equal(whole, a.photo)  # all of the first face: its photo
    half = np.asarray(studio.blend((a, b, a), (1, 2, 1), paste=True))
    changed = (half != np.asarray(a.photo)).any(-1)
    left, top, right, bottom = a.alignment._bounds(margin=0)
    assert changed.mean() > 0.01
    changed[max(top, 0) : bottom, max(left, 0) : right] = False
    assert not changed.any()


class Marked(facevae.Face):
    """A face whose residual is nothing but a soft spot, 0.4 high, on its nose."""

    def residual(self, size):
        x, y = self.points[2]
        line = (torch.arange(size) + 0.5) / size
        spot = torch.exp(-((line[:, None] - y).square() + (line - x).square()) / 0.03**2)
        return 0.4 * spot.expand(1, 3, size, size)


def test_in_a_blend_the_details_of_all_faces_meet_where_their_landmarks_do(studio, pair):
    points = torch.from_numpy(FRAME).float()
    shifts = torch.tensor([[0.06, 0.0], [-0.06, 0.0], [0.0, 0.06]])
    faces = [Marked(**vars(pair[0]) | {"points": points + shift}) for shift in shifts]
    wholes = [studio.blend(faces, (1, 1, 1), detail, size=200) for detail in (0.0, 1.0)]
    added = np.subtract(*(np.asarray(whole, float)[..., 1] for whole in reversed(wholes)))
    y, x = np.unravel_index(added.argmax(), added.shape)
    nose = (points[2] + shifts.mean(dim=0)).tolist()
    assert np.hypot(x / 200 - nose[0], y / 200 - nose[1]) < 0.015  # a third of the way apart
    assert added.max() > 0.8 * 0.4 * 255  # one spot of full height, not three of a third


def test_samples_repeat_by_seed_and_differ_from_each_other(studio):
    first, again, other = (studio.sample(4, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0]) and not np.array_equal(first[0], first[1])


def test_eyes_by_hand_find_the_same_face(studio, pair, monkeypatch):
    def gone(*_):
        raise AssertionError("the detector was asked")

    face = pair[1]
    eyes = [face.alignment.matrix @ (x, 0.29, 1) for x in (0.3, 0.7)]
    monkeypatch.setattr("facevae.align.find_faces", gone)
    again = studio.read(PORTRAITS[1], eyes=eyes)
    assert np.abs(np.asarray(again.crop, float) - np.asarray(face.crop, float)).mean() < 4


def test_eyes_by_hand_are_told_in_pixels_of_the_photo_however_large(studio, pair):
    face = pair[1]
    large = Image.new("RGB", (face.photo.width, 5000))  # of which 4,096 rows are kept
    large.paste(face.photo)
    eyes = [face.alignment.matrix @ (x, 0.29, 1) for x in (0.3, 0.7)]
    again = studio.read(large, eyes=eyes)
    assert again.photo.height == 4096
    assert np.abs(np.asarray(again.crop, float) - np.asarray(face.crop, float)).mean() < 6


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda s, a, b: s.morph(a, b, 1.5), "from 0 to 1"),
        (lambda s, a, b: s.morph(a, b, 0.5, detail=-1), "from 0 to 1"),
        (lambda s, a, b: s.morph(a, b, 0.5, path="curly"), "unknown"),
        (lambda s, a, b: s.morph_strip(a, b, 1), "at least 2"),
        (lambda s, a, b: s.blend([a, b], [1]), "a weight for each"),
        (lambda s, a, b: s.blend([a, b], [2, -1]), "none below 0"),
        (lambda s, a, b: s.blend([a, b], [1, 1], detail=2), "from 0 to 1"),
        (lambda s, a, b: s.sample(0), "at least one"),
        (lambda s, a, b: s.sample(1, age=math.nan), "a finite number, not nan"),
        (lambda s, a, b: s.sample(1, temperature=math.inf), "a finite number, not inf"),
        (lambda s, a, b: s.sample(1, gender=7), "0 .male. or 1 .female., not 7"),
        (lambda s, a, b: s.age(a, math.nan), "a finite number, not nan"),
        (lambda s, a, b: s.age(replace(a, years=math.nan), 50), "a finite number, not nan"),
        (lambda s, a, b: s.edit(a, {"Smiling": math.nan}), "a strength is a number"),
        (lambda s, a, b: s.edit(a, {}, size=0), "at least 1 pixel"),
        (lambda s, a, b: s.edit(a, {}, size=-3, paste=True), "at least 1 pixel"),
        (lambda s, a, b: s.morph(a, b, 0.5, size=0, paste=True), "at least 1 pixel"),
        (lambda s, a, b: s.read(Image.new("RGB", (200, 200), "teal")), "no face was found"),
    ],
)
def test_bad_wishes_are_refused_in_one_sentence(studio, pair, call, says):
    with pytest.raises(ValueError, match=says):
        call(studio, *pair)


def test_a_model_that_does_not_fit_the_studio_is_refused(tmp_path):
    facevae.FaceVAE(facevae.ModelConfig((1, 28, 20), 4, (4, 8))).save_pretrained(tmp_path)
    facevae.latent.GaussianPrior(torch.zeros(4), torch.eye(4)).save(tmp_path / "prior.safetensors")
    with pytest.raises(facevae.NotAModel, match="square colour model"):
        facevae.Studio.load(tmp_path)
    (tmp_path / "prior.safetensors").write_bytes(b"no")
    with pytest.raises(facevae.NotAModel, match="prior"):
        facevae.Studio.load(tmp_path)


def test_a_guide_or_a_prior_of_another_model_is_refused(studio, tmp_path):
    for path in facevae.studio.FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    other = facevae.FaceVAE(studio.model.config)
    other.save_pretrained(tmp_path, torch.float16)
    with pytest.raises(facevae.NotAModel, match="the guide in .* is of another model: make one"):
        facevae.Studio.load(tmp_path)
    facevae.FaceVAE(replace(studio.model.config, latents=8)).save_pretrained(tmp_path)
    with pytest.raises(facevae.NotAModel, match="is of a model of 256 latents, not of 8: make one"):
        facevae.Studio.load(tmp_path)


def test_the_command_line_morphs_and_samples(tmp_path, capsys):
    a, b = map(str, PORTRAITS)
    assert main(["morph", a, b, "-o", f"{tmp_path}/m.gif", "--steps", "4", "--size", "64"]) == 0
    with Image.open(tmp_path / "m.gif") as made:
        assert made.n_frames == 6 and made.size == (64, 64)
    assert main(["sample", "-n", "3", "-o", f"{tmp_path}/s.png"]) == 0
    with Image.open(tmp_path / "s.png") as made:
        assert made.size == (3 * 128, 128)
    assert main(["recipes"]) == 0
    assert "studio" in capsys.readouterr().out


def test_the_command_line_prepares_trains_evaluates_and_exports(tmp_path, capsys):
    data, run, made = (str(tmp_path / name) for name in ("data", "run", "made"))
    assert main(["prepare", "synthetic", "--out", data, "--size", "32", "--count", "300"]) == 0
    assert main(["train", "drawn", "--data", data, "--out", run, "--epochs", "1"]) == 0
    assert main(["evaluate", f"{run}/best", "--data", data]) == 0
    assert '"pca_psnr"' in capsys.readouterr().out
    assert main(["export", f"{run}/best", "--data", data, "--out", made]) == 0
    assert facevae.Studio.load(made).size == 32
    export = ["export", f"{run}/best", "--data", data, "--out", made, "--prior"]
    assert main([*export, "2"]) == 0
    assert len(facevae.Studio.load(made).prior.weights) == 2
    capsys.readouterr()
    assert main([*export, "likeliest"]) == 0
    nats = dict(re.findall(r"^  (.+): (-?[\d.]+) nats", capsys.readouterr().out, re.M))
    assert {"Gaussian", "4, one covariance"} <= set(nats)
    best = max(nats, key=lambda name: float(nats[name]))
    prior = facevae.Studio.load(made).prior
    assert isinstance(prior, latent.GaussianPrior) == (best == "Gaussian")
    assert main([*export, "many"]) == 2
    assert "say gaussian, likeliest or a number above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["morph", "nobody.jpg", "nobody.jpg", "-o", "x.gif"],
        ["morph", "a", "b", "-o", "x.gif", "--model", "nowhere"],
        ["train", "nothing", "--out", "x"],
        ["train", "drawn", "--data", "nowhere", "--out", "x"],
        ["prepare", "nothing", "--out", "x"],
        ["prepare", "utkface", "--archive", "nowhere.tar", "--out", "x"],
        ["prepare", "utkface", "--out", "x"],
        ["evaluate", "nowhere", "--data", "nowhere"],
        ["sample", "-o", "x.txt"],
    ],
)
def test_bad_commands_end_with_2_and_one_line(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("facevae: ") and error.count("\n") == 1


def test_a_studio_samples_from_either_kind_of_prior(studio, tmp_path):
    means = torch.randn(
        400, studio.model.config.latents, generator=torch.Generator().manual_seed(0)
    )
    mixed = facevae.Studio(studio.model, latent.MixturePrior.fit(means, 2, shared=True))
    mixed.save(tmp_path)
    again = facevae.Studio.load(tmp_path)
    assert isinstance(again.prior, latent.MixturePrior)
    assert np.array_equal(np.asarray(again.sample(1)[0]), np.asarray(mixed.sample(1)[0]))


def test_photos_are_edited_and_aged_from_the_command_line(tmp_path, capsys):
    photo, edited, aged = str(PORTRAITS[1]), tmp_path / "edited.png", tmp_path / "aged.gif"
    smiling = ["edit", photo, "--set", "Smiling=-1", "--paste", "--refine", "5", "-o", str(edited)]
    assert main(smiling) == 0
    with Image.open(edited) as picture, Image.open(photo) as before:
        assert picture.size == before.size
    years = ["age", photo, "--years", "20", "70", "--size", "96", "-o", str(aged)]
    assert main(years) == 0
    with Image.open(aged) as film:
        assert film.size == (96, 96) and film.n_frames == 2
    assert "read as" in capsys.readouterr().out
    for wrong, sentence in (
        ("Grin=1", "there is no attribute 'Grin'"),
        ("Smiling", "is no strength"),
    ):
        assert main(["edit", photo, "--set", wrong, "-o", str(edited)]) == 2
        assert sentence in capsys.readouterr().err


def test_an_edit_of_nothing_is_the_crop_and_leaves_the_photo_alone(studio, pair):
    face = pair[1]
    assert np.array_equal(studio.edit(face, {}), face.crop)
    assert np.array_equal(studio.edit(face, {}, size=320), face.crop_at(320))
    assert np.array_equal(studio.edit(face, {}, paste=True), face.photo)
    same = np.asarray(studio.age(face, face.years), int)
    assert np.abs(same - np.asarray(face.crop, int)).max() <= 1


def test_grey_hair_leaves_clothes_and_with_glasses_the_face_alone(studio, pair):
    """With glasses, a doll's eyes came through where those let the decoder draw."""
    face, top, clothes = np.s_[48:104, 40:88], np.s_[:20], np.s_[120:, :16]
    for one in pair:
        glasses, both = (
            np.asarray(studio.edit(one, {"Eyeglasses": 1.0} | more), int)
            for more in ({}, {"Gray_Hair": 1.0})
        )
        assert np.abs(both - glasses)[face].mean() < 6  # levels of 255
        assert np.abs(both - glasses)[clothes].mean() < 6
    assert np.abs(both - glasses)[top].mean() > 50  # the other one wears a cap
    switched = studio.edit(one, {"Gray_Hair": 1.0, "Eyeglasses": 1.0})
    assert np.array_equal(switched, both)  # whichever was asked for first


def test_edits_reach_their_strength_and_ages_are_clipped_to_those_learnt(studio, pair):
    face = pair[1]
    grim = studio.guide.placed(face.mean, {"Smiling": -1.0, "Beard": 0.5}, locked=["Male"])
    strengths = studio.guide.strengths(grim)
    assert strengths["Smiling"] == pytest.approx(-1, abs=1e-3)
    assert strengths["Beard"] == pytest.approx(0.5, abs=1e-3)
    assert strengths["Male"] == pytest.approx(studio.guide.strengths(face.mean)["Male"], abs=1e-3)
    _, oldest = studio.guide.curves.span
    assert np.array_equal(studio.age(face, oldest), studio.age(face, oldest + 60))
    with pytest.raises(ValueError, match="detail runs from 0 to 1"):
        studio.edit(face, {"Smiling": 1.0}, detail=1.5)


def test_samples_come_at_an_age_and_of_a_gender(studio):
    read = {
        (age, gender): [studio.guide.read(to_tensor([one]))
                        for one in studio.sample(12, 3, age=age, gender=gender)]
        for age, gender in ((15, 0), (70, 1))
    }  # fmt: skip
    young, old = (np.mean([years for years, _ in read[key]]) for key in read)
    assert young < 30 and old > 50
    genders = [np.mean([gender for _, gender in read[key]]) for key in read]
    assert genders[0] < 0.25 and genders[1] > 0.75


def test_a_studio_without_a_guide_says_how_to_make_one(studio, pair):
    bare = facevae.Studio(studio.model, studio.prior)
    with pytest.raises(ValueError, match="python -m facevae guide"):
        bare.edit(pair[0], {"Smiling": 1.0})
