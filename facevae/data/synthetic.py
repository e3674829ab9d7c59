"""Faces drawn from known factors: nothing is downloaded, and metrics get a ground truth."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from PIL import ImageColor

from facevae.data.normalization import LUMA

Array = np.ndarray
Size = int | tuple[int, int]  # in pixels: a square's side, or (height, width)
CHUNK_PIXELS = 65_536  # painted at a time: a plane is then 256 KiB, and a part stays in the cache


class Factor(NamedTuple):
    """A generative factor. Both ends of the range belong to it; discrete: whole numbers only."""

    name: str
    low: float
    high: float
    default: float
    kind: str = "continuous"


FACTORS = (
    Factor("age", 3, 90, 32),  # years
    Factor("gender", 0, 1, 0, "discrete"),  # 0 male, 1 female: gender-typical shape
    Factor("smile", -1, 1, 0),  # -1 frown, 0 neutral, 1 broad smile with teeth
    Factor("glasses", 0, 1, 0, "discrete"),
    Factor("beard", 0, 1, 0),  # density: 0 none, 1 full
    Factor("hair", 0, 1, 0.4),  # length: 0 shaved, 0.4 short, 1 to the shoulders
    Factor("hair_shade", 0, 1, 0.6),  # 0 blond, 1 black; grey comes with age
    Factor("skin", 0, 1, 0.3),  # 0 light, 1 dark
    Factor("yaw", -1, 1, 0),  # turned 18 degrees to the picture's left -1, right 1
    Factor("light", -1, 1, -0.4),  # from the picture's left -1, right 1
    Factor("face_width", 0, 1, 0.5),  # 0 narrow, 1 wide
    Factor("eye_colour", 0, 1, 0.2),  # this and the last two run along a palette
    Factor("background", 0, 1, 0.1),
    Factor("clothing", 0, 1, 0.1),
)
PALETTES = {  # a factor → colours from its low end to its high end
    "skin": "#fad6c2 #f5c4a6 #e3ab85 #c28761 #9e694a #80543d #6b4533",
    "hair_shade": "#edcc87 #cc944c #99592e #613b26 #33211c #1a1617",
    "eye_colour": "#54301a #805724 #5c8042 #4080b2 #8094a3",
    "background": "#a8c9d6 #c2d4b8 #f2deb2 #f2c4b0 #cfbdd9 #85a1bd",
    "clothing": "#29406b #1f6b73 #456b47 #d99e38 #b84c38 #733866 #e0dbd1",
}


def sample_factors(n: int, rng: np.random.Generator, independent: bool = True) -> dict[str, Array]:
    """Draw the factors of n faces: name → (n,), float32, or int64 where a factor is discrete.

    Each is uniform and independent of the others, as disentanglement metrics assume; otherwise
    as in life: few are old, only grown men have beards, women longer hair, the old glasses."""
    drawn = {}
    for row in FACTORS:
        if row.kind == "discrete":
            drawn[row.name] = rng.integers(int(row.low), int(row.high), n, endpoint=True)
        else:
            drawn[row.name] = rng.uniform(row.low, row.high, n).astype(np.float32)
    if independent:
        return drawn
    male, skin, age = drawn["gender"] == 0, drawn["skin"], 3 + 87 * rng.beta(1.8, 3.2, n)
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
        "glasses": rng.random(n) < np.interp(age, (5, 20, 80), (0.03, 0.2, 0.6)),
    }
    return drawn | {name: values.astype(drawn[name].dtype) for name, values in natural.items()}


def draw_faces(
    n: int, size: Size = 64, seed: int = 0, channels: int = 3, independent: bool = True
) -> tuple[Array, dict[str, Array]]:
    """n random faces uint8 (n, H, W, channels), and their factors (n,) by `sample_factors`."""
    factors = sample_factors(n, np.random.default_rng(seed), independent)
    return draw(factors, size, channels), factors


def draw(factors: Mapping[str, Array | float], size: Size = 64, channels: int = 3) -> Array:
    """Faces uint8 (N, H, W, channels), a pure function of their factors: (N,) or a number each.

    A straight head is framed as UTKFace's: eyes at (0.30, 0.29) and (0.70, 0.29) of the square,
    the mouth of an adult at 0.77. Another shape shows the middle of the square on its longer side.
    ValueError: unknown factor, value out of range, lengths that differ, or no such size."""
    height, width = (size, size) if isinstance(size, int | np.integer) else size
    if min(height, width) < 8 or channels not in (1, 3):
        raise ValueError(f"size {size!r} must be at least 8, and channels {channels!r} 1 or 3")
    if unknown := set(factors) - {row.name for row in FACTORS}:
        raise ValueError(f"unknown factors {unknown}: there are {[row.name for row in FACTORS]}")
    given = [np.atleast_1d(np.float32(factors.get(row.name, row.default))) for row in FACTORS]
    for row, values in zip(FACTORS, given, strict=True):
        if not np.all((values >= row.low) & (values <= row.high)):  # which NaN fails too
            raise ValueError(f"factor {row.name!r} must lie between {row.low} and {row.high}")
        if row.kind == "discrete" and np.any(values % 1):
            raise ValueError(f"factor {row.name!r} takes whole numbers only")
    table = np.stack(np.broadcast_arrays(*given))[..., None, None, None]  # (F, N, 1, 1, 1)
    images = np.empty((table.shape[1], height, width, channels), np.uint8)
    step = max(1, CHUNK_PIXELS // (height * width))
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        levels = 255 * _paint(table[:, part], height, width).transpose(0, 2, 3, 1)  # (n, H, W, C)
        images[part] = ((levels if channels == 3 else levels @ LUMA[:, None]) + 0.5).clip(0, 255)
    return images


def _rgb(colours: str) -> Array:  # (K, 3, 1, 1)
    levels = [ImageColor.getrgb(colour) for colour in colours.split()]
    return np.array(levels, np.float32)[..., None, None] / 255


SHADE, DARK, WHITE, LIP, FEMALE_LIP, MOUTH = _rgb("#99706e #241a1a #e6e2dc #eda39e #e68287 #5c1a1c")


def _ramp(value: Array, start: float | Array, stop: float | Array) -> Array:
    """Smoothstep: 0 at start and before, 1 at stop and after; start may be the larger."""
    t = np.clip((value - start) / (stop - start), 0, 1)
    return t * t * (3 - 2 * t)


def _hill(x: Array, y: Array, rx: float, ry: float) -> Array:
    """A Gaussian of height 1 and these radii."""
    return np.exp(-np.square(x / rx)) * np.exp(-np.square(y / ry))


def _oval(x: Array, y: Array, squareness: float | Array = 0.0) -> Array:
    """Distance from the origin; its circle goes from round (0) to nearly square (1)."""
    x2, y2 = x * x, y * y
    circle = np.sqrt(x2 + y2)
    return circle + squareness * (np.sqrt(np.sqrt(x2 * x2 + y2 * y2)) - circle)


class _Faces(SimpleNamespace):
    """Faces being painted: pixels `rgb` (N, 3, H, W), coordinates, and numbers (N, 1, 1, 1).

    Lengths are fractions of the picture. x (N, 1, 1, W) is 0 on the middle line of the head, u on
    that of the face, which moves further as the head turns; a = |u| draws both sides at once."""

    def inside(self, distance: Array) -> Array:
        """Coverage in [0, 1] of a shape by its signed distance, negative inside."""
        return np.clip(0.5 - distance / self.pixel, 0, 1)

    def between(self, low: Array | float, high: Array | float) -> Array:
        """Coverage of low < y < high: exact, however thin the band."""
        return np.maximum(self.inside(self.y - high) - self.inside(self.y - low), 0)

    def paint(self, colour: Array, cover: Array) -> None:
        """Lay a colour (…, 3, 1, 1) over the pixels as far as cover (N, 1, H, W)."""
        self.rgb += (colour - self.rgb) * cover

    def tint(self, name: str) -> Array:
        """Colours (N, 3, 1, 1) of a factor along its palette."""
        palette = _rgb(PALETTES[name])[..., 0, 0]  # (K, 3)
        stops, at = np.linspace(0, 1, len(palette)), getattr(self, name)
        return np.concatenate([np.interp(at, stops, c) for c in palette.T], 1, dtype=np.float32)


def _paint(table: Array, height: int, width: int) -> Array:
    """Factors (F, N, 1, 1, 1) → RGB in about [0, 1], (N, 3, H, W), painted back to front."""
    f = _Faces(**{row.name: values for row, values in zip(FACTORS, table, strict=True)})
    side = max(height, width)
    f.pixel, turn = 1 / side, np.sin(0.31 * f.yaw)  # of up to 18 degrees
    f.x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / side + 0.045 * f.yaw
    f.y = ((np.arange(height, dtype=np.float32) + 0.5 - height / 2) / side + 0.5)[:, None]
    depth = np.sqrt(np.maximum(0.40**2 - f.x * f.x, 0.01)) - 0.08  # an upright cylinder
    f.u = f.x * np.sqrt(1 - turn * turn) - depth * turn
    f.a, f.nose_u = np.abs(f.u), f.u - 0.09 * turn  # the nose stands forward: it turns further
    f.child, f.old = np.clip((22 - f.age) / 19, 0, 1), _ramp(f.age, 45, 85)
    f.man, f.joy = (1 - f.gender) * (1 - f.child), np.maximum(f.smile, 0)
    f.half_width = 0.36 + 0.05 * (f.face_width - 0.5) + 0.03 * f.child
    f.mouth, f.nose = 0.775 - 0.075 * f.child, 0.60 - 0.08 * f.child
    f.skin_rgb, f.hair_rgb = f.tint("skin"), f.tint("hair_shade")
    f.hair_rgb += 0.9 * _ramp(f.age, 38, 72) * (0.9 - 0.3 * f.hair_shade - f.hair_rgb)  # grey

    head, hair, hairline = _outlines(f)
    f.rgb = f.tint("background") * (1.06 - 0.2 * f.y + 0.14 * f.light * f.x)
    f.paint(f.hair_rgb * 0.6, hair)
    neck = f.inside(np.abs(f.x) - 0.20 - 0.04 * f.man + 0.03 * f.child) * (f.y > 0.6)
    f.paint(f.skin_rgb * (0.9 + (0.75 * SHADE - 0.9) * _ramp(head, 0.17, 0.0)), neck)
    ear = _oval((np.abs(f.x + 0.03 * f.yaw) - f.half_width) / 0.05, (f.y - 0.40) / 0.10) - 1
    f.paint(f.skin_rgb * 0.85, f.inside(0.05 * ear))
    behind, f.rgb = f.rgb, np.broadcast_to(f.skin_rgb, f.rgb.shape).copy()
    f.paint(f.skin_rgb * LIP, 0.3 * _hill(f.a - 0.24, f.y - f.nose + 0.03, 0.10, 0.08))  # cheeks
    beard = f.mouth - 0.05 - 0.36 * _ramp(f.a, 0.16, 0.40) - 0.05 * np.sin(14 * f.a)  # upper edge
    f.paint(f.hair_rgb * 0.78, 0.95 * f.beard**0.7 * _ramp(f.y, beard - 0.03, beard + 0.04))
    _mouth(f)
    _light(f, hairline)
    _eyes(f)
    f.rgb += (behind - f.rgb) * f.inside(-head)  # cut out last, so that its edge is lit too
    hair = hair * f.inside(f.y - 0.37 - 0.7 * _ramp(f.hair, 0.3, 0.7))  # leaves the ears free
    f.paint(f.hair_rgb * (0.95 + 0.35 * f.light * f.x), hair * f.inside(0.4 - 0.4 * hairline))
    collar = 0.93 + 0.012 * f.man - 0.06 * _ramp(np.abs(f.x), 0.16, 0.25)
    f.paint(f.tint("clothing") * (0.95 + 0.4 * f.light * f.x), f.inside(collar - f.y))
    lens = 0.115 * _oval((f.a - 0.205) / 0.135, (f.y - 0.305) / 0.105, 0.5) - 0.115
    bridge = f.between(0.268, 0.286) * f.inside(f.a - 0.078)
    f.paint(DARK, f.glasses * np.maximum(f.inside(np.abs(lens) - 0.007), bridge))
    return f.rgb


def _outlines(f: _Faces) -> tuple[Array, Array, Array]:
    """Signed distance from the head's outline, coverage of all the hair there would be if no face
    stood before it, and a number that is 1 along the hairline, less on the bare face."""
    chin = 0.945 - 0.085 * f.child - 0.02 * f.gender
    down = (f.y - 0.42) / (chin - 0.42)  # 0 at the cheekbones, 1 at the chin
    low = np.clip(down, 0, 1)
    narrow = 1 - (0.13 + 0.04 * f.gender - 0.07 * f.man - 0.05 * f.old) * low * low
    across = (f.x - 0.06 * f.yaw * low) / (f.half_width * narrow)  # the chin turns furthest
    along = np.where(down > 0, down, (f.y - 0.42) / 0.52)
    head = (_oval(across, along, 0.14 + 0.24 * f.man + 0.08 * f.old) - 1) * f.half_width

    thinning = f.old * (1 - f.gender)
    half = f.half_width + 0.10 * _ramp(f.hair, 0.05, 0.7) - 0.03 * thinning
    half = half * np.sqrt(1 - np.square(np.minimum(f.y - 0.45, 0) / 0.62))
    tips = 0.30 + 1.05 * np.maximum(f.hair - 0.25, 0) ** 1.4
    hair = _ramp(f.hair, 0.0, 0.12) * f.inside(np.abs(f.x) - half) * f.inside(f.y - tips)

    top = 0.075 + 0.035 * f.child - 0.16 * thinning
    along = (f.y - 0.52 + (0.10 + 0.16 * f.gender) * f.u) / (0.52 - top)  # swept to one side
    return head, hair, _oval(f.u / (0.345 + 0.02 * f.man), along, 0.2 + 0.3 * f.man)


def _mouth(f: _Faces) -> None:
    """Lips around an opening, and folds from the nose to their corners."""
    t = np.clip(f.a / (0.136 - 0.035 * f.child + 0.045 * f.joy), 0, 1)
    arch = (1 - t * t) ** 0.8  # 1 in the middle, 0 at the corners, which a smile pulls up
    line = f.mouth - (0.024 + 0.045 * f.joy + 0.06 * np.minimum(f.smile, 0)) * (t * t - 0.45)
    opening = 0.085 * _ramp(f.smile, 0.2, 1) * arch
    top, bottom = line - 0.4 * opening - 0.002, line + 0.6 * opening + 0.002
    full = (1 - 0.35 * f.old) * (1 + 0.15 * f.gender) * arch
    lip = f.skin_rgb * (LIP + f.gender * (FEMALE_LIP - LIP))
    f.paint(lip * 0.88, f.between(top - 0.034 * full, top))
    f.paint(lip, f.between(bottom, bottom + 0.042 * full))
    f.paint(f.skin_rgb * SHADE, 0.4 * _hill(f.u, f.y - f.mouth - 0.085, 0.10, 0.025))  # below it
    f.paint(MOUTH, f.between(top, bottom) * (t < 1))
    f.paint(WHITE, f.between(top, top + 0.75 * opening))  # teeth
    down = np.clip((f.y - f.nose + 0.03) / (f.mouth - f.nose + 0.04), 0, 1.2)
    ends = _ramp(f.y, f.nose - 0.05, f.nose + 0.01) * _ramp(f.y, f.mouth, f.mouth - 0.06)
    fold = np.exp(-np.square((f.a - 0.09 - 0.10 * np.sin(1.6 * down)) / 0.011)) * ends
    mature = np.clip((f.age - 25) / 60, 0, 1)  # linear: each decade shows
    f.paint(f.skin_rgb * SHADE, (0.6 * mature + 0.25 * f.joy) * fold)


def _light(f: _Faces, hairline: Array) -> None:
    """Light the painted skin from a lamp above, as a ball with darker hollows."""
    x, y = f.u / f.half_width, (f.y - 0.45) / 0.5
    depth = np.sqrt(np.maximum(1.05 - x * x - y * y, 0.05))
    angle = 0.87 * f.light  # up to 50 degrees aside
    lit = _ramp(0.85 * (np.sin(angle) * x + np.cos(angle) * depth) - 0.42 * y, -0.25, 0.95)
    lit *= 1 - 0.4 * _hill(f.a - 0.17, f.y - 0.27, 0.12, 0.08)  # eye sockets
    aside = f.nose_u + 0.055 * np.sign(f.light)  # of the nose, away from the lamp
    lit *= 1 - (0.3 + 0.3 * np.abs(f.light)) * _hill(aside, f.y - f.nose + 0.1, 0.04, 0.13)
    lit *= 1 - 0.7 * _hill(f.nose_u, f.y - f.nose - 0.03, 0.08, 0.03)  # below it
    lit *= 1 - 0.8 * _hill(np.abs(f.nose_u) - 0.036, f.y - f.nose, 0.022, 0.010)  # nostrils
    lit *= 1 - 0.45 * _ramp(hairline, 0.80, 1.0) * _ramp(f.hair, 0.0, 0.12)
    f.rgb *= SHADE + (1.06 - SHADE) * lit


def _eyes(f: _Faces) -> None:
    t = np.clip((f.a - 0.20) / (0.080 + 0.016 * f.child), -1, 1)
    arch = 1 - t * t
    axis = 0.295 - (0.012 - 0.022 * f.old) * t  # the outer corner, higher in the young
    top = axis - (0.048 + 0.026 * f.child - 0.010 * f.old) * arch**0.7
    bottom = axis + (0.030 + 0.016 * f.child - 0.014 * f.joy) * arch
    opening = f.between(top, bottom)
    f.paint(WHITE * (1 - 0.34 * _ramp(f.y, top + 0.04, top)), opening)  # shaded by the lid
    iris = np.hypot(f.a - 0.20, f.y - 0.290) - 0.045 - 0.013 * f.child
    f.paint(f.tint("eye_colour"), opening * f.inside(iris))
    f.paint(DARK * 0.3, opening * f.inside(iris + 0.023))  # the pupil
    f.paint(WHITE, f.inside(np.hypot(f.a - 0.20, f.y - 0.272) - 0.013))  # a glint of the lamp
    lash = f.between(top - 0.004 - (0.006 + 0.007 * f.gender) * arch, top + 0.003)
    f.paint(DARK, 0.9 * lash * (arch > 0))
    t = np.clip((f.a - 0.085) / 0.23, 0, 1)  # of the brow: 0 at the inner end, 1 at the outer
    brow = 0.182 - 0.025 * f.child - 0.012 * f.gender + 0.06 * np.square(t - 0.58) + 0.025 * t**4
    thick = (0.013 + 0.006 * f.man) * (1 - 0.7 * t * t)
    ends = _ramp(f.a, 0.07, 0.105) * _ramp(f.a, 0.325, 0.29)
    f.paint(f.hair_rgb * 0.72, 0.85 * f.between(brow - thick, brow + thick) * ends)
