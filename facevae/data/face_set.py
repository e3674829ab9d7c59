"""FaceSet: prepared faces on disk (uint8 array, labels, manifest), their splits and weights."""

import json
from collections import ChainMap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from facevae.io import explained

SPLITS = ("train", "val", "test")
TRAIN, TRAIN_AND_VAL = 0.8, 0.9  # shares of the faces
DRAWN_LABELS = {"smile": "Smiling", "glasses": "Eyeglasses", "beard": "Beard"}  # of factors


class NotPrepared(ValueError):
    """A folder that holds no prepared faces, or other ones than asked for."""


class FaceSet:
    """Prepared faces in a folder: memory-mapped `images` (N, H, W, C) uint8; `labels`, name → (N,),
    unknown is −1 or "", `content` a hash of a picture's file; and the preparation's `manifest`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "manifest.json").is_file():
            raise NotPrepared(
                f"{folder} holds no prepared faces: make them with "
                f"`python -m facevae prepare SOURCE --out {folder}`"
            )
        todo = "prepare these faces again, into another folder"
        with explained(NotPrepared, f"{folder} is broken", todo):
            text = (self.folder / "manifest.json").read_text("utf-8")
            self.manifest: dict[str, Any] = dict(json.loads(text))
            self.images: np.ndarray = np.load(self.folder / "images.npy", mmap_mode="r")
            self.labels: dict[str, np.ndarray] = dict(np.load(self.folder / "labels.npz"))

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
        return self.manifest.get("options", {}).get("framing", "none")

    def tensor(self, rows: np.ndarray) -> Tensor:
        """Rows as a model takes them: (M, C, H, W) float32 in [0, 1], channels last in memory."""
        levels = torch.from_numpy(self.images[rows])  # (M, H, W, C) uint8
        return levels.permute(0, 3, 1, 2).float().div_(255.0)  # (M, C, H, W)

    def split(self, seed: int = 0, by: str = "content") -> dict[str, np.ndarray]:
        """Row numbers of train (80 %), val and test, sorted, each face in exactly one.

        A face's place depends on its own picture and the seed alone; equal pictures, and those of
        one `person`, stay together, and a test folder that the source brought (label `part`) stays
        the test set. `by="order"` cuts the rows in sequence, as the frames of a film need it."""
        if by == "order":
            ends = np.rint(np.multiply((TRAIN, TRAIN_AND_VAL), len(self))).astype(int)
            return dict(zip(SPLITS, np.split(np.arange(len(self)), ends), strict=True))
        if by != "content":
            raise ValueError(f"split by {by!r} is unknown: use 'content' or 'order'")
        group = self._groups()
        place = _uniform(group, seed)
        part = np.digitize(place, (TRAIN, TRAIN_AND_VAL))  # 0 train, 1 val, 2 test
        if "part" in self.labels:
            part = np.where(place < TRAIN / TRAIN_AND_VAL, 0, 1)
            part[np.isin(group, group[self.labels["part"] == "test"])] = 2
        return {name: np.flatnonzero(part == i) for i, name in enumerate(SPLITS)}

    def _groups(self) -> np.ndarray:
        """(N,) uint64, one number for all rows that must stay together: their smallest content."""
        group, person = self.labels["content"], self.labels.get("person")
        if person is None:
            return group
        pictures, picture = np.unique(group, return_inverse=True)
        people, owner = np.unique(person, return_inverse=True)
        known = person != "" if person.dtype.kind == "U" else person >= 0
        # one picture of two people ties all of theirs
        nodes, ties = len(pictures) + len(people), (picture[known], len(pictures) + owner[known])
        graph = coo_array((np.ones(known.sum()), ties), (nodes, nodes))
        component = connected_components(graph, directed=False)[1][picture]
        least = np.full(nodes, np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(least, component, group)
        return least[component]

    def conditions(self, names: Sequence[str]) -> np.ndarray:
        """(N, K) float32 for a conditional model: age in centuries, others 0 or 1; NaN unknown.
        ValueError: the faces carry no such label in numbers."""
        columns = [self._known(name) / (100 if name == "age" else 1) for name in names]
        return np.array(columns, np.float32).reshape(len(names), len(self)).T

    def balanced_weights(self, label: str = "age", bins: int = 9) -> np.ndarray:
        """(N,) sampling weights, mean 1, that make `bins` equal ranges of a label equally likely,
        0 where it is unknown. ValueError: it is not in numbers, or known of no face."""
        values = self._known(label)
        known = ~np.isnan(values)
        if not known.any():
            raise ValueError(f"no face has a known {label!r}: balance by another label")
        edges = np.linspace(values[known].min(), values[known].max() + 1e-6, bins + 1)
        bin_of = np.digitize(values, edges[1:-1])
        weights = known / np.bincount(bin_of[known], minlength=bins).clip(1)[bin_of]
        return weights / weights.mean()

    def _known(self, label: str) -> np.ndarray:
        """(N,) a label, NaN where it is unknown."""
        values = self.labels.get(label, np.array(""))
        if values.dtype.kind not in "biuf":
            raise ValueError(f"no label {label!r} in numbers: these faces carry {[*self.labels]}")
        return np.where(values < 0, np.nan, values)

    def binary_labels(self) -> dict[str, np.ndarray]:
        """The labels that are yes or no: CelebA's name → (N,), 1, 0, or −1 where unknown. Classes
        of folders are a label each; drawn factors count as yes in the upper third of their range,
        as no in the lower."""
        found: dict[str, np.ndarray] = {}
        drawn = DRAWN_LABELS if self.manifest["source"] == "synthetic" else {}
        for name, values in self.labels.items():
            if name == "gender":
                found.setdefault("Male", np.where(values < 0, -1, 1 - values))
            elif name in drawn:
                low, high = np.linspace(values.min(), values.max(), 4)[1:3]
                found[drawn[name]] = np.where(values > high, 1, np.where(values < low, 0, -1))
            elif values.dtype.kind in "biu" and name not in ("content", "class", "race"):
                found |= {name: values.astype(int)} if np.isin(values, (-1, 0, 1)).all() else {}
        if "Beard" in found:
            found.pop("No_Beard", None)
        classes, numbers = self.manifest.get("classes") or [], self.labels.get("class")
        if numbers is not None and "Smiling" not in found:
            for number in range(len(classes) == 2, len(classes)):  # of two, the second says it all
                found[classes[number]] = np.where(numbers < 0, -1, numbers == number)
        return found

    def known_labels(self, names: Sequence[str]) -> np.ndarray:
        """(N, K) float32 by CelebA's names: 0 or 1, years of `age`; NaN where it is unknown."""
        found, unknown = self.binary_labels(), np.full(len(self), -1)
        found["age"] = self.labels.get("age", unknown)
        table = np.stack([found.get(name, unknown) for name in names], axis=1).astype(np.float32)
        return np.where(table < 0, np.nan, table)


class JoinedFaceSet(FaceSet):
    """Several sets as one, in this order; `folder` is that of the first.
    ValueError: they differ in size, framing, normalization or classes."""

    def __init__(self, *parts: FaceSet) -> None:
        manifests = [part.manifest for part in parts]
        options = [manifest.get("options", {}) for manifest in manifests]
        kinds = {(part.image_shape, part.framing, bool(own.get("mask")), bool(own.get("expose")))
                 for part, own in zip(parts, options, strict=True)}  # fmt: skip
        classes = {tuple(named) for one in manifests if (named := one.get("classes"))}
        if len(kinds) != 1 or len(classes) > 1:
            raise ValueError(f"sets of different kinds cannot be joined: {[*kinds]}, {[*classes]}")
        self.parts, self.folder = parts, parts[0].folder
        source = "+".join(dict.fromkeys(manifest["source"] for manifest in manifests))
        whole = {"source": source, "faces": sum(map(len, parts)), "parts": manifests}
        self.manifest = dict(ChainMap(whole, *manifests))
        self.images = cast(np.ndarray, _Rows([part.images for part in parts]))
        self.labels = {name: self._joined(name) for part in parts for name in part.labels}

    def _joined(self, name: str) -> np.ndarray:
        texts = any(p.labels[name].dtype.kind == "U" for p in self.parts if name in p.labels)
        unknown = "" if texts else -1
        return np.concatenate([p.labels.get(name, np.full(len(p), unknown)) for p in self.parts])

    def split(self, seed: int = 0, by: str = "content") -> dict[str, np.ndarray]:
        """The splits of all parts, as rows of the whole: a face falls where it does alone."""
        starts = np.cumsum([0, *map(len, self.parts)])
        each = [(at, p.split(seed, by)) for at, p in zip(starts, self.parts, strict=False)]
        return {name: np.concatenate([at + rows[name] for at, rows in each]) for name in SPLITS}


class _Rows:
    """The rows of several arrays as of one; read when they are asked for, as a file's are."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays, self.starts = arrays, np.cumsum([0, *map(len, arrays)])
        self.shape, self.dtype = (int(self.starts[-1]), *arrays[0].shape[1:]), arrays[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        rows = np.arange(len(self))[rows]
        found = np.empty((*rows.shape, *self.shape[1:]), self.dtype)
        for array, start in zip(self.arrays, self.starts, strict=False):
            here = (rows >= start) & (rows < start + len(array))
            found[here] = array[rows[here] - start]
        return found


def load_faces(source: str | Path | Sequence[str | Path], root: str | Path = "data") -> FaceSet:
    """Open prepared faces by folder, or by a source's name under `root`; several as one set.
    `synthetic` is drawn on first use; NotPrepared says how to prepare another."""
    if not isinstance(source, str | Path):
        return JoinedFaceSet(*(load_faces(one, root) for one in source))
    for folder in (Path(source), Path(root) / source):
        if (folder / "manifest.json").is_file():
            return FaceSet(folder)
    if source == "synthetic":
        import facevae  # the preparation stands above this module: by the public name alone

        return facevae.prepare(source, out=folder)
    return FaceSet(folder)  # which says how to make them


def _uniform(keys: np.ndarray, seed: int) -> np.ndarray:
    """Keys (N,) uint64 → numbers in [0, 1) that depend on key and seed alone (SplitMix64)."""
    with np.errstate(over="ignore"):
        x = keys.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)) / 2.0**53


def evenly(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the rows (N,), at even distances."""
    return rows if most >= len(rows) else rows[np.linspace(0, len(rows) - 1, most).astype(int)]
