import torch

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
