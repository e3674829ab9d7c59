"""The folder of a run: its history, recipe, monitor, checkpoint, and the models worth keeping.

A checkpoint says that all else of its epoch is there, so it is written last. Every file is whole
or not there at all.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from facevae.config import Recipe
from facevae.io import claim, replacing, write_text

if TYPE_CHECKING:
    from facevae.data.face_set import FaceSet
    from facevae.training.trainer import Trainer

COLUMNS = ("epoch", "train_loss", "val_loss", "reconstruction", "kl", "grad_norm", "lr", "minutes")
CHECKPOINT = "checkpoint.pt"


class CannotResume(ValueError):
    """The folder's checkpoint is broken, of another run, or one that nobody asked to resume."""


def read_history(out: str | Path) -> list[dict[str, float]]:
    """The rows of a run's `history.csv`, losses in nats per image."""
    with open(Path(out) / "history.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def epochs_kept(out: Path) -> int:
    """How many epochs the folder's checkpoint can be resumed after."""
    return len(read_history(out)) if (out / CHECKPOINT).is_file() else 0


def read(out: Path, recipe: Recipe, faces: FaceSet, resume: bool) -> dict[str, Any] | None:
    """The checkpoint of this very run, None where there is none to go on from.

    Raises:
        CannotResume: it is broken, of another run, longer than the recipe, or not to be resumed.
        OSError: the folder cannot be written.
    """
    path = out / CHECKPOINT
    if path.is_file() and not resume:
        raise CannotResume(
            f"{out} already holds a run: add --resume (resume=True) to go on with it, or choose "
            "another folder"
        )
    claim(out)
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        same, history = state["identity"] == _identity(recipe, faces), state["history"]
    except Exception as error:  # a broken or foreign file raises of many kinds
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CannotResume(f"{path} is no whole checkpoint ({reason}): remove it") from error
    if not same:
        raise CannotResume(f"{path} is of another recipe or other faces: choose another folder")
    if len(history) > recipe.epochs:
        raise CannotResume(
            f"{out} holds {len(history)} epochs already, more than the {recipe.epochs} asked for: "
            f"ask for {len(history)} or more, or choose another folder"
        )
    _drop_beaten(recipe, out, history)  # a kill may have come between the checkpoint and this
    return state


def write(out: Path, recipe: Recipe, faces: FaceSet, trainer: Trainer, strip: Image.Image) -> None:
    """All that an epoch leaves behind, the checkpoint last.

    The model goes into `best/` if no epoch had a lower validation loss, into `top/epoch_007/` …
    if the recipe keeps several and it is one of these, and into `epoch_010/` … every so many
    epochs.
    """
    history, model = trainer.history, trainer.validated
    epoch, best = len(history), _ranking(history)[: recipe.keep_best]
    with replacing(out / "monitor" / f"epoch_{epoch:03d}.png") as file:
        strip.save(file)
    if epoch == best[0]:
        model.save_pretrained(out / "best")
    if recipe.keep_best > 1 and epoch in best:
        model.save_pretrained(out / "top" / f"epoch_{epoch:03d}")
    every = recipe.keep_every
    if every and (epoch % every == 0 or epoch == recipe.epochs):
        model.save_pretrained(out / f"epoch_{epoch:03d}")
    about = {"shape": faces.images.shape, "source": faces.manifest["source"]}
    text = {"recipe": dataclasses.asdict(recipe), "faces": about}
    write_text(out / "recipe.json", json.dumps(text, indent=1, ensure_ascii=False) + "\n")
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS)
    writer.writeheader()
    writer.writerows(history)
    write_text(out / "history.csv", table.getvalue())
    state = trainer.state_dict() | {"identity": _identity(recipe, faces)}
    # to a file of ours: torch's own writer does not tell that the disk is full
    with replacing(out / CHECKPOINT) as temporary, open(temporary, "wb") as opened:
        torch.save(state, opened)
    _drop_beaten(recipe, out, history)


def log(out: Path, row: dict[str, float], strip: Image.Image) -> None:
    """An epoch's row and monitor picture for TensorBoard, in `tensorboard/`."""
    from torch.utils.tensorboard import SummaryWriter

    epoch = int(row["epoch"])
    with SummaryWriter(out / "tensorboard", purge_step=epoch) as writer:
        for name, value in row.items():
            writer.add_scalar(name, value, epoch)
        writer.add_image("monitor", np.asarray(strip.convert("RGB")), epoch, dataformats="HWC")


def _identity(recipe: Recipe, faces: FaceSet) -> str:
    """What must agree to go on with a run; its length may grow, and with it the cosine."""
    return json.dumps([dataclasses.asdict(recipe) | {"epochs": 0}, faces.images.shape])


def _drop_beaten(recipe: Recipe, out: Path, history: list[dict[str, float]]) -> None:
    """Remove the models in `top/` that are no longer among the best."""
    best = _ranking(history)[: recipe.keep_best]
    for folder in (out / "top").glob("epoch_*"):
        if int(folder.name.removeprefix("epoch_")) not in best:
            shutil.rmtree(folder)


def _ranking(history: list[dict[str, float]]) -> list[int]:
    """Epochs by validation loss, the best first; the earlier of equals."""
    return [int(row["epoch"]) for row in sorted(history, key=lambda row: row["val_loss"])]
