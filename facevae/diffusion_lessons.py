"""Teaching a diffusion prior: which kinds of face there are, their codes, and what taking noise
off them asks for beyond a Gaussian."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from facevae import metrics
from facevae.averages import averaging
from facevae.data import FaceSet
from facevae.diffusion import WIDTH, Denoiser, DiffusionPrior
from facevae.judge import Judge, pictures
from facevae.latent import MixturePrior
from facevae.memory import keep_freed
from facevae.model import FaceVAE
from facevae.teaching import moved

BATCH, RATE, DECAY, DROPOUT = 384, 1e-3, 0.05, 0.1  # AdamW's
NOISE = (-0.3, 1.3)  # of its logarithm in lessons: mean and standard deviation
LASTING = 0.9995  # of the moving average that is kept, once the beginning is forgotten
LOOK = 2000  # steps between looks at unseen codes
LOOKS = 12  # that each training face is given, half of them mirrored
WOBBLE = 0.03  # of the side and of full light, by which all looks but the first two differ


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes (N, D) of faces, and which of K kinds each face is of, (N,)."""

    codes: Tensor
    kinds: Tensor


def gathered(
    model: FaceVAE, faces: FaceSet, reader: Judge, kinds: int, seed: int = 0, looks: int = LOOKS
) -> tuple[MixturePrior, Codes, Codes]:
    """A Gaussian for each kind of training face; the codes of training faces and of unseen ones.

    Kinds are the reader's features parted by k-means: of an age and a gender, say, or with a smile.
    Fitted to codes alone, components part by what varies most, which is light and background.

    Args:
        looks: codes a training face, each of another look at it (mirrored, shifted, scaled, in
            another light), so that faces are not learnt by heart; at least 1, the face as it is.

    Raises:
        ValueError: too few faces for so many kinds.
    """
    from sklearn.cluster import KMeans

    keep_freed()
    split = faces.split(seed)
    seen, unseen = (_features(reader, faces, split[part]) for part in ("train", "val"))
    found = KMeans(kinds, n_init=1, max_iter=50, random_state=seed).fit(seen)
    of_seen, of_unseen = (
        torch.from_numpy(labels).long() for labels in (found.labels_, found.predict(unseen))
    )
    if of_seen.bincount().min() < 2:
        raise ValueError(f"{len(of_seen)} faces are too few for {kinds} kinds: ask for fewer kinds")
    plain = metrics.posteriors(model, faces, split["train"]).mean  # (N, D)
    generator = torch.Generator().manual_seed(seed)
    more = [
        _looked_at(model, faces, split["train"], bool(look % 2), WOBBLE * (look > 1), generator)
        for look in tqdm(range(1, looks), desc="encoding", unit="look", delay=5)
    ]
    held = metrics.posteriors(model, faces, split["val"]).mean
    return (
        MixturePrior.of_groups(plain, of_seen),
        Codes(torch.cat([plain, *more]), of_seen.repeat(looks)),
        Codes(held, of_unseen),
    )


def taught(
    mixture: MixturePrior,
    seen: Codes,
    unseen: Codes,
    steps: int,
    seed: int = 0,
    bf16: bool = False,
    width: int = WIDTH,
) -> tuple[DiffusionPrior, float]:
    """The prior whose denoiser has learnt, in so many steps, what the mixture's Gaussians leave.

    A moving average of its weights is kept, as it was when it did best on unseen codes.

    Args:
        bf16: multiply in bfloat16: faster where the processor knows it.

    Returns:
        It, and the share of the squared error of the Gaussians alone that remains, unseen.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = Denoiser(mixture.latents, len(mixture.means), width, DROPOUT)
        average = AveragedModel(denoiser, multi_avg_fn=averaging(LASTING)).eval()
        prior, generator = DiffusionPrior(mixture, denoiser), torch.Generator().manual_seed(seed)
        seen, unseen = (replace(one, codes=prior.framed(one.codes)) for one in (seen, unseen))
        exam = _lesson(prior, unseen, torch.arange(len(unseen.codes)), generator)
        best, kept = 1.0, copy.deepcopy(denoiser.state_dict())
        optimizer = AdamW(denoiser.parameters(), RATE, betas=(0.9, 0.99), weight_decay=DECAY)
        schedule = OneCycleLR(optimizer, RATE, max(steps, 2), pct_start=0.02, cycle_momentum=False)
        for step in tqdm(range(1, steps + 1), desc="denoising", unit="step", delay=5):
            rows = torch.randint(len(seen.codes), (BATCH,), generator=generator)
            lesson = _lesson(prior, seen, rows, generator)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                told = denoiser(*lesson.asked)
            optimizer.zero_grad()
            _error(prior, lesson.left - told.float()).backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(denoiser)
            if step % LOOK == 0 or step == steps:
                with torch.no_grad():
                    left = _error(prior, exam.left - average(*exam.asked))
                    share = float(left / _error(prior, exam.left))
                if share < best:
                    best, kept = share, copy.deepcopy(average.module.state_dict())
    denoiser.load_state_dict(kept)
    return DiffusionPrior(mixture, denoiser.requires_grad_(False).eval()), best


@dataclass(frozen=True, eq=False)
class _Lesson:
    """What the denoiser is asked, noisy codes (N, D), noise (N, 1) and kinds (N,), and what it
    should say: what the Gaussians leave (N, D)."""

    asked: tuple[Tensor, Tensor, Tensor]
    left: Tensor


def _lesson(
    prior: DiffusionPrior, framed: Codes, rows: Tensor, generator: torch.Generator
) -> _Lesson:
    clean, kinds = framed.codes[rows], framed.kinds[rows]
    middle, spread = NOISE
    noise = (middle + spread * torch.randn(len(rows), 1, generator=generator)).exp()
    noisy = clean + noise * torch.randn(clean.shape, generator=generator)
    unit = noise / (1 + noise.square()).sqrt()
    return _Lesson((noisy, noise, kinds), (clean - prior.expected(noisy, noise, kinds)) / unit)


def _error(prior: DiffusionPrior, off: Tensor) -> Tensor:
    """The mean square of (N, D) in the frame, weighed half way to that in the latents: what varies
    most is seen most."""
    return (off @ prior.root * off).mean() / prior.root.diagonal().mean()


def _features(reader: Judge, faces: FaceSet, rows: np.ndarray) -> np.ndarray:
    return torch.cat([reader.features(part) for part in pictures(faces, rows)]).numpy()


@torch.inference_mode()
def _looked_at(
    model: FaceVAE,
    faces: FaceSet,
    rows: np.ndarray,
    mirrored: bool,
    by: float,
    generator: torch.Generator,
) -> Tensor:
    """Codes (M, D) of faces in another look: shifted, scaled and lit otherwise by up to so much."""
    codes = []
    for images in pictures(faces, rows, 64):  # what fits a processor's cache

        def chance(*shape: int, count: int = len(images)) -> Tensor:
            return by * (2 * torch.rand(count, *shape, generator=generator) - 1)

        mirror = torch.full((len(images),), -1.0 if mirrored else 1.0)
        other = moved(images, mirror, 1 + chance(), chance(2))
        lit = (other - 0.5) * (1 + chance(1, 1, 1)) + 0.5 + chance(1, 1, 1)
        codes.append(model.encode(lit.clamp(0, 1)).mean)
    return torch.cat(codes)
