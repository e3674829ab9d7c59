"""Photos of users: any picture file → an upright RGB picture, or an error in one sentence."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageCms, ImageOps

MAX_SIDE = 4096  # pixels; longer photos are shrunk to bound the memory they take
MAX_PIXELS = 120_000_000

PhotoLike = str | os.PathLike[str] | IO[bytes] | Image.Image | np.ndarray


class UnreadablePhoto(ValueError):
    """A file that is not a picture, is broken, or is far too large."""


def open_photo(photo: PhotoLike, max_side: int = MAX_SIDE) -> Image.Image:
    """Read anything Pillow reads as an upright 8-bit RGB picture without metadata.

    Applies EXIF rotation, converts an embedded colour profile to sRGB, lays transparency over
    white, scales 16-bit and float levels, takes the first frame of an animation, and shrinks a
    side over `max_side` pixels to it.

    Raises:
        UnreadablePhoto: what is wrong and what to do about it.
    """
    return open_scaled(photo, max_side)[0]


def open_scaled(photo: PhotoLike, max_side: int = MAX_SIDE) -> tuple[Image.Image, float]:
    """Read a photo as `open_photo` does; also return the factor by which it was shrunk, or 1."""
    name = Path(photo).name if isinstance(photo, str | os.PathLike) else "the photo"
    try:
        opened, longest = _opened(photo, name, max_side)
        picture = _to_rgb(opened, max_side)
    except UnreadablePhoto:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadablePhoto(
            f"{name} has far too many pixels: "
            f"save it with fewer than {MAX_PIXELS // 1_000_000} million and try again"
        ) from error
    except FileNotFoundError as error:
        raise UnreadablePhoto(f"there is no file {photo}: check the path") from error
    except Exception as error:  # Pillow's decoders raise nearly every kind of error
        raise UnreadablePhoto(
            f"{name} cannot be read as a picture: give a whole JPEG, PNG or WebP"
        ) from error
    if min(picture.size) < 16:
        raise UnreadablePhoto(
            f"{name} is only {picture.width}×{picture.height} pixels: give a larger photo"
        )
    return picture, max(picture.size) / longest


def _opened(photo: PhotoLike, name: str, max_side: int) -> tuple[Image.Image, int]:
    """The decoded picture, upright, in any mode (a copy of one that was given), and the length of
    the longest side in the file."""
    if isinstance(photo, np.ndarray):
        photo = Image.fromarray(photo)
    picture = photo if isinstance(photo, Image.Image) else Image.open(photo)
    if picture.format == "EPS":  # a program: Ghostscript would run it
        raise UnreadablePhoto(f"{name} is a PostScript file: give a JPEG, PNG or WebP")
    longest = max(picture.size)
    if picture.format == "JPEG" and picture is not photo:
        picture.draft(None, (max_side, max_side))  # decodes a huge JPEG at a half or a quarter
    if picture.width * picture.height > MAX_PIXELS:
        raise UnreadablePhoto(
            f"{name} has {picture.width}×{picture.height} pixels: "
            f"save it with fewer than {MAX_PIXELS // 1_000_000} million and try again"
        )
    picture.seek(0) if getattr(picture, "is_animated", False) else picture.load()
    if picture is photo:
        return ImageOps.exif_transpose(picture), longest
    ImageOps.exif_transpose(picture, in_place=True)
    return picture, longest


def _to_rgb(picture: Image.Image, max_side: int) -> Image.Image:
    """8-bit RGB in a new image, so that no EXIF or GPS data is passed on.

    It shrinks as early as the mode allows: a file of 300 KB can hold 120 million pixels.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = Image.fromarray(_levels(np.asarray(picture)))
    picture = _in_srgb(picture)
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    if picture.mode != mode:
        picture = picture.convert(mode)
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    if mode == "RGBA":
        picture = Image.alpha_composite(Image.new(mode, picture.size, "white"), picture)
    fresh = Image.new("RGB", picture.size)
    fresh.paste(picture.convert("RGB"))
    return fresh


def _in_srgb(picture: Image.Image) -> Image.Image:
    """The picture in sRGB; most phones embed a profile of a wider colour space."""
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in ("RGB", "RGBA", "CMYK"):
        return picture
    mode = "RGB" if picture.mode == "CMYK" else picture.mode
    with suppress(ImageCms.PyCMSError, OSError):  # ignore a broken profile
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if not ImageCms.getProfileDescription(own).startswith("sRGB"):
            srgb = ImageCms.createProfile("sRGB")
            turned = ImageCms.profileToProfile(picture, own, srgb, outputMode=mode)
            return turned or picture
    return picture


def _levels(deep: np.ndarray) -> np.ndarray:
    """16- or 32-bit or float levels (H, W) as uint8; NaN becomes black."""
    high = np.fmax.reduce(deep, axis=None)
    top = 65535.0 if high > 255 else 255.0 if high > 1 else 1.0
    levels = np.empty(deep.shape, np.uint8)
    for start in range(0, len(deep), 256):  # in strips, to save memory
        strip = np.nan_to_num(deep[start : start + 256].astype(np.float32))
        levels[start : start + 256] = (strip.clip(0, top) * (255.0 / top)).round()
    return levels
