"""Conversion of tensors to pictures and back; sheets, strips, GIF, WebP and MP4 of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from facevae.io import replacing

ANIMATIONS = (".gif", ".webp", ".mp4", ".png")
MIN_FRAME_SECONDS = 0.02  # of a GIF or WebP: players slow down what is faster
PALETTE_SAMPLE_SIDE = 96  # pixels a frame, of those that a GIF's palette is chosen by


def to_pil(images: Tensor) -> list[Image.Image]:
    """Tensors (N, C, H, W) in [0, 1] → N pictures, RGB or grey."""
    levels = images.detach().float().clamp(0, 1).mul(255).round().byte().cpu()
    arrays = levels.permute(0, 2, 3, 1).numpy()  # (N, H, W, C)
    return [Image.fromarray(a[..., 0] if a.shape[-1] == 1 else a) for a in arrays]


def to_tensor(pictures: Sequence[Image.Image]) -> Tensor:
    """N pictures of one size and mode → (N, C, H, W) float32 in [0, 1]."""
    arrays = [np.atleast_3d(np.asarray(picture)) for picture in pictures]  # (H, W, C) each
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255.0


def enlarge(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (N, C, h, w) at another size (H, W): bilinear, antialiased where they shrink."""
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=size[0] < images.shape[-2])


def tile(pictures: Sequence[Image.Image], columns: int | None = None, gap: int = 0) -> Image.Image:
    """One sheet of pictures of one size, in rows of `columns` (by default in one row)."""
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

    A GIF or WebP shows at most 50 frames a second: of more, an even selection is written.

    Args:
        seconds: duration of one pass through the frames.
        pingpong: play back to the first frame (not in a strip).

    Raises:
        ValueError: the suffix is another, or there are no frames.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in ANIMATIONS:
        raise ValueError(f"cannot write {path.name}: end its name in {', '.join(ANIMATIONS)}")
    if len(frames) < 1 or seconds <= 0:
        raise ValueError("an animation needs at least one frame and a length above 0 seconds")
    most = max(2, int(seconds / MIN_FRAME_SECONDS))
    if kind in (".gif", ".webp") and len(frames) > most:
        frames = [frames[i] for i in np.linspace(0, len(frames) - 1, most).round().astype(int)]
    pause = seconds / len(frames)
    with replacing(path) as temporary:
        if kind == ".png":
            tile(frames).save(temporary)
        elif kind == ".mp4":
            _save_mp4(_played(frames, pingpong), temporary, 1 / pause)
        elif kind == ".gif":
            _save_looped(_played(_in_one_palette(frames), pingpong), temporary, pause)
        else:
            _save_looped(_played(frames, pingpong), temporary, pause, quality=90)
    return path


def _played(frames: Sequence[Image.Image], pingpong: bool) -> list[Image.Image]:
    return [*frames, *frames[-2:0:-1]] if pingpong else list(frames)


def _in_one_palette(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Frames with one palette of 256 colours: choosing one a frame takes ten times as long."""
    if frames[0].mode == "L":
        return list(frames)
    side = PALETTE_SAMPLE_SIDE
    sample = tile([frame.resize((side, side), Image.Resampling.NEAREST) for frame in frames], 8)
    palette = sample.quantize(256, Image.Quantize.MEDIANCUT)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def _save_looped(frames: Sequence[Image.Image], path: Path, pause: float, **options: Any) -> None:
    frames[0].save(path, save_all=True, append_images=list(frames[1:]),
                   duration=_durations(len(frames), pause), loop=0, **options)  # fmt: skip


def _durations(count: int, pause: float) -> list[int]:
    """Milliseconds a frame, whole hundredths of a second, as GIF stores them, of the right sum."""
    ends = np.round(100 * max(MIN_FRAME_SECONDS, pause) * np.arange(count + 1))
    return (10 * np.diff(ends)).astype(int).tolist()


def _save_mp4(frames: Sequence[Image.Image], path: Path, rate: float) -> None:
    import imageio_ffmpeg  # brings its own ffmpeg, or uses the system's

    width, height = frames[0].size
    even = width + width % 2, height + height % 2  # yuv420 needs even sides
    writer = imageio_ffmpeg.write_frames(str(path), even, fps=rate, macro_block_size=2, quality=8)
    writer.send(None)
    for frame in frames:
        writer.send(frame.convert("RGB").resize(even).tobytes())
    writer.close()
    # ffmpeg's exit status is not reported: on a full disk the file has no index or lacks frames
    if imageio_ffmpeg.count_frames_and_secs(str(path))[0] < len(frames):
        raise OSError("ffmpeg could not write all frames")
