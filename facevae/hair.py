"""Hair: where in an aligned crop it is. A small network, of no model, as the detector is."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from facevae.files import write_safetensors
from facevae.texture import enlarged

FILE = Path(__file__).resolve().parent.parent / "assets" / "hair.safetensors"
SIDE, MAP = 128, 64  # of the crops it reads, and of what it says of them, in pixels
WIDE, WIDE_AT = 1.84, (-0.42, -0.66)  # side, left and top of a wider picture, in crops: so CelebA
# frames heads
WIDTHS = (16, 24, 40, 64)
SURE = 0.1, 0.6  # probabilities that count as no hair and as all: lessons leave out more than they
# add, and so does what they teach
SHOWN = 0.9  # share of the wider picture that a photo must show: the rest repeats its edge
PLENTY, LET = 0.1, 0.3  # share of a crop that is plenty of hair; let through beside it then
BATCH, RATE, DECAY = 64, 3e-3, 1e-3  # of teaching
TRUST = 0.7  # in a lesson, once it has seen a third of them; the rest is its own opinion


class HairFinder(nn.Module):
    """Aligned crops, or the wider pictures about them, (N, 3, SIDE, SIDE) in [0, 1] → logits
    (N, 1, MAP, MAP), over 0 where hair is.

    Source: Ronneberger, Fischer & Brox, "U-Net", arXiv 1505.04597, figure 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(_block(*ends, stride=2) for ends in pairwise((3, *WIDTHS)))
        self.up = nn.ModuleList(_block(a + b, b) for a, b in pairwise(WIDTHS[::-1]))
        self.out = nn.Conv2d(WIDTHS[0], 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        images, seen = images - 0.5, []
        for block in self.down:
            images = block(images)  # (N, w, S/2, S/2), then S/4, S/8, S/16
            seen.append(images)
        for block, other in zip(self.up, seen[-2::-1], strict=True):
            images = F.interpolate(images, scale_factor=2, mode="bilinear")
            images = block(torch.cat([images, other], dim=1))
        return self.out(images)

    @torch.no_grad()  # not inference mode: steering learns through what it masks
    def find(self, crops: Tensor) -> Tensor:
        """Crops (N, 3, S, S) of any size → (N, 1, MAP, MAP), how surely hair is there: 0 … 1."""
        seen = self(enlarged(crops, SIDE)).sigmoid()
        return ((seen - SURE[0]) / (SURE[1] - SURE[0])).clamp(0, 1)

    def save(self, path: str | Path) -> None:
        """Write as safetensors, in half precision."""
        write_safetensors(path, {name: one.half() for name, one in self.state_dict().items()})

    @classmethod
    def load(cls, path: str | Path) -> HairFinder:
        """Read what `save` wrote; ValueError says what is wrong with a foreign file."""
        finder = cls()
        try:
            finder.load_state_dict({name: one.float() for name, one in load_file(path).items()})
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(f"{path} holds no finder of hair ({reason})") from error
        return finder.eval()


@cache
def finder() -> HairFinder:
    """The one that is shipped."""
    return HairFinder.load(FILE)


def within(head: Tensor) -> Tensor:
    """Maps of wider pictures (N, 1, m, m) → their part within the crop, (N, 1, MAP, MAP)."""
    left, top = ((1 - 2 * at) / WIDE - 1 for at in WIDE_AT)
    place = torch.tensor([[1 / WIDE, 0, left], [0, 1 / WIDE, top]]).expand(len(head), 2, 3)
    grid = F.affine_grid(place, [len(head), 1, MAP, MAP], align_corners=False)
    return F.grid_sample(head, grid, padding_mode="border", align_corners=False)


def beside(hair: Tensor) -> Tensor:
    """Hair (N, 1, m, m) → how much of a change of hair is let through, 0 … 1: all of it on hair;
    beside it the less, the more of it there is. Where none shows, the decoder draws it."""
    plenty = (hair.mean((2, 3), keepdim=True) / PLENTY).clamp(max=1)
    return 1 - plenty * (1 - LET) * (1 - hair)


def agreement(found: HairFinder, crops: Tensor, maps: Tensor) -> float:
    """Intersection over union of what is found in crops (N, S, S, 3) uint8, and maps (N, MAP, MAP)
    uint8: the pixels that both call hair, of those that either does."""
    both = either = 0
    for images, wanted in zip(crops.split(BATCH), maps.split(BATCH), strict=True):
        seen = found.find(images.permute(0, 3, 1, 2).float() / 255)[:, 0] > 0.5
        both += int((seen & (wanted > 127)).sum())
        either += int((seen | (wanted > 127)).sum())
    return both / max(either, 1)


def teach(crops: Tensor, maps: Tensor, epochs: int = 8, seed: int = 0) -> HairFinder:
    """A finder taught with crops (N, SIDE, SIDE, 3) and maps (N, MAP, MAP), both uint8.

    The maps may be coarse and wrong in places. What is wrong in one face is right in most, so that
    from a third of the epochs on the network's own opinion counts beside them: Reed et al.,
    "Training deep neural networks on noisy labels with bootstrapping", arXiv 1412.6596, equation 7.

    Raises:
        ValueError: fewer faces than a batch.
    """
    if len(crops) < BATCH:
        raise ValueError(f"{len(crops)} faces teach nothing about hair: give {BATCH} at least")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = HairFinder().to(memory_format=torch.channels_last)
    steps = len(crops) // BATCH
    optimizer = torch.optim.AdamW(found.parameters(), weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs * steps)
    bar = tqdm(range(epochs), "teaching", unit="epoch")
    for epoch in bar:
        order = torch.randperm(len(crops), generator=generator)
        for rows in order[: steps * BATCH].view(steps, BATCH):
            images = crops[rows].permute(0, 3, 1, 2).float() / 255  # (B, 3, S, S)
            wanted = maps[rows][:, None].float() / 255  # (B, 1, MAP, MAP)
            turned = torch.rand(BATCH, 1, 1, 1, generator=generator) < 0.5
            images, wanted = (torch.where(turned, x.flip(-1), x) for x in (images, wanted))
            logits = found(_lit(images, generator))
            if epoch >= epochs // 3:
                wanted = TRUST * wanted + (1 - TRUST) * (logits.detach() > 0).float()
            loss = F.binary_cross_entropy_with_logits(logits, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        bar.set_postfix(nats=f"{loss.item():.4f} a pixel")
    return found.eval()


def _lit(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crops in another light and tint, some grey, and now and then a blurred batch."""

    def drawn(low: float, high: float, channels: int = 1) -> Tensor:
        shape = len(images), channels, 1, 1
        return low + (high - low) * torch.rand(shape, generator=generator)

    images = (images * drawn(0.7, 1.25) + drawn(-0.08, 0.08)) * drawn(0.92, 1.08, 3)
    grey = (drawn(0, 1) < 0.1).float()
    images = torch.lerp(images, images.mean(1, keepdim=True).expand_as(images), grey)
    if torch.rand((), generator=generator) < 0.4:
        side = int(torch.randint(40, 110, (), generator=generator))
        small = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
        images = F.interpolate(small, images.shape[-2:], mode="bilinear")
    return images.clamp(0, 1)


def _block(into: int, out: int, stride: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels, step in ((into, stride), (out, 1)):
        convolution = nn.Conv2d(channels, out, 3, step, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers)
