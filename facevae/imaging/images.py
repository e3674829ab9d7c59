"""Conversion of tensors to pictures and back; sheets, strips, GIF, WebP and MP4 of pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facevae.io import replacing

ANIMATIONS = (".gif", ".webp", ".mp4", ".png")
MIN_FRAME_SECONDS = 0.02  # of a GIF or WebP: players slow down what is faster


def to_pil(images: Tensor) -> list[Image.Image]:
    """Tensors (N, C, H, W) in [0, 1] → N pictures, RGB or grey."""
    levels = images.detach().float().clamp(0, 1).mul(255).round().byte().cpu()
    arrays = levels.permute(0, 2, 3, 1).numpy()  # (N, H, W, C)
    return [Image.fromarray(a[..., 0] if a.shape[-1] == 1 else a) for a in arrays]


def to_tensor(pictures: Sequence[Image.Image]) -> Tensor:
    """N pictures of one size and mode → (N, C, H, W) float32 in [0, 1]."""
    arrays = [np.atleast_3d(np.asarray(picture)) for picture in pictures]  # (H, W, C) each
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255.0


def tile(pictures: Sequence[Image.Image], columns: int | None = None, gap: int = 0) -> Image.Image:
    """One sheet of pictures of one size, in rows of `columns` (by default in one row)."""
    columns = columns or len(pictures)
    width, height = (side + gap for side in pictures[0].size)
    whole = columns * width - gap, -(-len(pictures) // columns) * height - gap
    sheet = Image.new(pictures[0].mode, whole, "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    return sheet


def save_animation(
    frames: Sequence[Image.Image], path: str | Path, seconds: float = 3.0, pingpong: bool = True
) -> Path:
    """Write frames as .gif, .webp or .mp4 (H.264), or as a .png strip.

    One pass takes `seconds`, or as long as a GIF or WebP needs; `pingpong` plays back to the
    first frame. ValueError: the suffix is another, or there are no frames."""
    path, frames = Path(path), list(frames)
    kind = path.suffix.lower()
    if kind not in ANIMATIONS:
        raise ValueError(f"cannot write {path.name}: end its name in {', '.join(ANIMATIONS)}")
    if not frames or seconds <= 0:
        raise ValueError("an animation needs at least one frame and a length above 0 seconds")
    pause = seconds / len(frames)
    if kind == ".gif" and frames[0].mode != "L":  # a palette for each frame takes ten times as long
        sample = tile([frame.resize((96, 96), Image.Resampling.NEAREST) for frame in frames])
        palette = sample.quantize(256, Image.Quantize.MEDIANCUT)
        frames = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    played = [*frames, *frames[-2:0:-1]] if pingpong else frames
    with replacing(path) as temporary:
        if kind == ".png":
            tile(frames).save(temporary)
        elif kind == ".mp4":
            import imageio.v3
            import imageio_ffmpeg  # brings its own ffmpeg, or uses the system's

            pictures = [np.asarray(frame.convert("RGB")) for frame in played]
            imageio.v3.imwrite(temporary, pictures, fps=1 / pause, quality=8, macro_block_size=2)
            imageio_ffmpeg.count_frames_and_secs(str(temporary))  # raises where a full disk cut it
        else:  # milliseconds in whole hundredths of a second, as GIF stores them, of the right sum
            ends = 10 * np.round(100 * max(MIN_FRAME_SECONDS, pause) * np.arange(len(played) + 1))
            played[0].save(temporary, save_all=True, append_images=played[1:], loop=0, quality=90,
                           duration=np.diff(ends).astype(int).tolist())  # fmt: skip
    return path
