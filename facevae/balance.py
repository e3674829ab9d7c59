"""Balance: what a reader sees of an edit, and how much it weighs in the steering of a way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from facevae.judge import AGE_UNIT, MIDDLE, Judge, sized
from facevae.teaching import disturbed

TIED = (
    {"Smiling", "Mouth_Slightly_Open"},
    {"Beard", "Mustache", "Heavy_Makeup", "Male"},
    {"Gray_Hair", "Young", "Bald"},
    {"Black_Hair", "Blond_Hair", "Gray_Hair"},
    {"Bald", "Bangs"},  # who has no hair has none of a colour, and no fringe
    {"Bald", "Black_Hair"},
    {"Bald", "Blond_Hair"},
)  # by nature: these may turn together
GOAL = 0.96  # share of the faces that should turn: short of it turning weighs more, beyond it less
PATIENCE = 0.05  # how fast it does, and to MOST at most: what the decoder can hardly draw
MOST = 8.0  # is not bought with a stranger's face
ALLOWED = 0.06  # share of the faces on which another attribute may turn: beyond it that one weighs
CAREFULLY, CARE = 0.15, (0.4, 12.0)  # more, below it less: how fast, and within which bounds,
ENOUGH, LATELY = 0.89, 20  # once so many faces turn, over about so many steps
MARGIN = 2.0  # logits beyond the border that are asked for
SPARED, TIED_SHARE = 6.0, 0.15  # weight of what must stay, and the share of it for what is tied
YEARS, DRIFT = 5.0, 1.5  # that weigh as a logit: of one face, and of the mean of all
SPOILING = 14.0  # years of that mean are as bad as an attribute that turns on every face


def tied(name: str) -> set[str]:
    """The attributes that may turn with one, and itself where there are any."""
    return set().union(*(group for group in TIED if name in group))


@dataclass(frozen=True, eq=False)
class Seen:
    """What a reader sees of an edit, by face of B and attribute of K.

    Attributes:
        at: (B,), logits of the attribute, over 0 where the edit has turned it.
        was, now: (B, K), logits of all before and after. years: (B,), by which the age has moved.
        lost: how far features have moved, in shares of the way to another face.
    """

    at: Tensor
    was: Tensor
    now: Tensor
    years: Tensor
    lost: Tensor


def seen(
    reader: Judge, images: Tensor, edited: Tensor, name: str, off: int, generator: torch.Generator
) -> Seen:
    """What the reader sees of faces (B, 3, S, S) before and after an edit on, or off."""
    chance = int(torch.randint(2**31, (), generator=generator))
    plain = (torch.arange(len(images)) % 2 == 0)[:, None, None, None]
    before, after = (
        # half are disturbed, alike before and after, for what is learnt shall not hang on single
        # pixels; half are not, for blurred alike an edit seems to leave an age that it moves
        reader.features(
            torch.where(plain, one, disturbed(one, torch.Generator().manual_seed(chance)))
        )
        for one in (sized(images, reader.config.size), sized(edited, reader.config.size))
    )
    was, now = reader.heads(before), reader.heads(after)  # (B, K + 1), age last
    names, years = reader.config.attributes, now[:, -1] * AGE_UNIT
    at = now[:, names.index(name)] if name in names else (MIDDLE - years) / YEARS
    apart = (before - before.roll(1, 0)).square().sum(1).mean()  # from another's face
    lost = (after - before).square().sum(1).mean() / apart.clamp(min=1e-6)
    moved = years - was[:, -1] * AGE_UNIT
    return Seen((1 - 2 * off) * at, was[:, :-1], now[:, :-1], moved, lost)


class Balance:
    """What turning weighs, and what each attribute that must stay, as edits turn out.

    While too few faces turn, turning is urged more. Once enough do, what turns with them on too
    many faces is guarded more, each attribute and the age by itself: so a hard edit may take
    others along, and an easy one may not. Weights that rise while what they stand for is not met,
    as multipliers do: Platt & Barr, "Constrained Differential Optimization", NIPS 1987.
    """

    def __init__(self, name: str, others: Sequence[str]) -> None:
        self.turned, self.drift = [0.0, 0.0], [0.0, 0.0]  # on and off: a share, and years
        self.urge = [1.0, 1.0]
        self.care = torch.ones(2, len(others) + 1)  # age last
        near = tied(name)
        self.shares = torch.tensor(
            [(o != name) * (TIED_SHARE if o in near else 1.0) for o in others]
            + [float(name != "Young")]
        )
        self.guarded = self.shares == 1

    def loss(self, seen: Seen, off: int) -> Tensor:
        """What is missing to the turn and what else has moved; the weights follow."""
        self._follow(seen, off)
        weights = self.shares * self.care[off]  # (K + 1,)
        moved = (2 * seen.now).sigmoid() - (2 * seen.was).sigmoid()  # most near the border
        moved = moved.abs() + 0.05 * (seen.now - seen.was).abs()  # (B, K)
        shift = seen.years / YEARS
        aged = 0.5 * F.smooth_l1_loss(shift, 0 * shift) + YEARS / DRIFT * shift.mean().abs()
        rest = SPARED * (moved @ weights[:-1]).mean() + weights[-1] * aged + seen.lost
        return self.urge[off] * F.softplus(MARGIN - seen.at).mean() + rest

    @torch.no_grad()
    def _follow(self, seen: Seen, off: int) -> None:
        turned = float((seen.at > 0).float().mean())
        self.turned[off] += (turned - self.turned[off]) / LATELY
        self.drift[off] += (float(seen.years.mean()) - self.drift[off]) / LATELY
        self.urge[off] = min(self.urge[off] * math.exp(PATIENCE * (GOAL - turned)), MOST)
        others = ((seen.was > 0) != (seen.now > 0)).float().mean(0)
        aged = torch.tensor([abs(self.drift[off]) / SPOILING])
        spoiled = torch.cat([others, aged])  # (K + 1,)
        excess = self.guarded * (spoiled - ALLOWED)
        if self.turned[off] < ENOUGH:  # first of all it must turn
            excess = -ALLOWED * (self.care[off] > 1).float()
        self.care[off] = (self.care[off] * (CAREFULLY * excess).exp()).clamp(*CARE)
