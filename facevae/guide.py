"""Guide: what the studio knows of its model's latents, and a reader of age and attributes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facevae import directions, judge, metrics, ways
from facevae.ages import AgeCurves
from facevae.data import FaceSet
from facevae.directions import Direction, cleared
from facevae.judge import OLD, YOUNG, Judge
from facevae.model import FaceVAE
from facevae.steering import STEPS, Sitters, steered
from facevae.texture import Texture
from facevae.ways import Way

ATTRIBUTES = (
    "Smiling", "Mouth_Slightly_Open", "Eyeglasses", "Beard", "Mustache", "Bangs", "Black_Hair",
    "Blond_Hair", "Gray_Hair", "Bald", "Heavy_Makeup", "Male", "Young",
)  # fmt: skip
"""CelebA's names (`Beard` is the opposite of its `No_Beard`), in the order they are shown."""

STEADY = ("Male", "Young", "Eyeglasses")  # every other one starts orthogonal to these
FREE = {
    "Male": {"Beard", "Mustache", "Heavy_Makeup", "Mouth_Slightly_Open", "Gray_Hair"},
    "Young": set(ATTRIBUTES) - {"Young", "Male", "Eyeglasses"},
    "Mouth_Slightly_Open": {"Smiling"},
}  # what is not held beside these: beards and make-up are part of looking like a man or a woman
SETTLING = 2  # rounds by which a drawn face comes to an age: one reaches half the way
TRIED = 4000  # training faces on which the directions are steered
FILES = ("ways.safetensors", "ages.safetensors", "texture.safetensors", "judge.json")


@dataclass(frozen=True, eq=False)
class Guide:
    """Ways to attributes, mean codes by age, wrinkles by age, and the reader.

    One unit for all attributes: at strength 1 the reader sees it in about nine of ten faces that
    lacked it, at −1 in one of ten that had it, their own detail kept; in fewer where more would
    take too much else along. See `facevae.steering`.

    Attributes:
        ways: by attribute, how faces come by it and lose it.
        reader: sees age (years), gender and attributes in a crop; no part of any model's loss.
        model: fingerprint of the model in whose latents all this lies.
    """

    ways: dict[str, Way]
    curves: AgeCurves
    texture: Texture
    reader: Judge
    model: str

    @classmethod
    def fit(
        cls,
        model: FaceVAE,
        faces: FaceSet,
        reader: Judge,
        seed: int = 0,
        steps: int = STEPS,
        tutors: Sequence[Judge] = (),
        workers: int = 1,
    ) -> Guide:
        """From a model's training faces, which carry age and gender; the reader labels the rest.

        Args:
            steps: of `steering` an attribute; 0 leaves the directions as regression finds them.
            tutors: more readers that steer beside the first, so that no whim of it is learnt.
            workers: processes that steer, each an attribute on a core of its own.

        Raises:
            ValueError: the faces carry no ages, or an attribute is not told or too rare.
        """
        rows = faces.split(seed)["train"]
        codes = metrics.posteriors(model, faces, rows).mean  # (N, D)
        years, labels = judge.ages(faces)[rows], labelled(faces, rows, reader)
        found = {name: Way.straight(start) for name, start in regressed(codes, labels).items()}
        if steps:
            some = np.sort(np.random.default_rng(seed).permutation(len(rows))[:TRIED])
            sitters = Sitters(
                torch.from_numpy(faces.images[rows[some]]),
                codes[torch.from_numpy(some)],
                judge.read_faces(reader, faces, rows[some]),
            )
            starts = [way.direction for way in found.values()]
            bettered = _steered(model, [reader, *tutors], sitters, starts, steps, seed, workers)
            found = dict(zip(found, bettered, strict=True))
        bare = labels["Eyeglasses"] != 1  # or old age would come with glasses
        gender = np.where(labels["Male"] < 0, -1, 1 - labels["Male"])
        curves = AgeCurves.fit(codes[torch.from_numpy(bare)], years[bare], gender[bare])
        texture = Texture.fit(model, faces, rows[bare])
        return cls(found, curves, texture, reader, model.fingerprint())

    def placed(
        self, code: Tensor, wanted: Mapping[str, float], locked: Iterable[str] = ()
    ) -> Tensor:
        """A code (1, D) brought to the wanted strengths: `steps`, all of them."""
        return code + sum(self.steps(code, wanted, locked).values())

    def steps(
        self, code: Tensor, wanted: Mapping[str, float], locked: Iterable[str] = ()
    ) -> dict[str, Tensor]:
        """What each wanted attribute adds to a code (1, D), by attribute, in the guide's order.

        Strengths of locked attributes are left alone (of locked ones that are wanted, too, it is
        the wish that counts). Each way bends with the face. All the wanted are reached together:
        where two directions lean on each other, the steps along them are solved for.

        Raises:
            ValueError: an attribute is unknown, cannot move while others are locked, or a strength
                is no number.
        """
        if not all(math.isfinite(at) for at in wanted.values()):
            raise ValueError(f"a strength is a number such as 1 or -1: {dict(wanted)} are not")
        locks = [self.way(name).direction for name in locked if name not in wanted]
        moving = {name: self.way(name) for name in sorted(wanted, key=[*self.ways, *wanted].index)}
        if not moving:
            return {}
        ends = [way.direction for way in moving.values()]
        targets = torch.tensor([way.target(wanted[name]) for name, way in moving.items()])

        def missing(code: Tensor) -> Tensor:
            return targets - torch.cat([end.strength(code) for end in ends])  # (K,)

        bends = torch.stack([
            by * cleared(way.bend(code, bool(by < 0))[0], locks)
            for way, by in zip(moving.values(), missing(code), strict=True)
        ])  # (K, D)  # fmt: skip
        along = torch.stack([end.without(locks).vector for end in ends])  # (K, D)
        axes = torch.stack([end.vector / end.vector.square().sum() for end in ends])  # (K, D)
        left = missing(code + bends.sum(0)).double()
        amounts = torch.linalg.lstsq((axes @ along.T).double(), left).solution  # (K,)
        added = bends + amounts.float()[:, None] * along
        return dict(zip(moving, added.split(1), strict=True))

    @torch.inference_mode()
    def read(self, crop: Tensor) -> tuple[float, int]:
        """Age in years and gender (0 male, 1 female) as the reader sees them in a (1, 3, S, S)."""
        seen = self.reader.read(crop)
        low, high = self.curves.span
        return min(max(seen["age"].item(), low), high), int(seen["Male"].item() < 0.5)

    def settled(
        self, model: FaceVAE, codes: Tensor, age: float | None, gender: int | None
    ) -> Tensor:
        """Codes (N, D) moved to a gender, and by their mean way of ageing to an age in years."""
        settled = []
        for code in codes.split(1):
            for _ in range(SETTLING):
                if age is not None:
                    seen, kind = self.read(model.decode(code))
                    kinds = torch.tensor([kind if gender is None else gender])
                    code = code + self.curves.shift(torch.tensor([seen]), age, kinds)
                if gender is not None:
                    code = self.placed(code, {"Male": 1.0 - 2.0 * gender})
            settled.append(code)
        return torch.cat(settled)

    def strengths(self, code: Tensor) -> dict[str, float]:
        """How strongly a code (1, D) has each attribute."""
        return {name: way.strength(code).item() for name, way in self.ways.items()}

    def way(self, name: str) -> Way:
        """How faces come by an attribute; ValueError names those there are."""
        try:
            return self.ways[name]
        except KeyError:
            there = ", ".join(self.ways)
            raise ValueError(f"there is no attribute {name!r}: there are {there}") from None

    def save(self, folder: str | Path) -> None:
        """Write the files that `load` reads."""
        folder = Path(folder)
        ways.save(folder / FILES[0], self.ways, self.model)
        self.curves.save(folder / FILES[1])
        self.texture.save(folder / FILES[2])
        self.reader.save(folder)

    @classmethod
    def load_if_there(cls, folder: str | Path) -> Guide | None:
        """`load`, or None where the folder has none of its files."""
        return cls.load(folder) if any((Path(folder) / name).exists() for name in FILES) else None

    @classmethod
    def load(cls, folder: str | Path) -> Guide:
        """Read what `save` wrote; ValueError says which file is missing or foreign."""
        folder = Path(folder)
        found, model = ways.load(folder / FILES[0])
        curves, texture = AgeCurves.load(folder / FILES[1]), Texture.load(folder / FILES[2])
        return cls(found, curves, texture, Judge.load(folder), model)


def _steered(
    model: FaceVAE,
    readers: Sequence[Judge],
    sitters: Sitters,
    starts: Sequence[Direction],
    steps: int,
    seed: int,
    workers: int,
) -> list[Way]:
    """`steered` from each of these starts, in processes of one thread each."""
    from joblib import Parallel, delayed, parallel_config

    task = delayed(steered)
    with parallel_config("loky", inner_max_num_threads=1):
        steering = Parallel(workers, return_as="generator")(
            task(model, readers, sitters, start, steps, seed) for start in starts
        )
        return list(tqdm(steering, desc="steering", unit="attribute", total=len(starts)))


def regressed(codes: Tensor, labels: Mapping[str, np.ndarray]) -> dict[str, Direction]:
    """The direction of every attribute by joint regression of codes (N, D) on all labels, each
    orthogonal to gender, age and glasses unless it is one of them."""
    found = {name: directions.find(codes, labels, name, "joint") for name in ATTRIBUTES}
    steady = [found[name] for name in STEADY]
    for name in ATTRIBUTES:
        if name in FREE:
            beside = {k: column for k, column in labels.items() if k not in FREE[name]}
            found[name] = directions.find(codes, beside, name, "joint")
        if name not in STEADY:
            found[name] = found[name].without(steady)
    return found


def labelled(faces: FaceSet, rows: np.ndarray, reader: Judge) -> dict[str, np.ndarray]:
    """Labels (M,) of every attribute, −1 unknown: the faces' own where they carry them, age among
    them as `Young`; read off the pictures elsewhere, where the reader is sure."""
    own, years = judge.attributes(faces), judge.ages(faces)[rows]
    readings = judge.read_faces(reader, faces, rows)
    labels = {}
    for name in ATTRIBUTES:
        if name in own:
            labels[name] = own[name][rows]
        elif name in readings:
            labels[name] = judge.sure(readings[name])
    if "Young" not in own and (years >= 0).any():
        known = np.where(years > OLD, 0, -1)
        labels["Young"] = np.where((years >= 0) & (years < YOUNG), 1, known)
    if missing := [name for name in ATTRIBUTES if name not in labels]:
        raise ValueError(
            f"neither {faces.folder} nor the reader tells {', '.join(missing)}: teach the reader "
            "with faces that carry these labels"
        )
    return labels
