"""Training of the attribute classifier, and faces labelled by what it reads."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from facevae.data.face_set import FaceSet
from facevae.models.classifier import AGES, AttributeClassifier, ClassifierConfig, resized
from facevae.training.batches import augmentation

SPREAD = 4.0  # years, standard deviation: near ages are nearly right
RATE, DECAY = 3e-3, 0.05  # of AdamW: the highest rate of the one cycle; of the weights
RARE = 4.0  # a class weighs at most this many times what it would by its share


def train_classifier(
    faces: FaceSet, rows: np.ndarray, config: ClassifierConfig, epochs: int = 4, seed: int = 0,
    batch: int = 64, progress: bool = True,
) -> AttributeClassifier:  # fmt: skip
    """Train a classifier on rows of faces; what a face is not labelled with is skipped. Raises
    ValueError: an attribute that no face carries."""
    names = (*config.attributes, "age") if config.age else config.attributes
    targets = torch.from_numpy(faces.known_labels(names)[rows])  # (M, A [+ 1]), NaN: unknown
    for name, column in zip(config.attributes, targets.T, strict=False):
        if column.isnan().all():
            raise ValueError(f"no faces carry the label {name!r}: leave it out or add faces")
    share, batch = targets.nanmean(dim=0), min(batch, len(rows))
    weights = torch.where(targets > 0.5, 0.5 / share, 0.5 / (1 - share))  # both classes weigh alike
    if config.age:  # and each decade
        weights[:, -1] = torch.from_numpy(faces.balanced_weights("age")[rows])
    weights = weights.clamp(max=RARE).masked_fill(targets.isnan(), 0.0)
    vary = augmentation((config.size, config.size), True, 0.04, 0.25, blur=0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        whole = len(rows) // batch * batch
        order = torch.cat([torch.randperm(len(rows))[:whole] for _ in range(epochs)]).split(batch)
        classifier = AttributeClassifier(config).train()
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, len(order) + 1)
        for part in tqdm(order, desc="classifier", disable=not progress):
            images = resized(faces.tensor(rows[part]), config.size)
            images = torch.stack([vary(image) for image in images])
            loss = _loss(classifier(images), targets[part], weights[part])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    classifier.half().float()  # as it will be saved
    return classifier.requires_grad_(False).eval()


def _loss(found: tuple[Tensor, Tensor | None], targets: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy of attributes and of the age's distribution, over what is known."""
    (logits, spans), goal = found, targets.nan_to_num()  # (N, A), (N, SPANS); (N, A + 1)
    count = logits.shape[1]
    losses = F.binary_cross_entropy_with_logits(logits, goal[:, :count], reduction="none")
    if spans is not None:
        near = (-0.5 * ((AGES - goal[:, -1:]) / SPREAD).square()).softmax(dim=1)
        losses = torch.cat([losses, F.cross_entropy(spans, near, reduction="none")[:, None]], dim=1)
    return ((losses * weights).sum(dim=0) / (weights > 0).sum(dim=0).clamp(min=1)).sum()


def readings(faces: FaceSet, classifier: AttributeClassifier, names: Sequence[str]) -> np.ndarray:
    """(N, K) float32 as a classifier reads them: probabilities, years of `age`. Raises ValueError:
    it does not read one of the names, or reads faces in another framing."""
    own, given = classifier.framing, faces.framing
    if own != given:
        raise ValueError(f"the classifier reads the framing {own!r}, not {given!r}: prepare anew")
    parts = np.array_split(np.arange(len(faces)), len(faces) // 256 + 1)
    found = [classifier.predict(faces.tensor(rows)) for rows in tqdm(parts, "reading", delay=2)]
    for name in names:
        if name not in found[0]:
            raise ValueError(f"the classifier reads {', '.join(found[0])}, but not {name}")
    return np.stack([np.concatenate([one[name] for one in found]) for name in names], axis=1)


def labelled(faces: FaceSet, names: Sequence[str], read: np.ndarray) -> FaceSet:
    """The faces with what was read, (N, K), in place of labels that they lack."""
    known, made = faces.known_labels(names), copy.copy(faces)
    table = np.where(np.isnan(known), read, known).round().astype(np.int16)
    made.labels = faces.labels | dict(zip(names, table.T, strict=True))
    return made
