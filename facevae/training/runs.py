"""`train`: one run from a recipe and prepared faces to a folder that a studio opens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from facevae.config import RECIPES, Recipe
from facevae.imaging.images import tile, to_pil, to_tensor
from facevae.latents.statistics import LatentStatistics
from facevae.models.vae import FaceVAE
from facevae.training import checkpoints, distributed
from facevae.training.batches import Batches
from facevae.training.rescaling import rescale_to_prior
from facevae.training.trainer import Diverged, Trainer

if TYPE_CHECKING:
    from facevae.data.face_set import FaceSet
    from facevae.imaging.photo import PhotoLike

Pair = tuple[Tensor, Tensor | None]  # two pictures (2, C, H, W) and their conditions (2, K)


class Interrupted(KeyboardInterrupt):
    """Training was stopped from the keyboard; its message says how to go on."""


def train(
    recipe: Recipe | str,
    faces: FaceSet,
    out: str | Path,
    resume: bool = False,
    device: str | torch.device | None = None,
    progress: bool = True,
    tensorboard: bool = False,
    monitor: Sequence[PhotoLike] | None = None,
) -> FaceVAE:
    """Train a recipe on prepared faces and return the model of the best validation epoch.

    Into `out` go `recipe.json`, `history.csv`, `monitor/epoch_001.png` … (the morph of one pair),
    `checkpoint.pt` after each epoch, `best/` and, where the recipe asks, `epoch_010/` … and
    `top/epoch_007/` … At the end `best/` is rescaled to the prior (see `rescaling`) and gets
    `studio.json` and `studio.safetensors`: it can then be opened as a studio.

    What is random depends on (seed, epoch), so a run that was killed and resumed ends with the
    same bits as one that was not. Processes started by `accelerate launch` or `torchrun` share
    each batch; the first of them alone reads and writes `out`.

    Args:
        recipe: a Recipe or the name of one.
        resume: go on from `out/checkpoint.pt`; start anew where there is none.
        device: "cpu", "cuda", "mps"; the fastest that is there by default.
        tensorboard: also log the history and the monitor into `out/tensorboard`.
        monitor: two photos whose morph is drawn after each epoch; two validation faces by default.

    Raises:
        Diverged: the loss is no longer finite. Interrupted: from the keyboard, and how to go on.
        CannotResume: the folder holds another run, or a longer or a broken one.
        NoFaceFound, UnreadablePhoto: in a photo for the monitor.
    """
    recipe, out = RECIPES[recipe] if isinstance(recipe, str) else recipe, Path(out)
    place = torch.device(device or fastest())
    processes = distributed.accelerator(place)
    rank, world = distributed.ranks()
    place, progress = processes.device if processes else place, progress and rank == 0
    batches = Batches(recipe, faces, place, slice(rank, None, world))
    pair = monitor_pair(batches, monitor)
    model = new_model(recipe, faces.image_shape).to(place).to(memory_format=torch.channels_last)
    trainer = Trainer(recipe, model, batches, distributed.total, recipe.seed + 7919 * rank)
    state = distributed.from_first(lambda: checkpoints.read(out, recipe, faces, resume))
    if state:
        trainer.load_state_dict(state)
    if processes:
        trainer.network = processes.prepare(model)
    epochs = range(len(trainer.history) + 1, recipe.epochs + 1)
    try:
        for _ in tqdm(epochs, desc=recipe.name, unit="epoch", disable=not progress):
            row = trainer.epoch(progress)
            if rank == 0:
                strip = morph_strip(trainer.validated, *pair)
                if tensorboard:
                    checkpoints.log(out, row, strip)
                checkpoints.write(out, recipe, faces, trainer, strip)
            if progress:
                tqdm.write(
                    f"epoch {row['epoch']}: train {row['train_loss']:.1f}, val "
                    f"{row['val_loss']:.1f} (reconstruction {row['reconstruction']:.1f}, KL "
                    f"{row['kl']:.1f}) nats an image, gradient {row['grad_norm']:.3f}, "
                    f"{row['minutes']:.1f} min"
                )
    except Diverged as error:
        kept = f"; {out} keeps epoch {len(trainer.history)}" if trainer.history else ""
        raise Diverged(f"{error}{kept}") from error
    except KeyboardInterrupt as error:
        done = checkpoints.epochs_kept(out)
        raise Interrupted(
            f"interrupted; {out} keeps {done} of {recipe.epochs} epochs: the same command with "
            "--resume (resume=True) goes on from there"
            if done
            else "interrupted before the first epoch ended: nothing is kept"
        ) from error
    return distributed.from_first(lambda: _finished(out / "best", batches))


def fastest() -> str:
    """The name of the fastest kind of device that is there."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def new_model(recipe: Recipe, image_shape: tuple[int, int, int]) -> FaceVAE:
    """The model that a run begins with: of the seed, or the trained one in `recipe.start`.

    Raises:
        ValueError: that one has other settings, and which. NotAModel: there is none.
    """
    config = dataclasses.replace(recipe.model, image_shape=image_shape)
    if not recipe.start:
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed * 1_000_003)
            return FaceVAE(config)
    model = FaceVAE.from_pretrained(recipe.start)
    fields = [f.name for f in dataclasses.fields(config)]
    other = [name for name in fields if getattr(model.config, name) != getattr(config, name)]
    if other:
        raise ValueError(
            f"the model in {recipe.start} has another {', '.join(other)} than the recipe: change "
            "the recipe by --set model.FIELD=VALUE"
        )
    return model.requires_grad_(True)


def monitor_pair(batches: Batches, photos: Sequence[PhotoLike] | None = None) -> Pair:
    """Two pictures to watch, and their conditions: photos, or two validation faces.

    The condition of a photo is that of the mean training face.
    """
    if photos is None:
        rows = batches.rows["val"]
        return batches.load(rows[[0, len(rows) // 2]])
    if len(photos) != 2:
        raise ValueError(f"the monitor shows a morph of two photos, not of {len(photos)}")
    images = to_tensor([_as_prepared(photo, batches.faces) for photo in photos])
    condition = None
    if batches.conditions is not None:
        mean = batches.conditions[batches.rows["train"]].mean(dim=0)  # (K,)
        condition = mean.repeat(2, 1).to(batches.device)
    return images.to(batches.device), condition


def _as_prepared(photo: PhotoLike, faces: FaceSet) -> Image.Image:
    """A photo framed, sized and coloured as the faces are."""
    from facevae.imaging.alignment import locate
    from facevae.imaging.photo import open_photo

    picture = open_photo(photo)
    channels, height, width = faces.image_shape
    if faces.framing != "none":
        picture = locate(picture, faces.framing).alignment.crop(picture, max(height, width))
    return picture.resize((width, height)).convert("L" if channels == 1 else "RGB")


@torch.inference_mode()
def morph_strip(model: FaceVAE, images: Tensor, condition: Tensor | None) -> Image.Image:
    """The first of two pictures, seven steps of the decoder's morph to the second, and that."""
    means = model.eval().encode(images, condition).mean  # (2, D)
    t = torch.linspace(0, 1, 7, device=images.device)[:, None]
    path = torch.lerp(means[:1], means[1:], t)  # (7, D)
    between = None if condition is None else torch.lerp(condition[:1], condition[1:], t)
    return tile(to_pil(torch.cat([images[:1], model.decode(path, between), images[1:]])))


def _finished(best: Path, batches: Batches) -> FaceVAE:
    """The best model, rescaled to the prior, with the statistics of its codes beside it."""
    model = FaceVAE.from_pretrained(best).to(batches.device)
    faces, rows, recipe = batches.faces, batches.rows["train"], batches.recipe
    if recipe.rescale and rescale_to_prior(model, faces, rows, batches.conditions):
        model.save_pretrained(best)
    LatentStatistics.fit(model, faces, rows, seed=recipe.seed).save(best)
    return model.cpu()
