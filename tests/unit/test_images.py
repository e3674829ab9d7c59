"""Tensors, pictures, sheets and animations."""

import time

import numpy as np
import pytest
import torch
from PIL import Image

from facevae.imaging import images

FRAMES = [Image.new("RGB", (33, 31), (40 * i, 100, 200 - 30 * i)) for i in range(5)]


@pytest.mark.parametrize("channels", [1, 3])
def test_tensors_and_pictures_round_trip(channels):
    levels = torch.randint(0, 256, (3, channels, 9, 7)).float() / 255
    assert torch.equal(images.to_tensor(images.to_pil(levels)), levels)


def test_tiles_stand_in_rows():
    sheet = images.tile(FRAMES, columns=2, gap=1)
    assert sheet.size == (67, 95)
    assert sheet.getpixel((34, 0)) == FRAMES[1].getpixel((0, 0))


@pytest.mark.parametrize(("suffix", "pingpong", "count"), [
    (".gif", True, 8), (".gif", False, 5), (".webp", True, 8), (".png", True, 1),
])  # fmt: skip
def test_animations_open_with_all_their_frames(tmp_path, suffix, pingpong, count):
    path = images.save_animation(FRAMES, tmp_path / f"a{suffix}", pingpong=pingpong)
    with Image.open(path) as opened:
        assert getattr(opened, "n_frames", 1) == count
        assert opened.size == ((165, 31) if suffix == ".png" else (33, 31))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_gif_of_46_frames_is_quick_and_near_its_frames(portraits, tmp_path):
    a, b = (Image.open(p).convert("RGB").crop((60, 0, 380, 320)) for p in portraits)
    morph = [Image.blend(a, b, t) for t in np.linspace(0, 1, 46)]
    before = time.process_time()
    path = images.save_animation(morph, tmp_path / "a.gif", pingpong=False)
    assert time.process_time() - before < 1.5  # 0.5 s on one core; 5 s with a palette a frame
    with Image.open(path) as opened:
        for k in (0, 23, 45):
            opened.seek(k)
            away = np.abs(np.asarray(opened.convert("RGB"), float) - np.asarray(morph[k], float))
            assert away.mean() < 6  # of 255: what 256 colours cost a photograph


def test_mp4_has_its_frames_at_an_even_size(tmp_path):
    import imageio.v3

    path = images.save_animation(FRAMES, tmp_path / "a.mp4", seconds=1, pingpong=False)
    frames = imageio.v3.imread(path)
    assert frames.shape == (5, 32, 34, 3)
    assert np.abs(frames[3, 16, 17].astype(int) - FRAMES[3].getpixel((0, 0))).max() < 20


def test_an_unknown_suffix_and_no_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"end its name in \.gif"):
        images.save_animation(FRAMES, tmp_path / "a.avi")
    with pytest.raises(ValueError, match="at least one frame"):
        images.save_animation([], tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())
