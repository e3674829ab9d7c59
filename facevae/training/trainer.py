"""The training loop: a recipe, a FaceVAE and batches of faces in, the losses of an epoch out."""

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from facevae.config import Recipe
from facevae.models.losses import Objective
from facevae.models.vae import FaceVAE

if TYPE_CHECKING:
    from facevae.training.batches import Batches

PLATEAU_EPOCHS, PLATEAU_FACTOR = 3, 0.5  # after more epochs without a better loss, rate times this
PLATEAU_SHARE = 1e-4  # of the best loss, by which a better one must be lower


class Diverged(RuntimeError):
    """The loss is no longer a finite number."""


class Trainer:
    """Trains a model as a recipe says. What is random depends on the seed and the epoch alone.
    Where several processes train one model, `network` shares its gradients, and `total` gives the
    sum of a tensor over them."""

    def __init__(self, recipe: Recipe, model: FaceVAE, batches: "Batches", seed: int) -> None:
        self.recipe, self.model, self.batches = recipe, model, batches
        self.seed = 1_000_003 * seed
        self.network: nn.Module = model
        self.total: Callable[[Tensor], Tensor] = lambda sums: sums
        faces = len(batches.rows["train"])
        self.objective = Objective(recipe.beta, recipe.capacity, recipe.tcvae, faces)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=0.0)
        self.history: list[dict[str, float]] = []  # a row an epoch; losses in nats per image

    def epoch(self, progress: bool = False) -> dict[str, float]:
        """Train on all faces once, then validate; return the new row of the history."""
        start, number = time.monotonic(), len(self.history) + 1
        rate = learning_rate(self.recipe, [row["val_loss"] for row in self.history])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.random.fork_rng():  # of which dropout and augmentation draw
            torch.manual_seed(self.seed + number)
            loss, norm = self._train(number, progress)
        val_loss, reconstruction, kl = self._validate(number)
        before = self.history[-1]["minutes"] if self.history else 0.0
        row = {"epoch": number, "train_loss": loss, "val_loss": val_loss,
               "reconstruction": reconstruction, "kl": kl, "grad_norm": norm, "lr": rate,
               "minutes": before + (time.monotonic() - start) / 60}  # fmt: skip
        self.history.append(row)
        return row

    def _train(self, epoch: int, progress: bool) -> list[float]:
        """The mean loss and the mean norm of the gradient over an epoch's steps."""
        network, recipe = self.network.train(), self.recipe
        generator = torch.Generator().manual_seed(self.seed + epoch)
        parts, sums = self.batches.train(epoch), torch.zeros(3)
        for i, rows in enumerate(tqdm(parts, leave=False, unit="batch", disable=not progress)):
            images, condition = self.batches.load(rows, varied=True)
            warm = (epoch - 1 + i / len(parts)) / recipe.warmup if recipe.warmup else 1.0
            with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.bf16):
                log_likelihood, posterior = network(images, condition, generator)
            losses = self.objective(log_likelihood, posterior, min(1.0, warm), generator)  # (B,)
            loss = (losses * self.batches.weights[rows].to(losses)).mean()
            self.optimizer.zero_grad(set_to_none=True)
            (loss / images[0].numel()).backward()  # in nats a number, whatever the picture's size
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
            self.optimizer.step()
            sums = sums.to(loss) + torch.stack([loss.detach(), norm, torch.ones_like(loss)])
        return self._means(sums, epoch)

    @torch.inference_mode()
    def _validate(self, epoch: int) -> list[float]:
        """The objective at its final weight, −log p(x | z) and the KL, per validation image, where
        faces count as in training: as often as they are drawn times their weight."""
        model, sums = self.model.eval(), torch.zeros(4)
        generator = torch.Generator().manual_seed(self.seed)  # the same draw in each epoch
        for rows in self.batches.validation():
            images, condition = self.batches.load(rows)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self.recipe.bf16):
                log_likelihood, posterior = model(images, condition, generator)
            loss = self.objective(log_likelihood, posterior, 1.0, generator)
            columns = torch.stack([loss, -log_likelihood, posterior.kl(), torch.ones_like(loss)])
            counts = (self.batches.weights * self.batches.draws)[rows].to(loss)  # (B,)
            sums = sums.to(loss) + columns @ counts  # (4, B) @ (B,)
        return self._means(sums, epoch)

    def _means(self, sums: Tensor, epoch: int) -> list[float]:
        """Sums of all processes, each divided by the last of them, which counts."""
        *values, count = self.total(sums).tolist()
        if not all(math.isfinite(value) for value in values):
            now = f"the learning rate (now {self.recipe.lr:g}) or the bound of the gradient"
            raise Diverged(f"the loss is no longer a number in epoch {epoch}: lower {now}")
        return [value / count for value in values]

    def state_dict(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        networks = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return networks | {"history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = state["history"]


def learning_rate(recipe: Recipe, val_losses: Sequence[float]) -> float:
    """The rate of the epoch that comes next, from the validation losses so far."""
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * len(val_losses) / recipe.epochs))
    rate, waited, (best, *later) = recipe.lr, 0, val_losses or [0.0]
    for loss in later if recipe.schedule == "plateau" else ():
        better = loss < best - PLATEAU_SHARE * abs(best)
        best, waited = (loss, 0) if better else (best, waited + 1)
        if waited > PLATEAU_EPOCHS:
            rate, waited = rate * PLATEAU_FACTOR, 0
    return rate
