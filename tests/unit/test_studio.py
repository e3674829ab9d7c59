"""The studio with tiny untrained models of every kind: what each can do, and what it refuses."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import facevae
from facevae.imaging.alignment import find_faces
from facevae.imaging.compositing import composite, paste_back
from facevae.imaging.images import to_pil, to_tensor
from facevae.models.vae import soften
from facevae.studio import Studio
from tests.helpers import python, refused
from tests.unit.studios import CONFIGS, LABELS, WHOLE, levels, tiny_statistics, tiny_studio


@pytest.fixture(scope="module")
def studios():
    return {kind: tiny_studio(kind) for kind in CONFIGS}


@pytest.fixture(scope="module")
def pairs(studios, portraits):
    """Both portraits as each studio reads them."""
    return {kind: [studio.read(p) for p in portraits] for kind, studio in studios.items()}


@pytest.fixture(params=CONFIGS)
def kind(request):
    return request.param


def test_importing_facevae_loads_nothing_heavy_and_has_all_public_names():
    heavy = "'torch', 'gradio', 'facenet_pytorch', 'matplotlib', 'sklearn', 'skimage', 'datasets'"
    program = f"import sys, facevae; print(sorted({{{heavy}}} & set(sys.modules)))"
    assert python("-c", program).stdout.strip() == "[]"
    assert all(getattr(facevae, name) is not None for name in facevae.__all__)
    with pytest.raises(AttributeError, match="nothing"):
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


def test_a_studio_comes_back_from_its_folder(studios, kind, pairs, portraits, tmp_path):
    studios[kind].save(tmp_path)
    again = Studio.load(tmp_path)
    assert again.attributes == studios[kind].attributes and again.framing == studios[kind].framing
    assert (again.classifier is None) == (studios[kind].classifier is None)
    ours, found = studios[kind].statistics, again.statistics
    for one, other in ((ours, found), (ours.prior, found.prior)):
        for name, value in vars(one).items():
            assert name == "prior" or np.array_equal(value, getattr(other, name)), name
    read = again.read(portraits[0])  # float16 rounds
    assert torch.allclose(read.mean, pairs[kind][0].mean, atol=0.02)


def test_a_photo_is_read_as_the_model_needs_it_and_its_age_can_be_told(studios, pairs, kind):
    channels, height, width = studios[kind].model.config.image_shape
    for face in pairs[kind]:
        assert face.crop.size == (width, height) and face.crop.mode == ["L", "RGB"][channels > 1]
        assert torch.equal(face.image, to_tensor([face.crop])) and face.faces_found == 1
        assert face.mean.shape == (1, 8) and face.warning == ""
        assert (face.alignment is None) == (face.points is None) == (kind == "grey")
        assert torch.equal(face.decoded, studios[kind].model.decode(face.mean, face.condition))
    told = studios[kind].correct(face, 61)
    assert told.years == 61 and np.array_equal(studios[kind].edit(told, {}), face.crop)
    if kind in ("conditional", "studio"):
        column = studios[kind].model.config.conditions.index("age")
        assert told.condition[0, column] == pytest.approx(0.61)


def test_the_condition_is_what_the_classifier_says_or_else_the_probe(studios, pairs):
    face = pairs["studio"][0]
    names = studios["studio"].model.config.conditions
    told = dict(zip(names, face.condition[0].tolist(), strict=True))
    assert told["Smiling"] == pytest.approx(face.readings["Smiling"]) and told["Bangs"] > 0.8
    assert told["age"] == pytest.approx(face.years / 100)
    studio, face = studios["conditional"], pairs["conditional"][0]
    code = studio.model.encode(face.image, studio.statistics.mean_condition[None]).mean
    assert torch.allclose(face.condition, studio.editor.probe(code))
    assert pairs["plain"][0].condition.shape == (1, 0) and pairs["plain"][0].years is not None


def test_an_edit_of_nothing_is_the_photo_to_the_bit(studios, pairs, kind):
    studio, face = studios[kind], pairs[kind][1]
    large = (200, round(200 * face.crop.width / face.crop.height))
    for wanted in ({}, dict.fromkeys(studio.attributes, 0.0)):
        assert np.array_equal(studio.edit(face, wanted), face.crop)
        assert np.array_equal(studio.edit(face, wanted, size=200), face.crop_at(large))
        if studio.whole_photos:
            assert np.array_equal(studio.edit(face, wanted, paste=True), face.photo)


@pytest.mark.parametrize("kind", WHOLE)
def test_every_attribute_changes_the_picture_both_ways(studios, pairs, kind):
    studio, face = studios[kind], pairs[kind][0]
    for name in studio.attributes:
        pictures = [levels(studio.edit(face, {name: s})) for s in (-1.0, 1.0)]
        assert np.abs(pictures[0] - pictures[1]).max() > 2
        without, having = (levels(studio.average(name, has)) for has in (False, True))
        assert np.abs(without - having).max() >= 1


def test_the_hold_mask_lets_go_of_the_photo(studios, pairs):
    """The formula of an edit with a model that draws `hold`, as training sees it; without the
    photo's detail, and of a face of nobody, the decoder's picture is what is edited."""
    studio, face = studios["studio"], pairs["studio"][0]
    code, condition = studio.editor.moved((face.mean, face.condition), {"Smiling": 1.0})
    after, hold = studio.model.decode_edit(code, condition)
    hold = soften(hold, studio.model.distance(face.condition, condition))
    before = studio.model.decode_edit(code, face.condition)[0]
    for detail, kept in ((1.0, face.image), (0.0, studio.model.decode(code, face.condition))):
        expected = (after + hold * (kept - before)).clamp(0, 1)
        shown = to_tensor([studio.edit(face, {"Smiling": 1.0}, detail=detail)])
        assert torch.allclose(shown, expected, atol=0.51 / 255)
    codes, suited = studio.draw_codes(1, 3, 0.9)
    asked = studio.editor.moved((codes, suited), {"Smiling": 1.0})[1]
    (drawn,) = studio.sample(1, 3, attributes={"Smiling": 1.0})
    assert torch.allclose(to_tensor([drawn]), studio.draw(codes, suited, asked)[0], atol=0.51 / 255)


@pytest.mark.parametrize(("kind", "methods"), [
    ("plain", ["vector"]), ("conditional", ["condition", "vector"]), ("studio", ["condition"]),
])  # fmt: skip
def test_faces_age_by_condition_or_by_vector(studios, pairs, kind, methods):
    studio, face = studios[kind], replace(pairs[kind][0], years=40.0)
    for method in methods:
        old, young = (studio.age(face, years, method=method, size=100) for years in (70, 10))
        assert old.size == (100, 100) and np.abs(levels(old) - levels(young)).max() > 2
        oldest, beyond = (studio.age(face, studio.age_span[1] + k, method=method) for k in (0, 60))
        assert oldest == beyond
    assert studio.age(face, 70) == studio.age(face, 70, method=methods[0])
    if "vector" in methods:
        assert np.array_equal(studio.age(face, 40, method="vector"), face.crop)
    assert studio.age(face, 70, paste=True).size == face.photo.size


def test_samples_repeat_by_seed_and_come_with_what_is_asked(studios, kind):
    studio = studios[kind]
    first, again, other = (studio.sample(4, seed=seed) for seed in (1, 1, 2))
    assert first == again and first[0] != other[0]
    codes, conditions = studio.draw_codes(4, seed=1)
    assert codes.shape == (4, 8) and conditions.shape == (4, len(studio.model.config.conditions))
    assert to_pil(studio.model.decode(codes, conditions)) == first
    if studio.attributes:
        asked = studio.sample(1, seed=1, age=70, gender=0, attributes={"Smiling": 1.0})
        assert np.abs(levels(asked[0]) - levels(studio.sample(1, seed=1)[0])).max() > 1


@pytest.mark.parametrize("size", [None, 160])
@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_a_morph_begins_and_ends_with_the_photos_themselves(studios, pairs, kind, path, size):
    studio, (a, b) = studios[kind], pairs[kind]
    strip = studio.morph_strip(a, b, steps=5, path=path, size=size)
    assert len(strip) == 5
    for t, face in ((0, a), (1, b)):
        assert strip[-t] == face.crop_at((strip[0].height, strip[0].width))
        assert np.array_equal(studio.morph(a, b, t, path=path), face.crop)
    # and without their detail it is the decoder's own picture
    assert np.array_equal(studio.morph(a, b, 0, detail=0), studio.reconstruct(a))
    half = levels(studio.morph(a, b, 0, detail=0.5))
    assert np.abs(half - (levels(a.crop) + levels(studio.reconstruct(a))) / 2).max() <= 1


def test_every_step_of_a_morph_is_a_face_whose_landmarks_stand_between(studios, pairs):
    studio, (a, b) = studios["plain"], pairs["plain"]
    found = [find_faces(frame) for frame in studio.morph_strip(a, b, steps=5, size=256)]
    assert all(len(faces) == 1 for faces in found)
    seen = torch.from_numpy(found[2][0][0]).float() / 256
    off = [(seen - points).norm(dim=1).mean() for points in (a.points, b.points)]
    assert (seen - (a.points + b.points) / 2).norm(dim=1).mean() < min(off)


@pytest.mark.parametrize("kind", WHOLE)
def test_pasting_leaves_the_rest_of_the_photo(studios, pairs, kind):
    studio, (a, b) = studios[kind], pairs[kind]
    assert np.array_equal(studio.morph(a, b, 0, paste=True), a.photo)
    assert np.array_equal(studio.blend((a, b), (1, 0), paste=True), a.photo)
    (left, top), (right, bottom) = a.alignment.bounds().clip(0)
    made = (studio.morph(a, b, 1, paste=True), studio.blend((a, b), (1, 1), paste=True),
            studio.edit(a, {"Smiling": 1.0, "Male": -1.0}, paste=True))  # fmt: skip
    for pasted in made:
        changed = (np.asarray(pasted) != np.asarray(a.photo)).any(-1)
        assert changed.any()
        changed[top:bottom, left:right] = False
        assert not changed.any()
    inside = to_tensor([a.alignment.crop(made[0], 64)])[..., 16:48, 16:48]
    # two bilinear enlargements and a reduction stand between: 3 % of the range
    assert (inside - b.image[..., 16:48, 16:48]).abs().mean() < 0.03


def test_a_paste_fades_at_the_edge_and_a_grey_one_changes_all_colours_alike(pairs):
    grey, kept, size = torch.full((1, 3, 64, 64), 90 / 255), torch.ones(1, 1, 1, 1), (128, 128)
    face = replace(pairs["plain"][0], decoded=grey)
    middle = tuple(face.alignment.to_pixels(np.array([0.5, 0.5])).round().astype(int)[::-1])
    shown = composite([(face, 1.0)], grey + 40 / 255, kept, size)
    change = np.asarray(paste_back(face, shown, kept, 0.12), int) - face.photo
    rows, columns = np.nonzero(change.any(-1))
    unit = face.alignment.to_unit(np.column_stack([columns + 0.5, rows + 0.5]))
    assert len(rows) and unit.min() > 0 and unit.max() < 1
    assert np.linalg.norm(unit - 0.5, ord=4, axis=1).max() < 0.5  # its corners are rounded
    assert (change[middle] >= np.minimum(38, 255 - np.asarray(face.photo)[middle])).all()
    decoded = composite([(face, 1.0)], grey, 0 * kept, size)  # without detail or hold
    assert np.asarray(paste_back(face, decoded, 0 * kept, 0.12))[middle].tolist() == [90, 90, 90]
    face = replace(face, crop=face.crop.convert("L"), decoded=grey[:, :1])
    darker = to_pil(to_tensor([face.crop_at((64, 64))]) - 20 / 255)[0]
    change = np.asarray(paste_back(face, darker, kept, 0.12), int) - face.photo
    assert change[middle].tolist() == [-20, -20, -20]


def test_a_blend_is_each_face_at_its_corner_and_a_morph_between_two(studios, pairs, kind):
    studio, (a, b) = studios[kind], pairs[kind]
    for weights, face in (((1, 0), a), ((0, 7), b)):  # only ratios count
        blended = studio.blend((a, b), weights, size=112)
        assert blended == face.crop_at((blended.height, blended.width))
    blended = levels(studio.blend((a, b), (0.75, 0.25), size=112))
    assert np.abs(blended - levels(studio.morph(a, b, 0.25, size=112))).max() <= 1  # order of sums
    itself = levels(studio.blend((a, a, a), (1, 2, 3)))
    assert np.abs(itself - levels(a.crop)).max() <= 1  # its landmarks stay where they are


REFUSED = {
    "from 0 to 1": [lambda s, a, b: s.morph(a, b, 1.5), lambda s, a, b: s.edit(a, {}, detail=1.5),
                    lambda s, a, b: s.morph(a, b, 0.5, detail=-1),
                    lambda s, a, b: s.blend([a, b], [1, 1], detail=2)],
    "not 'curly'": [lambda s, a, b: s.morph(a, b, 0.5, path="curly")],
    "at least 2 steps": [lambda s, a, b: s.morph_strip(a, b, 1)],
    "a weight for each of the 2 faces, none below 0": [
        lambda s, a, b: s.blend([a, b], [1]), lambda s, a, b: s.blend([a, b], [2, -1])],
    "at least one sample, at a finite temperature": [
        lambda s, a, b: s.sample(0), lambda s, a, b: s.sample(1, temperature=math.inf)],
    "a finite number of years": [
        lambda s, a, b: s.sample(1, age=math.nan), lambda s, a, b: s.age(a, math.nan),
        lambda s, a, b: s.age(replace(a, years=math.nan), 50)],
    "by vector, not by 'condition'": [lambda s, a, b: s.age(a, 50, method="condition")],
    "a strength is a number from −2 to 2": [
        lambda s, a, b: s.edit(a, {"Smiling": math.nan}), lambda s, a, b: s.sample(1, gender=7)],
    "no attribute 'Grin': this model has Smiling": [
        lambda s, a, b: s.edit(a, {"Grin": 1}), lambda s, a, b: s.average("Grin", True)],
    "at least 1 pixel": [lambda s, a, b: s.edit(a, {}, size=0),
                         lambda s, a, b: s.morph(a, b, 0.5, size=0, paste=True)],
    "no face was found": [lambda s, a, b: s.read(Image.new("RGB", (200, 200), "teal"))],
}  # fmt: skip
GREY_CANNOT = {
    "knows no ages: train one on faces with the label age": [
        lambda s, a, b: s.age(a, 50), lambda s, a, b: s.sample(1, age=30)],
    "no attribute 'Smiling': this model has none": [lambda s, a, b: s.edit(a, {"Smiling": 1.0})],
    "reads whole pictures": [lambda s, a, b: s.morph(a, b, 0.5, paste=True),
                             lambda s, a, b: s.edit(a, {}, paste=True)],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "cases"), [("plain", REFUSED), ("grey", GREY_CANNOT)])
def test_what_cannot_be_done_is_said_in_one_sentence(studios, pairs, kind, cases):
    for says, calls in cases.items():
        for call in calls:
            with refused(facevae.CannotDo, says):
                call(studios[kind], *pairs[kind])


def test_statistics_of_another_model_are_refused(studios):
    for other in (replace(CONFIGS["plain"], latents=4), CONFIGS["conditional"]):
        with pytest.raises(facevae.NotAModel, match="are of another"):
            Studio(studios["plain"].model, tiny_statistics(other, "face"))
