from dataclasses import replace

import numpy as np
import pytest
import torch

from facevae import directions, judge, metrics, prepare, reach
from facevae import guide as guiding
from facevae.__main__ import main
from facevae.guide import ATTRIBUTES, Guide, labelled
from facevae.judge import Judge, JudgeConfig
from facevae.latent import GaussianPrior
from facevae.mappers import UNITS, Mapper
from facevae.model import FaceVAE, ModelConfig
from facevae.steering import Sitters
from facevae.texture import Texture

KNOWN = {"Eyeglasses": "glasses", "Smiling": "smile", "Beard": "beard"}  # what drawn faces tell


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Drawn faces with a yes or no for every attribute: some true, the others by chance."""
    folder = tmp_path_factory.mktemp("guide")
    faces = prepare("synthetic", out=folder / "faces", size=32, count=600, progress=False)
    rng = np.random.default_rng(0)
    for name in sorted(set(ATTRIBUTES) - {"Male", "Young"}):  # in one order: chance is drawn
        cause = faces.labels.get(KNOWN.get(name, ""))
        column = rng.random(len(faces)) < 0.5 if cause is None else cause > np.median(cause)
        faces.labels[name] = column.astype(np.int8)
    np.savez(faces.folder / "labels.npz", **faces.labels)  # where other processes read them
    return faces


@pytest.fixture(scope="module")
def straight(faces):
    torch.manual_seed(0)
    model = FaceVAE(ModelConfig((3, 32, 32), latents=48, channels=(8, 16), blocks=0)).eval()
    texture = Texture(torch.arange(0, 81, 5), torch.tensor([0, 1]), torch.zeros(2, 17, 3, 32, 32))
    with pytest.MonkeyPatch.context() as patch:  # these drawn faces are too plain for a texture
        patch.setattr(Texture, "fit", lambda *_: texture)
        reader = Judge(JudgeConfig(ATTRIBUTES[:-1], True, 32)).eval()
        return Guide.fit(model, faces, reader, steps=0)


@pytest.fixture(scope="module")
def guide(straight):
    """With mappers as if they were taught: what they add counts beside the directions."""
    bent = {
        name: replace(straight.ways[name], mappers=(bending(2 * k), bending(2 * k + 1)))
        for k, name in enumerate(ATTRIBUTES)
    }
    return replace(straight, ways=bent)


def bending(seed):
    """A mapper of numbers that float16 holds."""
    generator = torch.Generator().manual_seed(seed)
    parts = (torch.randn(UNITS, 48, generator=generator) / 48**0.5, torch.zeros(UNITS),
             0.02 * torch.randn(48, UNITS, generator=generator))  # fmt: skip
    return Mapper(*(part.half().float() for part in parts))


def code(seed=3):
    return torch.randn(1, 48, generator=torch.Generator().manual_seed(seed))


def test_nothing_wanted_changes_nothing(guide):
    assert guide.placed(code(), {}) is not None
    assert torch.equal(guide.placed(code(), {}), code())


def test_all_wanted_strengths_are_reached_together(guide):
    wanted = {"Smiling": 1.0, "Mouth_Slightly_Open": -2.0, "Male": 0.5}
    reached = guide.strengths(guide.placed(code(), wanted))
    assert all(reached[name] == pytest.approx(at, abs=1e-3) for name, at in wanted.items())


def test_steps_are_by_attribute_in_the_guides_order_and_lead_to_the_place(guide):
    wanted = {"Male": 0.5, "Smiling": 1.0}
    steps = guide.steps(code(), wanted)
    assert [*steps] == ["Smiling", "Male"]
    assert torch.allclose(code() + sum(steps.values()), guide.placed(code(), wanted))
    assert guide.steps(code(), {}) == {}


def test_without_bends_what_is_steady_stays_unlocked(straight):
    before = straight.strengths(code())
    after = straight.strengths(straight.placed(code(), {"Smiling": 2.0}, locked=["Beard", "Bald"]))
    for name in ("Eyeglasses", "Beard", "Bald"):
        assert after[name] == pytest.approx(before[name], abs=1e-3)
    assert after["Smiling"] == pytest.approx(2.0, abs=1e-3)


def test_what_is_locked_stays(guide):
    before = guide.strengths(code())
    locked = ["Eyeglasses", "Beard", "Bald"]
    after = guide.strengths(guide.placed(code(), {"Smiling": 2.0}, locked))
    for name in locked:
        assert after[name] == pytest.approx(before[name], abs=1e-3)
    assert after["Smiling"] == pytest.approx(2.0, abs=1e-3)


def test_the_way_up_bends_otherwise_than_the_way_down(guide):
    own = guide.strengths(code())["Smiling"]
    for at, mapper in ((own + 1, 0), (own - 1, 1)):
        step = guide.placed(code(), {"Smiling": at}) - code()
        vector = guide.ways["Smiling"].direction.vector
        along = step[0] @ vector / vector.square().sum()
        bend = guide.ways["Smiling"].mappers[mapper].bend(code(), vector)
        assert torch.allclose(step, along * (vector + bend), atol=1e-4)
        assert bend.norm() > 0.01 * vector.norm()


def test_an_unknown_attribute_is_named_with_those_there_are(guide):
    with pytest.raises(ValueError, match="no attribute 'Grin': there are Smiling"):
        guide.placed(code(), {"Grin": 1.0})


def test_a_guide_is_read_back_as_it_was(guide, tmp_path):
    guide.save(tmp_path)
    again = Guide.load(tmp_path)
    wanted = {"Smiling": 1.0, "Beard": -1.0}
    assert torch.equal(again.placed(code(), wanted), guide.placed(code(), wanted))
    for name, at in wanted.items():
        regions = [one.way(name).region(at, torch.ones(1, 1, 4, 4)).where for one in (again, guide)]
        assert torch.allclose(*regions, atol=1e-3)
    assert again.curves.span == guide.curves.span and [*again.ways] == [*ATTRIBUTES]
    (tmp_path / "ages.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"ages\.safetensors holds no age curves"):
        Guide.load(tmp_path)


def test_labels_are_the_faces_own_and_else_read_where_the_reader_is_sure(faces):
    rows = np.arange(40)
    told = {name: faces.labels.pop(name) for name in set(ATTRIBUTES) & set(faces.labels)}
    try:
        reader = judge.Judge(JudgeConfig(ATTRIBUTES[:-2], age=False, size=32)).eval()
        torch.nn.init.zeros_(reader.heads.lines.weight)
        with torch.no_grad():  # sure of a smile, sure of no beard, and of nothing else
            reader.heads.lines.bias.zero_()[[ATTRIBUTES.index(n) for n in ("Smiling", "Beard")]] = (
                torch.tensor([3.0, -3.0])
            )
        labels = labelled(faces, rows, reader)
        assert (labels["Smiling"] == 1).all() and (labels["Beard"] == 0).all()
        assert (labels["Bangs"] == -1).all()
        assert np.array_equal(labels["Male"], 1 - faces.labels["gender"][rows])
        years = faces.labels["age"][rows]
        assert (labels["Young"][years < 35] == 1).all() and (labels["Young"][years > 51] == 0).all()
        with pytest.raises(ValueError, match="tells Smiling"):
            labelled(faces, rows, judge.Judge(JudgeConfig(("Bald",), age=False, size=32)).eval())
    finally:
        faces.labels.update(told)


def test_the_command_teaches_a_reader_once_and_puts_the_guide_beside_the_model(
    guide, faces, tmp_path, monkeypatch, capsys
):
    FaceVAE(ModelConfig((3, 32, 32), latents=48, channels=(8,))).save_pretrained(tmp_path / "it")
    GaussianPrior(torch.zeros(48), torch.eye(48)).save(tmp_path / "it" / "prior.safetensors")
    taught = []

    def fitted(model, faces, reader, seed, steps, tutors, workers):
        taught.append([one.heads.lines.bias[0].item() for one in (reader, *tutors)])
        return replace(guide, reader=reader, model=model.fingerprint())

    def further(studio, readers, faces, seed):
        assert [one.heads.lines.bias[0].item() for one in readers] == taught[-1]
        ways = studio.guide.ways
        return ways | {"Bald": replace(ways["Bald"], reach=(7.5, 8.5), enough=(1.25, 2.0))}

    monkeypatch.setattr(Guide, "fit", fitted)
    monkeypatch.setattr(reach, "gauged", further)
    command = ["guide", f"{tmp_path}/it", "--data", f"{faces.folder}",
               "--reader", f"{tmp_path}/reader", "--tutors", "1"]  # fmt: skip
    assert main([*command, "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert '"balanced_accuracy"' in out and "it: 13 attributes, ages" in out
    made = Guide.load(tmp_path / "it")
    assert made.way("Bald").reach == (7.5, 8.5) and made.way("Bald").enough == (1.25, 2.0)
    assert [*made.ways] == [*ATTRIBUTES] and "Young" not in made.reader.config.attributes
    kept = [
        tmp_path / "reader" / name for name in ("judge.safetensors", "tutor1/judge.safetensors")
    ]
    written = [path.stat().st_mtime_ns for path in kept]
    assert main([*command, "--epochs", "1"]) == 0
    assert capsys.readouterr().out == out
    assert [path.stat().st_mtime_ns for path in kept] == written  # read, not taught again
    first, second = taught
    assert first == second and first[0] != first[1]  # the tutor is another network, kept as well
    assert Judge.load(tmp_path / "reader" / "tutor1").config == made.reader.config


def test_a_folder_without_a_prior_is_refused_before_anything_is_taught(faces, tmp_path, capsys):
    FaceVAE(ModelConfig((3, 32, 32), latents=8, channels=(8,))).save_pretrained(tmp_path / "it")
    assert main(["guide", f"{tmp_path}/it", "--data", f"{faces.folder}"]) == 2
    said = capsys.readouterr().err
    assert "prior.safetensors holds no fitted prior" in said and "facevae export" in said


def test_several_processes_steer_as_one_does(faces):
    torch.manual_seed(0)
    model = FaceVAE(ModelConfig((3, 32, 32), latents=8, channels=(8, 16), blocks=0)).eval()
    reader = Judge(JudgeConfig(("Smiling", "Bangs"), True, 32)).eval().requires_grad_(False)
    rows = np.arange(60)
    codes = metrics.posteriors(model, faces, rows).mean
    told = {name: faces.labels[name][rows] for name in ("Smiling", "Bangs")}
    read = {name: torch.from_numpy(values).float() for name, values in told.items()}
    sitters = Sitters(torch.from_numpy(faces.images[rows]), codes, read)
    starts = [directions.find(codes, told, name) for name in told]
    one, two = (guiding._steered(model, [reader], sitters, starts, 4, 0, n) for n in (1, 2))
    for a, b, start in zip(one, two, starts, strict=True):
        assert a.direction.name == start.name and not torch.equal(a.direction.vector, start.vector)
        assert torch.allclose(a.direction.vector, b.direction.vector, atol=1e-5)
        assert a.reach == pytest.approx(b.reach, abs=1e-4)
