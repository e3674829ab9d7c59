"""What an edit and an age do to a picture of a face: shape by the decoder, detail of the photo."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from facevae.ages import AgeCurves
from facevae.model import FaceVAE
from facevae.regions import Region
from facevae.texture import FEATURES, SKIN, Texture, blurred, ellipses, enlarged, luma, on_head

STRENGTH = 2.0  # of the shift: at 1 a judge reads a third of the years asked for
FAR = 0.5  # share of the shift's change left in the crop's corners
STILL = 0.5  # share taken off it at eyes and mouth: it shuts smiles, and blackens eyes
HOLD_SKIN = 0.25  # of the mean colour held, the skin's share; the rest is the whole crop's
REDRAWN = 0.15  # of black to white: a change of luma under which a third of the detail is left
STRANDS = 0.02  # of the side: finer light and dark is of strands, coarser of the colour that was
GREY = 40.0, 80.0  # years from no grey hair to none but grey
SILVER, LIFT = 0.75, 0.4  # luma to which grey hair brightens, and by which share of the way


def held(change: Tensor) -> Tensor:
    """A change of pictures (N, 3, S, S) without its mean over the skin: exposure and tint stay.

    What else goes with an attribute in photographs, their light, is most of such a mean.
    """
    skin = ellipses(change.shape[-1], (SKIN,))  # (S, S)
    return change - (change * skin).sum((2, 3), keepdim=True) / skin.sum()


def kept(change: Tensor, yields: Tensor | None = None) -> Tensor:
    """How much of a photo's own detail holds under a change (N, 3, S, S): (N, 1, S, S) in 0 … 1.

    All of it where the decoder's picture stays as it was. Where that is redrawn, the detail is of
    what was there before: the teeth of a smile that is no more. `yields`, (1, 1, S, S), says where
    it gives way more readily (over 1), or less.
    """
    size = blurred(luma(change).abs(), 3 / 128)
    return torch.exp(-((size * (1.0 if yields is None else yields) / REDRAWN) ** 2))


def edited_picture(
    decoded: Tensor,
    change: Tensor,
    crop: Tensor,
    detail: float = 1.0,
    region: Region | None = None,
) -> Tensor:
    """A face after one edit: (N, 3, S, S) at the crop's own size, not yet cut to [0, 1].

    Args:
        decoded: (N, 3, s, s) at the model's size, before the edit. change: of it, the same shape.
        crop: (N, 3, S, S), any size.
        detail: 0 … 1, how much of the photo's own detail is kept where the face is not redrawn.
        region: where the change is drawn; everywhere by default.
    """
    return redrawn(decoded, *_within(change, region or Region.everywhere()), crop, detail)


def composed(pictures: Tensor, regions: Sequence[Region]) -> tuple[Tensor, Tensor]:
    """What several edits make of a face together, each drawn in its own region alone: glasses must
    not let through what grey hair does to the eyes.

    Args:
        pictures: (1 + K, 3, s, s) of the decoder: the face, with the first edit, with the first
            two and so on. regions: of the K edits.

    Returns:
        change: (1, 3, s, s) and holds: (1, 1, s, s) for `redrawn`.
    """
    changes = held(pictures.diff(dim=0))
    change, holds = 0 * pictures[:1], torch.ones_like(pictures[:1, :1])
    for k, region in enumerate(regions):
        drawn, still = _within(changes[k : k + 1], region)
        change, holds = change + drawn, holds * still
    return change, holds


def redrawn(
    decoded: Tensor,
    change: Tensor,
    holds: Tensor,
    crop: Tensor,
    detail: float,
    strands: Tensor | None = None,
) -> Tensor:
    """As `edited_picture`, once it is known where detail holds, (N, 1, s, s) in 0 … 1.

    strands: (N, 1, m, m) in 0 … 1, where fine light and dark stays whatever is redrawn: dyed hair
        has the strands it had.
    """
    side = crop.shape[-1]
    residual = crop - enlarged(decoded, side)
    if change.any():
        hold, light = enlarged(holds, side), luma(residual)  # light: (N, 1, S, S)
        residual = residual * hold
        if strands is not None:
            left = (1 - hold) * enlarged(strands, side).clamp(0, 1)
            residual = residual + left * (light - blurred(light, STRANDS))
    return enlarged(decoded + change, side) + detail * residual


def _within(change: Tensor, region: Region) -> tuple[Tensor, Tensor]:
    """A change (N, 3, s, s) as far as a region lets it through, and how much detail holds."""
    where, yields = region.over(change.shape[-1])
    return where * change, kept(where * change, yields)


def aged_picture(
    model: FaceVAE,
    curves: AgeCurves,
    texture: Texture,
    crop: Tensor,
    code: Tensor,
    decoded: Tensor,
    hair: Tensor,
    own: float,
    target: float,
    gender: int,
    detail: float = 1.0,
) -> Tensor:
    """A face at another age: (1, 3, S, S) at the crop's own size, not yet cut to [0, 1].

    Args:
        crop: (1, 3, S, S), any size. code: (1, D) and decoded: (1, 3, s, s) at the model's size.
        hair: (1, 1, m, m), how surely it is there: 0 … 1.
        own, target: years. gender: as labelled.
        detail: 0 … 1, how much of the aged residual is added to the decoder's picture.
    """
    if own == target and detail == 1:
        return crop
    side = crop.shape[-1]
    plain = enlarged(decoded, side)
    change = aged_shape(model, curves, code, decoded, own, target, gender)
    residual = texture.aged(crop - plain, own, target, gender)
    picture = plain + enlarged(change, side) + detail * residual
    return aged_hair(picture, hair, own, target)


@torch.inference_mode()
def aged_shape(
    model: FaceVAE,
    curves: AgeCurves,
    code: Tensor,
    decoded: Tensor,
    own: float,
    target: float,
    gender: int,
    strength: float = STRENGTH,
) -> Tensor:
    """What to add to the decoder's picture (1, 3, S, S) of a code (1, D): decode(code + strength ·
    age shift) − decoded, half as much at eyes, mouth and corners, chroma once whatever the
    strength, and mean colour held: light and tint go with age in any collection."""
    shift = curves.shift(torch.tensor([float(own)]), target, torch.tensor([gender]))  # (1, D)
    change = model.decode(code + strength * shift) - decoded
    bright = luma(change)
    change = bright + (change - bright) / max(strength, 1.0)
    where, skin = _where(decoded.shape[-1]), ellipses(decoded.shape[-1], (SKIN,))
    of_crop, of_skin = ((change * w).sum((2, 3), keepdim=True) / w.sum() for w in (where, skin))
    return where * (change - torch.lerp(of_crop, of_skin, HOLD_SKIN))


def aged_hair(picture: Tensor, hair: Tensor, own: float, target: float) -> Tensor:
    """An aged picture (1, 3, S, S) with its hair (1, 1, m, m) turned grey, from 40 years on; never
    the other way: what colour grey hair had the photo does not say."""
    return greyed(picture, hair, greys(own, target))


def greys(own: float, target: float) -> float:
    """By how much hair turns grey from an age to another: −1 … 1."""
    before, after = (min(max((y - GREY[0]) / (GREY[1] - GREY[0]), 0), 1) for y in (own, target))
    return after - before


def greyed(picture: Tensor, hair: Tensor, share: float) -> Tensor:
    """A picture (N, 3, S, S) with its hair (N, 1, m, m) made grey by a rule: the decoder's own
    grey hair comes with thirty years. share: 0 (or less: nothing is done) … 1."""
    if share <= 0:
        return picture
    grey = luma(picture)
    grey = grey + LIFT * (SILVER - grey).clamp(min=0)
    return torch.lerp(picture, grey, share * enlarged(hair, picture.shape[-1]).clamp(0, 1))


def _where(side: int) -> Tensor:
    """(S, S): how much of a change of shape is let through."""
    far = FAR + (1 - FAR) * on_head(side, 0.25)
    return far * (1 - STILL * ellipses(side, FEATURES))
