"""How far ways go and what is enough on them: told by grey pictures whose light is the attribute,
so that each share can be worked out by hand."""

from dataclasses import dataclass, replace
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from facevae import reach
from facevae.directions import Direction
from facevae.pace import SHARES
from facevae.reach import LONGER, SURE, gauged
from facevae.ways import Way

LIGHTS = np.linspace(20, 235, 600).astype(np.uint8)  # even: half are dark, half are bright
SLOPE = 40.0  # logits from black to white
HALF = 108 / 255  # of white: no face lies farther from the border


@dataclass(frozen=True)
class Guide:
    ways: dict


@pytest.fixture(autouse=True)
def drawing(monkeypatch):
    """A way of reach 1 adds all light there is, or takes it."""

    def on_the_way(model, guide, face, name, off):
        own = face.crop.getpixel((0, 0))[0] / 255
        there = own + (1 - 2 * off) * guide.ways[name].reach[off] * torch.tensor(SHARES)
        return there.clamp(0, 1)[:, None, None, None].expand(-1, 3, 8, 8)

    monkeypatch.setattr(reach, "on_the_way", on_the_way)


def studio(up, down, name="Smiling"):
    way = Way.straight(Direction(name, "mean", *torch.eye(3)))
    return SimpleNamespace(
        attributes=(name, "Young"),
        model=None,
        guide=Guide({name: replace(way, reach=(up, down)), "Young": way}),
        read=lambda image, eyes, refine: SimpleNamespace(crop=image),
    )


@pytest.fixture(scope="module")
def faces():
    images = np.tile(LIGHTS[:, None, None, None], (1, 8, 8, 3))
    return SimpleNamespace(
        images=images,
        split=lambda seed: {"train": np.arange(600)},
        tensor=lambda rows: torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float() / 255,
    )


def reader(stern=0.0, name="Smiling"):
    """As sure of it as there is light, less so many logits."""

    def read(images):
        return {name: (SLOPE * (images.mean((1, 2, 3)) - 0.5) - stern).sigmoid()}

    return SimpleNamespace(read=read, config=SimpleNamespace(attributes=(name,)))


def way(up, down, tutors, faces, name="Smiling"):
    return gauged(studio(up, down, name), [reader(name=name), *tutors], faces)[name]


def test_a_way_is_longer_where_the_faces_that_need_it_turn(faces):
    short, long = 0.5 * HALF, LONGER * HALF
    assert way(HALF, short, [reader()], faces).reach == pytest.approx((long, short))
    assert way(short, HALF, [reader()], faces).reach == pytest.approx((short, long))


def test_a_dye_is_put_on_no_further_but_taken_off(faces):
    tutor = reader(name="Blond_Hair")
    dyed = way(HALF, HALF, [tutor], faces, "Blond_Hair")
    assert dyed.reach == pytest.approx((HALF, LONGER * HALF))
    assert max(dyed.enough) < inf


@pytest.mark.parametrize("stern", [0.0, 1.0, 2.0])
def test_the_reader_must_be_as_sure_as_a_sterner_tutor_needs(faces, stern):
    """What the tutor is slower to see, it is sooner to miss."""
    on, off = way(HALF, HALF, [reader(stern)], faces).enough
    assert on == pytest.approx(reach.PLAIN + stern, abs=0.25)
    assert off == pytest.approx(max(reach.PLAIN - stern, 0), abs=0.25)


def test_all_tutors_count_alike(faces):
    """One never sees it: with the other's, half of the faces turn at best."""
    blind = SimpleNamespace(read=lambda images: {"Smiling": torch.zeros(len(images))})
    mixed = way(1.0, 1.0, [reader(1.0), blind], faces)
    assert mixed.reach[0] == 1.0  # not worth more
    assert mixed.enough[0] == pytest.approx(reach.PLAIN + 1, abs=0.25)


def test_where_few_turn_the_way_is_no_longer(faces):
    short = way(0.02, HALF, [reader()], faces)
    assert short.reach[0] == 0.02 and SURE[0] <= short.enough[0] <= 1.5


def test_what_no_face_lacks_stays(faces):
    bright = SimpleNamespace(**vars(faces) | {"split": lambda seed: {"train": np.arange(400, 600)}})
    kept = way(0.3, 0.5, [reader()], bright)
    assert kept.reach[0] == 0.3 and kept.enough[0] == inf and kept.enough[1] < inf


def test_without_tutors_and_what_the_reader_is_not_asked_for_stays(faces):
    there = studio(0.3, 0.3)
    assert gauged(there, [reader()], faces) == there.guide.ways
    found = gauged(there, [reader(), reader()], faces)
    assert found["Young"] is there.guide.ways["Young"]
