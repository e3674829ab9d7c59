import pytest
import torch

from facevae import FaceVAE, ModelConfig, retouch
from facevae import texture as tx
from facevae.ages import AgeCurves
from tests.test_texture import grown


@pytest.fixture(scope="module")
def texture():
    return grown()


@pytest.fixture(scope="module")
def face():
    """An untrained model, curves of its codes, a code, its picture and a crop."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FaceVAE(ModelConfig((3, 32, 32), latents=8)).eval()
        means = torch.randn(1, 71, 8)
        curves = AgeCurves(torch.arange(10, 81), torch.tensor([1]), means)
        code, crop = torch.randn(1, 8), torch.rand(1, 3, 96, 96)
    with torch.inference_mode():
        return model, curves, code, model.decode(code), crop


def test_the_change_of_shape_holds_the_mean_colour(face, monkeypatch):
    model, curves, code, decoded, _ = face
    monkeypatch.setattr(retouch, "HOLD_SKIN", 0.0)
    change = retouch.aged_shape(model, curves, code, decoded, 20, 70, 1)
    assert change.abs().max() > 1e-4 and change.mean((2, 3)).abs().max() < 1e-6
    monkeypatch.setattr(retouch, "HOLD_SKIN", 1.0)
    skin = tx.ellipses(32, (tx.SKIN,))
    change = retouch.aged_shape(model, curves, code, decoded, 20, 70, 1) / retouch._where(32)
    assert ((change * skin).sum((2, 3)) / skin.sum()).abs().max() < 1e-6
    assert retouch.aged_shape(model, curves, code, decoded, 30, 30, 1).abs().max() < 1e-6


def test_hair_turns_grey_and_brighter_with_the_years_and_nothing_else_does():
    crop = torch.tensor([0.3, 0.2, 0.1])[:, None, None].repeat(1, 96, 96)[None]
    hair = torch.zeros(1, 1, 32, 32)
    hair[..., :16, :] = 1

    def chroma(target, own=20.0):
        picture = retouch.aged_hair(crop, hair, own, target)
        left = (picture.amax(1) - picture.amin(1)) / (crop.amax(1) - crop.amin(1))
        return left[0, 20, 12].item(), left[0, 80, 84].item()

    assert chroma(80) == pytest.approx((0, 1), abs=0.02)
    assert chroma(60) == pytest.approx((0.5, 1), abs=0.02)
    assert retouch.aged_hair(crop, hair, 20, 80)[..., 20, 12].mean() > 0.35 > crop.max()
    for own, target in ((20.0, 40), (80.0, 20), (85.0, 95)):
        assert retouch.aged_hair(crop, hair, own, target) is crop


def test_a_picture_of_the_same_age_is_the_crop_and_of_another_the_sum_of_both_parts(face, texture):
    model, curves, code, decoded, crop = face
    hair = torch.ones(1, 1, 8, 8)

    def at(target, detail=1.0):
        return retouch.aged_picture(
            model, curves, texture, crop, code, decoded, hair, 30, target, 1, detail=detail
        )

    assert at(30) is crop
    plain = at(38, detail=0)  # before hair greys, which is no sum
    shape = retouch.aged_shape(model, curves, code, decoded, 30, 38, 1)
    large = torch.nn.functional.interpolate(
        decoded + shape, (96, 96), mode="bicubic", antialias=True
    )
    assert torch.allclose(plain, large, atol=1e-5)
    halves = (plain + at(38)) / 2
    assert torch.allclose(at(38, detail=0.5), halves, atol=1e-5)


def test_an_edit_keeps_detail_where_the_picture_stays_and_lets_it_go_where_it_is_redrawn():
    generator = torch.Generator().manual_seed(0)
    decoded = torch.rand(1, 3, 32, 32, generator=generator)
    crop = torch.rand(1, 3, 96, 96, generator=generator)
    change = torch.zeros(1, 3, 32, 32)
    assert torch.allclose(retouch.edited_picture(decoded, change, crop), crop, atol=1e-6)
    change[..., 16:] = 0.5  # the right half, far more than REDRAWN
    drawn = tx.enlarged(decoded + change, 96)
    edited = retouch.edited_picture(decoded, change, crop)
    assert torch.allclose(edited[..., :36], crop[..., :36], atol=2e-3)
    assert torch.allclose(edited[..., 60:], drawn[..., 60:], atol=1e-3)
    assert torch.equal(retouch.edited_picture(decoded, change, crop, detail=0), drawn)


def test_dyed_hair_keeps_its_strands_in_light_alone():
    side = 128
    decoded = torch.full((1, 3, side, side), 0.3)
    stripes = 0.1 * torch.sign(torch.sin(torch.arange(side) * torch.pi / 2 + 0.1))
    brown = torch.tensor([0.1, 0.0, -0.1])[None, :, None, None]  # what the photo had of colour
    crop = decoded + stripes + brown
    hair = torch.zeros(1, 1, 64, 64)
    hair[..., :32] = 1.0
    change = torch.full_like(decoded, 0.5)  # so much that nothing else of the photo holds
    drawn = retouch.redrawn(decoded, change, retouch.kept(change), crop, 1.0, hair)
    rest = drawn - (decoded + change)
    assert rest[..., 80:].abs().max() < 0.001  # beside the hair it is redrawn
    here = rest[..., 20:40]
    assert here.std() > 0.08 and (here[:, 0] - here[:, 2]).abs().max() < 1e-5  # and no brown
    plain = retouch.redrawn(decoded, change, retouch.kept(change), crop, 1.0)
    assert (plain - (decoded + change)).abs().max() < 0.001


def test_held_takes_the_mean_over_the_skin_off():
    change = torch.full((1, 3, 64, 64), 0.1)
    change[..., 30:40, 30:40] += 0.2
    even = retouch.held(change)
    skin = tx.ellipses(64, (tx.SKIN,))
    assert ((even * skin).sum((2, 3)) / skin.sum()).abs().max() < 1e-6
    assert torch.allclose(even[..., 30, 30] - even[..., 0, 0], torch.tensor(0.2), atol=1e-5)
