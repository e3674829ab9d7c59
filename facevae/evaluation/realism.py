"""How real pictures look: Fréchet distances of features, and a critic trained from scratch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facevae.evaluation.features import POOLED

MIN_FACES = 20  # of a distance: fewer say nothing
DRAWS = 5  # of faces and halves, averaged
CRITIC_BATCH, CRITIC_EPOCHS = 32, 6
SEED = 0


def frechet(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of the Gaussians with the moments of features (N, F) and (M, F).

    Few faces bias it upwards: compare distances at equal counts only. Source: Dowson & Landau,
    "The Fréchet distance between multivariate normal distributions", 1982, equation 4. The trace
    of √(AB) is the sum of the singular values of the centred features' product, which Q of their
    QR decompositions does not change.
    """
    a, b = a.double(), b.double()
    mean = (a.mean(0) - b.mean(0)).square().sum()
    a, b = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    first, second = (torch.linalg.qr(x, mode="r").R for x in (a, b))  # (≤ F, F)
    cross = torch.linalg.svdvals(first @ second.T).sum()
    return float(mean + a.square().sum() + b.square().sum() - 2.0 * cross)


def against_halves(found: Tensor, real: Tensor) -> dict[str, float]:
    """Fréchet distance of features (N, F) to real ones (M, F), and that of two halves of the real.

    All are cut to one count, and distances are means of DRAWS draws.

    Returns:
        faces (the count), distance, halves, ratio; faces alone where they are under MIN_FACES.
    """
    found, real = found[:, :POOLED], real[:, :POOLED]
    count = min(len(found), len(real) // 2)
    if count < MIN_FACES:
        return {"faces": count}
    generator, drawn = torch.Generator().manual_seed(SEED), []
    for _ in range(DRAWS):
        mine = found[torch.randperm(len(found), generator=generator)[:count]]
        rows = torch.randperm(len(real), generator=generator)[: 2 * count]
        first, second = real[rows].chunk(2)
        drawn.append((frechet(mine, first), frechet(first, second)))
    distance, halves = np.mean(drawn, axis=0).tolist()
    return {"faces": count, "distance": distance, "halves": halves, "ratio": distance / halves}


def matched(wanted: np.ndarray, available: np.ndarray, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of faces of two sets in which each stratum (gender, youth …) is equally frequent.

    Args:
        wanted: (N,) stratum of each face. available: (M,) that of each face to compare with.
        each: faces to compare with for one that is wanted.

    Returns:
        places among the N, and `each` times as many among the M.
    """
    rng, ours, theirs = np.random.default_rng(SEED), [np.zeros(0, int)], [np.zeros(0, int)]
    for stratum in np.unique(wanted):
        a, b = np.flatnonzero(wanted == stratum), np.flatnonzero(available == stratum)
        count = min(len(a), len(b) // each)
        ours.append(rng.permutation(a)[:count])
        theirs.append(rng.permutation(b)[: each * count])
    return np.concatenate(ours), np.concatenate(theirs)


def scratch_critic() -> nn.Sequential:
    """A small network without pretraining: a logit a picture (N, 3, H, W), above 0 where real."""
    stages: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64), (64, 96)):
        stages += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)]
    pool = [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 16, 1)]
    return nn.Sequential(*stages, *pool)


def critic_right(real: Tensor, edited: Tensor, held_out: Tensor) -> Tensor:
    """How often a critic trained from scratch tells held-out pictures apart: (M,) in {0, ½, 1}.

    Args:
        real, edited: (N, 3, H, W) uint8 each; pairs of comparable faces.
        held_out: (N,) bool, the M pairs that it is tested on and not trained on.
    """
    generator, rows = torch.Generator().manual_seed(SEED), torch.nonzero(~held_out)[:, 0]
    steps = max(2, CRITIC_EPOCHS * len(rows) // CRITIC_BATCH)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        critic = scratch_critic()
        optimizer = torch.optim.AdamW(critic.parameters(), 2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
        for step in range(steps):
            taken = rows[torch.randint(len(rows), (CRITIC_BATCH,), generator=generator)]
            x = torch.cat([real[taken], edited[taken]]).float() / 255  # (2B, 3, H, W)
            y = torch.arange(2 * CRITIC_BATCH) < CRITIC_BATCH
            logits = critic(x.flip(3) if step % 2 else x)[:, 0]
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(logits, y.float()).backward()
            optimizer.step()
            schedule.step()
    critic.eval()
    with torch.inference_mode():
        looks_real = [
            torch.cat([critic(part.float() / 255)[:, 0] for part in one[held_out].split(64)]) > 0
            for one in (real, edited)
        ]
    return (looks_real[0].float() + (~looks_real[1]).float()) / 2
