import pytest
import torch
from safetensors.torch import save_file

from facevae import mappers
from facevae.mappers import UNITS, Mapper


def some(seed, latents=6):
    generator = torch.Generator().manual_seed(seed)
    plain = Mapper.straight(latents, generator)
    out = torch.randn(latents, UNITS, generator=generator)
    return Mapper(*(part.half().float() for part in (plain.into, plain.bias, out)))


def test_a_straight_one_adds_nothing():
    codes, vector = torch.randn(5, 6), torch.randn(6)
    assert (Mapper.straight(6).bend(codes, vector) == 0).all()


def test_what_it_adds_hangs_on_the_face_and_not_on_the_strength_of_the_attribute():
    codes, vector = torch.randn(5, 6), torch.randn(6)
    bend = some(0).bend(codes, vector)
    assert bend.shape == codes.shape and bend.std(0).min() > 0.01
    assert (bend @ vector).abs().max() < 1e-4 * bend.norm() * vector.norm()


def test_what_is_stored_comes_back(tmp_path):
    stored = {"Smiling": (some(1), some(2)), "Bangs": (some(3), some(4))}
    mappers.save(tmp_path / "m.safetensors", stored)
    found = mappers.load(tmp_path / "m.safetensors")
    assert set(found) == set(stored)
    codes, vector = torch.randn(5, 6), torch.randn(6)
    for name, pair in stored.items():
        for was, now in zip(pair, found[name], strict=True):
            assert torch.equal(was.bend(codes, vector), now.bend(codes, vector))


@pytest.mark.parametrize("content", [
    {"Smiling": torch.zeros(2, 3)},
    {"Smiling.into": torch.zeros(2, UNITS, 6), "Smiling.bias": torch.zeros(2, UNITS)},
    {"Smiling.into": torch.zeros(2, UNITS, 6), "Smiling.bias": torch.zeros(2, UNITS),
     "Smiling.out": torch.zeros(2, 5, UNITS)},
    None,
], ids=["another's", "a part short", "of two sizes", "no safetensors"])  # fmt: skip
def test_a_foreign_file_is_refused_by_name(content, tmp_path):
    path = tmp_path / "m.safetensors"
    save_file(content, path) if content else path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="m.safetensors holds no mappers that can be read"):
        mappers.load(path)
