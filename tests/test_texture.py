import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from facevae import FaceSet
from facevae import texture as tx
from facevae.texture import Texture

GROWTH = {0: 0.004, 1: 0.008}  # of the logarithm of the amplitudes, a year
MIDDLE = (slice(14, 18), slice(14, 18))  # of the maps: amid the face


def grown() -> Texture:
    """Amplitudes that grow evenly over the face, faster for gender 1, and noise from face to
    face; ages 10 … 80."""
    rng = np.random.default_rng(0)
    ages, genders = rng.integers(10, 81, 800), rng.integers(0, 2, 800)
    logs = -5 + ages * np.where(genders == 1, GROWTH[1], GROWTH[0])
    noise = rng.normal(0, 0.1, (800, 3, tx.GRID, tx.GRID))
    return Texture.smoothed(logs[:, None, None, None] + noise, ages, genders)


@pytest.fixture(scope="module")
def texture() -> Texture:
    return grown()


def lines(side: int, period: float, size: float = 0.02) -> torch.Tensor:
    """A residual (1, 3, S, S) of upright lines over the whole crop."""
    wave = size * torch.sin(2 * math.pi * torch.arange(side) / (period * side))
    return wave.expand(1, 3, side, side).clone()


def test_bands_sum_to_the_image_and_part_by_fineness():
    image = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(sum(tx.bands(image)), image, atol=1e-6)
    # a Gaussian of σ passes exp(−2π²σ²/p²) of a wave of period p; cut at 3σ, within 1 %
    wave = lines(128, 1 / 16)[:, :1]
    passed = tx.blurred(wave, 2 / 128)[0, 0, 64, 24:-24] / wave[0, 0, 64, 24:-24].clamp(min=1e-4)
    crest = wave[0, 0, 64, 24:-24] > 0.01
    expected = math.exp(-2 * math.pi**2 * (2 * 16 / 128) ** 2)
    assert torch.allclose(passed[crest], torch.tensor(expected), atol=0.01)


@pytest.mark.parametrize("gender", [0, 1])
def test_gains_are_the_growth_of_the_gender_and_power_is_a_power(texture, gender):
    assert texture.genders.tolist() == [0, 1] and texture.ages[0] <= 10 and texture.ages[-1] >= 80
    plain = texture.gains(20, 70, gender, power=1)[:, *MIDDLE]
    expected = math.exp(50 * GROWTH[gender])
    # 60 faces about an age, over a blur of 9 cells and both sides: 0.1 / √(60·18) → 0.3 %
    assert torch.allclose(plain, torch.tensor(expected), rtol=0.02)
    assert torch.allclose(texture.gains(20, 70, gender, power=2)[:, *MIDDLE], plain**2, rtol=1e-4)
    back = texture.gains(70, 20, gender, power=1)[:, *MIDDLE]
    assert torch.allclose(back * plain, torch.ones(1), atol=1e-5)


def test_gains_are_one_off_the_face_bounded_mirrored_and_clipped_in_age(texture):
    gains = texture.gains(10, 80, 1, power=9)  # exp(9 · 0.56) is far beyond the bound
    assert gains.max() == pytest.approx(tx.MOST_GAIN) and torch.equal(gains, gains.flip(-1))
    assert torch.equal(gains[:, -1, [0, -1]], torch.ones(3, 2))  # corners beside the chin
    assert torch.equal(texture.gains(20, 300, 1), texture.gains(20, float(texture.ages[-1]), 1))
    both = [texture.gains(20, 70, g, power=1).log() for g in (0, 1)]
    assert torch.allclose(texture.gains(20, 70, -1, power=1).log(), sum(both) / 2, atol=1e-5)


def test_maps_never_fall_with_age():
    ages = np.repeat(np.arange(10, 81), 6)
    falling = np.broadcast_to((-ages / 50.0)[:, None, None, None], (len(ages), 3, 8, 8))
    maps = Texture.smoothed(falling, ages, np.zeros(len(ages), int)).maps
    assert torch.allclose(maps, maps[:, :1].expand_as(maps), atol=1e-3)  # the nearest is level


def test_too_few_faces_are_refused():
    with pytest.raises(ValueError, match="give more faces"):
        Texture.smoothed(np.zeros((3, 3, 8, 8)), np.array([1, 50, 90]), np.zeros(3, int))


@pytest.mark.parametrize("side", [128, 320])
def test_lines_deepen_by_the_gain_in_luma_alone_at_any_size(texture, side):
    grain = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    still = torch.arange(side) < 0.4 * side  # the left of the face has no lines
    residual = torch.where(still, 0.0, lines(side, 1 / 32)) + 1e-4 * grain
    assert texture.aged(residual, 40, 40, 1) is residual
    aged = texture.aged(residual, 20, 70, 1)
    chroma = [one - tx.luma(one) for one in (residual, aged)]
    assert torch.allclose(*chroma, atol=1e-6)
    assert torch.equal(aged[..., -4:, :4], residual[..., -4:, :4])
    middle = (..., slice(side // 2, side // 2 + side // 8), slice(side // 2, side // 2 + side // 8))
    ratio = aged[middle].std() / residual[middle].std()
    # lines of a 32nd of the side lie in the bands, which grow alike: exp(2 · 50 · 0.008)
    assert ratio.item() == pytest.approx(math.exp(0.8), rel=0.05)
    bare = (..., slice(side // 2, side // 2 + side // 8), slice(side // 5, side // 4))
    assert aged[bare].std() / residual[bare].std() < 1.5  # grain, not lines


def test_growing_younger_softens_grain_and_lines_alike(texture):
    residual = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)) / 100
    young = texture.aged(residual, 70, 20, 1)
    fine = [tx.bands(tx.luma(one))[0][..., 50:80, 50:80].std() for one in (residual, young)]
    assert (fine[1] / fine[0]).item() == pytest.approx(math.exp(-0.8), rel=0.03)


def test_save_and_load_give_the_same_and_foreign_files_a_sentence(texture, tmp_path):
    path = tmp_path / "texture.safetensors"
    texture.save(path)
    again = Texture.load(path)
    for name in ("ages", "genders", "maps"):
        assert torch.equal(getattr(again, name), getattr(texture, name))
    assert path.stat().st_size < 300_000
    save_file({"ages": texture.ages}, tmp_path / "other.safetensors")
    bent = {"ages": texture.ages, "genders": texture.genders, "maps": torch.zeros(2, 3)}
    save_file(bent, tmp_path / "bent.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    for name in ("other", "bent", "text", "absent"):
        with pytest.raises(ValueError, match=f"{name}.safetensors holds no texture maps"):
            Texture.load(tmp_path / f"{name}.safetensors")


def drawn(strength: np.ndarray, light: float = 0.5, edge: float = 0.03) -> np.ndarray:
    """Faces (N, 64, 64, 3) uint8: skin from dark to bright, chequered eyes, and of each face
    upright lines of its own strength, from the cheeks down."""
    y, x = np.mgrid[:64, :64] / 64
    skin = light + 0.6 * (y - 0.5) + 0 * x
    eyes = (abs(y - 0.29) < 0.06) & (np.minimum(abs(x - 0.3), abs(x - 0.7)) < 0.1)
    chequers = edge * eyes * (-1.0) ** np.indices((64, 64)).sum(0)
    ridges = (y > 0.5) * (-1.0) ** np.indices((64, 64))[1]
    faces = skin + chequers + strength[:, None, None] * ridges
    return (255 * np.clip(faces, 0, 1)).round().astype(np.uint8)[..., None].repeat(3, -1)


class Blur:
    """Stands in for a model that draws everything but the detail."""

    def encode(self, images):
        return SimpleNamespace(mean=images)

    def decode(self, images):
        return tx.blurred(images.flatten(0, 1)[:, None], 4 / 64).reshape(images.shape)


def faces_in(folder, images: np.ndarray, ages: np.ndarray) -> FaceSet:
    np.save(folder / "images.npy", images)
    np.savez(folder / "labels.npz", age=ages)
    (folder / "manifest.json").write_text(json.dumps({"source": "drawn"}))
    return FaceSet(folder)


def test_fit_measures_the_faces_and_leaves_bad_ones_and_other_rows_out(tmp_path):
    rng = np.random.default_rng(0)
    ages = rng.integers(20, 61, 240)
    images = drawn(0.025 * 2.0 ** ((ages - 20) / 40))  # lines twice as deep at 60
    images[200:220] = drawn(np.full(20, 0.2), light=0.15)  # too dark
    images[220:] = 255 - images[220:] // 20  # not among the rows
    ages[199] = -1
    found = Texture.fit(Blur(), faces_in(tmp_path, images, ages), np.arange(220))
    assert found.genders.tolist() == [-1]
    cheek = found.gains(20, 60, -1, power=1)[0, 20:24, 14:18]
    # the blur of the maps brings in what lies at their edges; QUIET and whole levels: a few %
    assert torch.allclose(cheek, torch.tensor(2.0), rtol=0.05)
    with pytest.raises(ValueError, match="give more faces"):
        Texture.fit(Blur(), faces_in(tmp_path, images, ages), np.arange(200, 220))


def test_dark_blown_grainy_and_blurred_faces_are_not_clean():
    rng = np.random.default_rng(0)
    good = drawn(np.zeros(1))
    grainy = np.clip(good + rng.normal(0, 12, good.shape[:3])[..., None], 0, 255).astype(np.uint8)
    bad = [drawn(np.zeros(1), light=0.15), drawn(np.zeros(1), light=0.9), grainy,
           drawn(np.zeros(1), edge=0.005)]  # fmt: skip
    images = torch.from_numpy(np.concatenate([good, *bad])).permute(0, 3, 1, 2).float() / 255
    assert tx._measured(Blur(), images)[0].tolist() == [True, False, False, False, False]
