"""Steering: directions of attributes bettered by gradient, through the decoder and a reader, until
an edit turns what it is named for and leaves the rest of the face as it was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from facevae.directions import Direction
from facevae.judge import AGE_UNIT, MIDDLE, Judge, disturbed, has, sized
from facevae.model import FaceVAE
from facevae.regions import SIDE, Region
from facevae.retouch import edited_picture, held

TIED = (
    {"Smiling", "Mouth_Slightly_Open"},
    {"Beard", "Mustache", "Heavy_Makeup", "Male"},
    {"Gray_Hair", "Young", "Bald"},
    {"Black_Hair", "Blond_Hair", "Gray_Hair"},
)  # by nature: these may turn together
STEPS = 480  # an attribute, on and off by turns; `guide --steps` has the same default
BATCH, FEWEST = 24, 10  # faces a step; with and without it, to learn from
REACH = 2.0  # of strength 1 to begin with, in the unit of `facevae.directions`
RATE, REACH_RATE = 0.01, 0.06  # of Adam, at most: in lengths of the direction; for the reach
GOAL = 0.97  # share of the faces that should turn: short of it turning weighs more, beyond it less
PATIENCE = 0.05  # how fast it does, and to MOST at most: what the decoder can hardly draw
MOST = 3.0  # is not bought with a stranger's face
MARGIN = 2.0  # logits beyond the border that are asked for
FAR = 12.0  # of strength ±1 from the border at most: two faces' codes lie about 32 apart
YEARS = 5.0  # that count as a logit
SPARED, TIED_SHARE = 2.0, 0.15  # weight of what must stay, and the share of it for what is tied
PULL = 2.0  # weight of the angle to the first direction: real faces drew that one, while a reader
# alone is content with lips painted over teeth
OPEN, MAP_RATE = 2.0, 0.15  # logit of what is let through at first; of Adam, for the maps
DRAWN, YIELDED = 0.35, 0.1  # weight of the share of the picture drawn on, and of detail given up
SMOOTH = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[None, None] / 16  # over a map's cells
READILY = (-2.0, 4.0)  # bounds of the logarithm of `Region.yields`


@dataclass(frozen=True, eq=False)
class Sitters:
    """Training faces that edits are tried on: pictures (N, S, S, 3) uint8, their codes (N, D) and
    what the reader sees in them."""

    pictures: Tensor
    codes: Tensor
    readings: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Way:
    """How faces come by an attribute, and lose it.

    Attributes:
        direction: in the latents. reach: how far along it, and against it, strength 1 and −1 lie.
        regions: where on the face the one and the other are drawn.
    """

    direction: Direction
    reach: tuple[float, float] = (REACH, REACH)
    regions: tuple[Region, Region] = (Region.everywhere(), Region.everywhere())


def steered(
    model: FaceVAE,
    readers: Sequence[Judge],
    sitters: Sitters,
    start: Direction,
    steps: int = STEPS,
    seed: int = 0,
) -> Way:
    """The way to an attribute from a first direction.

    All of it is learnt by Adam on one loss: faces that lack (have) the attribute are moved there,
    drawn with their own detail as `Studio.edit` does, and read; it asks for the attribute, for all
    others and the age as they were, for features near to the face's own, and for little of the
    picture to be drawn on. The readers, by turns, are the only teachers, so that another, taught
    apart, must judge what comes of it. Directions learnt through a fixed network and a fixed
    judge: Goetschalckx et al., "GANalyze", arXiv 1906.10112, section 3.

    Where the first reader sees fewer than ten faces with it, or without, the first direction stays.
    """
    strength = has(sitters.readings, start.name)
    lack = [(sign * strength < 0).nonzero()[:, 0] for sign in (1, -1)]
    if min(map(len, lack)) < FEWEST:
        return Way(start)
    vector, reach = start.vector.clone().requires_grad_(), torch.full((2,), REACH).requires_grad_()
    maps = torch.tensor([OPEN, 0.0]).view(1, 2, 1, 1).repeat(2, 1, SIDE, SIDE).requires_grad_()
    optimizer = torch.optim.Adam([{"params": [one]} for one in (vector, reach, maps)])
    rates = [RATE * float(start.vector.norm()), REACH_RATE, MAP_RATE]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, max(steps, 20), pct_start=0.1)
    generator, urge = torch.Generator().manual_seed(seed), [1.0, 1.0]
    for step in range(steps):
        off, reader = step % 2, readers[step // 2 % len(readers)]
        rows = lack[off][torch.randint(len(lack[off]), (BATCH,), generator=generator)]
        images = sitters.pictures[rows].permute(0, 3, 1, 2).float() / 255  # (B, 3, S, S)
        region = _region(maps[off])
        edited = _edited(model, start, images, sitters.codes[rows], vector, reach, off, region)
        turn, rest, turned = _loss(reader, images, edited, start.name, off, generator)
        rest = rest + PULL * (1 - F.cosine_similarity(vector, start.vector, dim=0))
        rest = rest + DRAWN * region.where.mean() + YIELDED * region.yields.log().relu().mean()
        urge[off] = min(urge[off] * math.exp(PATIENCE * (GOAL - turned)), MOST)
        optimizer.zero_grad()
        (urge[off] * turn + rest).backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            reach.clamp_(max=FAR / float(vector.norm()))
    found = Direction.along(start.name, "steered", vector.detach(), start.has, start.lacks)
    unit = float(vector.detach().norm() / found.vector.norm())
    on, off = (unit * one for one in reach.tolist())
    give, take = (_region(one) for one in maps.detach())
    return Way(found, (on, off), (give, take))


def _region(maps: Tensor) -> Region:
    """A region of learnt maps (2, SIDE, SIDE), alike on the left and the right."""
    even = F.pad((maps + maps.flip(-1)) / 2, (1, 1, 1, 1), "replicate")
    even = F.conv2d(even[:, None], SMOOTH)[:, 0]
    return Region(even[None, :1].sigmoid(), even[None, 1:].clamp(*READILY).exp())


def _edited(
    model: FaceVAE,
    start: Direction,
    images: Tensor,
    codes: Tensor,
    vector: Tensor,
    reach: Tensor,
    off: int,
    region: Region,
) -> Tensor:
    """The faces with the attribute, or (off) without it, as `Studio.edit` draws them."""
    with torch.no_grad():
        plain = model.decode(codes)  # (B, 3, S, S)
    moved = replace(start, vector=vector).placed(codes, (1 - 2 * off) * reach[off])
    change = held(model.decode(moved) - plain)
    grey = float(start.name == "Gray_Hair" and not off)
    return edited_picture(plain, change, images, grey=grey, region=region).clamp(0, 1)


def _loss(
    reader: Judge, images: Tensor, edited: Tensor, name: str, off: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, float]:
    """What is missing to the turn, what else has moved, and the share that has turned."""
    chance = int(torch.randint(2**31, (), generator=generator))
    before, after = (
        # disturbed alike: what is learnt shall not hang on single pixels
        reader.features(disturbed(one, torch.Generator().manual_seed(chance)))
        for one in (sized(images, reader.config.size), sized(edited, reader.config.size))
    )
    was, now = reader.heads(before), reader.heads(after)  # (B, K), age last
    names = reader.config.attributes
    years = now[:, -1] * AGE_UNIT
    sign = 1 - 2 * off
    at = sign * (now[:, names.index(name)] if name in names else (MIDDLE - years) / YEARS)
    tied = set().union(*(group for group in TIED if name in group))
    weights = torch.tensor([(o != name) * (TIED_SHARE if o in tied else 1.0) for o in names])
    moved = (2 * now[:, :-1]).sigmoid() - (2 * was[:, :-1]).sigmoid()  # most near the border
    moved = (moved.abs() + 0.05 * (now - was)[:, :-1].abs()) @ weights
    shift = (years - was[:, -1] * AGE_UNIT) * (name != "Young")
    aged = 0.5 * F.smooth_l1_loss(shift / YEARS, 0 * shift) + shift.mean().abs() / 3
    apart = (before - before.roll(1, 0)).square().sum(1).mean()  # from another's face
    lost = (after - before).square().sum(1).mean() / apart.clamp(min=1e-6)
    rest = SPARED * moved.mean() + aged + lost
    return F.softplus(MARGIN - at).mean(), rest, float((at > 0).float().mean())
