"""Tensors, pictures, sheets and animations."""

import time

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from facevae.imaging import images

FRAMES = [Image.new("RGB", (33, 31), (40 * i, 100, 200 - 30 * i)) for i in range(5)]


@pytest.mark.parametrize("channels", [1, 3])
def test_tensors_and_pictures_round_trip(channels):
    levels = torch.randint(0, 256, (3, channels, 9, 7)).float() / 255
    assert torch.equal(images.to_tensor(images.to_pil(levels)), levels)


def test_enlarging_keeps_a_ramp_and_shrinking_keeps_the_mean():
    ramp = torch.linspace(0, 1, 8)[None, None, None].expand(1, 1, 8, 8).contiguous()
    large = images.enlarge(ramp, (32, 24))
    assert large.shape == (1, 1, 32, 24)
    inner = large[0, 0, 0, 2:-2].diff()
    assert torch.allclose(inner, inner[0].expand(len(inner)), atol=1e-5)
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    small = images.enlarge(noise, (8, 8))
    assert (small - 0.5).abs().max() < 0.15  # without antialiasing it would be as noisy
    assert images.enlarge(noise, (64, 64)) is noise


def test_tiles_stand_in_rows():
    sheet = images.tile(FRAMES, columns=2, gap=1)
    assert sheet.size == (67, 95)
    assert sheet.getpixel((34, 0)) == FRAMES[1].getpixel((0, 0))
    with pytest.raises(ValueError, match="no pictures"):
        images.tile([])


@pytest.mark.parametrize(("suffix", "pingpong", "count"), [
    (".gif", True, 8), (".gif", False, 5), (".webp", True, 8), (".png", True, 1),
])  # fmt: skip
def test_animations_open_with_all_their_frames(tmp_path, suffix, pingpong, count):
    path = images.save_animation(FRAMES, tmp_path / f"a{suffix}", pingpong=pingpong)
    with Image.open(path) as opened:
        assert getattr(opened, "n_frames", 1) == count
        assert opened.size == ((165, 31) if suffix == ".png" else (33, 31))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_gif_of_too_many_frames_shows_some_of_them_and_lasts_as_long(tmp_path):
    many = [Image.new("L", (8, 8), i) for i in range(200)]
    path = images.save_animation(many, tmp_path / "a.gif", seconds=1, pingpong=False)
    with Image.open(path) as opened:
        shown = [frame.copy() for frame in ImageSequence.Iterator(opened)]
        assert len(shown) == 50 and opened.info["duration"] == 20
        assert [shown[i].convert("L").getpixel((0, 0)) for i in (0, -1)] == [0, 199]


@pytest.fixture(scope="module")
def morph(portraits):
    """46 frames of 320 pixels between two photographs."""
    a, b = (Image.open(p).convert("RGB").crop((60, 0, 460, 400)) for p in portraits)
    a, b = a.resize((320, 320)), b.resize((320, 320))
    return [Image.blend(a, b, t) for t in np.linspace(0, 1, 46)]


def test_a_gif_of_46_frames_is_quick_and_near_its_frames(morph, tmp_path):
    before = time.process_time()
    path = images.save_animation(morph, tmp_path / "a.gif", pingpong=False)
    assert time.process_time() - before < 1.5  # 0.5 s on one core; 5 s with a palette a frame
    with Image.open(path) as opened:
        for k in (0, 23, 45):
            opened.seek(k)
            away = np.abs(np.asarray(opened.convert("RGB"), float) - np.asarray(morph[k], float))
            assert away.mean() < 6  # of 255: what 256 colours cost a photograph


def test_mp4_has_its_frames_at_an_even_size(tmp_path):
    import imageio_ffmpeg

    path = images.save_animation(FRAMES, tmp_path / "a.mp4", seconds=1, pingpong=False)
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    frames = [np.frombuffer(f, np.uint8).reshape(32, 34, 3) for f in reader]
    assert about["size"] == (34, 32) and len(frames) == 5
    assert np.abs(frames[3][16, 17].astype(int) - FRAMES[3].getpixel((0, 0))).max() < 20


def test_an_unknown_suffix_and_no_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"end its name in \.gif"):
        images.save_animation(FRAMES, tmp_path / "a.avi")
    with pytest.raises(ValueError, match="at least one frame"):
        images.save_animation([], tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())
