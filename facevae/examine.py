"""Examination of a studio on unseen faces: what its edits, ages and samples are worth, as a judge
that was trained apart reads them. Everything is done through `Studio`, as the app does it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from facevae import edits, judge, metrics
from facevae.align import FRAME
from facevae.balance import tied
from facevae.data import FaceSet, evenly
from facevae.face import Face
from facevae.guide import ATTRIBUTES
from facevae.judge import Judge, Readings, has
from facevae.pictures import to_tensor
from facevae.studio import Studio

ASKED = (20, 30, 40, 50, 60, 70)  # years
AGED = (20, 60)  # years: faces of these ages are aged, each way
NEAR = 3  # years about an age that real faces of it may have
COMPARED = 100  # edited faces at most whose identity is looked at: a recognizer takes its time
SHIFT = 0.02  # of the side: alignment is no surer
DRAWS = 5  # of samples, and of halves of unseen faces
ENOUGH = 100  # faces that an edit is tried on, if so many can be found: each is a hundredth then


def examine(
    studio: Studio,
    faces: FaceSet,
    rows: np.ndarray,
    one: Judge,
    most: int = 300,
    seed: int = 0,
    recognizer: Looker | None = None,
) -> dict:
    """Figures of the edits, the ages and the samples of a studio with a guide.

    Args:
        rows: unseen faces; `most` of them, spread evenly, are edited, and for an attribute that
            few of them have, or lack, more: see `casting`.
        recognizer: tells people apart; the judge alone is asked for identity without one.

    Returns:
        unchanged: PSNR in dB of `edit(face, {})` to the crop, or exact. aging, attributes,
        samples, reading, age_error_by_group: see the functions. unsteady: by attribute, the share
        of photos that the judge reads otherwise when shifted by SHIFT. milliseconds: medians of
        read (without the detector), of a face's first edit, of the next and of an age at the
        model's size.
    """
    read = judge.read_faces(one, faces, rows)
    names = [name for name in studio.attributes if name in read or name == "Young"]
    first = np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)
    cast, parts = casting(read, names, first)
    before = {name: values[cast] for name, values in read.items()}
    everyone, seconds = timed(lambda row: seated(studio, faces.images[row]), rows[cast])
    took = {"read, face given": seconds}
    sitters, chosen = everyone[: len(first)], rows[first]
    crops = to_tensor([sitter.crop for sitter in everyone])
    lookers: dict[str, Looker] = {"identity": one}
    lookers |= {"recognized": recognizer} if recognizer else {}
    same = Identity(crops, lookers, len(first))
    copies, _ = timed(lambda sitter: studio.edit(sitter, {}), sitters)
    for step in ("first edit", "edit"):  # before the first the face is looked at: `facevae.pace`
        _, took[step] = timed(lambda sitter: studio.edit(sitter, {"Smiling": 1}), sitters[:20])
    _, took["age"] = timed(lambda sitter: studio.age(sitter, 70), sitters[:20])
    error = (to_tensor(copies) - crops[: len(first)]).square().mean().item()
    report = {
        "faces": len(sitters),
        "unchanged": "exact" if error == 0 else round(-10 * np.log10(error), 1),
        "milliseconds": {name: round(1000 * value, 1) for name, value in took.items()},
        "aging": aging(
            studio, one, sitters, judge.ages(faces)[chosen], _real(one, faces, rows), same
        ),
        "attributes": {
            name: {
                sign: attribute(studio, one, everyone, before, parts[name, at], name, at, same)
                for sign, at in ENDS
            }
            for name in names
        },
        "unsteady": unsteady(before, one.read(shifted(crops)), len(first)),
        "samples": samples(studio, one, faces, rows, seed),
        "reading": reading(studio, faces, chosen[:: max(1, len(chosen) // 100)]),
        "age_error_by_group": age_errors(studio, faces, rows),
    }
    return report


def casting(
    read: Readings, names: Sequence[str], first: np.ndarray
) -> tuple[np.ndarray, dict[tuple[str, float], np.ndarray]]:
    """Which faces each edit is tried on.

    Those of the first that lack the attribute (have it, at −1); where these are under `ENOUGH`, as
    with bald faces, others are called up for this edit alone, spread evenly over all that fit.

    Args:
        read: of N faces. first: (M,), places of those that are there in any case.

    Returns:
        (K,), places of all, the first before the others; by attribute and strength the places
        within these of the faces it is tried on.
    """
    parts = {}
    for name in names:
        for _, at in ENDS:
            fits = (at * has(read, name) < 0).numpy()
            there = first[fits[first]]
            others = np.setdiff1d(np.flatnonzero(fits), there)
            parts[name, at] = np.concatenate([there, evenly(others, max(ENOUGH - len(there), 0))])
    called = np.setdiff1d(np.concatenate(list(parts.values())), first)
    cast = np.concatenate([first, called])
    place = np.full(int(cast.max()) + 1, -1)
    place[cast] = np.arange(len(cast))
    return cast, {edit: place[part] for edit, part in parts.items()}


def shifted(crops: Tensor) -> Tensor:
    """Crops (N, 3, S, S) moved to the left by SHIFT of the side, their last column repeated."""
    by = round(SHIFT * crops.shape[-1])
    return F.pad(crops[..., by:], (0, by, 0, 0), "replicate")


def unsteady(before: Readings, again: Readings, first: int | None = None) -> dict[str, float]:
    """By attribute the share of the first faces (all by default) that two readings disagree on:
    what leaks by chance."""
    names = [name for name in ATTRIBUTES if name in before]
    flips = {n: ((has(before, n) > 0) != (has(again, n) > 0))[:first] for n in names}
    return {name: round(float(share.float().mean()), 3) for name, share in flips.items()}


def reading(studio: Studio, faces: FaceSet, rows: np.ndarray, steps: int = 20) -> dict:
    """PSNR in dB of the decoder's picture of faces as they are read, and when each code is bettered
    by gradient steps, and the seconds that such a reading takes (the face given)."""
    plain = [seated(studio, faces.images[row]) for row in rows]
    bettered, seconds = timed(lambda row: seated(studio, faces.images[row], steps), list(rows))

    def psnr(sitters: Sequence[Face]) -> float:
        each = [metrics.psnr(one.decoded, to_tensor([one.crop])) for one in sitters]
        return round(float(torch.cat(each).mean()), 2)

    return {"faces": len(rows), "psnr": psnr(plain), "steps": steps,
            "psnr_refined": psnr(bettered), "seconds": round(seconds, 2)}  # fmt: skip


def age_errors(studio: Studio, faces: FaceSet, rows: np.ndarray) -> dict[str, dict]:
    """How far the studio's own reader is off in years, by group: `metrics.by_group`."""
    known = rows[judge.ages(faces)[rows] >= 0]
    read = judge.read_faces(studio.guide.reader, faces, known)["age"]
    error = (read - torch.from_numpy(judge.ages(faces)[known])).abs()
    return metrics.by_group(error, faces, known)


ENDS = (("+1", 1.0), ("-1", -1.0))


def seated(studio: Studio, image: np.ndarray, refine: int = 0) -> Face:
    """The Face of an aligned crop (S, S, 3) uint8."""
    return studio.read(Image.fromarray(image), eyes=FRAME[:2] * len(image), refine=refine)


def timed(make: Callable, arguments: Sequence) -> tuple[list, float]:
    """What `make` gives for each, and the median of the seconds it took."""
    made, seconds = [], []
    for argument in arguments:
        start = time.perf_counter()
        made.append(make(argument))
        seconds.append(time.perf_counter() - start)
    return made, float(np.median(seconds))


def aging(
    studio: Studio,
    one: Judge,
    sitters: Sequence[Face],
    years: np.ndarray,
    real: dict[int, float],
    same: Identity,
) -> dict:
    """Faces asked to be 20, 30 … 70, with the photo's detail (1) and without (0): what `edits.aged`
    tells, the share of the real span that is read, and how far the crop's mean colour moved.

    Args:
        years: (N,) as labelled. real: what the judge reads off real faces of 20 and of 70.
    """
    inside = (years >= AGED[0]) & (years <= AGED[1])
    rows = np.flatnonzero(inside).tolist()
    sitters = [sitters[k] for k in rows]
    crops = to_tensor([sitter.crop for sitter in sitters])
    first, last = ASKED[0], ASKED[-1]
    report: dict = {"faces": len(sitters), "real": {str(k): round(v, 1) for k, v in real.items()}}
    for detail in (1, 0):
        drawn = {at: to_tensor([studio.age(s, at, detail) for s in sitters]) for at in ASKED}
        found = edits.aged(one.read(crops), {at: one.read(drawn[at]) for at in ASKED})
        span = found["read"][str(last)] - found["read"][str(first)]
        found["share_of_real_span"] = round(span / (real[last] - real[first]), 3)
        plain = crops if detail else to_tensor([studio.reconstruct(s) for s in sitters])
        moved = [(255 * (d - plain).mean((2, 3))).abs().mean(1) for d in drawn.values()]
        found["colour_moved"] = round(float(torch.stack(moved).mean()), 2)
        if detail:
            found |= same.kept(rows, drawn[last])
        report[f"detail {detail}"] = found
    return report


def _real(one: Judge, faces: FaceSet, rows: np.ndarray) -> dict[int, float]:
    years, found = judge.ages(faces)[rows], {}
    for at in (ASKED[0], ASKED[-1]):
        near = rows[np.abs(years - at) <= NEAR]
        if len(near) < edits.FEWEST:
            raise ValueError(f"too few unseen faces of about {at} years to compare with")
        found[at] = float(judge.read_faces(one, faces, near)["age"].mean())
    return found


def attribute(
    studio: Studio,
    one: Judge,
    sitters: Sequence[Face],
    before: Readings,
    part: np.ndarray,
    name: str,
    at: float,
    same: Identity,
) -> dict:
    """One attribute brought to a strength on a part of the sitters, detail kept.

    Args:
        before: of all sitters. part: (M,), places of those that lack it (have it, at −1).

    Returns:
        faces, turned (share), leaked: {other: share that turned with it} of those over a tenth;
        tied: the same of those tied to it by nature; age_moved in years; what `Identity.kept`
        tells.
    """
    if len(part) < edits.FEWEST:
        return {"faces": len(part)}
    edited = to_tensor([studio.edit(sitters[k], {name: at}) for k in part])
    after = one.read(edited)
    was = {other: values[part] for other, values in before.items()}
    near = tied(name)
    turned = {
        other: float(((has(was, other) > 0) != (has(after, other) > 0)).float().mean())
        for other in ATTRIBUTES
        if other in was and other != name
    }
    along = {other: round(share, 2) for other, share in turned.items() if share > 0.1}
    return {
        "faces": len(part),
        "turned": round(float((at * has(after, name) > 0).float().mean()), 3),
        "leaked": {other: share for other, share in along.items() if other not in near},
        "tied": {other: share for other, share in along.items() if other in near},
        "age_moved": round(float((after["age"] - was["age"]).mean()), 1),
    } | same.kept(part, edited)


class Looker(Protocol):
    """Anything with features of pictures in which faces of one person lie near each other."""

    def features(self, images: Tensor) -> Tensor: ...


class Identity:
    """Whether edited faces are still nearest to their own photos, as one or more lookers see it."""

    def __init__(
        self, originals: Tensor, lookers: Mapping[str, Looker], others: int | None = None
    ) -> None:
        """
        Args:
            originals: (N, 3, S, S). lookers: by the name that their share is told under.
            others: how many of the first originals all are compared with; all by default.
        """
        self.others = len(originals) if others is None else others
        self.lookers = {name: (one, one.features(originals)) for name, one in lookers.items()}

    def kept(self, rows: Sequence[int] | np.ndarray, edited: Tensor) -> dict[str, float]:
        """By looker the share of edited faces that are nearer to their own original than to 95 %
        of the others: edited is (M, 3, S, S), of the originals in rows; COMPARED are looked at."""
        some = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), COMPARED)).astype(int))
        mine, found = torch.as_tensor(rows)[some], {}
        for name, (one, known) in self.lookers.items():
            distance = torch.cdist(one.features(edited[some]), known)  # (M, N)
            own = distance[torch.arange(len(mine)), mine]
            others = self.others - (mine < self.others).int()  # itself is none of them
            nearer = (own[:, None] < distance[:, : self.others]).sum(1) / others.clamp(min=1)
            found[name] = round(float((nearer >= 0.95).float().mean()), 3)
        return found


def samples(
    studio: Studio, one: Judge, faces: FaceSet, rows: np.ndarray, seed: int, most: int = 1000
) -> dict:
    """Fréchet distance, in the judge's features, of samples to reconstructions of unseen faces;
    beside it that of one half of the reconstructions to the other. Means over `DRAWS` draws of
    samples and of halves, since one alone may be half as much again; with their spread."""
    drawn = np.array([
        _distances(studio, one, faces, np.random.default_rng(seed + n).permutation(rows)[:most],
                   seed + n)
        for n in range(DRAWS)
    ])  # (DRAWS, 2)  # fmt: skip
    means, spread = drawn.mean(0).round(2).tolist(), drawn.std(0, ddof=1).round(2).tolist()
    return {
        "faces": min(most, len(rows)) // 2,
        **dict(zip(("distance", "halves"), means, strict=True)),
        "spread": dict(zip(("distance", "halves"), spread, strict=True)),
    }


@torch.inference_mode()
def _distances(
    studio: Studio, one: Judge, faces: FaceSet, rows: np.ndarray, seed: int
) -> tuple[float, float]:
    """Of as many samples as half the rows to the first half's reconstructions, and of those to the
    second half's."""
    half = len(rows) // 2
    parts = [faces.tensor(rows[i : min(i + 64, 2 * half)]) for i in range(0, 2 * half, 64)]
    drawn = [studio.model.decode(studio.model.encode(part).mean) for part in parts]
    real = torch.cat([one.features(part) for part in drawn])  # (2 · half, F)
    own = one.features(to_tensor(studio.sample(half, seed)))
    return frechet(own, real[:half]), frechet(real[:half], real[half:])


def frechet(a: Tensor, b: Tensor) -> float:
    """Of the Gaussians with the means and covariances of features (N, F) and (M, F).

    Source: Dowson & Landau, Journal of Multivariate Analysis 12 (1982), equation 4.
    """
    a, b = a.double(), b.double()
    values = torch.linalg.eigvals(a.T.cov() @ b.T.cov()).real.clamp(min=0)
    spread = a.T.cov().trace() + b.T.cov().trace() - 2 * values.sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + spread)
