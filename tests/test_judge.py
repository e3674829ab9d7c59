import json

import numpy as np
import pytest
import torch
from PIL import Image

from facevae import __main__ as cli
from facevae import edits, judge, latent, prepare, teaching, trial
from facevae.directions import Direction
from facevae.judge import Judge, JudgeConfig
from facevae.model import FaceVAE, ModelConfig


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    return prepare("synthetic", out=folder / "faces", size=32, count=700, progress=False)


@pytest.fixture(scope="module")
def taught(faces):
    rows = faces.split(0)["train"]
    return teaching.train_judge([(faces, rows)], epochs=8, seed=0, size=32, batch=32)


def test_the_labels_bear_the_names_of_attributes(faces):
    labels = judge.attributes(faces)
    assert set(labels) == {"Male", "glasses"}
    assert np.array_equal(labels["Male"], 1 - faces.labels["gender"])


def test_a_judge_reads_unseen_drawn_faces(faces, taught):
    figures = judge.held_out(taught, faces, faces.split(0)["test"])
    # chance is 0.5, and 22 years for ages drawn evenly from 3 to 90
    assert figures["glasses"]["balanced_accuracy"] > 0.85
    assert figures["age"]["mean_error"] < 15


def test_a_judge_still_reads_soft_pictures(faces, taught):
    rows = faces.split(0)["test"]
    soft = taught.read(teaching.blurred(faces.tensor(rows), 1.0))["glasses"] > 0.5
    right = soft.numpy() == (faces.labels["glasses"][rows] == 1)
    assert right.mean() > 0.8


def test_one_seed_gives_one_judge_and_another_another(faces):
    rows = faces.split(0)["train"][:64]
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(weights))  # nothing may hang on the global seed
        one = teaching.train_judge([(faces, rows)], ["glasses"], epochs=1, seed=seed, size=32)
        weights.append(one.heads.lines.weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_faces_that_lack_a_label_teach_the_others(faces, tmp_path):
    """Two sets, one of which knows nothing of glasses: the judge reads both labels."""
    blind = prepare("synthetic", out=tmp_path / "blind", size=32, count=80, seed=1, progress=False)
    blind.labels.pop("glasses")
    sets = [(one, one.split(0)["train"][:50]) for one in (blind, faces)]
    one = teaching.train_judge(sets, epochs=1, size=32)
    assert one.config.attributes == ("Male", "glasses")
    assert all(torch.isfinite(p).all() for p in one.parameters())
    with pytest.raises(ValueError, match="no faces carry the label 'Smiling'"):
        teaching.train_judge(sets, ["Smiling"])


def test_a_saved_judge_reads_the_same(faces, taught, tmp_path):
    taught.save(tmp_path)
    again = Judge.load(tmp_path)
    images = faces.tensor(np.arange(20))
    before, after = taught.read(images), again.read(images)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert taught.features(images).shape == (20, 128)
    (tmp_path / "judge.json").write_text('{"format": 99}')
    with pytest.raises(judge.NotAJudge, match="format is 99"):
        Judge.load(tmp_path)


def test_grey_and_larger_pictures_are_read_too(taught):
    assert taught.read(torch.rand(2, 1, 28, 20))["Male"].shape == (2,)
    assert taught.read(torch.rand(3, 3, 64, 64))["age"].shape == (3,)


def test_a_face_and_its_mirror_are_read_alike(faces, taught):
    images = faces.tensor(np.arange(20))
    one, other = taught.read(images), taught.read(images.flip(3))
    assert not torch.equal(images, images.flip(3))
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)


def test_an_age_is_the_mean_of_how_likely_its_spans_are():
    heads = judge.Heads(4, attributes=1, age=True)
    torch.nn.init.zeros_(heads.ages.weight)
    for likely, years in (((6,), 32.5), ((6, 10), 42.5)):  # a span begins at five times its number
        torch.nn.init.constant_(heads.ages.bias, -100.0)
        heads.ages.bias.data[[*likely]] = 0.0
        told = heads(torch.rand(3, 4))
        assert told.shape == (3, 2)
        assert torch.allclose(told[:, 1] * judge.AGE_UNIT, torch.tensor(years), atol=1e-3)


def test_disturbed_faces_are_faces_of_the_same_seed():
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    one, two = (teaching.disturbed(images, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two) and one.min() >= 0 and one.max() <= 1
    assert not torch.allclose(one, images)


def test_a_blur_keeps_the_mean_and_takes_the_edges():
    flat = torch.full((1, 3, 16, 16), 0.3)
    assert torch.allclose(teaching.blurred(flat, 1.0), flat, atol=1e-6)
    edge = (torch.arange(16) >= 8).float().expand(1, 1, 16, 16)
    soft = teaching.blurred(edge, 1.0)[0, 0, 8]
    # half a pixel from the edge: Φ(0.5) of a step, to what sampling the Gaussian costs
    assert soft[8].item() == pytest.approx(0.69, abs=0.02)


def readings(glasses, male, age):
    return {"glasses": torch.tensor(glasses), "Male": torch.tensor(male), "age": torch.tensor(age)}


def test_success_and_leakage_of_known_readings():
    before = readings([0.1] * 6 + [0.9] * 4, [0.9] * 10, [30.0] * 10)
    after = readings([0.9] * 3 + [0.2] * 3 + [0.9] * 4, [0.1] * 2 + [0.9] * 8, [33.0] * 9 + [99.0])
    found = edits.turned(before, after, "glasses", on=True)
    assert found["faces"] == 6 and found["success"] == 0.5  # three of the six that had none
    assert found["leakage"] == {"Male": 0.333, "age group": 0.0}
    assert found["age_moved"] == found["age_error"] == 3.0
    off = edits.turned(after, before, "glasses", on=False)
    assert off["faces"] == 7 and off["success"] == pytest.approx(3 / 7, abs=1e-3)


def test_faces_whose_label_says_otherwise_do_not_count():
    before, after = (readings([p] * 10, [0.9] * 10, [30.0] * 10) for p in (0.1, 0.9))
    labels = np.array([0] * 6 + [-1] + [1] * 3)  # three are labelled as having them already
    assert edits.turned(before, after, "glasses", True, labels)["faces"] == 7
    few = edits.turned(before, after, "glasses", True, np.array([0] * 4 + [1] * 6))
    assert few == {"faces": 4, "success": None, "leakage": {}}


def test_requested_against_read_age_of_known_readings():
    before = readings([0.1] * 4, [0.9, 0.9, 0.1, 0.1], [40.0] * 4)
    half = {
        years: readings([0.1] * 4, [0.9, 0.1, 0.1, 0.1], [45 + (years - 45) / 2] * 4)
        for years in (20.0, 45.0, 70.0)
    }
    found = edits.aged(before, half)
    assert found["slope"] == 0.5 and found["monotone"] == 1.0 and found["Male_kept"] == 0.75
    assert found["mean_error"] == pytest.approx(25 / 3, abs=0.01)  # 12.5, 0 and 12.5 years
    assert found["read"] == {"20": 32.5, "45": 45.0, "70": 57.5}


class Dial(FaceVAE):
    """Draws its first latent as brightness; the judge below reads that as an attribute."""

    def __init__(self):
        super().__init__(ModelConfig((3, 4, 4), latents=2, channels=(2, 2)))

    def decode(self, z, condition=None):
        return z[:, :1, None, None].expand(-1, 3, 4, 4)


class Meter:
    config = JudgeConfig(("Bright",), age=False)

    def read(self, images):
        return {"Bright": images.mean(dim=(1, 2, 3))}


def test_a_direction_that_works_is_judged_to_work_with_and_without_detail():
    codes = torch.tensor([[0.2, 0.0]]).repeat(10, 1)
    images = Dial().decode(codes) + 0.1  # the photo is lighter than what the model draws
    along = Direction("Bright", "mean", torch.tensor([0.4, 0.0]), torch.tensor([0.9, 0.0]),
                      torch.tensor([0.1, 0.0]))  # fmt: skip
    wrong = Direction("Bright", "joint", torch.tensor([0.0, 0.4]), torch.tensor([0.0, 0.9]),
                      torch.tensor([0.0, 0.1]))  # fmt: skip
    found = edits.judge_directions(Meter(), Dial(), images, codes, [along, wrong], [1.0])
    for detail in ("detail 0", "detail 1"):
        assert found["mean"]["+1"][detail] == {"faces": 10, "success": 1.0, "leakage": {}}
        assert found["joint"]["+1"][detail]["success"] == 0.0
        assert found["mean"]["-1"][detail]["faces"] == 0  # none of them had it
    plain, edited = edits.read_edits(
        Meter(), Dial(), images, codes, [(codes, None), (along.placed(codes, 1.0), None)]
    )
    assert torch.allclose(plain[1]["Bright"], torch.tensor(0.3))  # the photo itself
    assert torch.allclose(edited[0]["Bright"], torch.tensor(0.9))
    assert torch.allclose(edited[1]["Bright"], torch.tensor(1.0))


def test_a_labeller_fills_in_what_it_is_sure_of(faces, monkeypatch):
    read = torch.linspace(0, 1, len(faces))
    monkeypatch.setattr(judge, "read_faces", lambda *_: {"Hat": read, "Male": 1 - read})
    labels = trial.known_labels(faces, object())
    assert np.array_equal(labels["Male"], judge.attributes(faces)["Male"])  # its own stay
    assert set(labels["Hat"][read.numpy() > 0.8]) == {1} and labels["Hat"][len(faces) // 2] == -1
    assert "age group" in labels


def test_judge_and_labeller_are_kept_and_used_again_for_the_same_faces_alone(faces, tmp_path):
    blind = prepare("synthetic", out=tmp_path / "blind", size=32, count=60, seed=1, progress=False)
    blind.labels.pop("glasses")
    school = trial.School([blind, faces], epochs=1, most=40, folder=tmp_path / "judge")
    one, figures = school.judge()
    assert set(figures["faces"]) == {"Male", "glasses", "age"}
    assert "glasses" not in figures["blind"]
    labels = school.labels(one.config)
    assert "glasses" in labels and np.array_equal(labels["Male"], 1 - blind.labels["gender"])
    labeller = Judge.load(tmp_path / "judge" / "labeller")
    assert labeller.config.attributes == ("glasses",)
    assert not torch.equal(labeller.stages[0].weight, one.stages[0].weight)
    again, _ = school.judge()
    assert torch.equal(again.heads.lines.weight, one.heads.lines.weight)
    for other in (
        trial.School([faces], folder=tmp_path / "judge"),
        trial.School([blind, faces], seed=1, folder=tmp_path / "judge"),
        trial.School([blind, faces], ["Smiling"], folder=tmp_path / "judge"),
    ):
        with pytest.raises(ValueError, match="choose another folder"):
            other.judge()


def test_several_are_taught_at_once_as_they_are_one_by_one(faces, tmp_path):
    lessons = {"sets": [faces], "epochs": 1, "most": 40}
    at_once = trial.School(**lessons, folder=tmp_path / "a").several(["", "second"], 3, workers=2)
    alone = trial.School(**lessons, folder=tmp_path / "b")
    [first] = alone.several([""], 3)
    assert torch.equal(at_once[0].heads.lines.weight, first.heads.lines.weight)
    assert not torch.equal(at_once[1].heads.lines.weight, first.heads.lines.weight)
    assert Judge.load(tmp_path / "a" / "second").about == first.about
    school = trial.School(**lessons, folder=tmp_path / "a")
    assert school.held_out(at_once[0]) == alone.held_out(first)
    again = school.several(["", "second"], 3)  # from their folders
    for one, other in zip(again, at_once, strict=True):
        assert torch.equal(one.heads.lines.weight, other.heads.lines.weight)


def test_a_conditional_model_is_asked_by_shift_and_by_condition(faces, taught):
    model = FaceVAE(
        ModelConfig((3, 32, 32), latents=4, channels=(4, 8), conditions=("age", "gender"))
    ).eval()
    tried = trial.Trial(model, faces, taught, trial.known_labels(faces), most_test=40)
    found = tried.aging((20, 80))
    assert set(found) >= {"real", "shift", "condition", "r_squared", "span"}
    rows = np.arange(3)
    low, high = tried.curves.span
    for asked, used in ((5000, high), (-7, low), (40, 40)):  # clipped to what was seen
        codes, condition = tried.at_age(rows, asked, "condition")
        assert torch.equal(codes, tried.unseen[rows])
        assert condition[:, 0].tolist() == pytest.approx([used / 100] * 3)
    _, held = tried.at_age(rows, 70, "shift")
    assert torch.equal(
        held, torch.from_numpy(faces.conditions(("age", "gender"))[tried.test[rows]])
    )


def test_the_command_prints_one_object_and_writes_a_strip(faces, taught, tmp_path, capsys):
    FaceVAE(ModelConfig((3, 32, 32), latents=4, channels=(4, 8))).save_pretrained(tmp_path / "m")
    taught.about = {"faces": [["synthetic", 700, 32, 32, 3]], "split": 0}
    taught.save(tmp_path / "judge")
    command = ["judge", str(tmp_path / "m"), "--data", str(faces.folder), "--attribute", "glasses",
               "--age", "--judge", str(tmp_path / "judge"), "--faces", "30"]  # fmt: skip
    assert cli.main([*command, "-o", str(tmp_path / "strip.png")]) == 0
    printed = capsys.readouterr().out
    found = json.loads(printed)
    assert set(found["glasses"]) == {"mean", "balanced", "logistic", "joint"}
    assert set(found["glasses"]["joint"]) == {"+1", "-1", "+2", "-2"}
    assert found["judge"]["faces"]["glasses"]["balanced_accuracy"] > 0.8
    assert "slope" in found["aging"]["shift"]["detail 1"]
    with Image.open(tmp_path / "strip.png") as strip:
        assert strip.size == (9 * 32, 6 * 32)
    assert cli.main(command) == 0
    assert capsys.readouterr().out == printed  # it repeats to the bit


def test_the_command_says_what_is_missing(faces, tmp_path, capsys):
    FaceVAE(ModelConfig((3, 32, 32), latents=4, channels=(4, 8))).save_pretrained(tmp_path / "m")
    command = ["judge", str(tmp_path / "m"), "--data", str(faces.folder)]
    assert cli.main(command) == 2
    assert "name an --attribute, or give --age" in capsys.readouterr().err
    assert cli.main([*command, "--attribute", "Smiling"]) == 2
    assert "no faces carry the label 'Smiling'" in capsys.readouterr().err
    FaceVAE(ModelConfig((3, 64, 64), latents=4, channels=(4, 8))).save_pretrained(tmp_path / "m")
    assert cli.main([*command, "--attribute", "glasses"]) == 2
    assert "give the faces it was trained on" in capsys.readouterr().err


def test_r_squared_is_of_faces_the_regression_never_saw():
    """As many latents as faces: a fit to them is perfect, and says nothing of others."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(200, 100, generator=generator)
    values = torch.randn(200, generator=generator).numpy()
    assert latent.r_squared(codes[:100], values[:100], codes[100:], values[100:]) < 0.1
