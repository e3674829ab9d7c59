"""Faces of nobody, sampled from a trained model with known conditions: the source `studio`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from facevae.data.archives import Item
from facevae.models.conditions import BRINGS, REMOVES, TAKES

if TYPE_CHECKING:
    from facevae.studio import Studio

SHARES = {"Male": 0.5, "Smiling": 0.5}  # of the faces asked to have it; of the other attributes:
OTHER_SHARE = 0.3
AGES, ADULT = (5, 80), 18  # years
ADULTS_ONLY = ("Beard", "Mustache", "Bald", "Gray_Hair", "Heavy_Makeup")


def load_studio(path: str | Path | None) -> Studio:
    """The studio of a model's folder, by default the shipped one."""
    import facevae  # by the public name, since the studio stands above the data

    return facevae.Studio.load(path) if path is not None else facevae.Studio.load()


def draw_requests(names: list[str], ages: bool, count: int, seed: int) -> list[dict[str, int]]:
    """Conditions (0 or 1, `age` in years) that can go together, at random, one dict a face."""
    rng, requests = np.random.default_rng(seed), []
    for _ in range(count):
        row = {name: int(rng.random() < SHARES.get(name, OTHER_SHARE)) for name in names}
        if ages:
            row["age"] = int(rng.integers(*AGES, endpoint=True))
        if row.get("age", ADULT) < ADULT:
            row |= {name: 0 for name in ADULTS_ONLY if name in row}
        for name in rng.permutation(names):  # what excludes or brings what
            others = dict.fromkeys(REMOVES.get(name, ()) if row[name] else TAKES.get(name, ()), 0)
            others |= dict.fromkeys(BRINGS.get(name, ()) if row[name] else (), 1)
            row |= {other: has for other, has in others.items() if other in row}
        requests.append(row)
    return requests


def sampled_faces(
    studio: Studio, size: int, count: int, seed: int, notes: dict[str, Any]
) -> Iterator[Item]:
    """Faces (S, S, 3) uint8, each with the conditions that were asked for it as labels.

    Each is sampled with a seed of its own, when it is read. The labels are the conditions of the
    studio's model; `gender` stands beside `Male`.
    """
    notes |= {"seed": seed, "total": count}
    known = {"Male" if name == "gender" else name for name in studio.model.config.conditions}
    names = [name for name in studio.attributes if name in known]
    requests = draw_requests(names, studio.can_age and "age" in known, count, seed)
    seeds = np.random.default_rng(seed).integers(2**31, size=count)

    def sample(row: dict[str, int], one: int) -> np.ndarray:
        wanted = {name: 2.0 * row[name] - 1 for name in names}
        (face,) = studio.sample(1, seed=one, age=row.get("age"), attributes=wanted)
        return np.asarray(ImageOps.fit(face.convert("RGB"), (size, size), Image.Resampling.LANCZOS))

    for i, (row, one) in enumerate(zip(requests, seeds.tolist(), strict=True)):
        labels = row | ({"gender": 1 - row["Male"]} if "Male" in row else {})
        yield Item(f"sample{i:06d}", partial(sample, row, one), labels)
