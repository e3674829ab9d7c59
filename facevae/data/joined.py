"""Several FaceSets as one, nothing copied: what `load_faces` gives for several folders."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from facevae.data.face_set import SPLITS, FaceSet, NotPrepared

COMMON: dict[str, Callable[[FaceSet], Any]] = {  # what all parts must share, where they state it
    "shapes": lambda faces: faces.image_shape,
    "framings": lambda faces: faces.framing,
    "classes": lambda faces: faces.manifest.get("classes"),  # or a number would mean two things
    "normalizations": lambda faces: [
        bool((faces.manifest.get("options") or {}).get(name)) for name in ("mask", "expose")
    ],
}


def join_faces(parts: Sequence[FaceSet]) -> FaceSet:
    """One FaceSet of several, their faces in this order; of a single one, itself.

    A label that one part lacks is unknown there. Each part is split on its own, so a face falls
    to the same side as in its own set.

    Raises:
        NotPrepared: no part was given.
        ValueError: the parts differ in size, framing, normalization or classes.
    """
    if not parts:
        raise NotPrepared("no faces were named: give one prepared folder or more")
    for name, of in COMMON.items():
        found = {str(value): part.folder for part in parts if (value := of(part)) is not None}
        if len(found) > 1:
            (one, first), (other, second), *_ = found.items()
            raise ValueError(
                f"{second} cannot be joined to {first}, since their {name} differ ({other} and "
                f"{one}): prepare both in the same way"
            )
    return parts[0] if len(parts) == 1 else JoinedFaceSet(parts[0].folder, tuple(parts))


class JoinedImages:
    """Images of several FaceSets read as one (N, H, W, C) uint8 array; rows are copied out."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.arrays, self.starts = arrays, np.cumsum([0, *map(len, arrays)])
        self.shape = (int(self.starts[-1]), *arrays[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        wanted = np.arange(len(self))[rows]  # numbers, slices and masks alike
        flat = np.atleast_1d(wanted)
        levels = np.empty((len(flat), *self.shape[1:]), np.uint8)
        for start, array in zip(self.starts[:-1], self.arrays, strict=True):
            here = (flat >= start) & (flat < start + len(array))
            levels[here] = array[flat[here] - start]
        return levels if wanted.ndim else levels[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or np.uint8, copy=False)


@dataclass(frozen=True)
class JoinedFaceSet(FaceSet):
    """What `join_faces` returns: `folder` is that of the first part."""

    parts: tuple[FaceSet, ...] = ()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """As of one FaceSet: sources joined by "+", counts added; `parts` holds each manifest."""
        each = [part.manifest for part in self.parts]
        counts = {key: sum(m.get(key, 0) for m in each) for key in ("seen", "faces", "duplicates")}
        labels = [name for name in self.labels if name != "content"]
        source = "+".join(dict.fromkeys(m["source"] for m in each))
        whole = {key: value for one in reversed(each) for key, value in one.items()}
        return whole | counts | {"source": source, "labels": labels, "parts": each}

    @cached_property
    def images(self) -> np.ndarray:
        return JoinedImages([part.images for part in self.parts])  # type: ignore[return-value]

    @cached_property
    def labels(self) -> dict[str, np.ndarray]:
        names = dict.fromkeys(itertools.chain(*(part.labels for part in self.parts)))
        return {name: self._column(name) for name in names}

    def _column(self, name: str) -> np.ndarray:
        columns = [part.labels.get(name) for part in self.parts]
        texts = any(column is not None and column.dtype.kind == "U" for column in columns)
        whole = []
        for part, column in zip(self.parts, columns, strict=True):
            if column is None:
                column = np.full(len(part), "") if texts else np.full(len(part), -1, np.int16)
            elif texts and column.dtype.kind != "U":  # its −1 would be a text like any other
                column = np.where(column < 0, "", column.astype(str))
            whole.append(column)
        return np.concatenate(whole)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "parts": self.parts}

    def split(self, *args: Any, **options: Any) -> dict[str, np.ndarray]:
        """The splits of all parts, as rows of the whole; see `FaceSet.split`."""
        starts = np.cumsum([0, *map(len, self.parts)])
        splits = [part.split(*args, **options) for part in self.parts]
        return {
            name: np.concatenate([s[name] + at for s, at in zip(splits, starts, strict=False)])
            for name in SPLITS
        }
