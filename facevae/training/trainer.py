"""The training loop: a recipe, a FaceVAE and batches of faces in, the losses of an epoch out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from facevae.config import Recipe
from facevae.models.losses import Objective
from facevae.models.vae import FaceVAE
from facevae.training.schedule import learning_rate

if TYPE_CHECKING:
    from facevae.training.batches import Batches

CHECK_EVERY = 20  # steps between looks at whether the loss is finite: a look waits for a GPU


class Diverged(RuntimeError):
    """The loss is no longer a finite number."""


class Trainer:
    """Trains a model as a recipe says. What is random depends on the seed and the epoch alone.

    Args:
        batches: the faces, in batches.
        total: the sum of a tensor over several processes; of one process, the tensor itself.
        seed: of the noise; the recipe's by default.

    Attributes:
        network: what a training step calls: the model, or a wrapper that shares its gradients.
        history: a row for each epoch; losses in nats per image.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: FaceVAE,
        batches: Batches,
        total: Callable[[Tensor], Tensor] = lambda sums: sums,
        seed: int | None = None,
    ) -> None:
        self.recipe, self.model, self.batches, self.total = recipe, model, batches, total
        self.seed = recipe.seed if seed is None else seed
        self.network: nn.Module = model
        faces = len(batches.rows["train"])
        self.objective = Objective(recipe.beta, recipe.capacity, recipe.tcvae, faces)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=0.0)
        self.average = None
        if recipe.ema:
            rule = get_ema_multi_avg_fn(recipe.ema)
            self.average = AveragedModel(model, multi_avg_fn=rule, use_buffers=True)
        self.history: list[dict[str, float]] = []

    @property
    def validated(self) -> FaceVAE:
        """The model that is validated and kept: the averaged one where the recipe wants it."""
        model = self.model if self.average is None else self.average.module
        assert isinstance(model, FaceVAE)
        return model

    def epoch(self, progress: bool = False) -> dict[str, float]:
        """Train on all faces once, then validate; return the new row of the history."""
        start, number = time.monotonic(), len(self.history) + 1
        rate = learning_rate(self.recipe, [row["val_loss"] for row in self.history])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.random.fork_rng():  # of which dropout draws
            torch.manual_seed(self._seed(number))
            loss, norm = self._train(number, progress)
        val_loss, reconstruction, kl = self._validate(number)
        minutes = self.history[-1]["minutes"] if self.history else 0.0
        minutes += (time.monotonic() - start) / 60
        row = {"epoch": number, "train_loss": loss, "val_loss": val_loss, "minutes": minutes}
        row |= {"reconstruction": reconstruction, "kl": kl, "grad_norm": norm, "lr": rate}
        self.history.append(row)
        return row

    def _train(self, epoch: int, progress: bool) -> list[float]:
        """The mean loss and the mean norm of the gradient over an epoch's steps."""
        network, recipe = self.network.train(), self.recipe
        generator = torch.Generator().manual_seed(self._seed(epoch))
        parts, sums = self.batches.train(epoch), torch.zeros(3)
        for i, rows in enumerate(tqdm(parts, leave=False, unit="batch", disable=not progress)):
            images, condition = self.batches.load(rows)
            images = self.batches.varied(images, generator)
            warm = (epoch - 1 + i / len(parts)) / recipe.warmup if recipe.warmup else 1.0
            with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.bf16):
                log_likelihood, posterior = network(images, condition, generator)
            losses = self.objective(log_likelihood, posterior, min(1.0, warm), generator)  # (B,)
            loss = (losses * self.batches.weight(rows)).mean()
            self.optimizer.zero_grad(set_to_none=True)
            (loss / images[0].numel()).backward()  # in nats a number, whatever the picture's size
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
            self.optimizer.step()
            if self.average is not None:
                self.average.update_parameters(self.model)
            sums = sums.to(loss) + torch.stack([loss.detach(), norm, torch.ones_like(loss)])
            if i % CHECK_EVERY == CHECK_EVERY - 1:
                self._means(sums, epoch)
        return self._means(sums, epoch)

    @torch.inference_mode()
    def _validate(self, epoch: int) -> list[float]:
        """The objective at its final weight, −log p(x | z) and the KL, per validation image.

        Faces count as in training: where rare ones are drawn more often or weigh more, so here.
        """
        model, sums = self.validated.eval(), torch.zeros(4)
        generator = torch.Generator().manual_seed(self._seed(0))  # the same draw in each epoch
        for rows in self.batches.validation():
            images, condition = self.batches.load(rows)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self.recipe.bf16):
                log_likelihood, posterior = model(images, condition, generator)
            loss = self.objective(log_likelihood, posterior, 1.0, generator)
            columns = torch.stack([loss, -log_likelihood, posterior.kl(), torch.ones_like(loss)])
            sums = sums.to(loss) + columns @ self.batches.importance(rows)  # (4, B) @ (B,)
        return self._means(sums, epoch)

    def _means(self, sums: Tensor, epoch: int) -> list[float]:
        """Sums of all processes, each divided by the last of them, which counts."""
        *values, count = self.total(sums).tolist()
        if not all(math.isfinite(value) for value in values):
            raise Diverged(
                f"the loss of {self.recipe.name} is no longer a number in epoch {epoch}: lower "
                f"the learning rate (now {self.recipe.lr:g}) or the bound of the gradient"
            )
        return [value / count for value in values]

    def _seed(self, epoch: int) -> int:
        return self.seed * 1_000_003 + epoch

    def state_dict(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        average = None if self.average is None else self.average.state_dict()
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                "average": average, "history": self.history}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.history = state["history"]
