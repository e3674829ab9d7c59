"""The studio with tiny untrained models of every kind: what each can do, and what it refuses."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import facevae
from facevae.imaging.images import to_pil, to_tensor
from facevae.studio import Studio
from tests.helpers import one_sentence
from tests.unit.studios import CONFIGS, LABELS, WHOLE, levels, tiny_model, tiny_statistics


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
    mean = plain.model.decode(plain.statistics.with_label[:1])
    assert np.array_equal(plain.average("Smiling", True), to_pil(mean)[0])


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
        (lambda s, a, b: s.edit(a, {}, detail=1.5), "from 0 to 1"),
        (lambda s, a, b: s.edit(a, {}, size=0), "at least 1 pixel"),
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
    eyes = 8 * np.array([(0.3 * width, 0.29 * height), (0.7 * width, 0.29 * height)])
    face = studio.read(large, eyes=eyes if studio.whole_photos else None)
    assert np.array_equal(studio.edit(face, {}), face.crop)
    for name in studio.attributes:
        edited = [studio.edit(face, {name: strength}) for strength in (-1.0, 1.0)]
        assert not np.array_equal(*edited)
    if studio.can_age:
        assert not np.array_equal(studio.age(face, 70), studio.age(face, 20))
    assert len(studio.morph_strip(face, face, 3)) == 3
