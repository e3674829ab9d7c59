"""Tensors ↔ pictures, and pictures → tiles, strips, GIF, WebP and MP4."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facevae.files import replacing

ANIMATIONS = (".gif", ".webp", ".mp4", ".png")
SHORTEST = 0.02  # seconds a frame of a GIF or WebP is shown: players slow down what is faster


def to_pil(images: Tensor) -> list[Image.Image]:
    """(N, C, H, W) in [0, 1] → N pictures, RGB or grey."""
    levels = images.detach().float().clamp(0, 1).mul(255).round().byte().cpu()
    arrays = levels.permute(0, 2, 3, 1).numpy()  # (N, H, W, C)
    return [Image.fromarray(a[..., 0] if a.shape[-1] == 1 else a) for a in arrays]


def to_tensor(pictures: Sequence[Image.Image]) -> Tensor:
    """N pictures of one size → (N, C, H, W) float32 in [0, 1]."""
    arrays = [np.atleast_3d(np.asarray(picture)) for picture in pictures]  # (H, W, C) each
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255.0


def tile(pictures: Sequence[Image.Image], columns: int | None = None, gap: int = 0) -> Image.Image:
    """Pictures of one size in rows of `columns` (all in one row by default)."""
    if not pictures:
        raise ValueError("there are no pictures to tile")
    columns = columns or len(pictures)
    width, height = pictures[0].size
    rows = math.ceil(len(pictures) / columns)
    size = (columns * (width + gap) - gap, rows * (height + gap) - gap)
    sheet = Image.new(pictures[0].mode, size, "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * (width + gap), i // columns * (height + gap)))
    return sheet


def save_animation(
    frames: Sequence[Image.Image], path: str | Path, seconds: float = 3.0, pingpong: bool = True
) -> Path:
    """Write frames as .gif, .webp or .mp4 (H.264), or as a .png strip.

    Of more frames than a GIF or WebP can show in that time, some evenly apart are written.

    Args:
        seconds: length of one way through the frames.
        pingpong: play back again to the first frame (not in a strip).

    Raises:
        ValueError: the suffix is none of these.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in ANIMATIONS:
        raise ValueError(f"cannot write {path.name}: end its name in {', '.join(ANIMATIONS)}")
    if len(frames) < 1 or seconds <= 0:
        raise ValueError("an animation needs at least one frame and a length above 0 seconds")
    most = max(2, int(seconds / SHORTEST))
    if kind in (".gif", ".webp") and len(frames) > most:
        frames = [frames[i] for i in np.linspace(0, len(frames) - 1, most).round().astype(int)]
    played = [*frames, *frames[-2:0:-1]] if pingpong else list(frames)
    pause = seconds / len(frames)
    with replacing(path) as temporary:
        if kind == ".png":
            tile(frames).save(temporary)
        elif kind == ".mp4":
            _save_mp4(played, temporary, 1 / pause)
        else:
            options: dict[str, Any] = {"quality": 90} if kind == ".webp" else {}
            played[0].save(temporary, save_all=True, append_images=played[1:],
                           duration=_durations(len(played), pause), loop=0, **options)  # fmt: skip
    return path


def _durations(count: int, pause: float) -> list[int]:
    """Milliseconds of each frame: whole hundredths, as a GIF tells them, of the right sum."""
    ends = np.round(100 * max(SHORTEST, pause) * np.arange(count + 1))
    return (10 * np.diff(ends)).astype(int).tolist()


def _save_mp4(frames: Sequence[Image.Image], path: Path, rate: float) -> None:
    import imageio_ffmpeg  # brings its own ffmpeg, or takes the system's

    # yuv420 wants even sides
    width, height = frames[0].size
    even = width + width % 2, height + height % 2
    writer = imageio_ffmpeg.write_frames(str(path), even, fps=rate, macro_block_size=2, quality=8)
    writer.send(None)
    for frame in frames:
        writer.send(frame.convert("RGB").resize(even).tobytes())
    writer.close()
    # ffmpeg's own end is not told: where the disk is full the file has no index, or lacks frames
    if imageio_ffmpeg.count_frames_and_secs(str(path))[0] < len(frames):
        raise OSError("ffmpeg could not write all frames")
