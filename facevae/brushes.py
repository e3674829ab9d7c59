"""What the drawn faces are painted with: soft edges, colours along a palette, and a canvas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


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


def tint(palette: tuple[tuple[float, float, float], ...], t: Array) -> Array:
    """Colours (N, 3, 1, 1) at t (N, 1, 1) in [0, 1]."""
    stops = np.linspace(0, 1, len(palette))
    channels = [np.interp(t, stops, channel) for channel in zip(*palette, strict=True)]
    return np.stack(channels, axis=1).astype(np.float32)


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
