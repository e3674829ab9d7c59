"""A face goes as far as the reader needs: on the shipped studio and its two portraits."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
import torch

import facevae
from facevae import pace
from facevae.pace import SHARES, between, least, on_the_way, paced, sureness
from facevae.pictures import to_tensor
from facevae.studio import FOLDER

PORTRAITS = [FOLDER.parent / "portraits" / f"{n}.jpg" for n in ("grace_hopper", "eileen_collins")]


@pytest.fixture(scope="module")
def studio():
    return facevae.Studio.load()


@pytest.fixture
def pair(studio):
    return [studio.read(photo) for photo in PORTRAITS]


def test_the_least_share_that_is_enough():
    seen = torch.tensor([
        [3.0, 0.0, -1.0, -4.0, 0.0],
        [4.0, 1.0, 1.0, -3.0, 3.0],
        [5.0, 4.0, 5.0, -2.0, 1.0],
        [6.0, 5.0, 6.0, 1.9, 1.0],
    ])  # (T, N)  # fmt: skip
    found = least(seen, 2.0)
    first, second = SHARES[1] - SHARES[0], SHARES[2] - SHARES[1]
    expected = [
        SHARES[0],  # sure from the first on
        SHARES[1] + second / 3,
        SHARES[1] + second / 4,
        1.0,  # never sure
        SHARES[0] + first * 2 / 3,  # sure on the way, then less
    ]
    assert found.tolist() == pytest.approx(expected)
    assert between(seen, found)[[1, 2, 4]].tolist() == pytest.approx([2.0] * 3, abs=1e-5)
    assert between(seen, torch.tensor([SHARES[0], 1.0, SHARES[1], 1.0, SHARES[2]])).tolist() == (
        pytest.approx([3.0, 5.0, 1.0, 1.9, 1.0])
    )


@pytest.mark.parametrize(
    "name", ["Eyeglasses", "Mustache", "Heavy_Makeup", "Blond_Hair", "Gray_Hair"]
)
def test_a_face_stops_where_the_reader_is_sure_enough(studio, pair, name):
    way, reader = studio.guide.way(name), studio.guide.reader
    for face in pair:
        paced(studio.model, studio.guide, face, {name: 1.0})
        share = face.shares[way, False]
        assert SHARES[0] - 1e-4 <= share <= 1 + 1e-4
        seen = sureness(
            reader.read(on_the_way(studio.model, studio.guide, face, name, False)), name, False
        )
        drawn = sureness(
            reader.read(to_tensor([studio.edit(face, {name: 1.0})])), name, False
        ).item()
        if share > 1 - 1e-4:
            assert max(seen) < way.enough[0] + 0.5
        elif share > SHARES[0] + 1e-4:
            assert drawn == pytest.approx(way.enough[0], abs=1.0)  # a straight line guessed it
        else:
            assert seen[0] >= way.enough[0]


def test_what_is_tried_is_what_an_edit_draws(studio, pair, monkeypatch):
    """At each share it is the picture of a face that stops there."""
    for face in pair:
        for name, off in (("Smiling", True), ("Beard", False), ("Bangs", False)):
            tried = on_the_way(studio.model, studio.guide, face, name, off)
            for share, picture in zip(SHARES, tried, strict=True):
                monkeypatch.setattr(pace, "_share", lambda *_, share=share: share)
                fresh = replace(face)
                drawn = to_tensor([studio.edit(fresh, {name: -1.0 if off else 1.0})])[0]
                assert (drawn - picture).abs().max() < 0.004  # levels are rounded


def test_strengths_are_stretched_from_the_faces_own(studio, pair):
    face, way = pair[1], studio.guide.way("Eyeglasses")
    own = way.strength(face.mean).item()
    assert own < 0

    def moved(at):
        code = face.mean + sum(studio.steps(face, {"Eyeglasses": at}).values())
        return (way.direction.strength(code) - way.direction.strength(face.mean)).item()

    assert moved(own) == pytest.approx(0, abs=1e-4)
    share = moved(1.0) / (way.reach[0] - own * way.reach[1])
    assert SHARES[0] < share < 1
    for at in (0.5 * own, 0.0, 0.5, 1.5):
        assert moved(at) == pytest.approx(share * (way.target(at) - way.target(own)), abs=1e-3)
    assert np.array_equal(studio.edit(face, {}), face.crop)


def test_a_face_is_tried_once_an_edit(studio, pair, monkeypatch):
    tried = []
    plain = pace.on_the_way

    def counted(*given):
        tried.append(given[3:])
        return plain(*given)

    monkeypatch.setattr(pace, "on_the_way", counted)
    for at in (0.2, 0.6, 1.0, 1.5):
        studio.edit(pair[0], {"Beard": at, "Bangs": 1.0})
    assert tried == [("Beard", False), ("Bangs", False)]
    studio.edit(replace(pair[0], years=40), {"Beard": 1.0})
    studio.edit(pair[1], {"Beard": 1.0})
    assert len(tried) == 4


def test_all_of_a_way_is_gone_where_nothing_is_enough_or_nobody_reads_it(studio, pair, monkeypatch):
    monkeypatch.setattr(pace, "on_the_way", None)  # nothing is drawn
    unbound = replace(studio.guide.way("Smiling"), enough=(inf, inf))
    guide = replace(studio.guide, ways=studio.guide.ways | {"Smiling": unbound})
    wanted = {"Smiling": -1.0, "Young": 1.0}
    assert paced(studio.model, guide, pair[1], wanted) == pytest.approx(wanted)


def test_who_is_beyond_a_strength_comes_back_to_it(studio, pair, monkeypatch):
    monkeypatch.setattr(pace, "on_the_way", None)
    name, way = "Smiling", studio.guide.way("Smiling")
    code = pair[1].mean + (1.4 - way.strength(pair[1].mean)) * way.reach[0] * way.direction.vector
    beyond = replace(pair[1], mean=code)
    own = way.strength(code).item()
    assert own == pytest.approx(1.4, abs=0.01)
    assert paced(studio.model, studio.guide, beyond, {name: own + 0.1})[name] == pytest.approx(
        own + 0.1
    )
