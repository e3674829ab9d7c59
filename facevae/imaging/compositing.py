"""Compositing: what is shown of a face, at the photo's own resolution, alone or in its photo.

shown = after + detail · hold · (photo − decode(z, y)): `after` is the decoder's picture, edited;
`hold`, 1 where the model draws none, is the share of the photo's own detail that stays. `morphing`
mixes that of several photos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import resize

from facevae import CannotDo
from facevae.imaging.alignment import Alignment
from facevae.imaging.images import to_pil, to_tensor
from facevae.imaging.morphing import mix_residuals

Shape = tuple[int, int]  # height, width
Parts = Sequence[tuple["Face", float]]  # faces and their shares in a morph, sum 1; of one face, 1


@dataclass(frozen=True, eq=False)
class Face:
    """A photo that a studio has read."""

    photo: Image.Image  # upright RGB, without metadata
    alignment: Alignment | None  # photo ↔ crop; None where the model reads whole pictures
    crop: Image.Image  # aligned, at the model's size, RGB or grey
    image: Tensor  # the same, (1, C, H, W)
    mean: Tensor  # (1, D), the posterior mean
    condition: Tensor  # (1, K), the condition that the model was given; K = 0: it takes none
    decoded: Tensor  # (1, C, H, W), decode(mean, condition)
    lacking: Tensor  # (1, C, H, W), what the edit decoder's own picture lacks of it; else 0
    points: Tensor | None = None  # (5, 2), landmarks as fractions of the crop's side, where known
    faces_found: int = 1  # in the photo
    years: float | None = None  # as predicted, where something predicts them
    readings: Mapping[str, float] = field(default_factory=dict)  # attribute → its probability
    warning: str = ""  # one sentence where the photo does not suit the model
    _residuals: dict[Shape, Tensor] = field(default_factory=dict, init=False, repr=False)

    def crop_at(self, size: Shape) -> Image.Image:
        """The crop at (height, width), from the photo's own pixels."""
        return crop_of(self.photo, self.alignment, size, self.crop.mode)

    def residual(self, size: Shape) -> Tensor:
        """What the decoder's picture lacks of the photo, (1, C, *size); the last one is kept."""
        if (found := self._residuals.get(size)) is None:  # several threads may ask
            found = to_tensor([self.crop_at(size)]) - resize(self.decoded, size)
            self._residuals.clear()
            self._residuals[size] = found
        return found


def crop_of(photo: Image.Image, alignment: Alignment | None, size: Shape, mode: str) -> Image.Image:
    """What a model reads, at (height, width), RGB or L: without an alignment the whole picture."""
    if alignment is None:
        return ImageOps.fit(photo, size[::-1], Image.Resampling.BICUBIC).convert(mode)
    return alignment.crop(photo, max(size)).resize(size[::-1]).convert(mode)


def composite(parts: Parts, after: Tensor, kept: Tensor, size: Shape) -> Image.Image:
    """The decoder's picture `after` (1, C, h, w) at a size, with the detail of its faces.

    `kept`, (1, 1, h, w), is detail · hold: 1 keeps all of the photos' own, 0 shows `after` alone.
    """
    shown = resize(after, size)
    if kept.any():
        faces, shares = zip(*[part for part in parts if part[1] > 0], strict=True)
        points = [face.points for face in faces if face.points is not None]
        known = torch.stack(points) if len(points) == len(faces) else None
        residuals = torch.cat([face.residual(size) for face in faces])
        residual = mix_residuals(residuals, torch.tensor(shares), known)
        shown = shown + resize(kept, size) * residual
    return to_pil(shown)[0]


def paste_back(face: Face, shown: Image.Image, kept: Tensor, feather: float) -> Image.Image:
    """The whole photo with what is shown of its face, faded in over `feather` of the crop's side.

    Pixels outside keep their bits; a grey picture adds its change to all three colours. `kept`
    tells how much stays of the photo's detail beyond the resolution of `shown`."""
    photo, alignment = face.photo, face.alignment
    if alignment is None:
        raise CannotDo("this model reads whole pictures: there is no photo around the face")
    left, top, right, bottom = alignment.bounds().clip(0, photo.size).ravel().tolist()
    columns, rows = np.meshgrid(np.arange(left, right), np.arange(top, bottom))
    unit = alignment.to_unit(np.stack([columns + 0.5, rows + 0.5], -1))  # (h, w, 2), 0 … 1
    grid = torch.from_numpy(2 * unit - 1).float()[None]  # grid_sample's −1 … 1
    layers = to_tensor([face.crop_at((shown.height, shown.width))]), to_tensor([shown]), kept
    old, new, keep = (F.grid_sample(x, grid, "bilinear", "border", False) for x in layers)
    here = to_tensor([photo.crop((left, top, right, bottom))])  # (1, 3, h, w)
    inside = np.clip((0.5 - np.linalg.norm(unit - 0.5, ord=4, axis=-1)) / feather, 0, 1)
    fade = torch.from_numpy(inside * inside * (3 - 2 * inside)).float()  # a smooth step
    result = photo.copy()
    pasted = here + fade * (new - old + (keep - 1.0) * (here - old))
    result.paste(to_pil(pasted)[0], (left, top))
    return result
