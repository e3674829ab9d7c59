from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from facevae import regions, steering
from facevae.directions import Direction
from facevae.judge import AGE_UNIT, has
from facevae.retouch import edited_picture, held
from facevae.steering import Sitters, steered
from facevae.ways import Way

SIDE = 16
ROWS = torch.linspace(0, 6.3, SIDE).cos()[:, None].expand(SIDE, SIDE)  # top and bottom light
COLUMNS = ROWS.T  # left and right light: neither changes when mirrored


class Model:
    """Draws the first number of a code as ROWS, the second as COLUMNS, the third not at all."""

    def decode(self, codes):
        picture = 0.5 + 0.2 * codes[:, 0, None, None].tanh() * ROWS
        picture = picture + 0.2 * codes[:, 1, None, None].tanh() * COLUMNS
        return picture[:, None].expand(-1, 3, -1, -1)


class Reader:
    """Sees ROWS as a smile, COLUMNS as bangs, and a little of both as age."""

    config = SimpleNamespace(attributes=("Smiling", "Bangs"), size=SIDE)

    def features(self, images):
        light = images.mean(1) - images.mean((1, 2, 3))[:, None, None]
        return torch.stack([(light * one).mean((1, 2)) for one in (ROWS, COLUMNS)], 1)

    def heads(self, features):
        both = 80 * features
        return torch.cat([both, 0.02 * both.mean(1, keepdim=True)], dim=1)

    def read(self, images):
        outputs = self.heads(self.features(images))
        smile, bangs = outputs[:, :2].sigmoid().unbind(1)
        return {"Smiling": smile, "Bangs": bangs, "age": outputs[:, 2] * AGE_UNIT}


def sitters(count=200, seed=0):
    codes = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    pictures = Model().decode(codes)
    levels = (255 * pictures).round().byte().permute(0, 2, 3, 1).contiguous()
    return Sitters(levels, codes, Reader().read(pictures))


def start():
    """A direction that takes bangs along with every smile."""
    mean = torch.tensor([1.0, 0.8, 0.0])
    return Direction.along("Smiling", "joint", mean, mean, -mean)


def turned(way, faces, sign):
    """The faces that lacked (had) a smile, as read before and after an edit to strength ±1."""
    rows = sign * has(faces.readings, "Smiling") < 0
    codes, off = faces.codes[rows], int(sign < 0)
    plain = Model().decode(codes)
    change = Model().decode(way.placed(codes, off)) - plain
    after = edited_picture(plain, held(change), plain, region=way.regions[off])
    return {name: values[rows] for name, values in faces.readings.items()}, Reader().read(after)


def steps(way, faces):
    """How far faces without a smile are moved to get one, (N, 3)."""
    codes = faces.codes[has(faces.readings, "Smiling") < 0]
    return way.placed(codes, 0) - codes


def test_a_direction_is_steered_off_what_it_drags_along(monkeypatch):
    monkeypatch.setattr(steering, "PULL", 0.0)
    way = steered(Model(), [Reader()], sitters(), start(), steps=100)
    drags = [(s[:, 1] / s[:, 0]).abs().median() for s in (steps(Way.straight(start()), sitters()),
                                                          steps(way, sitters()))]  # fmt: skip
    assert drags[0] == pytest.approx(0.8) and drags[1] < 0.3
    assert way.direction.method == "steered" and min(way.reach) > 0


def test_a_direction_is_pulled_to_where_it_began(monkeypatch):
    near = []
    for pull in (0.0, 50.0):
        monkeypatch.setattr(steering, "PULL", pull)
        way = steered(Model(), [Reader()], sitters(), start(), steps=60)
        near.append(torch.cosine_similarity(way.direction.vector, start().vector, dim=0).item())
    assert near[0] < near[1] and near[1] > 0.97


def test_strength_one_turns_most_faces_and_leaves_bangs_to_most():
    way, unseen = steered(Model(), [Reader()], sitters(), start(), steps=100), sitters(seed=1)
    plain = replace(Way.straight(start()), reach=way.reach)
    for sign in (1, -1):
        before, after = turned(way, unseen, sign)
        assert (sign * has(after, "Smiling") > 0).float().mean() > 0.8
        bangs = has(before, "Bangs") > 0
        moved = [
            ((has(one, "Bangs") > 0) != bangs).float().mean()
            for one in (turned(plain, unseen, sign)[1], after)
        ]
        assert moved[1] < moved[0] / 2


def test_a_way_bends_with_the_face_where_one_step_does_not_serve_all(monkeypatch):
    """Faces lit from the right show a smile the other way round: no single direction suits all."""

    class Crossed(Model):
        def decode(self, codes):
            turned = torch.where(codes[:, 1:2] > 0, codes[:, :1], -codes[:, :1])
            return super().decode(torch.cat([turned, codes[:, 1:]], dim=1))

    monkeypatch.setattr(steering, "PULL", 0.0)
    codes = sitters(400).codes
    pictures = Crossed().decode(codes)
    levels = (255 * pictures).round().byte().permute(0, 2, 3, 1).contiguous()
    faces = Sitters(levels, codes, Reader().read(pictures))
    shares = []
    for bent in (0.0, 1e6):
        monkeypatch.setattr(steering, "BENT", bent)
        way = steered(Crossed(), [Reader()], faces, start(), steps=300)
        rows = has(faces.readings, "Smiling") < 0
        after = Reader().read(Crossed().decode(way.placed(codes[rows], 0)))
        shares.append((has(after, "Smiling") > 0).float().mean().item())
    assert shares[0] > shares[1] + 0.15


def test_a_face_is_not_led_where_no_faces_are(monkeypatch):
    """The third number of a code is drawn as a smile, too, and no face has any of it."""

    class Loose(Model):
        def decode(self, codes):
            codes = torch.cat([codes[:, :1] + codes[:, 2:] / 2, codes[:, 1:]], dim=1)
            return super().decode(codes)

    faces = sitters()
    faces.codes[:, 2] *= 0.01
    far = []
    for weight in (0.0, 1.0):
        monkeypatch.setattr(steering, "STRANGE", weight)
        way = steered(Loose(), [Reader()], faces, start(), steps=60)
        far.append(steps(way, faces)[:, 2].abs().mean().item())
    assert far[1] < 0.2 * far[0]


def test_a_region_is_drawn_where_it_serves_alike_on_both_sides():
    class Lower(Reader):
        """Sees what the lower half shows, and not the upper."""

        def features(self, images):
            return super().features(torch.cat([0.5 + 0 * images[:, :, :8], images[:, :, 8:]], 2))

    way = steered(Model(), [Lower()], sitters(), start(), steps=120)
    for region in way.regions:
        top, bottom = region.where[0, 0].split(regions.SIDE // 2)
        assert bottom.mean() > 1.2 * top.mean()
        assert torch.allclose(region.where, region.where.flip(-1), atol=1e-6)
        assert (region.where >= 0).all() and (region.where <= 1).all() and (region.yields > 0).all()


def test_the_colour_of_hair_is_drawn_off_the_face(monkeypatch):
    monkeypatch.setattr(steering, "DYES", {"Smiling"})
    for region in steered(Model(), [Reader()], sitters(), start(), steps=20).regions:
        assert region.where[0, 0, 6:11, 6:10].max() < 0.01 and region.where[0, 0, :2].min() > 0.3


def test_make_up_is_drawn_on_the_face(monkeypatch):
    monkeypatch.setattr(steering, "PAINTED", ("Smiling",))
    for region in steered(Model(), [Reader()], sitters(), start(), steps=20).regions:
        assert region.where[0, 0, 6:11, 6:10].min() > 0.3  # eyes to mouth
        assert region.where[0, 0, :3, :3].max() < 0.1 and region.where[0, 0, :, 0].max() < 0.2


def test_all_teachers_are_asked_by_turns():
    asked = []

    class Named(Reader):
        def __init__(self, name):
            self.name = name

        def heads(self, features):
            asked.append(self.name)
            return super().heads(features)

    steered(Model(), [Named("a"), Named("b")], sitters(), start(), steps=8)
    assert asked == ["a"] * 4 + ["b"] * 4 + ["a"] * 4 + ["b"] * 4  # on and off, before and after


def test_one_seed_gives_one_way():
    first, second = (steered(Model(), [Reader()], sitters(), start(), steps=6) for _ in range(2))
    assert torch.equal(first.direction.vector, second.direction.vector)
    assert first.reach == second.reach
    assert torch.equal(first.mappers[0].out, second.mappers[0].out)
    assert torch.equal(first.regions[0].where, second.regions[0].where)


def test_without_faces_to_learn_from_the_direction_stays():
    faces, first = sitters(), start()
    alike = Sitters(faces.pictures, faces.codes, {"Smiling": torch.ones(200)})
    way = steered(Model(), [Reader()], alike, first, steps=2)
    assert way.direction is first and way.reach == (2.0, 2.0)
    assert torch.allclose(way.placed(faces.codes, 1), first.placed(faces.codes, -2.0))
    assert all((one.where == 1).all() and (one.yields == 1).all() for one in way.regions)
