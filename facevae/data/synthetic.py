"""Faces drawn from known factors: nothing is downloaded, and metrics get a ground truth.

The factors are here; `renderer` paints a face from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from facevae.data import renderer
from facevae.data.archives import Item
from facevae.data.raster import LUMA, Array

Size = int | tuple[int, int]  # in pixels: a square's side, or (height, width)
CHUNK_PIXELS = 65_536  # painted at a time: a plane is then 256 KiB, and a part stays in the cache


@dataclass(frozen=True)
class Factor:
    """A generative factor: a row of FACTORS. Both ends of the range belong to it."""

    name: str
    low: float
    high: float
    default: float
    kind: str  # "continuous", or "discrete": whole numbers only
    meaning: str


FACTORS = (
    Factor("age", 3, 90, 32, "continuous", "years"),
    Factor("gender", 0, 1, 0, "discrete", "0 male, 1 female: gender-typical shape"),
    Factor("smile", -1, 1, 0, "continuous", "-1 frown, 0 neutral, 1 broad smile with teeth"),
    Factor("glasses", 0, 1, 0, "discrete", "0 without, 1 with"),
    Factor("beard", 0, 1, 0, "continuous", "density: 0 none, 1 full"),
    Factor("hair", 0, 1, 0.4, "continuous", "length: 0 shaved, 0.4 short, 1 to the shoulders"),
    Factor("hair_shade", 0, 1, 0.6, "continuous", "0 blond, 1 black; grey comes with age"),
    Factor("skin", 0, 1, 0.3, "continuous", "0 light, 1 dark"),
    Factor("yaw", -1, 1, 0, "continuous", "turned 18 degrees to the picture's left -1, right 1"),
    Factor("light", -1, 1, -0.4, "continuous", "light from the picture's left -1, right 1"),
    Factor("face_width", 0, 1, 0.5, "continuous", "0 narrow, 1 wide"),
    Factor("eye_colour", 0, 1, 0.2, "continuous", "from brown over hazel, green and blue to grey"),
    Factor("background", 0, 1, 0.1, "continuous", "along a palette of muted pastels"),
    Factor("clothing", 0, 1, 0.1, "continuous", "along a palette from navy to cream"),
)


def sample_factors(n: int, rng: np.random.Generator, independent: bool = True) -> dict[str, Array]:
    """Draw the factors of n faces.

    Args:
        independent: True: each uniform and independent of the others, as disentanglement metrics
            assume. False: a more natural joint distribution (few old, beards on grown men only,
            glasses with age, longer hair on women, the head mostly straight).

    Returns:
        A dict from each name in FACTORS to (n,): float32, or int64 where it is discrete.
    """
    drawn = {}
    for row in FACTORS:
        if row.kind == "discrete":
            drawn[row.name] = rng.integers(int(row.low), int(row.high), n, endpoint=True)
        else:
            drawn[row.name] = rng.uniform(row.low, row.high, n).astype(np.float32)
    return drawn if independent else drawn | _natural(drawn["gender"] == 0, drawn["skin"], rng)


def _natural(male: Array, skin: Array, rng: np.random.Generator) -> dict[str, Array]:
    """The factors that in life depend on one another, or are not uniform."""
    n = len(male)
    age = 3 + 87 * rng.beta(1.8, 3.2, n)
    bearded = male & (age > 18) & (rng.random(n) < 0.5)
    short, long = rng.beta(4, 6, n) * np.interp(age, (30, 80), (1, 0.6)), rng.beta(6, 3, n)
    natural = {
        "age": age,
        "smile": rng.normal(0.25, 0.45, n).clip(-1, 1),
        "beard": rng.random(n) * bearded,
        "hair": np.where(male, short, long),
        "hair_shade": 1 - (1 - skin) * rng.beta(1.6, 2, n),
        "eye_colour": (1 - skin) * rng.random(n),
        "yaw": rng.normal(0, 0.3, n).clip(-1, 1),
    }
    natural = {name: values.astype(np.float32) for name, values in natural.items()}
    wears = rng.random(n) < np.interp(age, (5, 20, 80), (0.03, 0.2, 0.6))
    return natural | {"glasses": wears.astype(np.int64)}


def draw_faces(
    n: int, size: Size = 64, seed: int = 0, channels: int = 3, independent: bool = True
) -> tuple[Array, dict[str, Array]]:
    """n random faces uint8 (n, H, W, channels), and their factors (n,) by `sample_factors`."""
    factors = sample_factors(n, np.random.default_rng(seed), independent)
    return draw(factors, size, channels), factors


def drawn_faces(count: int, size: int, seed: int, notes: dict[str, Any]) -> Iterator[Item]:
    """The source `synthetic`: the faces of `draw_faces` with their factors as labels."""
    notes |= {"seed": seed, "total": count}
    images, factors = draw_faces(count, size, seed)
    for i, image in enumerate(images):
        labels = {name: values[i].item() for name, values in factors.items()}
        yield Item("", partial(np.asarray, image), labels)


def draw(factors: Mapping[str, Array | float], size: Size = 64, channels: int = 3) -> Array:
    """Draw faces: a pure function of the factors.

    In a square picture with the head straight the eyes stand at (0.30, 0.29) and (0.70, 0.29), in
    fractions from the top left, and the mouth of an adult at y = 0.77: UTKFace's framing. Another
    shape shows the middle of the square on its longer side, so that faces are never stretched.

    Args:
        factors: from names in FACTORS to (N,) or a number; a name left out takes its default.
        size: in pixels, one number or (height, width), at least 8.
        channels: 3 for RGB, 1 for grey (luma of ITU-R BT.601).

    Returns:
        uint8 (N, H, W, channels).

    Raises:
        ValueError: unknown factor, value out of range, lengths that differ, or no such size.
    """
    columns = _checked(factors)
    height, width = (size, size) if isinstance(size, int | np.integer) else size
    if min(height, width) < 8 or channels not in (1, 3):
        raise ValueError(f"size {size!r} must be at least 8, and channels {channels!r} 1 or 3")
    n = len(columns["age"])
    images = np.empty((n, height, width, channels), np.uint8)
    step = max(1, CHUNK_PIXELS // (height * width))
    for start in range(0, n, step):
        part = slice(start, start + step)
        rgb = renderer.paint({k: v[part] for k, v in columns.items()}, height, width)
        if channels == 1:
            rgb = np.einsum("nchw,c->nhw", rgb, LUMA)[:, None]
        np.clip(rgb * 255 + 0.5, 0, 255, out=rgb)
        images[part] = rgb.transpose(0, 2, 3, 1)  # (n, C, H, W) -> (n, H, W, C)
    return images


def _checked(factors: Mapping[str, Array | float]) -> dict[str, Array]:
    """Every factor as float32 (N,), or a ValueError that says what is wrong."""
    names = [row.name for row in FACTORS]
    for name in factors:
        if name not in names:
            raise ValueError(f"unknown factor {name!r}: there are {', '.join(names)}")
    columns = {}
    for row in FACTORS:
        values = np.atleast_1d(np.asarray(factors.get(row.name, row.default), np.float32))
        if not np.all((values >= row.low) & (values <= row.high)):  # which NaN fails too
            raise ValueError(f"factor {row.name!r} must lie between {row.low} and {row.high}")
        if row.kind == "discrete" and np.any(values % 1):
            raise ValueError(f"factor {row.name!r} takes whole numbers only")
        columns[row.name] = values
    lengths = {name: values.shape for name, values in columns.items() if values.shape != (1,)}
    if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
        raise ValueError(f"factors must be 1-D and of one length, not {lengths}")
    return dict(zip(names, np.broadcast_arrays(*columns.values()), strict=True))
