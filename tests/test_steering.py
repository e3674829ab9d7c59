from types import SimpleNamespace

import pytest
import torch

from facevae.directions import Direction
from facevae.judge import AGE_UNIT, has
from facevae.steering import Sitters, steered

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


def edited(found, at, codes):
    return Reader().read(Model().decode(found.placed(codes, at)))


def test_a_direction_is_steered_off_what_it_drags_along():
    found, (on, off) = steered(Model(), Reader(), sitters(), start(), steps=100)
    slope = [abs(one.vector[1] / one.vector[0]).item() for one in (start(), found)]
    assert slope[0] == pytest.approx(0.8) and slope[1] < 0.4
    assert found.method == "steered" and on > 0 and off > 0


def test_strength_one_turns_most_faces_and_leaves_bangs_to_most():
    found, (on, off) = steered(Model(), Reader(), sitters(), start(), steps=100)
    unseen = sitters(seed=1)
    for sign, reach in ((1, on), (-1, -off)):
        lack = sign * has(unseen.readings, "Smiling") < 0
        after = edited(found, reach, unseen.codes[lack])
        assert (sign * has(after, "Smiling") > 0).float().mean() > 0.8
        first = edited(start(), reach, unseen.codes[lack])
        bangs = has({k: v[lack] for k, v in unseen.readings.items()}, "Bangs") > 0
        turned = [((has(one, "Bangs") > 0) != bangs).float().mean() for one in (first, after)]
        assert turned[1] < turned[0] / 2


def test_one_seed_gives_one_direction():
    first, second = (steered(Model(), Reader(), sitters(), start(), steps=6) for _ in range(2))
    assert torch.equal(first[0].vector, second[0].vector) and first[1] == second[1]


def test_without_faces_to_learn_from_the_direction_stays():
    faces, first = sitters(), start()
    alike = Sitters(faces.pictures, faces.codes, {"Smiling": torch.ones(200)})
    found, reach = steered(Model(), Reader(), alike, first, steps=2)
    assert found is first and reach == (2.0, 2.0)
