"""Drawing primitives of the renderer: soft edges, colours along a palette, and a canvas."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

Array = np.ndarray
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # grey of RGB, ITU-R BT.601
PALETTES = {  # sRGB in [0, 1]: a factor runs from the first colour to the last
    "skin": ((0.98, 0.84, 0.76), (0.96, 0.77, 0.65), (0.89, 0.67, 0.52), (0.76, 0.53, 0.38),
             (0.62, 0.41, 0.29), (0.50, 0.33, 0.24), (0.42, 0.27, 0.20)),
    "hair": ((0.93, 0.80, 0.53), (0.80, 0.58, 0.30), (0.60, 0.35, 0.18), (0.38, 0.23, 0.15),
             (0.20, 0.13, 0.11), (0.10, 0.085, 0.09)),
    "eyes": ((0.33, 0.19, 0.10), (0.50, 0.34, 0.14), (0.36, 0.50, 0.26), (0.25, 0.50, 0.70),
             (0.50, 0.58, 0.64)),
    "background": ((0.66, 0.79, 0.84), (0.76, 0.83, 0.72), (0.95, 0.87, 0.70),
                   (0.95, 0.77, 0.69), (0.81, 0.74, 0.85), (0.52, 0.63, 0.74)),
    "clothing": ((0.16, 0.25, 0.42), (0.12, 0.42, 0.45), (0.27, 0.42, 0.28), (0.85, 0.62, 0.22),
                 (0.72, 0.30, 0.22), (0.45, 0.22, 0.40), (0.88, 0.86, 0.82)),
}  # fmt: skip


def ramp(value: Array, start: float | Array, stop: float | Array) -> Array:
    """Smoothstep: 0 at start and before, 1 at stop and after; start may be the larger."""
    t = np.clip((value - start) / (stop - start), 0, 1)
    return t * t * (3 - 2 * t)


def hill(x: Array, y: Array | float, rx: float | Array, ry: float | Array) -> Array:
    """A Gaussian of height 1; an outer product of x (N, 1, w) and y (N, h, 1), hence cheap."""
    return np.exp(-np.square(x / rx)) * np.exp(-np.square(y / ry))


def rounded(x: Array, y: Array, squareness: float | Array = 0.0) -> Array:
    """Distance from the origin; its circle goes from round (0) to nearly square (1)."""
    x2, y2 = x * x, y * y
    circle = np.sqrt(x2 + y2)
    return circle + squareness * (np.sqrt(np.sqrt(x2 * x2 + y2 * y2)) - circle)


def rgb(red: float, green: float, blue: float) -> Array:
    return np.array([red, green, blue], np.float32)[None, :, None, None]  # (1, 3, 1, 1)


def tint(name: str, t: Array) -> Array:
    """Colours (N, 3, 1, 1) of a palette at t (N, 1, 1) in [0, 1]."""
    palette = PALETTES[name]
    stops = np.linspace(0, 1, len(palette))
    channels = [np.interp(t, stops, channel) for channel in zip(*palette, strict=True)]
    return np.stack(channels, axis=1).astype(np.float32)


SHADE = rgb(0.60, 0.44, 0.43)  # skin in the shade keeps more red: light from beneath the skin
LINE = rgb(0.50, 0.31, 0.30)


@dataclass
class Canvas:
    """Pixels, and where they lie: at (x, y) on the picture and (u, y) on the face.

    All lengths are fractions of the picture; x and u are 0 on the middle line of head and face.
    u follows the head as it turns, and so does what is drawn in it; |u| draws both sides at once.
    """

    rgb: Array  # (N, 3, h, w)
    x: Array  # (N, 1, w)
    y: Array  # (1, h, 1)
    u: Array  # (N, 1, w)
    pixel: float

    def rows(self, top: float, bottom: float) -> Canvas:
        """The part from y = top to bottom, sharing its pixels: an eye need not visit the chin."""
        part = slice(*np.searchsorted(self.y[0, :, 0], (top, bottom)))
        return Canvas(self.rgb[:, :, part], self.x, self.y[:, part], self.u, self.pixel)

    def inside(self, distance: Array) -> Array:
        """Coverage in [0, 1] of a shape, from its signed distance (negative inside)."""
        return np.clip(0.5 - distance / self.pixel, 0, 1)

    def between(self, value: Array, low: Array | float, high: Array | float) -> Array:
        """Coverage of low < value < high: exact along that axis, however thin the band."""
        half = self.pixel / 2
        common = np.minimum(value + half, high) - np.maximum(value - half, low)
        return np.clip(common / self.pixel, 0, 1)

    def paint(self, colour: Array, cover: Array) -> None:
        """Lay a colour (N or 1, 3, 1 or h, 1 or w) over the pixels as far as cover (N, h, w)."""
        self.rgb += (colour - self.rgb) * cover[:, None]


def backdrop(f: SimpleNamespace, height: int, width: int) -> Canvas:
    """The empty background of faces with the factors yaw, light, background and `turn`."""
    side = max(height, width)
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / side
    y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / side + 0.5
    x, y = x + 0.045 * f.yaw, y[None, :, None]  # turning moves a face aside: half is taken back
    depth = np.sqrt(np.maximum(0.40**2 - x * x, 0.01)) - 0.08  # an upright cylinder
    u = x * np.sqrt(1 - f.turn**2) - depth * f.turn
    glow = 1.06 - 0.2 * y + 0.14 * f.light * x  # lighter above and towards the lamp
    return Canvas(tint("background", f.background) * glow[:, None], x, y, u, 1 / side)
