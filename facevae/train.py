"""train(): the loop, its history, checkpoints and resume. It knows a recipe and a FaceSet."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from facevae import latent, losses, pictures
from facevae.data import FaceSet
from facevae.files import replacing, write_text
from facevae.model import FaceVAE
from facevae.recipes import RECIPES, Recipe

COLUMNS = ("epoch", "train_loss", "val_loss", "reconstruction", "kl", "grad_norm", "lr", "minutes")
CHECKPOINT = "checkpoint.pt"
CHECK_EVERY = 20  # steps between looks at whether the loss is finite: a look waits for a GPU


class Diverged(RuntimeError):
    """The loss is no longer finite; the checkpoint of the last good epoch is kept."""


class CannotResume(ValueError):
    """There is no checkpoint, or it belongs to another recipe."""


def train(
    recipe: Recipe | str,
    faces: FaceSet,
    out: str | Path,
    resume: bool = False,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> FaceVAE:
    """Train a recipe on prepared faces and return the model of the best validation epoch.

    Into `out` go `history.csv`, `monitor/epoch_001.png` … (one fixed pair's morph),
    `checkpoint.pt` after each epoch, `best/` and, where the recipe asks, `epoch_010/` …

    Everything random hangs on (seed, epoch), so a run that was killed and resumed ends with the
    same bits as one that was not.

    Args:
        recipe: a Recipe or the name of one.
        resume: go on from `out/checkpoint.pt`; start anew where there is none.
        device: "cpu", "cuda", "mps"; the fastest that is there by default.

    Raises:
        Diverged: the loss left the numbers.
        CannotResume: the checkpoint is of another recipe, or broken.
    """
    recipe = RECIPES[recipe] if isinstance(recipe, str) else recipe
    out, device = Path(out), torch.device(device or _fastest())
    run = _Run(recipe, faces, out, device)
    if resume:
        run.load()
    elif (out / CHECKPOINT).is_file():
        raise CannotResume(f"{out} already holds a run: resume it, or choose another folder")
    epochs = range(len(run.history) + 1, recipe.epochs + 1)
    for epoch in tqdm(epochs, desc=recipe.name, unit="epoch", disable=not progress):
        run.epoch(epoch, progress)
    return FaceVAE.from_pretrained(out / "best")


def read_history(out: str | Path) -> list[dict[str, float]]:
    """The rows of a run's `history.csv`, losses in nats per image."""
    with open(Path(out) / "history.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def _fastest() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class _Run:
    """One training run: what a checkpoint holds, and what an epoch does to it."""

    def __init__(self, recipe: Recipe, faces: FaceSet, out: Path, device: torch.device) -> None:
        self.recipe, self.out, self.device = recipe, out, device
        self.faces = faces
        self.rows = faces.split(recipe.seed, by=recipe.split_by)
        for part in ("train", "val"):
            if len(self.rows[part]) < 2:
                raise ValueError(f"{faces.folder} gives {part} fewer than two faces: prepare more")
        config = dataclasses.replace(recipe.model, image_shape=faces.image_shape)
        names = config.conditions
        self.conditions = torch.from_numpy(faces.conditions(names)) if names else None
        if self.conditions is not None:  # an unknown label cannot be a condition
            known = ~self.conditions.isnan().any(dim=1).numpy()
            self.rows = {part: rows[known[rows]] for part, rows in self.rows.items()}
        with _seeded(recipe.seed):
            model = FaceVAE(config)
        self.model = model.to(device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=recipe.lr, weight_decay=0.0)
        self.history: list[dict[str, float]] = []

    def epoch(self, epoch: int, progress: bool) -> None:
        """Train over all faces once, validate, and write everything down."""
        start = time.monotonic()
        self._set_rate(epoch)
        with _seeded(self.recipe.seed, epoch):  # dropout draws from the global generator
            trained = self._train_epoch(epoch, progress)
        validated = self._validate(epoch)
        before = self.history[-1]["minutes"] if self.history else 0.0
        row = {
            "epoch": epoch,
            "train_loss": trained["loss"],
            "val_loss": validated["loss"],
            "reconstruction": validated["reconstruction"],
            "kl": validated["kl"],
            "grad_norm": trained["grad_norm"],
            "lr": self.optimizer.param_groups[0]["lr"],
            "minutes": before + (time.monotonic() - start) / 60,
        }
        best = min((r["val_loss"] for r in self.history), default=math.inf)
        self.history.append(row)
        self._monitor(epoch)
        if row["val_loss"] < best:
            self.model.save_pretrained(self.out / "best")
        every = self.recipe.keep_every
        if every and (epoch % every == 0 or epoch == self.recipe.epochs):
            self.model.save_pretrained(self.out / f"epoch_{epoch:03d}")
        self._save()
        if progress:
            tqdm.write(
                f"epoch {epoch}: train {row['train_loss']:.1f}, val {row['val_loss']:.1f} "
                f"(reconstruction {row['reconstruction']:.1f}, KL {row['kl']:.1f}) nats an image, "
                f"gradient {row['grad_norm']:.3f}, {row['minutes']:.1f} min"
            )

    def _train_epoch(self, epoch: int, progress: bool) -> dict[str, float]:
        model, recipe = self.model.train(), self.recipe
        generator = _generator(recipe.seed, epoch)
        order = self.rows["train"][torch.randperm(len(self.rows["train"]), generator=generator)]
        numbers = self.faces.images[0].size  # of one image: the gradient is taken per number
        sums, steps = torch.zeros(2, device=self.device), 0
        batches = list(_batches(order, recipe.batch))
        for rows in tqdm(batches, leave=False, unit="batch", disable=not progress):
            images, condition = self._load(rows)
            if recipe.flip:
                images = _flip_half(images, generator)
            log_likelihood, posterior = model(images, condition, generator)
            loss = losses.negative_elbo(log_likelihood, posterior.kl(), recipe.beta).mean()
            self.optimizer.zero_grad(set_to_none=True)
            (loss / numbers).backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            self.optimizer.step()
            sums += torch.stack([loss.detach(), norm.detach()])
            steps += 1
            if steps % CHECK_EVERY == 0:
                self._check(sums, epoch)
        self._check(sums, epoch)
        loss, norm = (sums / steps).tolist()
        return {"loss": loss, "grad_norm": norm}

    @torch.inference_mode()
    def _validate(self, epoch: int) -> dict[str, float]:
        """The training objective on the validation faces, per image. Source of the noise: seed."""
        model, sums = self.model.eval(), torch.zeros(3, device=self.device)
        generator = _generator(self.recipe.seed, 0)  # the same draw each epoch: curves compare
        for rows in _batches(self.rows["val"], self.recipe.batch, keep_rest=True):
            log_likelihood, posterior = model(*self._load(rows), generator)
            kl = posterior.kl()
            loss = losses.negative_elbo(log_likelihood, kl, self.recipe.beta)
            sums += torch.stack([loss.sum(), -log_likelihood.sum(), kl.sum()])
        self._check(sums, epoch)
        loss, reconstruction, kl = (sums / len(self.rows["val"])).tolist()
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl}

    def _load(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Rows of the memory map as (B, C, H, W) in [0, 1] on the device, and their conditions."""
        levels = torch.from_numpy(self.faces.images[rows]).to(self.device)  # (B, H, W, C) uint8
        images = levels.permute(0, 3, 1, 2).float().div_(255.0)  # (B, C, H, W), channels last
        if self.conditions is None:
            return images, None
        return images, self.conditions[rows].to(self.device)

    def _set_rate(self, epoch: int) -> None:
        """The epoch's learning rate, from the recipe and the history alone: nothing to save."""
        recipe, rate = self.recipe, self.recipe.lr
        if recipe.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * (epoch - 1) / recipe.epochs))
        elif recipe.schedule == "plateau":
            rate *= 0.5 ** _plateaus([row["val_loss"] for row in self.history])
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    @torch.inference_mode()
    def _monitor(self, epoch: int) -> None:
        """The morph of one fixed validation pair, at every epoch the same two faces."""
        images, condition = self._load(self.rows["val"][[0, len(self.rows["val"]) // 2]])
        means = self.model.eval().encode(images, condition).mean
        t = torch.linspace(0, 1, 7, device=self.device)
        path = latent.linear(means[:1], means[1:], t)
        if condition is not None:
            condition = latent.linear(condition[:1], condition[1:], t)
        morph = self.model.decode(path, condition)
        strip = torch.cat([images[:1], morph, images[1:]])
        with replacing(self.out / "monitor" / f"epoch_{epoch:03d}.png") as path:
            pictures.tile(pictures.to_pil(strip)).save(path)

    def _check(self, sums: Tensor, epoch: int) -> None:
        if not sums.isfinite().all():
            kept = f"; epoch {epoch - 1} is kept in {self.out}" if epoch > 1 else ""
            raise Diverged(
                f"the loss of {self.recipe.name} is no longer a number in epoch {epoch}{kept}: "
                f"lower the learning rate (now {self.recipe.lr:g}) or the bound of the gradient"
            )

    def _save(self) -> None:
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS)
        writer.writeheader()
        writer.writerows(self.history)
        state = {
            "recipe": self._identity(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }
        with replacing(self.out / CHECKPOINT) as temporary:
            torch.save(state, temporary)
        write_text(self.out / "history.csv", table.getvalue())

    def load(self) -> None:
        """Take up `checkpoint.pt`, if it is there and of this very run."""
        path = self.out / CHECKPOINT
        if not path.is_file():
            return
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            same = state["recipe"] == self._identity()
        except Exception as error:  # a broken or foreign file raises of many kinds
            reason = str(error).splitlines()[0]
            raise CannotResume(f"{path} is no whole checkpoint ({reason}): remove it") from error
        if not same:
            raise CannotResume(f"{path} is of another recipe or other faces: choose another folder")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = state["history"]

    def _identity(self) -> str:
        """What must agree to go on with a run; its length may grow (and with it the cosine)."""
        recipe = dataclasses.asdict(self.recipe.changed(epochs=0))
        return json.dumps([recipe, self.faces.images.shape])


def _batches(rows: np.ndarray, size: int, keep_rest: bool = False) -> Iterator[np.ndarray]:
    """Cut rows into batches; a rest smaller than a batch is left to another epoch's order."""
    size = min(size, len(rows))
    end = len(rows) if keep_rest else len(rows) - len(rows) % size
    for start in range(0, end, size):
        yield np.sort(rows[start : start + size])  # sorted: the memory map reads forward


def _flip_half(images: Tensor, generator: torch.Generator) -> Tensor:
    flipped = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flipped.to(images.device)[:, None, None, None], images.flip(3), images)


def _plateaus(losses_: list[float], patience: int = 3, threshold: float = 1e-4) -> int:
    """How often the rate was halved by now: after `patience` epochs without a better loss."""
    best, waited, halvings = math.inf, 0, 0
    for loss in losses_:
        if loss < best - threshold * abs(best) if math.isfinite(best) else True:
            best, waited = loss, 0
        else:
            waited += 1
        if waited > patience:
            halvings, waited = halvings + 1, 0
    return halvings


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


@contextmanager
def _seeded(seed: int, epoch: int = 0) -> Iterator[None]:
    """The global generator seeded by (seed, epoch) inside the block, and as it was after it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed * 1_000_003 + epoch)
        yield
