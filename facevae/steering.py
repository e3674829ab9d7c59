"""Steering: directions of attributes bettered by gradient, through the decoder and a reader, until
an edit turns what it is named for and leaves the rest of the face as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facevae.balance import Balance, seen
from facevae.directions import Direction
from facevae.hair import finder
from facevae.judge import Judge, has
from facevae.latent import GaussianPrior
from facevae.mappers import Mapper
from facevae.model import FaceVAE
from facevae.regions import SIDE, Region
from facevae.retouch import edited_picture, greyed, held
from facevae.texture import FACE, SKIN, ellipses
from facevae.ways import DYES, REACH, Way

COLLAR = (0.7, 0.9)  # of the side: grey hair ends there, or clothes turn blue: the suits of old men
PAINTED = ("Heavy_Makeup",)  # drawn on the face: and with make-up that is another hair and wall
STEPS = 700  # an attribute, on and off by turns; `guide --steps` has the same default
BATCH, FEWEST = 24, 10  # faces a step; with and without it, to learn from
RATE, REACH_RATE = 0.01, 0.06  # of Adam, at most: in lengths of the direction; for the reach
FAR = 12.0  # of strength ±1 from the border at most: two faces' codes lie about 32 apart
PULL = 2.0  # weight of the angle to the first direction: real faces drew that one, while a reader
# alone is content with lips painted over teeth
MAPPER_RATE = 0.002  # of Adam, for the mappers
BENT = 0.1  # weight of how much a way bends, in squared lengths of its direction
STRANGE = 0.03  # of a nat by which a face gets unlikely: readers alone are content with no face
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
    others and the age as they were, for features near to the face's own, for a code that is as
    likely among faces, and for little of the picture to be drawn on. The readers, by turns, are
    the only teachers, so that another, taught apart, must judge what comes of it. Directions
    learnt through a fixed network and a fixed judge: Goetschalckx et al., "GANalyze",
    arXiv 1906.10112, section 3.

    Where the first reader sees fewer than ten faces with it, or without, the first direction stays.
    """
    strength = has(sitters.readings, start.name)
    lack = [(sign * strength < 0).nonzero()[:, 0] for sign in (1, -1)]
    if min(map(len, lack)) < FEWEST:
        return Way.straight(start)
    generator = torch.Generator().manual_seed(seed)
    balance = Balance(start.name, readers[0].config.attributes)
    learner, crowd = _Learner(start, generator), GaussianPrior.fit(sitters.codes)
    optimizer = torch.optim.Adam([{"params": [one]} for one in learner.parameters()])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learner.rates, max(steps, 20), pct_start=0.1
    )
    for step in range(steps):
        off, reader = step % 2, readers[step // 2 % len(readers)]
        rows = lack[off][torch.randint(len(lack[off]), (BATCH,), generator=generator)]
        images = sitters.pictures[rows].permute(0, 3, 1, 2).float() / 255  # (B, 3, S, S)
        codes, way = sitters.codes[rows], learner.way()
        moved = way.placed(codes, off)
        edited = _edited(model, images, codes, moved, way, off)
        loss = balance.loss(seen(reader, images, edited, start.name, off, generator), off)
        loss = loss + learner.strain(way, codes, off) + STRANGE * _estranged(crowd, codes, moved)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        learner.shorten()
    return learner.found()


class _Learner(nn.Module):
    """What is learnt of one attribute, from a first direction."""

    def __init__(self, start: Direction, generator: torch.Generator) -> None:
        super().__init__()
        self.start = start
        self.vector = nn.Parameter(start.vector.clone())
        self.reach = nn.Parameter(torch.full((2,), REACH))
        maps = torch.tensor([OPEN, 0.0]).view(1, 2, 1, 1)
        self.maps = nn.Parameter(maps.repeat(2, 1, SIDE, SIDE))  # on and off; where and yields
        self.free = _free(start.name)
        pair = [Mapper.straight(len(start.vector), generator) for _ in range(2)]
        self.mappers = nn.ParameterList([m for one in pair for m in (one.into, one.bias, one.out)])
        self.rates = [RATE * float(start.vector.norm()), REACH_RATE, MAP_RATE, *6 * [MAPPER_RATE]]

    def way(self) -> Way:
        """The way as far as it is learnt; its parts hand gradients on."""
        give, take = Mapper(*self.mappers[:3]), Mapper(*self.mappers[3:])
        on, off = (_region(one, self.free) for one in self.maps)
        direction = replace(self.start, method="steered", vector=self.vector)
        return Way(direction, tuple(self.reach), (on, off), (give, take))

    def strain(self, way: Way, codes: Tensor, off: int) -> Tensor:
        """How much the way asks for, whatever comes of it."""
        pulled = 1 - F.cosine_similarity(self.vector, self.start.vector, dim=0)
        bend = way.mappers[off].bend(codes, self.vector).square().sum(1).mean()
        region = way.regions[off]
        return (
            PULL * pulled
            + BENT * bend / self.vector.detach().square().sum()
            + DRAWN * region.where.mean()
            + YIELDED * region.yields.log().relu().mean()
        )

    @torch.no_grad()
    def shorten(self) -> None:
        """Keep strength ±1 within `FAR`."""
        self.reach.clamp_(max=FAR / float(self.vector.norm()))

    @torch.no_grad()
    def found(self) -> Way:
        """The way in the unit of `facevae.directions`."""
        way = self.way()
        start, vector = self.start, self.vector.detach()
        direction = Direction.along(start.name, "steered", vector, start.has, start.lacks)
        unit = float(vector.norm() / direction.vector.norm())
        on, off = (unit * one for one in self.reach.tolist())
        give, take = (replace(one, out=one.out / unit) for one in way.mappers)
        return Way(direction, (on, off), way.regions, (give, take))


def _estranged(crowd: GaussianPrior, codes: Tensor, moved: Tensor) -> Tensor:
    """By how many nats the moved codes are less likely than their own, or than most are."""
    before, after = crowd.log_likelihood(codes), crowd.log_likelihood(moved)
    usual = crowd.log_likelihood(crowd.mean[None]) - codes.shape[1] / 2  # of a draw, on average
    return (torch.minimum(before, usual) - after).relu().mean()


def _free(name: str) -> Tensor:
    """Where an attribute may be drawn, (SIDE, SIDE)."""
    if name in PAINTED:
        return ellipses(SIDE, (FACE,))
    free = 1 - ellipses(SIDE, (SKIN,)) if name in DYES else torch.ones(SIDE, SIDE)
    if name == "Gray_Hair":
        down = (torch.arange(SIDE) + 0.5) / SIDE
        free = free * ((COLLAR[1] - down) / (COLLAR[1] - COLLAR[0])).clamp(0, 1)[:, None]
    return free


def _region(maps: Tensor, free: Tensor) -> Region:
    """A region of learnt maps (2, SIDE, SIDE), alike on the left and the right, where it is free
    (SIDE, SIDE) to be drawn."""
    even = F.pad((maps + maps.flip(-1)) / 2, (1, 1, 1, 1), "replicate")
    even = F.conv2d(even[:, None], SMOOTH)[:, 0]
    return Region(free * even[None, :1].sigmoid(), even[None, 1:].clamp(*READILY).exp())


def _edited(
    model: FaceVAE, images: Tensor, codes: Tensor, moved: Tensor, way: Way, off: int
) -> Tensor:
    """The faces with the attribute, or (off) without it, as `Studio.edit` draws them."""
    with torch.no_grad():
        plain = model.decode(codes)  # (B, 3, S, S)
    change = held(model.decode(moved) - plain)
    edited = edited_picture(plain, change, images, region=way.regions[off])
    if way.direction.name == "Gray_Hair" and not off:
        edited = greyed(edited, finder().find(images), 1.0)
    return edited.clamp(0, 1)
