"""train(): the loop, its history, checkpoints and resume. It knows a recipe and a FaceSet."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from facevae import latent, losses, parallel, pictures
from facevae.batches import Batches
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
    tensorboard: bool = False,
) -> FaceVAE:
    """Train a recipe on prepared faces and return the model of the best validation epoch.

    Into `out` go `recipe.json`, `history.csv`, `monitor/epoch_001.png` … (one fixed pair's morph),
    `checkpoint.pt` after each epoch, `best/` and, where the recipe asks, `epoch_010/` … and
    `top/epoch_007/` …

    Everything random hangs on (seed, epoch), so a run that was killed and resumed ends with the
    same bits as one that was not. Started by `accelerate launch`, the processes share each
    batch, and all but dropout (drawn apart in each) is as with one process.

    Args:
        recipe: a Recipe or the name of one.
        resume: go on from `out/checkpoint.pt`; start anew where there is none.
        device: "cpu", "cuda", "mps"; the fastest that is there by default.
        tensorboard: also log the history and the monitor into `out/tensorboard`.

    Raises:
        Diverged: the loss left the numbers.
        CannotResume: the checkpoint is of another recipe, or broken.
    """
    recipe = RECIPES[recipe] if isinstance(recipe, str) else recipe
    out, accelerator = Path(out), _accelerator(device)
    device = accelerator.device if accelerator else torch.device(device or _fastest())
    progress = progress and (accelerator is None or accelerator.is_main_process)
    run = _Run(recipe, faces, out, device, tensorboard)
    if resume:
        run.load()
    elif (out / CHECKPOINT).is_file():
        raise CannotResume(f"{out} already holds a run: resume it, or choose another folder")
    if accelerator:
        run.step = accelerator.prepare(run.model)
    epochs = range(len(run.history) + 1, recipe.epochs + 1)
    for epoch in tqdm(epochs, desc=recipe.name, unit="epoch", disable=not progress):
        run.epoch(epoch, progress)
        if accelerator:
            accelerator.wait_for_everyone()  # none reads what the first still writes
    return FaceVAE.from_pretrained(out / "best")


def read_history(out: str | Path) -> list[dict[str, float]]:
    """The rows of a run's `history.csv`, losses in nats per image."""
    with open(Path(out) / "history.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def _fastest() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _accelerator(device: str | torch.device | None):
    """What `accelerate launch` set up; None for the one process that most runs are."""
    if not parallel.launched():
        return None
    from accelerate import Accelerator

    return Accelerator(cpu=torch.device(device or _fastest()).type == "cpu")


class _Run:
    """One training run: what a checkpoint holds, and what an epoch does to it."""

    def __init__(
        self, recipe: Recipe, faces: FaceSet, out: Path, device: torch.device, tensorboard: bool
    ) -> None:
        self.recipe, self.out, self.device = recipe, out, device
        self.faces, self.batches = faces, Batches(recipe, faces, device)
        self.rows = self.batches.rows
        config = dataclasses.replace(recipe.model, image_shape=faces.image_shape)
        self.objective = losses.Objective(
            recipe.beta, recipe.capacity, recipe.tcvae, len(self.rows["train"])
        )
        with _seeded(recipe.seed):
            model = FaceVAE(config)
        if parallel.launched():
            parallel.spread_batch_norm(model)
        self.model = model.to(device, memory_format=torch.channels_last)
        self.step: nn.Module = self.model  # what a step calls: the model, or its parallel wrapper
        self.average = None
        if recipe.ema:
            self.average = AveragedModel(
                self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True
            )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=recipe.lr, weight_decay=0.0)
        self.history: list[dict[str, float]] = []
        self.tensorboard = tensorboard

    @property
    def judged(self) -> FaceVAE:
        """The model that is validated and kept: the averaged one where the recipe wants it."""
        return self.model if self.average is None else self.average.module

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
        self.history.append(row)
        if parallel.ranks()[0] == 0:
            self._write(epoch)
        if progress:
            tqdm.write(
                f"epoch {epoch}: train {row['train_loss']:.1f}, val {row['val_loss']:.1f} "
                f"(reconstruction {row['reconstruction']:.1f}, KL {row['kl']:.1f}) nats an image, "
                f"gradient {row['grad_norm']:.3f}, {row['minutes']:.1f} min"
            )

    def _train_epoch(self, epoch: int, progress: bool) -> dict[str, float]:
        model, recipe = self.step.train(), self.recipe
        generator = _generator(recipe.seed, epoch)
        batches = self.batches.train(generator)
        numbers = self.faces.images[0].size  # of one image: the gradient is taken per number
        sums = torch.zeros(2, device=self.device)
        for i, rows in enumerate(tqdm(batches, leave=False, unit="batch", disable=not progress)):
            part = parallel.Part.of(len(rows))
            images, condition = self.batches.load(rows[part.rows])
            images = self.batches.varied(images, part, generator)
            done = (epoch - 1 + i / len(batches)) / recipe.warmup if recipe.warmup else 1.0
            with self._precision():
                log_likelihood, posterior = model(images, condition, generator, part)
            losses_ = self.objective(log_likelihood, posterior, min(1.0, done), generator, part)
            loss = (losses_ * self.batches.weight(rows[part.rows])).mean()
            self.optimizer.zero_grad(set_to_none=True)
            (loss / numbers).backward()
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
            self.optimizer.step()
            if self.average is not None:
                self.average.update_parameters(self.model)
            sums += torch.stack([parallel.mean(loss.detach()), norm.detach()])
            if i % CHECK_EVERY == CHECK_EVERY - 1:
                self._check(sums, epoch)
        self._check(sums, epoch)
        loss, norm = (sums / len(batches)).tolist()
        return {"loss": loss, "grad_norm": norm}

    @torch.inference_mode()
    def _validate(self, epoch: int) -> dict[str, float]:
        """The training objective on the validation faces, per image. Source of the noise: seed."""
        model, sums = self.judged.eval(), torch.zeros(3, device=self.device)
        generator = _generator(self.recipe.seed, 0)  # the same draw each epoch: curves compare
        for rows in self.batches.validation():
            part = parallel.Part.of(len(rows))
            images, condition = self.batches.load(rows[part.rows])
            with self._precision():
                log_likelihood, posterior = model(images, condition, generator, part)
            loss = self.objective(log_likelihood, posterior, 1.0, generator, part)
            sums += torch.stack([loss.sum(), -log_likelihood.sum(), posterior.kl().sum()])
        sums = parallel.total(sums)
        self._check(sums, epoch)
        loss, reconstruction, kl = (sums / len(self.rows["val"])).tolist()
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl}

    def _precision(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16)

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
    def _monitor(self, epoch: int) -> Image.Image:
        """The morph of one fixed validation pair, at every epoch the same two faces."""
        model = self.judged.eval()
        images, condition = self.batches.load(self.rows["val"][[0, len(self.rows["val"]) // 2]])
        means = model.encode(images, condition).mean
        t = torch.linspace(0, 1, 7, device=self.device)
        path = latent.linear(means[:1], means[1:], t)
        if condition is not None:
            condition = latent.linear(condition[:1], condition[1:], t)
        strip = torch.cat([images[:1], model.decode(path, condition), images[1:]])
        picture = pictures.tile(pictures.to_pil(strip))
        with replacing(self.out / "monitor" / f"epoch_{epoch:03d}.png") as path:
            picture.save(path)
        return picture

    def _check(self, sums: Tensor, epoch: int) -> None:
        if not sums.isfinite().all():
            kept = f"; epoch {epoch - 1} is kept in {self.out}" if epoch > 1 else ""
            raise Diverged(
                f"the loss of {self.recipe.name} is no longer a number in epoch {epoch}{kept}: "
                f"lower the learning rate (now {self.recipe.lr:g}) or the bound of the gradient"
            )

    def _write(self, epoch: int) -> None:
        """All that an epoch leaves behind; the checkpoint last, since it says the rest is there."""
        strip = self._monitor(epoch)
        ranking = sorted(self.history, key=lambda row: row["val_loss"])
        best = [int(row["epoch"]) for row in ranking[: self.recipe.keep_best]]
        if epoch == best[0]:
            self.judged.save_pretrained(self.out / "best")
        if self.recipe.keep_best > 1 and epoch in best:
            self.judged.save_pretrained(self.out / "top" / f"epoch_{epoch:03d}")
        every = self.recipe.keep_every
        if every and (epoch % every == 0 or epoch == self.recipe.epochs):
            self.judged.save_pretrained(self.out / f"epoch_{epoch:03d}")
        if self.tensorboard:
            self._log(epoch, strip)
        self._save()
        for folder in (self.out / "top").glob("epoch_*"):
            if int(folder.name.removeprefix("epoch_")) not in best:
                shutil.rmtree(folder)

    def _log(self, epoch: int, strip: Image.Image) -> None:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(self.out / "tensorboard", purge_step=epoch) as writer:
            for name, value in self.history[-1].items():
                writer.add_scalar(name, value, epoch)
            writer.add_image("monitor", np.asarray(strip), epoch, dataformats="HWC")

    def _save(self) -> None:
        recipe = dataclasses.asdict(self.recipe)
        about = {"shape": self.faces.images.shape, "source": self.faces.manifest["source"]}
        text = json.dumps({"recipe": recipe, "faces": about}, indent=1, ensure_ascii=False)
        write_text(self.out / "recipe.json", text + "\n")
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
        if self.average is not None:
            state["average"] = self.average.state_dict()
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
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.history = state["history"]

    def _identity(self) -> str:
        """What must agree to go on with a run; its length may grow (and with it the cosine)."""
        recipe = dataclasses.asdict(self.recipe.changed(epochs=0))
        return json.dumps([recipe, self.faces.images.shape])


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
