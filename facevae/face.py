"""A face as the studio holds it, and the detail of several together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor

from facevae.align import FRAME, Alignment
from facevae.hair import SHOWN, SIDE, WIDE, WIDE_AT, finder, within
from facevae.pictures import to_tensor
from facevae.texture import enlarged
from facevae.warp import field, warped


@dataclass(frozen=True, eq=False)
class Face:
    """A face as the studio holds it: the photo, where in it the face is, and its latent.

    Attributes:
        photo: upright RGB, without metadata.
        alignment: photo ↔ crop.
        crop: the aligned crop at the model's size.
        mean: (1, D), the posterior mean.
        decoded: (1, 3, S, S), the decoder's picture of that mean.
        found: how many faces the photo shows.
        points: (5, 2), its landmarks as fractions of the crop's side; None where the eyes were
            given by hand.
        years, gender: as the guide's reader sees them, 0 male and 1 female; None without a guide.
            `dataclasses.replace(face, years=40)` corrects them.
    """

    photo: Image.Image
    alignment: Alignment
    crop: Image.Image
    mean: Tensor
    decoded: Tensor
    found: int
    points: Tensor | None = None
    years: float | None = None
    gender: int | None = None

    def crop_at(self, size: int) -> Image.Image:
        """The crop from the photo's own pixels, size × size."""
        return self.crop if size == self.crop.width else self.alignment.crop(self.photo, size)

    @cached_property
    def hair(self) -> Tensor:
        """(1, 1, m, m), how surely it is there: 0 … 1. The crop cuts it off, so that what it shows
        is looked for in the whole head as well, if the photo shows that."""
        seen = finder().find(to_tensor([self.crop]))
        if self.alignment.wider(WIDE, WIDE_AT).shown(self.photo) < SHOWN:
            return seen
        return torch.maximum(seen, within(self.head))

    @cached_property
    def head(self) -> Tensor:
        """(1, 1, m, m), the same for the wider picture about the crop, as `hair.WIDE` has it."""
        wider = self.alignment.wider(WIDE, WIDE_AT)
        return finder().find(to_tensor([wider.crop(self.photo, SIDE)]))

    @cached_property
    def shares(self) -> dict:
        """How much of each way it goes, once that has been looked at: see `facevae.pace`."""
        return {}

    def residual(self, size: int) -> Tensor:
        """What the decoder's picture lacks of the photo, (1, 3, size, size) in −1 … 1."""
        return to_tensor([self.crop_at(size)]) - enlarged(self.decoded, size)


def gathered(parts: Sequence[tuple[Face, float]], size: int) -> Tensor:
    """Residuals in the given shares, each bent until its landmarks stand at the mean of all."""
    frame = torch.from_numpy(FRAME).float()  # of a face whose eyes were given by hand
    points = [frame if face.points is None else face.points for face, _ in parts]  # (5, 2) each
    moved = [share * own for (_, share), own in zip(parts, points, strict=True)]
    middle = torch.stack(moved).sum(0)
    kept = torch.zeros(1, 3, size, size)
    for (face, share), own in zip(parts, points, strict=True):
        residual = face.residual(size)
        if share < 1:  # alone it stays to the bit
            residual = warped(residual, field(middle, own - middle, size))
        kept = torch.add(kept, residual, alpha=share)
    return kept
