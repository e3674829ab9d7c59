"""The studio with tiny untrained models of every kind: what each can do, and what it refuses."""

import math
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image

import facevae
from facevae.imaging.alignment import find_faces
from facevae.imaging.images import to_tensor
from facevae.studio import Studio
from tests.helpers import one_sentence
from tests.unit.studios import CONFIGS, LABELS, tiny_model, tiny_statistics, tiny_studio

WHOLE = ("plain", "conditional", "studio")  # kinds that find a face in a photo


@pytest.fixture(scope="module", params=CONFIGS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def studios():
    return {kind: tiny_studio(kind) for kind in CONFIGS}


@pytest.fixture(scope="module")
def pairs(studios, portraits):
    """Both portraits as each studio reads them."""
    return {kind: [studio.read(p) for p in portraits] for kind, studio in studios.items()}


def levels(picture):
    return np.asarray(picture, float)


def test_importing_facevae_loads_nothing_heavy():
    heavy = "'torch', 'gradio', 'facenet_pytorch', 'matplotlib', 'sklearn', 'skimage', 'datasets'"
    program = f"import sys, facevae; print(sorted({{{heavy}}} & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_public_names_are_all_there():
    assert all(getattr(facevae, name) is not None for name in facevae.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = facevae.nothing


def test_each_kind_has_its_attributes(studios):
    assert studios["plain"].attributes == (*LABELS, "Young")
    assert studios["grey"].attributes == () and not studios["grey"].can_age
    assert studios["conditional"].attributes == ("Male", "Smiling", "Eyeglasses", "Young")
    names = ("Smiling", "Bangs", "Bald", "Male", "Eyeglasses", "Young")
    assert studios["studio"].attributes == names  # conditions first, each once
    assert [s.size for s in studios.values()] == [64, 28, 64, 64]
    assert [s.whole_photos for s in studios.values()] == [True, False, True, True]
    assert studios["studio"].age_span == (5.0, 80.0) and studios["plain"].age_span == (5.0, 75.0)


def test_a_studio_comes_back_from_its_folder(studios, kind, portraits, tmp_path):
    studios[kind].save(tmp_path)
    again = Studio.load(tmp_path)
    assert again.attributes == studios[kind].attributes and again.framing == studios[kind].framing
    assert (again.classifier is None) == (studios[kind].classifier is None)
    assert Studio.load(tmp_path).read(portraits[0]).decoded.equal(again.read(portraits[0]).decoded)


def test_a_photo_is_read_as_the_model_needs_it(studios, pairs, kind):
    channels, height, width = studios[kind].model.config.image_shape
    for face in pairs[kind]:
        assert face.crop.size == (width, height) and face.crop.mode == (
            "L" if channels == 1 else "RGB"
        )
        assert torch.equal(face.image, to_tensor([face.crop])) and face.faces_found == 1
        assert face.mean.shape == (1, 8) and face.warning == ""
        assert (face.alignment is None) == (face.points is None) == (kind == "grey")
        assert torch.equal(face.decoded, studios[kind].model.decode(face.mean, face.condition))
        assert face.side == (face.photo.height if kind == "grey" else round(face.alignment.side))


def test_the_condition_is_what_the_classifier_says_or_else_the_probe(studios, pairs):
    face = pairs["studio"][0]
    names = studios["studio"].model.config.conditions
    told = dict(zip(names, face.condition[0].tolist(), strict=True))
    assert told["Smiling"] == pytest.approx(face.readings["Smiling"]) and told["Bangs"] > 0.8
    assert told["age"] == pytest.approx(face.years / 100)
    assert face.gender == int(face.readings["Male"] < 0.5)
    studio, face = studios["conditional"], pairs["conditional"][0]
    mean = studio.statistics.mean_condition[None]
    code = studio.model.encode(face.image, mean).mean
    assert torch.allclose(face.condition, studio.editor.probe(code))
    assert face.gender == round(face.condition[0, 1].item())
    assert pairs["plain"][0].condition is None and pairs["plain"][0].years is not None


def test_another_age_and_gender_can_be_told(studios, pairs, kind):
    studio, face = studios[kind], pairs[kind][0]
    told = studio.correct(face, years=61, gender=1)
    assert (told.years, told.gender) == (61, 1)
    if kind == "conditional":
        assert told.condition.tolist() == [[pytest.approx(0.61), 1.0]]
    if kind == "studio":
        column = studio.model.config.conditions.index("Bangs")
        assert told.condition[0, column] == face.condition[0, column]
    assert np.array_equal(studio.edit(told, {}), face.crop)


def test_an_edit_of_nothing_is_the_photo_to_the_bit(studios, pairs, kind):
    studio, face = studios[kind], pairs[kind][1]
    large = (200, round(200 * face.crop.width / face.crop.height))
    for wanted in ({}, dict.fromkeys(studio.attributes, 0.0)):
        assert np.array_equal(studio.edit(face, wanted), face.crop)
        assert np.array_equal(studio.edit(face, wanted, size=200), face.crop_at(large))
        if studio.whole_photos:
            assert np.array_equal(studio.edit(face, wanted, paste=True), face.photo)


@pytest.mark.parametrize("kind", WHOLE)
def test_every_attribute_changes_the_picture_both_ways_and_evenly(studios, pairs, kind):
    studio, face = studios[kind], pairs[kind][0]
    for name in set(studio.attributes) - {"Young"}:
        state = face.mean, face.condition
        apart = [
            sum((new - old).norm().item() for new, old in zip(moved, state, strict=True)
                if new is not None)
            for moved in (studio.editor.moved(state, {name: s}) for s in (-1, -0.5, 0.5, 1))
        ]  # fmt: skip
        assert apart[0] == pytest.approx(2 * apart[1], rel=1e-3)
        assert apart[3] == pytest.approx(2 * apart[2], rel=1e-3)
        pictures = [levels(studio.edit(face, {name: s})) for s in (-1.0, 1.0)]
        assert np.abs(pictures[0] - pictures[1]).max() > 2


def test_conditions_exclude_each_other_and_a_lock_holds_them(studios, pairs):
    studio, face = studios["studio"], pairs["studio"][0]
    bangs = studio.model.config.conditions.index("Bangs")
    assert face.condition[0, bangs] > 0.8
    state = face.mean, face.condition
    assert studio.editor.moved(state, {"Bald": 1.0})[1][0, bangs] == 0
    locked = studio.editor.moved(state, {"Bald": 1.0}, locked=["Bangs"])[1]
    assert locked[0, bangs] == face.condition[0, bangs]


def test_a_lock_holds_a_direction(studios, pairs):
    studio, face = studios["plain"], pairs["plain"][0]
    glasses = studio.editor.directions["mean"]["Eyeglasses"]
    moved = studio.editor.moved((face.mean, None), {"Smiling": 1.0}, locked=["Eyeglasses"])[0]
    assert glasses.strength(moved).item() == pytest.approx(
        glasses.strength(face.mean).item(), abs=1e-4
    )
    both = [studio.edit(face, {"Smiling": 1.0}, method=method) for method in ("mean", "balanced")]
    assert not np.array_equal(*both)


def test_the_hold_mask_lets_go_of_the_photo(studios, pairs):
    """The formula of an edit with a model that draws `hold`, as training sees it."""
    studio, face = studios["studio"], pairs["studio"][0]
    code, condition = studio.editor.moved((face.mean, face.condition), {"Smiling": 1.0})
    expected = studio.model.show(face.image, code, face.condition, condition)
    shown = to_tensor([studio.edit(face, {"Smiling": 1.0})])
    assert torch.allclose(shown, expected.clamp(0, 1), atol=0.51 / 255)


@pytest.mark.parametrize(("kind", "methods"), [
    ("plain", ["vector"]), ("conditional", ["condition", "vector"]), ("studio", ["condition"]),
])  # fmt: skip
def test_faces_age_by_condition_or_by_vector(studios, pairs, kind, methods):
    studio, face = studios[kind], replace(pairs[kind][0], years=40.0)
    for method in methods:
        old = studio.age(face, 70, method=method, size=100)
        assert old.size == (100, 100)
        assert np.abs(levels(old) - levels(studio.age(face, 10, method=method, size=100))).max() > 2
        oldest = studio.age_span[1]
        assert np.array_equal(studio.age(face, oldest, method=method),
                              studio.age(face, oldest + 60, method=method))  # fmt: skip
    assert np.array_equal(studio.age(face, 70), studio.age(face, 70, method=methods[0]))
    if "vector" in methods:
        assert np.array_equal(studio.age(face, 40, method="vector"), face.crop)
    assert studio.age(face, 70, paste=True).size == face.photo.size


def test_young_is_an_age(studios, pairs):
    studio, face = studios["studio"], replace(pairs["studio"][0], years=50.0)
    young = studio.editor.moved((face.mean, face.condition), {"Young": 1.0}, years=50.0)[1]
    old = studio.editor.moved((face.mean, face.condition), {"Young": -0.5}, years=50.0)[1]
    assert young[0, -1] == pytest.approx(0.22) and old[0, -1] == pytest.approx(0.60)


@pytest.mark.parametrize("size", [None, 160])
@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_a_morph_begins_and_ends_with_the_photos_themselves(studios, pairs, kind, path, size):
    studio, (a, b) = studios[kind], pairs[kind]
    strip = studio.morph_strip(a, b, steps=5, path=path, size=size)
    assert len(strip) == 5
    for frame, face in ((strip[0], a), (strip[-1], b)):
        assert np.array_equal(frame, face.crop_at((frame.height, frame.width)))
    assert np.array_equal(studio.morph(a, b, 0, path=path), a.crop)
    assert np.array_equal(studio.morph(a, b, 1, path=path), b.crop)


def test_without_detail_a_morph_is_the_decoders_own_picture(studios, pairs, kind):
    studio, (a, b) = studios[kind], pairs[kind]
    assert np.array_equal(studio.morph(a, b, 0, detail=0), studio.reconstruct(a))
    half = levels(studio.morph(a, b, 0, detail=0.5))
    assert np.abs(half - (levels(a.crop) + levels(studio.reconstruct(a))) / 2).max() <= 1


def test_every_step_of_a_morph_is_a_face_whose_landmarks_stand_between(studios, pairs):
    studio, (a, b) = studios["plain"], pairs["plain"]
    strip = studio.morph_strip(a, b, steps=5, size=256)
    found = [find_faces(frame) for frame in strip]
    assert all(len(faces) == 1 for faces in found)
    seen = torch.from_numpy(found[2][0].points).float() / 256
    off = [(seen - points).norm(dim=1).mean() for points in (a.points, b.points)]
    assert (seen - (a.points + b.points) / 2).norm(dim=1).mean() < min(off)


def test_with_a_hand_before_the_mouth_what_is_drawn_stays_a_face(studios, pairs):
    studio, (a, b) = studios["plain"], pairs["plain"]
    hand = a.photo.copy()
    left, top = a.alignment.to_pixels(np.array([0.25, 0.6]))
    skin = a.photo.getpixel(tuple(int(v) for v in a.alignment.to_pixels(np.array([0.3, 0.5]))))
    hand.paste(skin, (int(left), int(top), int(left + 0.4 * a.side), int(top + 0.3 * a.side)))
    covered = studio.read(hand)
    shown = [
        *studio.morph_strip(covered, b, 4, size=256),
        studio.edit(covered, {"Smiling": 1.0}, size=256),
    ]
    assert all(len(find_faces(picture)) == 1 for picture in shown)


@pytest.mark.parametrize("kind", WHOLE)
def test_pasting_leaves_the_rest_of_the_photo(studios, pairs, kind):
    studio, (a, b) = studios[kind], pairs[kind]
    assert np.array_equal(studio.morph(a, b, 0, paste=True), a.photo)
    assert np.array_equal(studio.blend((a, b), (1, 0), paste=True), a.photo)
    left, top, right, bottom = a.alignment.bounds()
    made = (studio.morph(a, b, 1, paste=True), studio.blend((a, b), (1, 1), paste=True),
            studio.edit(a, {"Smiling": 1.0, "Male": -1.0}, paste=True),
            studio.reconstruct(a, paste=True))  # fmt: skip
    for pasted in made:
        changed = (np.asarray(pasted) != np.asarray(a.photo)).any(-1)
        assert changed.any()
        changed[max(top, 0) : bottom, max(left, 0) : right] = False
        assert not changed.any()
    inside = to_tensor([a.alignment.crop(made[0], 64)])[..., 16:48, 16:48]
    # two bilinear enlargements and a reduction stand between: 3 % of the range
    assert (inside - b.image[..., 16:48, 16:48]).abs().mean() < 0.03


def test_a_blend_is_each_face_at_its_corner_and_in_proportion_between(studios, pairs, kind):
    studio, (a, b) = studios[kind], pairs[kind]
    for weights, face in (((1, 0), a), ((0, 7), b)):  # only ratios count
        blended = studio.blend((a, b), weights, size=112)
        assert np.array_equal(blended, face.crop_at((blended.height, blended.width)))
    edge = levels(studio.blend((a, b, a), (0.5, 0.25, 0.25), detail=0))
    assert np.abs(edge - levels(studio.morph(a, b, 0.25, detail=0))).max() <= 1  # order of sums
    itself = levels(studio.blend((a, a, a), (1, 2, 3)))
    assert np.abs(itself - levels(a.crop)).max() <= 1  # its landmarks stay where they are


class Marked(facevae.Face):
    """A face whose residual is nothing but a soft spot, 0.4 high, on its nose."""

    def residual(self, size):
        x, y = self.points[2]
        line = (torch.arange(size[0]) + 0.5) / size[0]
        spot = torch.exp(-((line[:, None] - y).square() + (line - x).square()) / 0.03**2)
        return 0.4 * spot.expand(1, 3, *size)


def test_in_a_blend_the_details_of_all_faces_meet_where_their_landmarks_do(studios, pairs):
    studio, face = studios["plain"], pairs["plain"][0]
    shifts = torch.tensor([[0.06, 0.0], [-0.06, 0.0], [0.0, 0.06]])
    known = {f.name: getattr(face, f.name) for f in fields(face) if f.init}
    faces = [Marked(**known | {"points": face.points + shift}) for shift in shifts]
    wholes = [levels(studio.blend(faces, (1, 1, 1), detail, size=200)) for detail in (0.0, 1.0)]
    added = (wholes[1] - wholes[0])[..., 1]
    y, x = np.unravel_index(added.argmax(), added.shape)
    nose = (face.points[2] + shifts.mean(dim=0)).tolist()
    assert np.hypot(x / 200 - nose[0], y / 200 - nose[1]) < 0.015  # a third of the way apart
    assert added.max() > 0.8 * 0.4 * 255  # one spot of full height, not three of a third


def test_samples_repeat_by_seed_and_come_with_what_is_asked(studios, kind):
    studio = studios[kind]
    first, again, other = (studio.sample(4, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    if studio.attributes:
        asked = studio.sample(2, seed=1, age=70, gender=0, attributes={"Smiling": 1.0})
        plain = studio.sample(2, seed=1)
        assert np.abs(levels(asked[0]) - levels(plain[0])).max() > 1


def test_the_average_person_with_and_without(studios):
    for kind in WHOLE:
        studio = studios[kind]
        for name in studio.attributes:
            without, having = (levels(studio.average(name, has)) for has in (False, True))
            assert np.abs(without - having).max() >= 1
    plain = studios["plain"]
    code = plain.statistics.with_label[0][None]
    assert np.array_equal(plain.average("Smiling", True), plain.reconstruct(
        replace_code(plain, code)))  # fmt: skip


def replace_code(studio, code):
    """A face of nobody at a code."""
    decoded = studio.model.decode(code)
    crop = Image.new("RGB", (64, 64))
    return facevae.Face(crop, None, crop, to_tensor([crop]), code, None, decoded)


def test_eyes_by_hand_find_the_same_face_however_large_the_photo(
    studios, pairs, portraits, monkeypatch
):
    studio, face = studios["plain"], pairs["plain"][1]
    monkeypatch.setattr("facevae.imaging.alignment.find_faces", lambda _: pytest.fail("detected"))
    eyes = face.alignment.to_pixels(np.array([(0.3, 0.29), (0.7, 0.29)]))
    again = studio.read(portraits[1], eyes=eyes)
    assert again.points is None
    assert np.abs(levels(again.crop) - levels(face.crop)).mean() < 5
    studio.morph(again, face, 0.5)  # is morphed without being warped
    large = Image.new("RGB", (face.photo.width, 5000))  # of which 4,096 rows are kept
    large.paste(face.photo)
    again = studio.read(large, eyes=eyes)
    assert again.photo.height == 4096
    assert np.abs(levels(again.crop) - levels(face.crop)).mean() < 7


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
        (lambda s, a, b: s.sample(1, age=math.nan), "a finite number of years"),
        (lambda s, a, b: s.sample(1, temperature=math.inf), "a finite number, not inf"),
        (lambda s, a, b: s.sample(1, gender=7), "0 .male. or 1 .female., not 7"),
        (lambda s, a, b: s.age(a, math.nan), "a finite number of years"),
        (lambda s, a, b: s.age(replace(a, years=math.nan), 50), "a finite number of years"),
        (lambda s, a, b: s.age(a, 50, method="magic"), "'magic' is unknown"),
        (lambda s, a, b: s.age(a, 50, method="condition"), "needs a model with the condition age"),
        (lambda s, a, b: s.edit(a, {"Smiling": math.nan}), "a strength is a number"),
        (lambda s, a, b: s.edit(a, {"Smiling": 9}), "from −2 to 2, not Smiling=9"),
        (lambda s, a, b: s.edit(a, {"Grin": 1}), "no attribute 'Grin': this model has Smiling"),
        (lambda s, a, b: s.edit(a, {"Smiling": 1}, method="magic"), "'magic' is unknown"),
        (lambda s, a, b: s.edit(a, {}, locked=["Grin"]), "no attribute 'Grin'"),
        (lambda s, a, b: s.edit(a, {}, detail=1.5), "from 0 to 1"),
        (lambda s, a, b: s.edit(a, {}, size=0), "at least 1 pixel"),
        (lambda s, a, b: s.edit(a, {}, size=-3, paste=True), "at least 1 pixel"),
        (lambda s, a, b: s.morph(a, b, 0.5, size=0, paste=True), "at least 1 pixel"),
        (lambda s, a, b: s.average("Grin", True), "no attribute 'Grin'"),
        (lambda s, a, b: s.correct(a, gender=3), "0 .male. or 1 .female., not 3"),
        (lambda s, a, b: s.read(Image.new("RGB", (200, 200), "teal")), "no face was found"),
    ],
)
def test_bad_requests_are_refused_in_one_sentence(studios, pairs, call, says):
    with pytest.raises(ValueError, match=says) as caught:
        call(studios["plain"], *pairs["plain"])
    one_sentence(caught, "")


def test_what_a_model_cannot_do_is_said(studios, pairs):
    grey, (a, b) = studios["grey"], pairs["grey"]
    for call, says in (
        (lambda: grey.age(a, 50), "knows no ages: train one on faces with the label age"),
        (lambda: grey.edit(a, {"Smiling": 1.0}), "no attribute 'Smiling': this model has none"),
        (lambda: grey.sample(1, age=30), "knows no ages"),
        (lambda: grey.morph(a, b, 0.5, paste=True), "reads whole pictures"),
        (lambda: grey.edit(a, {}, paste=True), "reads whole pictures"),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        one_sentence(caught, says)


def test_statistics_of_another_model_are_refused(tmp_path):
    config = CONFIGS["plain"]
    model, other = tiny_model(config), replace(config, latents=4)
    with pytest.raises(facevae.NotAModel, match="4 latents and 0 conditions, not 8 and 0"):
        Studio(model, tiny_statistics(other, "face"))
    with pytest.raises(facevae.NotAModel, match="8 latents and 2 conditions, not 8 and 0"):
        Studio(model, tiny_statistics(CONFIGS["conditional"], "face"))
    model.save_pretrained(tmp_path)
    with pytest.raises(facevae.NotAModel) as caught:
        Studio.load(tmp_path)
    one_sentence(caught, "holds no statistics of training faces")


def test_a_label_without_a_difference_is_no_attribute():
    config = CONFIGS["plain"]
    statistics = tiny_statistics(config, "face", LABELS, ages=False)
    statistics.with_label[0] = statistics.without_label[0]
    studio = Studio(tiny_model(config), statistics)
    assert studio.attributes == ("Eyeglasses", "Male")


@pytest.mark.slow
@pytest.mark.parametrize("run", ["tiny_run", "tiny_conditional_run", "grey_run"])
def test_a_folder_that_train_wrote_is_a_studio(run, request):
    studio = Studio.load(request.getfixturevalue(run) / "best")
    height, width = studio.model.config.image_shape[1:]
    (drawn,) = studio.sample(1, seed=3)
    large = drawn.convert("RGB").resize((8 * width, 8 * height))
    eyes = (
        None if run == "grey_run" else [(2.4 * width, 2.32 * height), (5.6 * width, 2.32 * height)]
    )
    face = studio.read(large, eyes=eyes)
    assert np.array_equal(studio.edit(face, {}), face.crop)
    for name in studio.attributes:
        assert not np.array_equal(studio.edit(face, {name: 1.0}), face.crop)
    if studio.can_age:
        assert not np.array_equal(studio.age(face, 70), studio.age(face, 20))
    assert len(studio.morph_strip(face, face, 3)) == 3
