import json
import sys

import numpy as np
import pytest
import torch

import facevae
from facevae import examine, prepare
from facevae.__main__ import main
from facevae.guide import ATTRIBUTES
from facevae.judge import Judge, JudgeConfig
from facevae.pictures import to_pil, to_tensor
from facevae.studio import FOLDER


def test_the_frechet_distance_of_gaussians_is_known():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(20_000, 3, generator=generator)
    assert examine.frechet(a, a) == pytest.approx(0, abs=1e-6)
    # means 2 apart in one direction, deviations 1 and 3 in all: 2² + 3 · (3 − 1)²
    b = 3 * torch.randn(20_000, 3, generator=generator) + torch.tensor([2.0, 0, 0])
    assert examine.frechet(a, b) == pytest.approx(16, rel=0.03)


class Blocks(torch.nn.Module):
    """Stands for a judge whose features are the picture's pixels."""

    def features(self, images):
        return images.flatten(1)


def test_identity_is_kept_by_a_small_change_and_lost_by_a_swap():
    faces = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    same = examine.Identity(faces, {"seen": Blocks(), "upside down": Blocks()})
    rows = list(range(40))
    assert same.kept(rows, faces + 0.01) == {"seen": 1, "upside down": 1}
    assert same.kept(rows, faces.roll(1, 0))["seen"] < 0.2
    half = torch.cat([faces[:20], faces[20:].flip(0)])
    assert same.kept(rows, half)["seen"] == pytest.approx(0.5, abs=0.1)
    assert same.kept([7, 3], faces[[7, 3]])["seen"] == 1  # each beside its own, whatever the order


def test_identity_compares_with_the_first_faces_alone():
    faces = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    same = examine.Identity(faces, {"seen": Blocks()}, others=20)
    assert same.kept([3, 30], faces[[3, 30]])["seen"] == 1  # one of these, and one called up
    assert same.kept([30], faces[[3]])["seen"] == 0  # it looks like one of them
    assert same.kept([3], faces[[30]])["seen"] < 1 and same.kept([30], faces[[31]])["seen"] < 1


def test_identity_looks_at_a_hundred_faces_at_most():
    faces = torch.rand(300, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    looker, counts = Blocks(), []
    looker.features = lambda images: counts.append(len(images)) or images.flatten(1)
    same = examine.Identity(faces, {"seen": looker})
    assert same.kept(list(range(300)), faces)["seen"] == 1
    assert counts == [300, examine.COMPARED]


def test_shifted_crops_are_the_same_a_little_to_the_left():
    crops = torch.rand(2, 3, 100, 100, generator=torch.Generator().manual_seed(0))
    again = examine.shifted(crops)
    assert torch.equal(again[..., :98], crops[..., 2:])
    assert torch.equal(again[..., 98:], crops[..., -1:].expand(-1, -1, -1, 2))


def test_a_judge_is_unsteady_where_it_reads_a_shifted_photo_otherwise():
    one = {"Smiling": torch.tensor([0.9, 0.1, 0.6, 0.4]), "age": torch.zeros(4)}
    other = {"Smiling": torch.tensor([0.8, 0.2, 0.4, 0.3]), "age": torch.ones(4)}
    assert examine.unsteady(one, other) == {"Smiling": 0.25}
    assert examine.unsteady(one, other, first=2) == {"Smiling": 0}


class Sitting:
    """A studio whose edits brighten a face by the strength, and turn nothing else."""

    def edit(self, face, wanted):
        (at,) = wanted.values()
        return to_pil((face.pixels + 0.5 * at).clamp(0, 1))[0]


class Sitter:
    def __init__(self, light):
        self.pixels = torch.full((1, 3, 8, 8), light)
        self.crop = to_pil(self.pixels)[0]


class Light(Blocks):
    """Reads smiles, open mouths and bangs off brightness, age as 100 times it, and `Bald` never."""

    def read(self, images):
        light = images.mean((1, 2, 3))
        alike = dict.fromkeys(("Smiling", "Mouth_Slightly_Open", "Bangs"), light)
        return {**alike, "age": 100 * light, "Bald": 0 * light}


def test_an_attribute_is_counted_on_the_faces_it_is_tried_on():
    sitters = [Sitter(light) for light in np.linspace(0.05, 0.95, 19)]
    crops = to_tensor([s.crop for s in sitters])
    before, same = Light().read(crops), examine.Identity(crops, {"seen": Blocks()})
    tried = (Sitting(), Light(), sitters, before)
    found = examine.attribute(*tried, np.arange(9), "Smiling", 1.0, same)
    assert 0 <= found["seen"] <= 1
    assert found["faces"] == 9 and found["turned"] == 1.0
    assert found["age_moved"] == pytest.approx(50, abs=1)
    assert found["leaked"] == {"Bangs": 1.0} and found["tied"] == {"Mouth_Slightly_Open": 1.0}
    assert examine.attribute(*tried, np.arange(3), "Smiling", 1.0, same) == {"faces": 3}


def test_an_edit_is_tried_on_who_lacks_it_and_on_more_where_they_are_few():
    rare = torch.zeros(1000)
    rare[::4] = 1  # 250 of 1,000, 75 of the first 300
    first = np.arange(300)
    cast, parts = examine.casting({"Bald": rare}, ["Bald"], first)
    assert (cast[:300] == first).all() and len(cast) == len(set(cast)) == 325
    assert (cast[parts["Bald", 1.0]] == np.flatnonzero(rare[:300] == 0)).all()
    bald = cast[parts["Bald", -1.0]]
    assert len(bald) == examine.ENOUGH and (rare[bald] == 1).all()
    assert (np.sort(bald)[:75] == np.arange(0, 300, 4)).all() and max(bald) > 950
    _, parts = examine.casting({"Bald": rare[:320]}, ["Bald"], first)
    assert len(parts["Bald", -1.0]) == 80  # all there are


def test_the_shipped_studio_is_examined_from_end_to_end(tmp_path):
    """On drawn faces, by an untaught judge: every figure is there, and what must be exact is."""
    faces = prepare("synthetic", out=tmp_path / "faces", size=128, count=120, progress=False)
    untaught = Judge(JudgeConfig(("Male", "Smiling"), age=True, size=32)).eval()
    report = examine.examine(facevae.Studio.load(), faces, np.arange(120), untaught, most=6)
    assert report["faces"] == 6 and report["unchanged"] == "exact"
    assert set(report["attributes"]) == {"Male", "Smiling", "Young"} <= set(ATTRIBUTES)
    assert {"slope", "monotone", "Male_kept", "identity", "share_of_real_span", "colour_moved"} <= (
        set(report["aging"]["detail 1"])
    )
    assert report["reading"]["psnr_refined"] > report["reading"]["psnr"]
    assert set(report["unsteady"]) == {"Male", "Smiling"}
    assert report["samples"]["distance"] >= 0 and report["samples"]["faces"] == 60


def test_samples_are_compared_over_several_draws(monkeypatch):
    drawn = []

    def distances(studio, one, faces, rows, seed):
        drawn.append((tuple(rows), seed))
        return 2.0 * len(drawn), 1.0

    monkeypatch.setattr(examine, "_distances", distances)
    found = examine.samples(None, None, None, np.arange(50), seed=7, most=20)
    assert found == {"faces": 10, "distance": 6.0, "halves": 1.0,
                     "spread": {"distance": round(10**0.5, 2), "halves": 0.0}}  # fmt: skip
    rows, seeds = zip(*drawn, strict=True)
    assert seeds == tuple(range(7, 7 + examine.DRAWS)) and len(set(rows)) == examine.DRAWS
    assert all(len(set(one)) == 20 for one in rows)


def test_the_command_adds_what_a_judge_says_to_the_models_own_figures(
    tmp_path, monkeypatch, capsys
):
    faces = prepare("synthetic", out=tmp_path / "faces", size=128, count=60, progress=False)
    Judge(JudgeConfig(("Smiling",), age=True, size=32)).save(tmp_path / "judge")
    asked = []

    def examined(studio, faces, rows, judge, recognizer):  # the figures are tested above
        assert recognizer is None
        asked.append((studio.size, len(rows), judge.config.attributes))
        return {"unchanged": "exact"}

    monkeypatch.setattr(examine, "examine", examined)
    command = ["evaluate", str(FOLDER), "--data", str(faces.folder), "--no-pca"]
    assert main([*command, "--judge", str(tmp_path / "judge")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["unchanged"] == "exact" and found["psnr"] > 0 and "pca_psnr" not in found
    assert asked == [(128, found["faces"], ("Smiling",))]
    command[2:4] = ["--data", str(tmp_path / "empty")]
    empty = prepare("synthetic", out=tmp_path / "empty", size=128, count=2, progress=False)
    assert len(empty) == 2 and main(command) == 2
    assert "name another --part" in capsys.readouterr().err


def test_a_recognizer_that_is_not_installed_is_asked_for_in_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dlib", None)
    command = ["evaluate", str(FOLDER), "--data", "none", "--recognizer"]
    assert main(command) == 2 and "give a --judge as well" in capsys.readouterr().err
    assert main([*command, "--judge", "none"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pip install dlib-bin face_recognition_models" in said


def test_the_recognizer_tells_the_two_portraits_apart():
    pytest.importorskip("dlib", reason="dlib-bin is not installed: an extra of the evaluation")
    from facevae.recognizer import Recognizer

    studio = facevae.Studio.load()
    one, other = (studio.read(path) for path in sorted((FOLDER.parent / "portraits").glob("*.jpg")))
    same = examine.Identity(to_tensor([one.crop, other.crop]), {"seen": Recognizer()})
    (looker, known) = same.lookers["seen"]
    smiled = looker.features(to_tensor([studio.edit(one, {"Smiling": 1.0})]))[0]
    assert known.shape == (2, 128) and (known[0] - known[1]).norm() > 0.6
    assert (smiled - known[0]).norm() < 0.6
