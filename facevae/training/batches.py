"""Which faces a training step sees: batches of a run, and faces drawn evenly for their edits."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from facevae.config import Recipe
from facevae.data.face_set import FaceSet
from facevae.imaging.alignment import FRAMINGS
from facevae.models.vae import age_weights

MAX_WEIGHT = 5.0  # of the rarest face, in average ones: with more it is learnt by heart
PADDED = ("utkface",)  # its tight crops are padded to heads: no photograph around the face
DARK = 0.45  # eyes in cheeks' light
EVEN_UP_TO = 300  # faces of an age; a smaller set is drawn less often
SHIFT, LEVELS = 0.03, 0.1  # augmentation: of the side; of brightness and contrast


class Batches:
    """The faces of a run as batches, arrays of row numbers, on its device; `share` is one process's
    of each. `rows` are of train, val and test, those whose conditions, (N, K), are known;
    `weights` and `draws`, (N,), how much a face counts in the loss and how often it is drawn."""

    def __init__(
        self, recipe: Recipe, faces: FaceSet, device: torch.device | str = "cpu",
        share: slice = slice(None),
    ) -> None:  # fmt: skip
        self.recipe, self.faces, self.device, self.share = recipe, faces, device, share
        self.conditions = torch.from_numpy(faces.conditions(recipe.model.conditions))  # (N, K)
        known = ~self.conditions.isnan().any(dim=1).numpy()  # an unknown label cannot be one
        split = faces.split(recipe.seed, by=recipe.split_by)
        self.rows = {part: rows[known[rows]] for part, rows in split.items()}
        for part in ("train", "val"):
            if len(self.rows[part]) < 2:
                raise ValueError(f"{faces.folder} gives {part} fewer than two faces: prepare more")
        self.weights, self.draws = self._weights(recipe.weigh), self._weights(recipe.balance)
        size, much = faces.image_shape[1:], (SHIFT, LEVELS) if recipe.augment else (0.0, 0.0)
        changes = recipe.flip or recipe.augment
        self.vary = augmentation(size, recipe.flip, *much) if changes else None

    def train(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch; a rest of faces is left to another epoch's order."""
        rows = self.rows["train"]
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
        if self.recipe.balance:
            order = torch.multinomial(self.draws[rows], len(rows), True, generator=generator)
        else:
            order = torch.randperm(len(rows), generator=generator)
        size = min(self.recipe.batch, len(rows))
        whole = rows[order][: len(rows) - len(rows) % size].reshape(-1, size)
        return [np.sort(part)[self.share] for part in whole]  # sorted: the file is read forward

    def validation(self) -> list[np.ndarray]:
        """All validation faces, in batches of the training's size or somewhat larger: a rest of
        one face would have no total correlation."""
        rows = self.rows["val"]
        parts = np.array_split(rows, max(1, len(rows) // self.recipe.batch))
        return [part[self.share] for part in parts if len(part[self.share])]

    def load(self, rows: np.ndarray, varied: bool = False) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) in [0, 1], augmented where `varied`, and conditions (B, K)."""
        images = self.faces.tensor(rows)
        if varied and self.vary:
            images = torch.stack([self.vary(image) for image in images])
        return images.to(self.device), self.conditions[rows].to(self.device)

    def _weights(self, label: str) -> Tensor:
        """(N,) by the rarity of a label among all faces, at most MAX_WEIGHT, mean 1 in training."""
        if not label:
            return torch.ones(len(self.faces))
        weights = torch.from_numpy(self.faces.balanced_weights(label)).float().clamp(max=MAX_WEIGHT)
        mean = weights[self.rows["train"]].mean()
        if mean == 0:
            raise ValueError(f"no training face has a known {label!r}: balance by another label")
        return weights / mean


def augmentation(
    size: tuple[int, int], flip: bool, shift: float, levels: float, blur: float = 0.0
) -> torch.nn.Module:
    """A random change of an image (C, H, W): half are mirrored, all moved by up to `shift` of the
    side and lit by up to `levels` of brightness and contrast, a share `blur` is blurred."""
    from torchvision.transforms import v2  # takes seconds to import

    margin = [math.ceil(shift * side) for side in size[::-1]]
    return v2.Compose([
        v2.RandomHorizontalFlip(0.5 * flip), v2.RandomCrop(size, margin, padding_mode="reflect"),
        v2.ColorJitter(levels, levels), v2.RandomApply([v2.GaussianBlur(9, (0.3, 1.5))], blur),
    ])  # fmt: skip


def sunglasses(faces: FaceSet, rows: np.ndarray) -> np.ndarray:
    """Which of M framed faces with glasses wear dark ones, (M,): their eyes are far darker than
    their cheeks. Of CelebA's 35 % do."""
    eyes = FRAMINGS[faces.framing][:2] * faces.image_shape[-1]  # type: ignore[index]  # pixels
    apart = eyes[1, 0] - eyes[0, 0]

    def light(images: Tensor, down: float) -> Tensor:
        """Of two spots, so many distances of the eyes below them, (N,)."""
        spots = []
        for x, y in eyes + (0.0, down * apart):
            left, right = round(x - 0.19 * apart), round(x + 0.19 * apart)
            top, bottom = round(y - 0.14 * apart), round(y + 0.14 * apart)
            spots.append(images[:, :, top:bottom, left:right].mean((1, 2, 3)))
        return torch.stack(spots).mean(dim=0)

    parts = map(faces.tensor, np.array_split(rows, 1 + len(rows) // 1000))  # not all in memory
    return np.concatenate([(light(x, 0.0) < DARK * light(x, 0.63)).numpy() for x in parts])


def face_masks(framing: str, size: tuple[int, int]) -> Tensor:
    """(2, H, W) in [0, 1]: 1 on both eyes, and 1 on the face from brows to chin; without landmarks
    all 0."""
    if (landmarks := FRAMINGS[framing]) is None:
        return torch.zeros(2, *size)
    y, x = ((torch.arange(side) + 0.5) / side for side in size)
    apart = landmarks[1, 0] - landmarks[0, 0]

    def oval(at: np.ndarray, wide: float, high: float) -> Tensor:
        """1 inside an oval of these radii, in distances of the eyes, 0 beyond it."""
        across, down = (x - at[0]) / (wide * apart), (y[:, None] - at[1]) / (high * apart)
        return (4.0 * (1.0 - torch.hypot(across, down))).clamp(0, 1)  # (H, W)

    eyes = oval(landmarks[0], 0.30, 0.20) + oval(landmarks[1], 0.30, 0.20)
    return torch.stack([eyes, oval(landmarks.mean(axis=0), 0.78, 1.0)])


@dataclass
class EditFaces:
    """Faces that edits are learnt from, drawn evenly over attributes, their states and ages."""

    names: tuple[str, ...]  # of the K conditions, "age" among them
    images: Callable[[np.ndarray], Tensor]  # row numbers (M,) → (M, 3, H, W) in [0, 1]
    condition: Tensor  # (N, K), y as the editing classifier reads it: what the decoder is given
    labels: Tensor  # (N, K), what is known: 0, 1 or NaN; ages in centuries
    sources: np.ndarray  # (N,), the set that a face is from; those of PADDED are for the critic
    anchors: tuple[float, ...]  # years
    framing: str = "none"  # of the pictures

    def __post_init__(self) -> None:
        self.age = self.names.index("age")
        self.attributes = [k for k in range(len(self.names)) if k != self.age]
        self.whole = ~np.isin(self.sources, PADDED)  # (N,)
        sure = (self.condition - 0.5).abs() > 0.3
        sure[:, self.age] = True
        read = torch.where(self.labels.isnan() & sure, self.condition, self.labels)
        read[~self.whole] = torch.nan
        self.states = {True: self._states(self.labels), False: self._states(read)}
        ages = self.states[True][:, self.age]
        aged = [np.flatnonzero(ages == k) for k in range(len(self.anchors))]
        self.of_age = [(rows, self._shares(rows)) for rows in aged]

    def _states(self, values: Tensor) -> np.ndarray:
        """(N, K): of an attribute 0 or 1, of the age the nearest anchor's number; −1: unknown."""
        states, years = values.round(), 100.0 * values[:, self.age].nan_to_num()
        states[:, self.age] = age_weights(years, self.anchors).argmax(dim=1).float()
        return states.where(~values.isnan(), -1).numpy()

    def _shares(self, rows: np.ndarray) -> np.ndarray:
        """How often each of M faces of an age is drawn, (M,), sum 1: a padded one half the time,
        the other sets' evenly. Padding must not tell the age, as it would: most children's faces
        have it."""
        sources = self.sources[rows]
        names, place, counts = np.unique(sources, return_inverse=True, return_counts=True)
        shares, padded = np.minimum(counts, EVEN_UP_TO).astype(float), np.isin(names, PADDED)
        for side in (padded, ~padded):
            shares[side] /= max(1.0, shares[side].sum())
        return (shares / counts)[place] / max(1.0, shares.sum())

    def draw(
        self, rng: np.random.Generator, count: int, real: bool, age_share: float,
        odds: np.ndarray | float = 1.0,
    ) -> tuple[np.ndarray, list[int]]:  # fmt: skip
        """Rows (M,) and the column of each; `real`: labelled so, not only surely read so; `odds`:
        how often a face without and with each attribute is drawn, (attributes, 2), or evenly."""
        odds, drawn = odds * np.ones((len(self.attributes), 2)), list[tuple[int, int]]()
        while len(drawn) < count:
            shares = None
            if rng.random() < age_share:
                column, state = self.age, int(rng.integers(len(self.anchors)))
            else:
                place, state = divmod(int(rng.choice(odds.size, p=odds.ravel() / odds.sum())), 2)
                column = self.attributes[place]
            if real and column == self.age:
                found, shares = self.of_age[state]
            else:
                found = np.flatnonzero(self.states[real][:, column] == state)
            drawn += [(int(rng.choice(found, p=shares)), column)] if len(found) else []
        rows, columns = zip(*drawn, strict=True)
        return np.array(rows), [*columns]
