"""train(): the loop, its history, checkpoints and resume. It knows a recipe and a FaceSet."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from facevae import checkpoints, latent, losses, memory, parallel, pictures
from facevae.averages import averaging
from facevae.batches import Batches
from facevae.checkpoints import CHECKPOINT, COLUMNS, CannotResume, read_history
from facevae.data import FaceSet
from facevae.files import replacing, write_text
from facevae.model import FaceVAE
from facevae.recipes import RECIPES, Recipe

__all__ = ["CHECKPOINT", "COLUMNS", "CannotResume", "Diverged", "read_history", "train"]

CHECK_EVERY = 20  # steps between looks at whether the loss is finite: a look waits for a GPU


class Diverged(RuntimeError):
    """The loss is no longer finite; the checkpoint of the last good epoch is kept."""


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
    same bits as one that was not. Processes started by `torchrun` (CPUs) or `accelerate launch`
    (GPUs) share each batch and end as one process would, up to rounding; only dropout is another
    on another number of them, since each draws its own. The first process alone reads and writes
    `out`; each needs the faces.

    Args:
        recipe: a Recipe or the name of one.
        resume: go on from `out/checkpoint.pt`; start anew where there is none.
        device: "cpu", "cuda", "mps"; the fastest that is there by default. Of several GPUs each
            process has its own.
        tensorboard: also log the history and the monitor into `out/tensorboard`.

    Raises:
        Diverged: the loss left the numbers.
        CannotResume: the checkpoint is of another recipe, or broken.
    """
    recipe = RECIPES[recipe] if isinstance(recipe, str) else recipe
    place = torch.device(device or fastest())
    accelerator = parallel.accelerator(place)
    if accelerator:
        place, progress = accelerator.device, progress and accelerator.is_main_process
    run = _Run(recipe, faces, Path(out), place, tensorboard)
    run.load(resume)
    if accelerator:
        run.step = accelerator.prepare(run.model)
    epochs = range(len(run.history) + 1, recipe.epochs + 1)
    for epoch in tqdm(epochs, desc=recipe.name, unit="epoch", disable=not progress):
        run.epoch(epoch, progress)
    return parallel.from_first(lambda: FaceVAE.from_pretrained(run.out / "best"))


def fastest() -> str:
    """The name of the fastest kind of device that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class _Run:
    """One training run: what a checkpoint holds, and what an epoch does to it."""

    def __init__(
        self,
        recipe: Recipe,
        faces: FaceSet,
        out: Path,
        device: torch.device,
        tensorboard: bool = False,
    ) -> None:
        self.recipe, self.out, self.device = recipe, out, device
        if device.type == "cpu":
            memory.keep_freed()
        self.faces, self.batches = faces, Batches(recipe, faces, device)
        self.rows = self.batches.rows
        config = dataclasses.replace(recipe.model, image_shape=faces.image_shape)
        self.objective = losses.Objective(
            recipe.beta, recipe.capacity, recipe.tcvae, len(self.rows["train"])
        )
        with _seeded(recipe.seed):
            model = FaceVAE(config)
        if recipe.start:
            model.grow_from(FaceVAE.from_pretrained(recipe.start))
        if parallel.launched():
            parallel.spread_batch_norm(model)
        self.model = model.to(device).to(memory_format=torch.channels_last)
        self.step: nn.Module = self.model  # what a step calls: the model, or its parallel wrapper
        self.average = None
        if recipe.ema:
            self.average = AveragedModel(
                self.model, multi_avg_fn=averaging(recipe.ema), use_buffers=True
            )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=recipe.lr, weight_decay=0.0)
        self.history: list[dict[str, float]] = []
        self.tensorboard = tensorboard

    @property
    def judged(self) -> FaceVAE:
        """The model that is validated and kept: the averaged one where the recipe wants it."""
        if self.average is None:
            return self.model
        assert isinstance(self.average.module, FaceVAE)
        return self.average.module

    def epoch(self, epoch: int, progress: bool) -> None:
        """Train over all faces once, validate, and write everything down."""
        start = time.monotonic()
        self._set_rate(epoch)
        # Dropout draws from the global generator, and each process from its own.
        with _seeded(self.recipe.seed, epoch, parallel.ranks()[0]):
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
            loss = parallel.share(losses_ * self.batches.weight(rows[part.rows]), part)
            self.optimizer.zero_grad(set_to_none=True)
            (loss / numbers).backward()
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
            self.optimizer.step()
            if self.average is not None:
                self.average.update_parameters(self.model)
            sums += torch.stack([loss.detach(), norm.detach()])
            if i % CHECK_EVERY == CHECK_EVERY - 1:
                self._check(parallel.mean_over_processes(sums), epoch)
        sums = parallel.mean_over_processes(sums)
        self._check(sums, epoch)
        loss, norm = (sums / len(batches)).tolist()
        return {"loss": loss, "grad_norm": norm}

    @torch.inference_mode()
    def _validate(self, epoch: int) -> dict[str, float]:
        """The training objective at its final weight, and its parts, per image of the validation.

        Faces count as in training: where rare ones are drawn more often or weigh more, so here.
        """
        model, sums = self.judged.eval(), torch.zeros(3, device=self.device)
        generator = _generator(self.recipe.seed, 0)  # the same draw each epoch: curves compare
        for rows in self.batches.validation():
            part = parallel.Part.of(len(rows))
            images, condition = self.batches.load(rows[part.rows])
            with self._precision():
                log_likelihood, posterior = model(images, condition, generator, part)
            loss = self.objective(log_likelihood, posterior, 1.0, generator, part)
            counts = self.batches.importance(rows[part.rows])
            columns = (loss, -log_likelihood, posterior.kl())
            sums += torch.stack([(counts * column).sum() for column in columns])
        sums = parallel.total(sums)
        self._check(sums, epoch)
        faces = self.batches.importance(self.rows["val"]).sum()
        loss, reconstruction, kl = (sums / faces).tolist()
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl}

    def _precision(self) -> torch.autocast:
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
        with replacing(self.out / "monitor" / f"epoch_{epoch:03d}.png") as file:
            picture.save(file)
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
        checkpoints.keep(self.judged, self.recipe, self.out, self.history)
        if self.tensorboard:
            self._log(epoch, strip)
        self._save()
        checkpoints.drop_beaten(self.recipe, self.out, self.history)

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
        state = {
            "recipe": self._identity(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
        }
        if self.average is not None:
            state["average"] = self.average.state_dict()
        checkpoints.write(self.out, self.history, state)

    def load(self, resume: bool) -> None:
        """Take up the run's checkpoint, if there is one and it is to be resumed."""
        state = checkpoints.read(self.out, self._identity(), resume)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.history = state["history"]
        if parallel.ranks()[0] == 0:  # a kill may have come between the checkpoint and this
            checkpoints.drop_beaten(self.recipe, self.out, self.history)

    def _identity(self) -> str:
        """What must agree to go on with a run; its length may grow (and with it the cosine)."""
        recipe = dataclasses.asdict(self.recipe) | {"epochs": 0}
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
def _seeded(seed: int, epoch: int = 0, rank: int = 0) -> Iterator[None]:
    """The global generator seeded by these three inside the block, and as it was after it."""
    with torch.random.fork_rng():
        # Only 32 bits of a seed count, so the ranks are set apart by another prime.
        torch.manual_seed(seed * 1_000_003 + epoch + rank * 15_485_863)
        yield
