"""Texture: what the decoder cannot draw, rescaled by age. The residual (photo − decoder's picture)
holds pores, lines and stubble; the strength of its fine bands grows with age, and where it grows
is a map of wrinkles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from facevae.ages import local_lines
from facevae.data import FaceSet
from facevae.files import write_safetensors
from facevae.model import FaceVAE
from facevae.treatment import LUMA, head_mask

SIGMAS = (1 / 128, 2 / 128, 4 / 128)  # of the crop's side: band 0 is all that is finer than the 1st
GRID = 32  # side of the maps
YEARS = np.arange(0, 101, 5)  # where there may be a map
QUIET = 0.2 / 255  # added to amplitudes: a painted-over face has none, and no logarithm
MOST_GAIN = 3.0  # beyond it grain and JPEG blocks show, whatever the map says
POWER = 2.0  # of the gain: a mean over many faces, each with lines of its own, underrates them
FACE = (0.5, 0.6, 0.38, 0.47)
SKIN = (0.5, 0.55, 0.3, 0.35)  # ellipses of the aligned frame: x, y and radii in sides
FEATURES = ((0.3, 0.29, 0.1, 0.05), (0.7, 0.29, 0.1, 0.05), (0.5, 0.74, 0.24, 0.11))  # eyes, mouth


@dataclass(frozen=True, eq=False)
class Texture:
    """How strong the fine bands of residuals are over the face, by age and gender.

    Attributes:
        ages: (A,) years, evenly apart. genders: (G,) as labelled; −1 alone where unlabelled.
        maps: (G, A, B, h, w), logarithm of the mean size of each band; never falls with age.
    """

    ages: Tensor
    genders: Tensor
    maps: Tensor

    @classmethod
    def fit(
        cls, model: FaceVAE, faces: FaceSet, rows: np.ndarray, width: float = 5.0, least: float = 12
    ) -> Texture:
        """Maps from the clean, well-lit faces among `rows` of known age; see `clean`.

        Args:
            width: standard deviation in years of the kernel that smooths over age.
            least: faces an age needs near it in every gender.

        Raises:
            ValueError: no two ages have enough such faces.
        """
        labels = [faces.labels.get(name, np.full(len(faces), -1)) for name in ("age", "gender")]
        rows = rows[labels[0][rows] >= 0]
        parts = [_measured(model, faces.tensor(rows[i : i + 64])) for i in range(0, len(rows), 64)]
        good = np.concatenate([part[0] for part in parts] or [np.zeros(0, bool)])
        if good.sum() < 2:
            raise ValueError("there are no two clean, well-lit faces of known age: give more faces")
        amplitudes = np.concatenate([part[1] for part in parts])[good]
        ages, genders = (values[rows[good]] for values in labels)
        return cls.smoothed(amplitudes, ages, genders, width, least)

    @classmethod
    def smoothed(
        cls,
        amplitudes: np.ndarray,
        ages: np.ndarray,
        genders: np.ndarray,
        width: float = 5.0,
        least: float = 12,
    ) -> Texture:
        """Maps from log amplitudes (N, B, h, w) of faces of known age (N,): a local line over age
        in each gender, left and right alike, rising with age.

        Raises:
            ValueError: no two ages have enough faces.
        """
        kinds = np.unique(genders[genders >= 0]) if (genders >= 0).any() else np.array([-1])
        flat = amplitudes.reshape(len(amplitudes), -1).astype(np.float32)
        lines, enough = [], np.ones(len(YEARS), bool)
        for kind in kinds:
            inside = genders == kind
            weights, near = local_lines(ages[inside], YEARS, width)  # (A, M), (A,)
            enough &= near >= least
            lines.append(weights.astype(np.float32) @ flat[inside])
        seen = np.flatnonzero(enough)
        if len(seen) < 2:
            raise ValueError(f"no two ages have {least:g} faces about them: give more faces")
        span = slice(seen[0], seen[-1] + 1)
        maps = torch.from_numpy(np.stack(lines)[:, span])
        maps = maps.unflatten(2, amplitudes.shape[1:])  # (G, A, Bhw) -> (G, A, B, h, w)
        maps = (maps + maps.flip(-1)) / 2
        maps = blurred(maps.flatten(0, 2)[:, None], 1 / GRID).reshape(maps.shape)
        maps = _rising(maps).half().float()  # as a file holds them
        return cls(torch.from_numpy(YEARS[span].copy()), torch.from_numpy(kinds), maps)

    def gains(self, own: float, target: float, gender: int, power: float = POWER) -> Tensor:
        """Factors (B, h, w) for the bands of a face of `own` years to become those of `target`.

        Both ages are clipped to the ages of the maps. 1 off the face, 1 / MOST_GAIN … MOST_GAIN
        on it. A gender that is not one of the labelled ones gets the mean of the maps.
        """
        known = (self.genders == gender).nonzero()
        maps = self.maps[known[0, 0]] if len(known) else self.maps.mean(dim=0)
        growth = _between(self.ages, maps, target) - _between(self.ages, maps, own)
        growth = power * growth * on_head(growth.shape[-1])
        return growth.clamp(-np.log(MOST_GAIN), np.log(MOST_GAIN)).exp()

    def aged(
        self, residual: Tensor, own: float, target: float, gender: int, power: float = POWER
    ) -> Tensor:
        """A residual (1, 3, S, S) of any size at another age; equal ages change no bit of it.

        Its luma alone is changed: what colour there is in a residual is chroma noise and JPEG
        blocks. What is made stronger is what stands out of the face's own grain. Source:
        Tiddeman, Burt & Perrett, "Prototyping and transforming facial textures for perception
        research", IEEE CG&A 21(5), 2001 (there with wavelets).
        """
        if own == target:
            return residual
        side = residual.shape[-1]
        factors = self.gains(own, target, gender, power)[:, None, None]  # (B, 1, 1, h, w)
        change = torch.zeros_like(residual[:, :1])
        for band, factor in zip(bands(luma(residual)), factors, strict=False):
            more = enlarged(factor - 1, side)
            more = torch.where(more > 0, more * enlarged(_signal(band), side), more)
            change += more * band
        return residual + change

    def save(self, path: str | Path) -> None:
        """Write as safetensors, the maps in half precision."""
        tensors = {"ages": self.ages, "genders": self.genders, "maps": self.maps.half()}
        write_safetensors(path, tensors)

    @classmethod
    def load(cls, path: str | Path) -> Texture:
        """Read what `save` wrote; ValueError says what is wrong with a foreign file."""
        try:
            held = cls(**load_file(path))
            if held.maps.shape[:2] != (len(held.genders), len(held.ages)) or held.maps.ndim != 5:
                raise TypeError(f"its maps are {tuple(held.maps.shape)}")
        except (OSError, TypeError, SafetensorError) as error:
            raise ValueError(f"{path} holds no texture maps ({error})") from error
        return cls(held.ages, held.genders, held.maps.float())


def luma(images: Tensor) -> Tensor:
    """(N, 3, S, S) → (N, 1, S, S)."""
    return (images * torch.from_numpy(LUMA)[:, None, None]).sum(1, keepdim=True)


def bands(images: Tensor) -> list[Tensor]:
    """(N, 1, S, S) → as many of that shape as SIGMAS, finest first, then the smooth rest; their
    sum is the image."""
    found, left = [], images
    for sigma in SIGMAS:
        smooth = blurred(images, sigma)
        found.append(left - smooth)
        left = smooth
    return [*found, left]


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images (N, 1, S, S) under a Gaussian of `sigma` of their side, cut at 3 of them."""
    side = images.shape[-1]
    reach = min(max(round(3 * sigma * side), 1), side - 1)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / (sigma * side)) ** 2)
    taps = (taps / taps.sum())[None, None, None]  # (1, 1, 1, K)
    images = F.conv2d(F.pad(images, (reach, reach, 0, 0), "reflect"), taps)
    return F.conv2d(F.pad(images, (0, 0, reach, reach), "reflect"), taps.mT)


def clean(images: Tensor, finest: Tensor) -> np.ndarray:
    """Which faces (N, 3, S, S) are fit to learn texture from: (N,) bool.

    Levels 0 … 255, luma on the head: mean 77 … 191, under 1 % blown out, contrast (95th less 5th
    percentile) 77 … 217. Mean size of the finest band (N, h, w): under 1.4 in the stillest tenth
    of the crop (more is grain or JPEG blocks), 4 … 13 at the eyes' strongest tenth (less is blur,
    more is sharpening; eyes are as sharp at any age, so that photos of all ages compare).
    """
    levels = luma(images)[:, 0][:, on_head(images.shape[-1]) > 0.9]  # (N, P)
    low, high = levels.quantile(torch.tensor([0.05, 0.95]), dim=1)  # (N,) each
    lit = _inside(levels.mean(1), 0.3, 0.75) & _inside(high - low, 0.3, 0.85)
    lit &= (levels > 0.97).float().mean(1) < 0.01
    eyes = ellipses(finest.shape[-1], FEATURES[:2]) > 0.3
    grain = 255 * finest.flatten(1).quantile(0.1, dim=1)
    sharp = 255 * finest[:, eyes].quantile(0.9, dim=1)
    return (lit & (grain < 1.4) & _inside(sharp, 4, 13)).numpy()


@torch.inference_mode()
def _measured(model: FaceVAE, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of faces (N, 3, S, S): which are clean (N,), log amplitudes of their bands (N, B, h, w)."""
    residual = luma(images - model.decode(model.encode(images).mean))
    layers = [F.interpolate(b.abs(), (GRID, GRID), mode="area") for b in bands(residual)[:-1]]
    sizes = torch.cat(layers, dim=1)  # (N, B, h, w)
    return clean(images, sizes[:, 0]), (sizes + QUIET).log().half().numpy()


def _signal(band: Tensor) -> Tensor:
    """(1, 1, S, S) → (1, 1, h, w), the share of a band's power that is not grain (Wiener's
    filter): grain is taken to be as strong as the band is in the stillest tenth of the face."""
    side = 2 * GRID
    power = blurred(F.interpolate(band.square(), (side, side), mode="area"), 1 / side)
    grain = power[0, 0][on_head(side) > 0.9].quantile(0.1)
    return (1 - grain / power.clamp(min=1e-12)).clamp(min=0)


def _between(ages: Tensor, maps: Tensor, age: float) -> Tensor:
    """Maps (A, …) at an age, clipped to the ages (A,): (…)."""
    step = float(ages[1] - ages[0])
    place = min(max((age - float(ages[0])) / step, 0.0), len(ages) - 1.0)
    below = min(int(place), len(ages) - 2)
    return torch.lerp(maps[below], maps[below + 1], place - below)


def _rising(maps: Tensor) -> Tensor:
    """Maps (G, A, B, h, w), each the nearest that never falls with age: few skins smooth out, but
    fringes leave foreheads and the old are photographed in a better light."""
    from sklearn.isotonic import isotonic_regression

    last = maps.movedim(1, -1)  # (G, B, h, w, A)
    lines = [isotonic_regression(line) for line in last.reshape(-1, maps.shape[1]).numpy()]
    return torch.from_numpy(np.stack(lines)).float().reshape(last.shape).movedim(-1, 1)


def on_head(side: int, feather: float = 0.1) -> Tensor:
    return torch.from_numpy(head_mask(side, feather).copy())  # (S, S)


def ellipses(side: int, places: tuple[tuple[float, ...], ...]) -> Tensor:
    """(S, S): 1 inside any of the ellipses (x, y and both radii in sides), softly 0 outside."""
    along = (torch.arange(side) + 0.5) / side
    inside = torch.zeros(side, side)
    for x, y, wide, high in places:
        far = (((along[None] - x) / wide).square() + ((along[:, None] - y) / high).square()).sqrt()
        t = (1.5 - far).clamp(0, 1)
        inside = torch.maximum(inside, t * t * (3 - 2 * t))
    return inside


def _inside(values: Tensor, low: float, high: float) -> Tensor:
    return (values > low) & (values < high)


def enlarged(images: Tensor, side: int) -> Tensor:
    """(N, C, h, w) → (N, C, side, side), or smaller."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, (side, side), mode="bicubic", antialias=True)
