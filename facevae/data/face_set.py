"""FaceSet: prepared faces on disk (uint8 array, labels, manifest), their splits and weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

SPLITS = ("train", "val", "test")
CONDITION_SCALE = {"age": 100.0}  # labels are divided by this to lie in about [0, 1]


class NotPrepared(ValueError):
    """A folder that holds no prepared faces, or other ones than asked for."""


@contextmanager
def _naming(path: Path) -> Iterator[Path]:
    """Errors of reading a file of a FaceSet, as NotPrepared that names the file."""
    try:
        yield path
    except Exception as error:  # broken files raise of many kinds, BadZipFile among them
        reason = str(error).partition("\n")[0]
        raise NotPrepared(
            f"{path} is broken ({reason}): prepare these faces again, into another folder"
        ) from error


@dataclass(frozen=True)
class FaceSet:
    """Prepared faces in a folder: `images.npy`, `labels.npz`, `manifest.json`."""

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        if not (self.folder / "manifest.json").is_file():
            raise NotPrepared(
                f"{self.folder} holds no prepared faces: make them with "
                f"`python -m facevae prepare SOURCE --out {self.folder}`"
            )

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Source, size, counts, what was skipped and why, and the options of the preparation."""
        with _naming(self.folder / "manifest.json") as path:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(manifest, dict):
                raise ValueError("it is no object")
        return manifest

    @cached_property
    def images(self) -> np.ndarray:
        """(N, H, W, C) uint8, memory-mapped: only the rows asked for are read."""
        with _naming(self.folder / "images.npy") as path:
            images = np.load(path, mmap_mode="r", allow_pickle=False)
            if images.ndim != 4 or images.dtype != np.uint8:
                raise ValueError(f"it holds {images.dtype} of the shape {images.shape}")
        return images

    @cached_property
    def labels(self) -> dict[str, np.ndarray]:
        """Label name → (N,). Unknown is −1 or an empty text; `content` tells pictures apart.

        `content` is a hash of the file a picture came as, or of the pixels of a drawn one.
        """
        with (
            _naming(self.folder / "labels.npz") as path,
            np.load(path, allow_pickle=False) as file,
        ):
            return {name: file[name] for name in file.files}

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}  # another process maps the files itself

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) as a model takes it."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    @property
    def framing(self) -> str:
        """Where the face lies in the pictures: "face", "head", or "none" (whole pictures)."""
        return framing_of(self.manifest.get("options") or {})

    def tensor(self, rows: np.ndarray) -> Tensor:
        """Rows as a model takes them: (M, C, H, W) float32 in [0, 1], channels last in memory."""
        levels = torch.from_numpy(self.images[rows])  # (M, H, W, C) uint8
        return levels.permute(0, 3, 1, 2).float().div_(255.0)  # (M, C, H, W)

    def split(
        self,
        seed: int = 0,
        fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
        by: str = "content",
    ) -> dict[str, np.ndarray]:
        """Row numbers of train, val and test, sorted, each face in exactly one.

        Equal pictures, and pictures of one `person` where that is known, stay together. By
        content a face's place depends on its own picture and the seed alone, so it does not move
        when faces are added. A test folder that the source brought (label `part`) stays the test
        set. `by="order"` cuts the rows in sequence, as neighbouring frames of a film need it.
        """
        if by not in ("content", "order"):
            raise ValueError(f"split by {by!r} is unknown: use 'content' or 'order'")
        if by == "order":
            ends = np.rint(np.cumsum(fractions) * len(self)).astype(int)
            return dict(zip(SPLITS, np.split(np.arange(len(self)), ends[:2]), strict=True))
        group = self._groups()
        place = _uniform(group, seed)
        bounds = np.cumsum(fractions)
        part = np.digitize(place, bounds[:2])  # 0 train, 1 val, 2 test
        given = self.labels.get("part")
        if given is not None:
            tested = np.isin(group, group[given == "test"])
            part = np.where(place < bounds[0] / (bounds[0] + fractions[1]), 0, 1)
            part[tested] = 2
        return {name: np.flatnonzero(part == i) for i, name in enumerate(SPLITS)}

    def _groups(self) -> np.ndarray:
        """(N,) uint64, one number for all rows that must stay together."""
        content = self.labels["content"]
        person = self.labels.get("person")
        if person is None:
            return content
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        contents, of_content = np.unique(content, return_inverse=True)
        known = np.flatnonzero(person != "" if person.dtype.kind == "U" else person >= 0)
        people, of_person = np.unique(person[known], return_inverse=True)
        nodes = len(contents) + len(people)  # of a graph that joins each picture to its person
        ends = (of_content[known], len(contents) + of_person)
        edges = coo_array((np.ones(len(known)), ends), shape=(nodes, nodes))
        component = connected_components(edges, directed=False)[1][of_content]
        smallest = np.full(nodes, np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(smallest, component, content)
        return smallest[component]

    def conditions(self, names: Sequence[str]) -> np.ndarray:
        """(N, K) float32 for a conditional model: age in centuries, others 0 or 1; NaN unknown.

        Raises:
            ValueError: the faces carry no such label, and which they carry.
        """
        columns = []
        for name in names:
            if name not in self.labels:
                raise ValueError(f"these faces carry no label {name!r}: they have {[*self.labels]}")
            values = self.labels[name].astype(np.float32)
            columns.append(np.where(values < 0, np.nan, values) / CONDITION_SCALE.get(name, 1.0))
        return np.stack(columns, axis=1).astype(np.float32)

    def balanced_weights(self, label: str = "age", bins: int = 9) -> np.ndarray:
        """(N,) sampling weights, mean 1, that make `bins` equal ranges of a label equally likely.

        Unknown values get weight 0.

        Raises:
            ValueError: the label is missing, not in numbers, or known of no face.
        """
        if label not in self.labels:
            raise ValueError(
                f"these faces carry no label {label!r} to balance: they have {[*self.labels]}"
            )
        values = self.labels[label]
        if values.dtype.kind not in "biuf":
            raise ValueError(f"the label {label!r} is not in numbers: balance by one that is")
        known = values >= 0
        if not known.any():
            raise ValueError(f"no face has a known {label!r}: balance by another label")
        edges = np.linspace(values[known].min(), values[known].max() + 1e-6, bins + 1)
        bin_of = np.digitize(values, edges[1:-1])
        counts = np.bincount(bin_of[known], minlength=bins)
        weights = np.where(known, 1.0 / np.maximum(counts[bin_of], 1), 0.0)
        return weights / weights.mean()


def framing_of(options: dict[str, Any]) -> str:
    """The framing that a manifest's options state, or mean where an older version wrote them."""
    drawn_or_aligned = options.get("align") or options.get("source") == "synthetic"
    return options.get("framing") or ("face" if drawn_or_aligned else "none")


def _uniform(keys: np.ndarray, seed: int) -> np.ndarray:
    """Keys (N,) uint64 → numbers in [0, 1) that depend on key and seed alone (SplitMix64)."""
    with np.errstate(over="ignore"):
        x = keys.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)) / 2.0**53


def load_faces(
    source: str | Path | Sequence[str | Path], root: str | Path = "data", size: int | None = None
) -> FaceSet:
    """Open prepared faces by folder, or by a source's name under `root`; several as one set.

    `synthetic` is drawn on first use (5,000 faces of 64×64, about half a minute); every other
    source must have been prepared.

    Raises:
        NotPrepared: and the command that prepares them.
        ValueError: several sets that do not fit together, and why.
    """
    if not isinstance(source, str | Path):
        from facevae.data.joined import join_faces

        return join_faces([load_faces(one, root, size) for one in source])
    if (Path(source) / "manifest.json").is_file():
        return FaceSet(Path(source))
    name = str(source)
    found = sorted(Path(root).glob(f"{name}*/manifest.json")) if name.isidentifier() else []
    for manifest in found:
        faces = FaceSet(manifest.parent)
        if faces.manifest["source"] == name and size in (None, *faces.images.shape[1:3]):
            return faces
    if name == "synthetic":
        import facevae  # the preparation stands above this module: by the public name alone

        return facevae.prepare(name, out=Path(root) / f"{name}{size or 64}", size=size or 64)
    raise NotPrepared(
        f"no prepared faces for {name!r} under {root}: make them with "
        f"`python -m facevae prepare {name} --out {Path(root) / name}`"
    )


def evenly(rows: np.ndarray, most: int | None) -> np.ndarray:
    """At most `most` of the rows (N,), at even distances; all of them by default."""
    if most is None or most >= len(rows):
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(int)]
