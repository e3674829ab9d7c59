"""`train_edits`: stage 2 on prepared faces, from a folder to a folder that a studio opens."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facevae.data.face_set import FaceSet
from facevae.io import claim, replacing
from facevae.latents.statistics import LatentStatistics
from facevae.models.classifier import AttributeClassifier
from facevae.models.vae import FaceVAE
from facevae.training.adversarial import EditRecipe, EditTrainer
from facevae.training.checkpoints import CannotResume
from facevae.training.edit_faces import EditFaces

CHECKPOINT_EVERY = 250  # steps; a kill loses no more
REPORT_EVERY = 50  # steps


class ClassifiedFaces:
    """A face set whose labels are what a classifier reads: every face has all of them.

    `labels`: 0 or 1 for each attribute, years for the age; the rest is the face set's.
    """

    def __init__(self, faces: FaceSet, classifier: AttributeClassifier, batch: int = 256) -> None:
        self.faces = faces
        parts = [
            classifier.predict(faces.tensor(np.arange(start, min(start + batch, len(faces)))))
            for start in tqdm(range(0, len(faces), batch), desc="classifying", delay=2)
        ]
        self.readings = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        self.labels = {
            name: v.round().numpy().astype(np.int16) for name, v in self.readings.items()
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self.faces, name)

    def __len__(self) -> int:
        return len(self.faces)

    def conditions(self, names: Sequence[str]) -> np.ndarray:
        """(N, K) float32: probabilities of attributes, ages in centuries."""
        columns = [self.readings[n] / (100.0 if n == "age" else 1.0) for n in names]
        return torch.stack(columns, dim=1).numpy()


def known_labels(faces: FaceSet, names: Sequence[str], read: np.ndarray) -> Tensor:
    """(N, K): a face set's own labels, NaN where unknown. Of ages, which few sets have, those that
    were read (N, K) stand in."""
    table = np.full((len(faces), len(names)), np.nan, np.float32)
    for k, name in enumerate(names):
        values, gender = faces.labels.get(name), faces.labels.get("gender")
        if values is None and name == "Male" and gender is not None:
            values = np.where(gender < 0, -1, 1 - gender)
        if values is not None:
            table[:, k] = np.where(values < 0, np.nan, values / (100.0 if name == "age" else 1.0))
        elif name == "age":
            table[:, k] = read[:, k]
    return torch.from_numpy(table)


def gather(
    sets: Sequence[FaceSet], classified: Sequence[ClassifiedFaces], model: FaceVAE, seed: int
) -> EditFaces:
    """The training and validation faces of several sets; the test faces are left out.

    UTKFace's crops are tight: padded to a whole head they teach ages, and nothing else.
    """
    names = model.config.conditions
    conditions, labels, whole, places = [], [], [], []
    for number, (faces, read) in enumerate(zip(sets, classified, strict=True)):
        split = faces.split(seed)
        rows = np.concatenate([split["train"], split["val"]])
        y = read.conditions(names)
        conditions.append(torch.from_numpy(y)[rows])
        labels.append(known_labels(faces, names, y)[rows])
        whole.append(np.full(len(rows), faces.manifest["source"] != "utkface"))
        places += [(number, int(row)) for row in rows]

    def images(rows: np.ndarray) -> Tensor:
        pictures = [sets[s].tensor(np.array([row])) for s, row in (places[i] for i in rows)]
        return torch.cat(pictures)

    return EditFaces(
        names, images, torch.cat(conditions), torch.cat(labels), np.concatenate(whole),
        model.config.age_anchors,
    )  # fmt: skip


def train_edits(
    folder: str | Path, sets: Sequence[FaceSet], out: str | Path, steps: int = 100_000,
    resume: bool = False, seed: int = 0, device: str = "cpu", recipe: EditRecipe | None = None,
) -> FaceVAE:  # fmt: skip
    """Train the decoder of a conditional model on what its edits show; see `adversarial`.

    Args:
        folder: of the model of stage 1 and the editing classifier.
        sets: prepared faces in the classifier's framing.
        out: gets `checkpoint.pt` every 250 steps, and `best/`, which a studio opens.
        steps: in all; with `resume` the run goes on to them from its checkpoint, to the step.

    Raises:
        ValueError: the model draws no `hold`, or has no ages. CannotResume: a checkpoint is broken
        or there is one and `resume` was not asked for.
    """
    model, classifier = FaceVAE.from_pretrained(folder), AttributeClassifier.load(folder)
    if not model.config.hold or not model.config.age_anchors:
        raise ValueError(
            f"{folder} holds a model without `hold` or `age_anchors`: train one by the recipe "
            "studio"
        )
    out = Path(out)
    path = out / "checkpoint.pt"
    if path.is_file() and not resume:
        raise CannotResume(f"{out} already holds a run: add --resume, or choose another folder")
    claim(out)
    classified = [ClassifiedFaces(faces, classifier) for faces in sets]
    trainer = EditTrainer(model, gather(sets, classified, model, seed), recipe, seed, device)
    if path.is_file():
        try:
            trainer.restore(torch.load(path, map_location=device, weights_only=True))
        except (OSError, KeyError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
            reason = str(error).partition("\n")[0]
            raise CannotResume(
                f"{path} cannot be resumed ({reason}): start in another folder"
            ) from error
    bar = tqdm(initial=trainer.steps, total=steps, desc="edits", unit="step")
    while trainer.steps < steps:
        losses = trainer.step()
        bar.update()
        if trainer.steps % REPORT_EVERY == 0:
            bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()})
        if trainer.steps % CHECKPOINT_EVERY == 0 or trainer.steps == steps:
            with replacing(path) as temporary:
                torch.save(trainer.state(), temporary)
    bar.close()
    edited = trainer.edited_model()
    edited.save_pretrained(out / "best")
    classifier.save(out / "best")
    fit_statistics(edited, sets, classified, seed).save(out / "best")
    return edited


def fit_statistics(
    model: FaceVAE, sets: Sequence[FaceSet], classified: Sequence[ClassifiedFaces], seed: int
) -> LatentStatistics:
    """Statistics of the codes of the largest set's training faces, by the labels that were read."""
    largest = max(range(len(sets)), key=lambda number: len(sets[number]))
    rows = sets[largest].split(seed)["train"]
    return LatentStatistics.fit(model, classified[largest], rows, seed=seed)  # type: ignore[arg-type]
