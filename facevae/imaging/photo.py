"""Photos of users: any picture file → an upright RGB picture, or an error in one sentence."""

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageCms, ImageOps

from facevae import CannotDo

MAX_SIDE = 4096  # pixels; longer photos are shrunk to bound the memory they take
MAX_PIXELS, MIN_SIDE = 120_000_000, 16
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow warns of more, and refuses twice as many
PhotoLike = str | os.PathLike[str] | IO[bytes] | Image.Image | np.ndarray


class UnreadablePhoto(CannotDo):
    """A file that is not a picture, is broken, or is far too large."""


def open_photo(photo: PhotoLike, max_side: int = MAX_SIDE) -> Image.Image:
    """Read anything Pillow reads as an upright 8-bit RGB picture without metadata.

    Applies EXIF rotation, converts an embedded colour profile to sRGB, lays transparency over
    white, scales 16-bit levels, takes the first frame of an animation, and shrinks a side over
    `max_side` pixels to it. Raises UnreadablePhoto: what is wrong and what to do about it."""
    name = Path(photo).name if isinstance(photo, str | os.PathLike) else "the photo"
    try:
        given = Image.fromarray(photo) if isinstance(photo, np.ndarray) else photo
        picture = given.copy() if isinstance(given, Image.Image) else Image.open(given)
        picture.draft(None, (max_side, max_side))  # decodes a huge JPEG at a half or a quarter
        if picture.format == "EPS":  # a program: Ghostscript would run it
            raise ValueError
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        picture = _to_rgb(picture, max_side)
    except Image.DecompressionBombError as error:
        fewer = f"save it with fewer than {MAX_PIXELS // 1_000_000} million and try again"
        raise UnreadablePhoto(f"{name} has far too many pixels: {fewer}") from error
    except FileNotFoundError as error:
        raise UnreadablePhoto(f"there is no file {photo}: check the path") from error
    except Exception as error:  # Pillow's decoders raise nearly every kind of error
        whole = "give a whole JPEG, PNG or WebP"
        raise UnreadablePhoto(f"{name} cannot be read as a picture: {whole}") from error
    if min(picture.size) < MIN_SIDE:
        size = f"{picture.width}×{picture.height}"
        raise UnreadablePhoto(f"{name} is only {size} pixels: give a larger photo")
    return picture


def _to_rgb(picture: Image.Image, max_side: int) -> Image.Image:
    """8-bit RGB without EXIF and GPS data; 300 KB can hold 120 million pixels, so shrunk early."""
    if picture.mode.startswith("I"):  # 16 bits
        picture = picture.convert("I").point([level >> 8 for level in range(1 << 16)], "L")
    picture = _to_srgb(picture)
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    if picture.mode != mode:
        picture = picture.convert(mode)
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    if mode == "RGBA":
        picture = Image.alpha_composite(Image.new(mode, picture.size, "white"), picture)
    return Image.fromarray(np.asarray(picture.convert("RGB")))


def _to_srgb(picture: Image.Image) -> Image.Image:
    """The picture in sRGB; most phones embed a profile of a wider colour space."""
    profile, kinds = picture.info.get("icc_profile"), {"RGB": "RGB", "RGBA": "RGBA", "CMYK": "RGB"}
    if profile and picture.mode in kinds:
        with suppress(ImageCms.PyCMSError, OSError):  # ignore a broken profile
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if not ImageCms.getProfileDescription(own).startswith("sRGB"):
                srgb, mode = ImageCms.createProfile("sRGB"), kinds[picture.mode]
                return ImageCms.profileToProfile(picture, own, srgb, outputMode=mode) or picture
    return picture
