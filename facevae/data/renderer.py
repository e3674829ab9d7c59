"""The painter of the drawn faces: factors in, a picture out.

A face is painted back to front; each part is one function below `paint`. float32 numpy throughout.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from facevae.data.raster import LINE, SHADE, Array, Canvas, backdrop, hill, ramp, rgb, rounded, tint


def _proportions(columns: dict[str, Array]) -> SimpleNamespace:
    """The factors, and what follows from them: numbers as (N, 1, 1), colours as (N, 3, 1, 1)."""
    f = SimpleNamespace(**{name: column[:, None, None] for name, column in columns.items()})
    f.child = np.clip((22 - f.age) / 19, 0, 1)  # 1 at three years
    f.mature = np.clip((f.age - 25) / 60, 0, 1)  # linear: each decade shows
    f.old = ramp(f.age, 45, 85)
    f.man = (1 - f.gender) * (1 - f.child)
    f.joy, f.gloom = np.maximum(f.smile, 0), np.maximum(-f.smile, 0)
    f.turn = np.sin(0.31 * f.yaw)  # of up to 18 degrees
    f.half_width = 0.36 + 0.05 * (f.face_width - 0.5) + 0.03 * f.child + 0.008 * f.man
    f.chin = 0.945 - 0.085 * f.child - 0.02 * f.gender
    f.mouth = 0.775 - 0.075 * f.child
    f.nose = 0.60 - 0.08 * f.child + 0.015 * f.old
    f.slim = 1 - 0.25 * f.child - 0.12 * f.gender  # the nose
    f.skin_rgb = tint("skin", f.skin)
    f.shade_rgb, f.line_rgb = f.skin_rgb * SHADE, f.skin_rgb * LINE
    grey, shade = 0.9 * ramp(f.age, 38, 72)[..., None], f.hair_shade[..., None]
    f.hair_rgb = tint("hair", f.hair_shade)
    f.hair_rgb += grey * (0.90 - 0.3 * shade - f.hair_rgb)
    return f


def paint(columns: dict[str, Array], height: int, width: int) -> Array:
    """Every factor as float32 (N,) → RGB in about [0, 1], (N, 3, H, W), painted back to front."""
    f = _proportions(columns)
    c = backdrop(f, height, width)
    head = _head(c, f)
    c.paint(f.hair_rgb * (0.6 + 0.08 * _strands(c))[:, None], _hair_outline(c, f))
    _neck(c, f, head)
    _ears(c, f)
    behind = c.rgb.copy()
    c.rgb[:] = f.skin_rgb  # the face on its own sheet, cut out when done: so its edge is lit too
    _blush(c, f)
    _beard(c, f)
    _wrinkles(c, f)
    _lips(c.rows(0.55, 0.92), f)
    _nostrils(c.rows(0.40, 0.70), f)
    _light(c, f, _relief(c, f, head))
    _eyes(c.rows(0.15, 0.45), f)
    _brows(c.rows(0.05, 0.30), f)
    c.rgb += (behind - c.rgb) * c.inside(-head)[:, None]
    _hair_in_front(c, f)
    _clothes(c.rows(0.85, 1), f)
    _glasses(c.rows(0.10, 0.50), f)
    return c.rgb


def _head(c: Canvas, f: SimpleNamespace) -> Array:
    """Signed distance from the outline of cranium and jaw, (N, h, w)."""
    down = (c.y - 0.42) / (f.chin - 0.42)  # 0 at the cheekbones, 1 at the chin
    low = np.clip(down, 0, 1)
    narrow = 1 - (0.13 + 0.04 * f.gender - 0.07 * f.man - 0.05 * f.old) * low * low
    across = (c.x - 0.06 * f.yaw * low) / (f.half_width * narrow)  # the chin turns furthest
    along = np.where(down > 0, down, (c.y - 0.42) / 0.52)
    return (rounded(across, along, 0.14 + 0.24 * f.man + 0.08 * f.old) - 1) * f.half_width


def _neck(c: Canvas, f: SimpleNamespace, head: Array) -> None:
    half = 0.20 + 0.04 * f.man - 0.03 * f.child + 0.3 * np.maximum(c.y - 0.92, 0)
    neck = c.between(c.x, -half, half) * (c.y > 0.6)
    c.paint(f.skin_rgb * 0.9, neck)
    c.paint(f.shade_rgb * 0.75, neck * np.clip(1.1 - 6 * np.maximum(head, 0), 0, 1))  # of the chin


def _clothes(c: Canvas, f: SimpleNamespace) -> None:
    across = np.abs(c.x)
    collar = 0.905 + 0.065 * np.sqrt(np.maximum(1 - np.square(across / 0.25), 0))
    collar = collar + 0.012 * f.man + 0.16 * np.maximum(across - 0.25, 0)
    colour = tint("clothing", f.clothing)
    c.paint(colour * (0.95 + 0.4 * f.light * c.x)[:, None], c.inside(collar - c.y))
    c.paint(colour * 0.72, c.between(c.y, collar + 0.020, collar + 0.028))


def _ears(c: Canvas, f: SimpleNamespace) -> None:
    for side in (-1, 1):
        x = side * (c.x + 0.03 * f.yaw) - f.half_width - 0.06 * (0.40 - c.y)  # outwards
        y = c.y - 0.40
        shell = (rounded((x - 0.004) / 0.05, y / (0.10 + 0.015 * f.old)) - 1) * 0.05
        hollow = (rounded((x - 0.010) / 0.026, (y + 0.01) / 0.06) - 1) * 0.026
        c.paint(f.skin_rgb * (0.9 + 0.14 * side * f.light)[..., None], c.inside(shell))
        c.paint(f.shade_rgb, 0.7 * c.inside(hollow))


def _relief(c: Canvas, f: SimpleNamespace, head: Array) -> Array:
    """Height of the face towards the viewer, (N, h, w): the forms that `_light` brings out."""
    a, y = np.abs(c.u), c.y
    within = 1 + head / f.half_width
    z = 0.32 * np.sqrt(np.maximum(1.05 - within * within, 0.05))  # the head, an ellipsoid
    z -= 1.4 * np.maximum(within - 1, 0)  # falling on outside, or its edge would face the light
    z += (0.008 + 0.022 * f.man) * hill(a - 0.17, y - 0.19, 0.14, 0.04)  # brow ridge
    z -= (0.020 + 0.010 * f.mature) * hill(a - 0.17, y - 0.29, 0.10, 0.07)  # eye sockets
    z += _nose(c, f)
    cheek = 0.034 + 0.02 * f.child + 0.024 * f.joy - 0.014 * f.old
    z += cheek * hill(a - 0.23, y - f.nose + 0.05 + 0.03 * f.joy, 0.11, 0.10)
    z += 0.030 * hill(c.u, y - f.mouth, 0.15, 0.11)  # the teeth under the lips
    z -= 0.020 * hill(c.u, y - f.mouth - 0.085, 0.09, 0.025)  # groove below them
    z += (0.024 + 0.014 * f.man) * hill(c.u, y - f.chin + 0.065, 0.08, 0.05)  # chin
    z -= (0.008 * f.mature + 0.005 * f.joy) * hill(a - _fold(c, f), y - 0.68, 0.022, 0.08)
    return z + 0.02 * f.old * hill(a - 0.25, y - 0.84, 0.06, 0.06)  # jowls


def _nose(c: Canvas, f: SimpleNamespace) -> Array:
    """The nose's height: a ridge that widens downwards, a tip and two wings."""
    u, y = c.u - 0.09 * f.turn, c.y - f.nose  # it stands forward, so it turns further
    down = np.clip(1 + y / (f.nose - 0.24), 0, 1)
    slope = (0.018 + 0.052 * down) * ramp(c.y, 0.16, 0.34) * ramp(y, 0.035, -0.03)
    ridge = slope * np.exp(-np.square(u / (0.034 + 0.026 * down) / f.slim))
    tip = (0.028 + 0.008 * f.man) * hill(u, y + 0.035, 0.045 * f.slim, 0.04)
    wings = 0.024 * hill(np.abs(u) - 0.062 * f.slim, y + 0.02, 0.026, 0.028)
    return ridge * (1 - 0.5 * f.child) + tip + wings


def _nostrils(c: Canvas, f: SimpleNamespace) -> None:
    a, y = np.abs(c.u - 0.09 * f.turn) / f.slim, c.y - f.nose
    holes = hill(a - 0.036, y - 0.004, 0.022, 0.010)
    wings = hill(a - 0.090, y + 0.018, 0.010, 0.026)
    c.paint(f.line_rgb * 0.85, np.minimum((0.85 * holes + 0.3 * wings) * (1 - 0.3 * f.child), 1))


def _light(c: Canvas, f: SimpleNamespace, relief: Array) -> None:
    """Light the painted skin by its relief, with soft shadows where light cannot reach."""
    zy, zx = np.gradient(relief, c.pixel, axis=(1, 2))
    angle = 0.87 * f.light  # up to 50 degrees aside
    lx, ly, lz = 0.85 * np.sin(angle), -0.42, 0.85 * np.cos(angle)
    facing = (lz - zx * lx - zy * ly) / np.sqrt(1 + zx * zx + zy * zy)
    lit = ramp(facing, -0.25, 0.95)
    lit *= 1 - 0.4 * hill(c.u + 0.04 * f.light, c.y - f.nose - 0.045, 0.075, 0.028)  # of the nose
    lit *= 1 - 0.3 * hill(c.u, c.y - f.mouth - 0.075, 0.08, 0.018)  # of the lower lip
    lit *= 1 - 0.45 * ramp(_hairline(c, f), 0.80, 1.0) * ramp(f.hair, 0.0, 0.12)  # of the hair
    gloss = (0.04 + 0.08 * f.skin) * np.maximum(facing, 0) ** 10
    for channel, dark in enumerate(SHADE[0, :, 0, 0]):
        plane = c.rgb[:, channel]
        plane *= dark + (1.06 - dark) * lit
        plane += gloss


def _blush(c: Canvas, f: SimpleNamespace) -> None:
    cheeks = hill(np.abs(c.u) - 0.24, c.y - f.nose + 0.03, 0.10, 0.08)
    nose = hill(c.u, c.y - f.nose + 0.03, 0.06, 0.05)
    strength = 0.22 + 0.16 * f.child + 0.06 * f.gender
    c.paint(f.skin_rgb * rgb(0.99, 0.68, 0.62), strength * (cheeks + 0.6 * nose))


def _beard(c: Canvas, f: SimpleNamespace) -> None:
    a, y = np.abs(c.u), c.y
    cheek = f.mouth - 0.05 - 0.36 * ramp(a, 0.16, 0.40) - 0.05 * np.sin(a * 14)  # its upper edge
    jaw = ramp(y, cheek - 0.03, cheek + 0.04)
    top = f.mouth - 0.088 + 1.2 * np.maximum(a - 0.05, 0) ** 1.5
    moustache = ramp(y, top - 0.012, top + 0.02) * ramp(a, 0.20, 0.15)
    grain = np.sin(c.u * 113 + 5 * np.sin(y * 61)) * np.sin(y * 127 + 5 * np.sin(c.u * 57))
    cover = np.maximum(jaw, moustache) * 0.95 * f.beard**0.7
    c.paint(f.hair_rgb * (0.78 + 0.13 * grain)[:, None], cover)


def _fold(c: Canvas, f: SimpleNamespace) -> Array:
    """Where the fold from nose to mouth corner runs: |u| at each y, (N, h, 1)."""
    down = np.clip((c.y - f.nose + 0.03) / (f.mouth - f.nose + 0.04), 0, 1.2)
    return 0.090 + (0.09 + 0.03 * f.joy) * np.sin(1.6 * down)


def _wrinkles(c: Canvas, f: SimpleNamespace) -> None:
    a, y = np.abs(c.u), c.y
    lines = np.zeros_like(c.rgb[:, 0])
    for level in (0.095, 0.135, 0.172):  # forehead
        curve = level - 0.25 * a * a + 0.005 * np.sin(c.u * 25 + level * 90)
        lines += 0.6 * c.between(y, curve - 0.004, curve + 0.004) * ramp(a, 0.27, 0.14)
    for slope in (-0.5, 0.0, 0.5):  # crow's feet
        curve = 0.29 + slope * (a - 0.27)
        lines += 0.7 * c.between(y, curve - 0.004, curve + 0.004) * hill(a - 0.32, 0, 0.025, 1)
    bag = 0.365 - 5 * np.square(a - 0.19)  # under the eyes
    lines += 0.6 * c.between(y, bag - 0.006, bag + 0.006) * ramp(np.abs(a - 0.19), 0.10, 0.06)
    ends = ramp(y, f.nose - 0.05, f.nose + 0.01) * ramp(y, f.mouth + 0.06 * f.old, f.mouth - 0.06)
    fold = np.exp(-np.square((a - _fold(c, f)) / 0.011)) * ends
    c.paint(f.shade_rgb, np.minimum(f.mature * lines + (0.6 * f.mature + 0.25 * f.joy) * fold, 1))


def _lips(c: Canvas, f: SimpleNamespace) -> None:
    """Lips around an opening; a smile pulls the corners out and up and opens on the teeth."""
    a = np.abs(c.u)
    half = 0.136 + 0.008 * f.man - 0.035 * f.child + 0.045 * f.joy - 0.008 * f.gender
    t = np.clip(a / half, 0, 1)
    arch = 1 - t * t  # 1 in the middle, 0 at the corners
    dip = np.exp(-np.square(c.u / 0.03))  # Cupid's bow
    line = f.mouth - (0.024 + 0.045 * f.joy - 0.06 * f.gloom) * (t * t - 0.45) + 0.004 * dip
    opening = 0.085 * ramp(f.smile, 0.2, 1) * arch**0.8
    top, bottom = line - 0.4 * opening, line + 0.6 * opening
    full = (1 - 0.35 * f.old) * (1 - 0.2 * f.joy) * (1 + 0.15 * f.gender)
    upper = top - 0.034 * full * arch**0.8 * (1 - 0.3 * dip)
    lower = bottom + 0.042 * full * arch**0.8
    lip = f.skin_rgb * (rgb(0.93, 0.64, 0.62) - f.gender[..., None] * rgb(0.03, 0.13, 0.09))
    c.paint(lip * 0.88, c.between(c.y, upper, top))
    c.paint(lip, c.between(c.y, bottom, lower))
    c.paint(lip * 1.3, 0.4 * hill(c.u - 0.03 * f.light, c.y - 0.5 * (bottom + lower), 0.05, 0.009))
    c.paint(rgb(0.36, 0.10, 0.11), c.between(c.y, top, bottom))
    gaps = 0.04 * np.cos(c.u * 2 * np.pi / 0.044)  # between the teeth
    c.paint(rgb(1, 0.98, 0.94) * (0.97 + gaps)[:, None], c.between(c.y, top, top + 0.75 * opening))
    closed = c.between(c.y, line - 0.004, line + 0.004) * ramp(a, half + 0.012, half - 0.004)
    c.paint(f.line_rgb, closed * ramp(opening, 0.012, 0.0))


def _eyes(c: Canvas, f: SimpleNamespace) -> None:
    a = np.abs(c.u) - 0.20  # outwards from the pupil
    half = 0.080 + 0.016 * f.child + 0.004 * f.gender
    t = np.clip(a / half, -1, 1)
    arch = 1 - t * t
    axis = 0.295 - (0.012 - 0.022 * f.old) * t  # the outer corner, higher in the young
    top = axis - (0.048 + 0.026 * f.child + 0.006 * f.gender - 0.010 * f.old) * arch**0.7
    bottom = axis + (0.030 + 0.016 * f.child - 0.014 * f.joy) * arch
    opening = c.between(c.y, top, bottom)
    lid = ramp(c.y, top + 0.04, top)  # its shadow on the white
    c.paint(rgb(0.95, 0.94, 0.92) - 0.32 * lid[:, None], opening)
    _iris(c, f, opening)
    lash = 0.004 + (0.006 + 0.007 * f.gender) * np.sqrt(arch)
    ends = ramp(np.abs(a), half + 0.010 + 0.012 * f.gender, half)
    c.paint(rgb(0.15, 0.10, 0.10), 0.9 * c.between(c.y, top - lash, top + 0.003) * ends)
    crease = c.between(c.y, top - 0.030, top - 0.024)
    rim = c.between(c.y, bottom, bottom + 0.006)
    c.paint(f.line_rgb, 0.5 * (crease + rim) * np.sqrt(arch))


def _iris(c: Canvas, f: SimpleNamespace, opening: Array) -> None:
    centre = np.copysign(0.20, c.u)
    x, y = c.u - centre, c.y - 0.290
    radius = 0.045 + 0.013 * f.child
    distance = np.sqrt(x * x + y * y)
    colour = tint("eyes", f.eye_colour)
    c.paint(colour * 0.45, opening * c.inside(distance - radius))
    bright = 0.9 + 8 * np.clip(y, -0.05, 1)  # light falls through the iris to its lower half
    c.paint(colour * bright[:, None], opening * c.inside(distance - 0.84 * radius))
    c.paint(rgb(0.03, 0.03, 0.04), opening * c.inside(distance - 0.5 * radius))
    towards_lamp = x - 0.018 * np.where(f.light > 0, 1, -1)
    c.paint(rgb(1, 1, 1), c.inside(np.sqrt(towards_lamp**2 + np.square(y + 0.018)) - 0.013))


def _brows(c: Canvas, f: SimpleNamespace) -> None:
    a = np.abs(c.u)
    t = np.clip((a - 0.085) / 0.23, 0, 1)  # 0 at the inner end, 1 at the outer
    arch = 0.182 - 0.025 * f.child - 0.012 * f.gender + 0.06 * np.square(t - 0.58) + 0.025 * t**4
    arch = arch + 0.012 * f.gloom * (0.5 - t)
    thick = (0.015 + 0.006 * f.man - 0.002 * f.gender - 0.003 * f.child) * (1 - 0.7 * t * t)
    ends = ramp(a, 0.07, 0.105) * ramp(a, 0.325, 0.29)
    c.paint(f.hair_rgb * 0.72, 0.85 * c.between(c.y, arch - thick, arch + thick) * ends)


def _strands(c: Canvas) -> Array:
    """About -1 to 1: hair combed from a crown above the picture, then hanging down in waves."""
    s = (c.x + 0.08) / (np.minimum(c.y, 0.4) + 0.55) + 0.012 * np.sin(11 * c.y)
    return 0.5 * np.sin(47 * s + 2 * np.sin(19 * s)) + 0.3 * np.sin(109 * s) + 0.2 * np.sin(27 * s)


def _hair_outline(c: Canvas, f: SimpleNamespace) -> Array:
    """Coverage of all the hair there would be if no face stood before it."""
    volume = 0.10 * ramp(f.hair, 0.05, 0.7) - 0.03 * f.old * (1 - f.gender)
    dome = np.sqrt(1 - np.square(np.minimum(c.y - 0.45, 0) / 0.62))
    half = (f.half_width + volume) * dome + 0.012 * np.sin(c.y * 14) * ramp(f.hair, 0.5, 0.8)
    tips = 0.30 + 1.05 * np.maximum(f.hair - 0.25, 0) ** 1.4 + 0.012 * _strands(c)
    return ramp(f.hair, 0.0, 0.12) * c.between(c.x, -half, half) * c.inside(c.y - tips)


def _hairline(c: Canvas, f: SimpleNamespace) -> Array:
    """1 along the hairline, less on the bare face: an oval, squarer and receding in men."""
    top = 0.075 + 0.035 * f.child - 0.16 * f.old * (1 - f.gender)
    across = c.u / (0.345 + 0.02 * f.man)
    along = (c.y - 0.52 + (0.10 + 0.16 * f.gender) * c.u) / (0.52 - top)  # swept to one side
    return rounded(across, along, 0.2 + 0.3 * f.man)


def _hair_in_front(c: Canvas, f: SimpleNamespace) -> None:
    strands = _strands(c)
    outside = c.inside((1 - _hairline(c, f)) * 0.4 + 0.008 * strands)
    ends = 0.37 + 0.7 * ramp(f.hair, 0.3, 0.7)  # short hair leaves the ears free
    above = c.inside(c.y - ends + 0.008 * strands)
    band = np.square((c.y - 0.04 - 0.4 * c.x * c.x) / 0.035)  # of light, around the crown
    shine = np.exp(-band - np.square((c.x - 0.2 * f.light) / 0.35))
    tone = 0.95 + 0.18 * strands + 0.3 * shine + 0.35 * f.light * c.x
    c.paint(f.hair_rgb * tone[:, None], _hair_outline(c, f) * outside * above)


def _glasses(c: Canvas, f: SimpleNamespace) -> None:
    a = np.abs(c.u)
    lens = (rounded((a - 0.205) / 0.135, (c.y - 0.305) / 0.105, 0.5) - 1) * 0.115
    bridge = c.between(c.y, 0.268, 0.286) * c.inside(a - 0.078)
    arms = c.between(c.y, 0.258, 0.282) * c.inside(0.335 - a) * c.inside(a - f.half_width - 0.02)
    c.paint(rgb(0.85, 0.93, 1.0), 0.12 * f.glasses * c.inside(lens))
    frame = np.maximum(np.maximum(c.inside(np.abs(lens) - 0.010), bridge), arms)
    c.paint(rgb(0.14, 0.10, 0.10), f.glasses * frame)
