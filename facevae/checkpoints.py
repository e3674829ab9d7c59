"""What a run leaves in its folder: history, checkpoint to go on from, and the models worth keeping.

A checkpoint says that all else of its epoch is there, so it is written last. Every file is whole
or not there at all.
"""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import torch

from facevae import parallel
from facevae.files import claim, replacing, write_text
from facevae.model import FaceVAE
from facevae.recipes import Recipe

COLUMNS = ("epoch", "train_loss", "val_loss", "reconstruction", "kl", "grad_norm", "lr", "minutes")
CHECKPOINT = "checkpoint.pt"

History = list[dict[str, float]]


class CannotResume(ValueError):
    """There is no checkpoint, or it belongs to another recipe."""


def read_history(out: str | Path) -> History:
    """The rows of a run's `history.csv`, losses in nats per image."""
    with open(Path(out) / "history.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def write(out: Path, history: History, state: dict) -> None:
    """`history.csv`, and then the checkpoint."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS)
    writer.writeheader()
    writer.writerows(history)
    write_text(out / "history.csv", table.getvalue())
    # to a file of ours: torch's own writer does not tell that the disk is full
    with replacing(out / CHECKPOINT) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)


def read(out: Path, identity: str, resume: bool) -> dict | None:
    """The checkpoint of this very run on all processes, None where there is none to go on from.

    Raises:
        CannotResume: it is broken, or of another run, or one that nobody asked to resume.
        OSError: the folder cannot be written.
    """
    return parallel.from_first(lambda: _read(out, identity, resume))


def _read(out: Path, identity: str, resume: bool) -> dict | None:
    path = out / CHECKPOINT
    if path.is_file() and not resume:
        raise CannotResume(f"{out} already holds a run: resume it, or choose another folder")
    claim(out)
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        same = state["recipe"] == identity
    except Exception as error:  # a broken or foreign file raises of many kinds
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CannotResume(f"{path} is no whole checkpoint ({reason}): remove it") from error
    if not same:
        raise CannotResume(f"{path} is of another recipe or other faces: choose another folder")
    return state


def keep(model: FaceVAE, recipe: Recipe, out: Path, history: History) -> None:
    """Save the model of the epoch just ended wherever it belongs.

    That is `best/` if no epoch had a lower validation loss, `top/epoch_007/` … if the recipe
    keeps several and it is one of these, and `epoch_010/` … every so many epochs.
    """
    epoch, best = len(history), _ranking(history)[: recipe.keep_best]
    if epoch == best[0]:
        model.save_pretrained(out / "best")
    if recipe.keep_best > 1 and epoch in best:
        model.save_pretrained(out / "top" / f"epoch_{epoch:03d}")
    every = recipe.keep_every
    if every and (epoch % every == 0 or epoch == recipe.epochs):
        model.save_pretrained(out / f"epoch_{epoch:03d}")


def drop_beaten(recipe: Recipe, out: Path, history: History) -> None:
    """Remove the models in `top/` that are no longer among the best; after the checkpoint."""
    best = _ranking(history)[: recipe.keep_best]
    for folder in (out / "top").glob("epoch_*"):
        if int(folder.name.removeprefix("epoch_")) not in best:
            shutil.rmtree(folder)


def _ranking(history: History) -> list[int]:
    """Epochs by validation loss, the best first; the earlier of equals."""
    return [int(row["epoch"]) for row in sorted(history, key=lambda row: row["val_loss"])]
