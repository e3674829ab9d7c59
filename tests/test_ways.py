import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from facevae import ways
from facevae.directions import Direction
from facevae.hair import beside
from facevae.mappers import UNITS, Mapper
from facevae.regions import SIDE, Region
from facevae.ways import Way


def some(name, seed, latents=6):
    """A way of numbers that float16 holds where the file does."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape):
        return torch.randn(shape, generator=generator).half().float()

    mean = torch.rand(latents, generator=generator)
    direction = Direction.along(name, "steered", mean, mean, -mean)
    on, off = (Region(*numbers(2, 1, 1, SIDE, SIDE).abs()) for _ in range(2))
    give, take = (
        Mapper(numbers(UNITS, latents), numbers(UNITS), numbers(latents, UNITS)) for _ in range(2)
    )
    return Way(direction, (1 / 3, 2.1), (on, off), (give, take), (1.75, math.inf))


@pytest.fixture
def stored():
    return {name: some(name, seed) for seed, name in enumerate(("Smiling", "Bangs"))}


HAIR = torch.zeros(1, 1, 4, 4)  # none
CODES = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


def test_what_is_stored_comes_back_to_the_bit(stored, tmp_path):
    ways.save(tmp_path / "w.safetensors", stored, "a model's fingerprint")
    found, model = ways.load(tmp_path / "w.safetensors")
    assert model == "a model's fingerprint" and [*found] == ["Smiling", "Bangs"]
    for name, was in stored.items():
        now = found[name]
        assert (now.reach, now.enough) == (was.reach, was.enough)
        assert now.direction.method == "steered"
        assert torch.equal(now.strength(CODES), was.strength(CODES))
        for off in (0, 1):
            assert torch.equal(now.placed(CODES, off), was.placed(CODES, off))
            assert torch.equal(now.regions[off].where, was.regions[off].where)
            assert torch.equal(now.regions[off].yields, was.regions[off].yields)


def test_strength_one_lies_where_the_reach_says():
    way = some("Smiling", 3)
    assert torch.allclose(way.strength(way.placed(CODES, 0)), torch.ones(5), atol=1e-5)
    assert torch.allclose(way.strength(way.placed(CODES, 1)), -torch.ones(5), atol=1e-5)
    assert way.target(-0.5) == pytest.approx(-1.05) and way.target(0.5) == pytest.approx(1 / 6)


def test_a_straight_way_runs_along_its_direction_and_is_drawn_everywhere():
    way = Way.straight(some("Smiling", 3).direction)
    steps = way.placed(CODES, 0) - CODES
    along = steps @ way.direction.vector / way.direction.vector.square().sum()
    assert torch.allclose(steps, along[:, None] * way.direction.vector, atol=1e-5)
    assert (way.region(0.3, HAIR).where == 1).all()


def test_a_strength_between_is_drawn_between_its_regions():
    way = some("Smiling", 3)
    on, off = way.region(1.0, HAIR), way.region(-1.0, HAIR)
    assert torch.equal(on.where, way.regions[0].where)
    assert torch.allclose(way.region(0.0, HAIR).where, (on.where + off.where) / 2)
    assert torch.equal(way.region(-1.5, HAIR).yields, off.yields)  # as far as was learnt


def test_a_colour_of_hair_is_drawn_on_hair_alone():
    hair = torch.zeros(2, 1, 32, 32)
    hair[1, :, :8] = 1
    dyed, bald, smiling = (
        Way.straight(some(name, 3).direction) for name in ("Blond_Hair", "Bald", "Smiling")
    )
    for at in (-1.0, 0.3, 1.0):
        assert torch.allclose(dyed.region(at, hair).where, beside(hair))
    assert torch.equal(bald.region(1.0, hair).where, beside(hair))
    assert (bald.region(-1.0, hair).where == 1).all()  # hair is drawn where there is none
    assert (smiling.region(1.0, hair).where == 1).all()


def test_beside_plenty_of_hair_little_is_let_through_and_where_none_shows_all():
    hair = torch.zeros(3, 1, 40, 40)
    hair[1, :, :2], hair[2, :, :20] = 1, 1
    through = beside(hair)
    assert (through[hair > 0] == 1).all()
    assert torch.allclose(through[:, 0, -1, 0], torch.tensor([1.0, 0.65, 0.3]))


def short(parts):
    del parts["Smiling.bias"]


def of_two_sizes(parts):
    parts["Smiling.out"] = torch.zeros(2, 5, UNITS)


def of_another_map(parts):
    parts["Smiling.regions"] = torch.zeros(2, 2, 3, 3)


@pytest.mark.parametrize("harm", [short, of_two_sizes, of_another_map])
def test_ways_whose_parts_do_not_fit_are_refused_by_name(harm, stored, tmp_path):
    path = tmp_path / "w.safetensors"
    ways.save(path, stored)
    parts = load_file(path)
    told = header(path)
    harm(parts)
    save_file(parts, path, told)
    with pytest.raises(ValueError, match=r"w\.safetensors holds no ways .* `python -m facevae g"):
        ways.load(path)


def test_a_foreign_file_is_refused_by_name(stored, tmp_path):
    path = tmp_path / "w.safetensors"
    ways.save(path, stored)
    save_file(load_file(path), path, header(path) | {"format": "1"})
    with pytest.raises(ValueError, match="its format is 1, this reads 2"):
        ways.load(path)
    for content in (b"nothing", None):
        path.write_bytes(content) if content else path.unlink()
        with pytest.raises(ValueError, match=r"w\.safetensors holds no ways to attributes"):
            ways.load(path)


def header(path):
    with safe_open(path, "pt") as file:
        return file.metadata()
