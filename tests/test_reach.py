"""Ways are lengthened where what is drawn turns for too few: told by grey pictures whose light is
the attribute, so that each share can be worked out by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from facevae.directions import Direction
from facevae.reach import lengthened
from facevae.ways import Way

LIGHTS = np.linspace(20, 235, 600).astype(np.uint8)  # even: half are dark, half are bright


def studio(up, down, most=255, name="Smiling"):
    """Of one attribute, light: strength 1 adds so many levels, −1 takes so many, up to a most."""
    way = Way.straight(Direction(name, "mean", *torch.eye(3)))

    def edit(face, wanted):
        (at,) = wanted.values()
        change = max(-most, min(at * (up if at > 0 else down), most))
        level = min(max(face.crop.getpixel((0, 0))[0] + round(change), 0), 255)
        return Image.new("RGB", (8, 8), (level,) * 3)

    return SimpleNamespace(
        attributes=(name,),
        guide=SimpleNamespace(ways={name: replace(way, reach=(2.0, 3.0))}),
        read=lambda image, eyes, refine: SimpleNamespace(crop=image),
        edit=edit,
    )


@pytest.fixture(scope="module")
def faces():
    images = np.tile(LIGHTS[:, None, None, None], (1, 8, 8, 3))
    return SimpleNamespace(
        images=images,
        split=lambda seed: {"train": np.arange(600)},
        tensor=lambda rows: torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float() / 255,
    )


def reader(border=0.5, name="Smiling"):
    """Sees light over a border, and knows nothing else."""
    return SimpleNamespace(read=lambda images: {name: (images.mean((1, 2, 3)) > border).float()})


@pytest.mark.parametrize(
    ("gain", "factor"),
    [(108, 1.0), (92, 1.1), (86, 1.2), (77, 1.2), (70, 1.0)],
    ids=["all turn", "0.86, 0.94", "0.80, 0.88, 0.96", "0.72, 0.79, 0.86", "0.65, 0.72, 0.78"],
)
def test_a_way_is_lengthened_as_far_as_it_pays(faces, gain, factor):
    """The dark lie within 107 levels of the border, evenly: a share of gain / 107 turns."""
    up, down = lengthened(studio(gain, 108), [reader()], faces)["Smiling"].reach
    assert (up, down) == pytest.approx((2.0 * factor, 3.0))
    up, down = lengthened(studio(108, gain), [reader()], faces)["Smiling"].reach
    assert (up, down) == pytest.approx((2.0, 3.0 * factor))


def test_where_the_longest_turns_no_more_than_a_shorter_the_shorter_is_kept(faces):
    up, _ = lengthened(studio(92, 108, most=96), [reader()], faces)["Smiling"].reach  # 0.86, 0.89
    assert up == pytest.approx(2.2)


def test_all_readers_count_alike(faces):
    """One that calls light what is lighter still sees 0.62, 0.70, 0.79 turn: too few with it."""
    up, _ = lengthened(studio(92, 108), [reader(), reader(0.6)], faces)["Smiling"].reach
    assert up == pytest.approx(2.4)


def test_what_no_face_lacks_stays(faces):
    bright = SimpleNamespace(**vars(faces) | {"split": lambda seed: {"train": np.arange(400, 600)}})
    assert lengthened(studio(50, 108), [reader()], bright)["Smiling"].reach == (2.0, 3.0)


def test_a_dye_is_put_on_no_further_but_taken_off(faces):
    dyed = studio(92, 92, name="Blond_Hair")
    up, down = lengthened(dyed, [reader(name="Blond_Hair")], faces)["Blond_Hair"].reach
    assert (up, down) == pytest.approx((2.0, 3.3))
