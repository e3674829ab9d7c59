"""`train` and `train_grid`: from a recipe and prepared faces to folders that a studio opens."""

import csv
import dataclasses
import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, accelerator
from tqdm import tqdm

from facevae.config import RECIPES, Recipe
from facevae.data.face_set import FaceSet
from facevae.imaging.alignment import locate
from facevae.imaging.images import tile, to_pil, to_tensor
from facevae.imaging.photo import PhotoLike, open_photo
from facevae.io import claim, explained, replacing, write_text
from facevae.latents.diagnostics import LatentStatistics
from facevae.latents.paths import linear
from facevae.models.classifier import AttributeClassifier
from facevae.models.vae import FaceVAE
from facevae.training.batches import Batches
from facevae.training.classifier import labelled, readings
from facevae.training.rescaling import rescale_to_prior
from facevae.training.trainer import Trainer

CHECKPOINT = "checkpoint.pt"


def train(
    recipe: Recipe | str, faces: FaceSet, out: str | Path, resume: bool = False,
    device: str | torch.device | None = None, progress: bool = True,
    monitor: Sequence[PhotoLike] | None = None, classifier: str | Path | None = None,
) -> FaceVAE:  # fmt: skip
    """Train a recipe on prepared faces and return the model of the best validation epoch.

    `out` gets `best/`, which a studio opens, and after each epoch its `history.csv`, its picture in
    `monitor/` (a morph of two photos or faces) and `checkpoint.pt`: a run that was killed and
    resumed ends with the same bits. `classifier`, a folder, reads the conditions that the faces
    lack labels of, and is copied into `best/`. Processes of `accelerate launch` or `torchrun` share
    each batch; all must see `out`. Raises Diverged, and ValueError: the run is not to be resumed.
    """
    recipe, out = RECIPES[recipe] if isinstance(recipe, str) else recipe, Path(out)
    place = torch.device(device or accelerator.current_accelerator(True) or "cpu")
    processes, rank, world = None, 0, 1
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from accelerate import Accelerator

        processes = Accelerator(cpu=place.type == "cpu", mixed_precision="no")  # the recipe's own
        place, rank, world = processes.device, processes.process_index, processes.num_processes
    editing = AttributeClassifier.load(classifier) if classifier else None
    if editing:
        names = recipe.model.conditions
        faces = labelled(faces, names, readings(faces, editing, names))
    batches = Batches(recipe, faces, place, slice(rank, None, world))
    pair, quiet = monitor_pair(batches, monitor), not progress or rank > 0
    model = new_model(recipe, faces.image_shape).to(place).to(memory_format=torch.channels_last)
    trainer = Trainer(recipe, model, batches, recipe.seed + 7919 * rank)
    # what must agree to go on with a run; its length may grow, and with it the cosine
    free = {"epochs": 0, "why": "", "note": ""}
    identity = json.dumps([dataclasses.asdict(recipe) | free, faces.images.shape])
    if state := read_checkpoint(out, resume, identity):
        trainer.load_state_dict(state)
    if rank == 0:  # one alone: it removes unfinished files, and so another process's, too
        claim(out)
    if (kept := len(trainer.history)) > recipe.epochs:
        raise ValueError(f"{out} holds {kept} epochs already: ask for as many, or more")
    if processes:
        trainer.network, trainer.total = processes.prepare(model), processes.reduce
    try:
        for _ in tqdm(range(kept, recipe.epochs), recipe.name, unit="epoch", disable=quiet):
            row = trainer.epoch(not quiet)
            if rank == 0:
                _write_epoch(out, trainer, morph_strip(model, *pair))
                write_checkpoint(out, trainer.state_dict(), identity)
            kept += 1
            if not quiet:
                tqdm.write(", ".join(f"{name} {value:.5g}" for name, value in row.items()))
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"interrupted; {out} keeps {kept} of {recipe.epochs} epochs: the same command with "
            "--resume (resume=True) goes on from there"
        ) from error
    if rank == 0 and not (out / "best" / "studio.json").is_file():
        _finish(out / "best", batches)
        if editing:
            editing.save(out / "best")
    if processes:
        processes.wait_for_everyone()
    return FaceVAE.from_pretrained(out / "best")


def new_model(recipe: Recipe, image_shape: tuple[int, int, int]) -> FaceVAE:
    """The model that a run begins with: of the seed, or `recipe.start`, of the same settings."""
    config = dataclasses.replace(recipe.model, image_shape=image_shape)
    if not recipe.start:
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed * 1_000_003)
            return FaceVAE(config)
    model = FaceVAE.from_pretrained(recipe.start)
    theirs, ours = dataclasses.asdict(model.config), dataclasses.asdict(config)
    if other := ", ".join(name for name in ours if theirs[name] != ours[name]):
        raise ValueError(f"{recipe.start} has another {other} than the recipe: change it by --set")
    return model.requires_grad_(True)


def monitor_pair(
    batches: Batches, photos: Sequence[PhotoLike] | None = None
) -> tuple[Tensor, Tensor]:
    """Two faces to watch (2, C, H, W) and their conditions (2, K): of validation, or two photos,
    under the mean condition of training."""
    if photos is None:
        return batches.load(batches.rows["val"][[0, -1]])
    if len(photos) != 2:
        raise ValueError(f"the monitor shows a morph of two photos, not of {len(photos)}")
    from facevae.imaging.compositing import crop_of  # brings torchvision, which takes seconds

    framing, (channels, *shape) = batches.faces.framing, batches.faces.image_shape
    mode, crops = "L" if channels == 1 else "RGB", []
    for photo in map(open_photo, photos):
        place = None if framing == "none" else locate(photo, framing).alignment
        crops.append(crop_of(photo, place, (shape[0], shape[1]), mode))
    condition = batches.conditions[batches.rows["train"]].mean(dim=0).repeat(2, 1)
    return to_tensor(crops).to(batches.device), condition.to(batches.device)


@torch.inference_mode()
def morph_strip(model: FaceVAE, images: Tensor, condition: Tensor) -> Image.Image:
    """The first of two pictures, seven steps of the decoder's morph to the second, and that."""
    means, t = model.eval().encode(images, condition).mean, torch.linspace(0, 1, 7)
    codes, conditions = (linear(x[:1], x[1:], t) for x in (means, condition))
    morph = model.decode(codes, conditions)  # (7, C, H, W)
    return tile(to_pil(torch.cat([images[:1], morph, images[1:]])))


def read_checkpoint(out: Path, resume: bool, identity: str) -> dict[str, Any] | None:
    """The checkpoint in a folder; None: there is none yet. Raises ValueError: it is broken, of
    another run, or nobody asked to resume."""
    path = out / CHECKPOINT
    if path.is_file() and not resume:
        raise ValueError(f"{out} holds a run: add --resume (resume=True), or name another folder")
    if not path.is_file():
        return None
    with explained(ValueError, f"{path} is no whole checkpoint", "remove it"):
        state = dict(torch.load(path, "cpu", weights_only=True))
    if state.get("identity", identity) != identity:
        raise ValueError(f"{out} is of another recipe or other faces: choose another folder")
    return state


def write_checkpoint(out: Path, state: dict[str, Any], identity: str) -> None:
    """Write the checkpoint of a folder, whole or not at all."""
    # to a file of ours: torch's own writer does not tell that the disk is full
    with replacing(out / CHECKPOINT) as temporary, open(temporary, "wb") as opened:
        torch.save(state | {"identity": identity}, opened)


def _write_epoch(out: Path, trainer: Trainer, strip: Image.Image) -> None:
    """All that an epoch leaves but the checkpoint, which says that it is there, and comes last."""
    recipe, history, faces = trainer.recipe, trainer.history, trainer.batches.faces
    epoch, every = len(history), recipe.keep_every
    with replacing(out / "monitor" / f"epoch_{epoch:03d}.png") as file:
        strip.save(file)
    if history[-1] is min(history, key=lambda row: row["val_loss"]):
        (out / "best" / "studio.json").unlink(missing_ok=True)  # of the model before
        trainer.model.save_pretrained(out / "best")
    if every and (epoch % every == 0 or epoch == recipe.epochs):
        trainer.model.save_pretrained(out / f"epoch_{epoch:03d}")
    seen = {"shape": faces.images.shape, "source": faces.manifest["source"]}
    about = {"recipe": dataclasses.asdict(recipe), "faces": seen}
    write_text(out / "recipe.json", json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    _write_table(out / "history.csv", history)


def _finish(best: Path, batches: Batches) -> None:
    """Rescale the best model to the prior and put beside it what a studio needs."""
    model = FaceVAE.from_pretrained(best).to(batches.device)
    recipe, faces, rows = batches.recipe, batches.faces, batches.rows["train"]
    if recipe.rescale and rescale_to_prior(model, faces, rows, batches.conditions):
        model.save_pretrained(best)
    LatentStatistics.fit(model, faces, rows, seed=recipe.seed).save(best)


def _write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def read_history(out: str | Path) -> list[dict[str, float]]:
    """The rows of a run's `history.csv`, losses in nats per image."""
    with open(Path(out) / "history.csv", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def train_grid(
    recipe: str, faces: FaceSet, out: str | Path, grid: Sequence[str],
    settings: Sequence[str] = (), **options: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    """Train each combination of a grid, such as `batch=32,64` and `model.latents=120,200`, into a
    folder of `out`; runs that ended are skipped. `settings` are of all runs, `options` of `train`.
    `out/grid.csv` gets a row a run, `out/best.txt` the two folders of the lowest validation loss.
    """
    axes = [[f"{name}={value}" for value in values.split(",")]
            for name, _, values in (text.partition("=") for text in grid)]  # fmt: skip
    data = " ".join(str(part.folder) for part in getattr(faces, "parts", ()) or [faces])
    rows: list[dict[str, Any]] = []
    for chosen in itertools.product(*axes):
        folder = Path(out) / "_".join(chosen).replace("model.", "").replace("/", "-")
        every = [*settings, *chosen]
        train(RECIPES[recipe].with_settings(every), faces, folder, resume=True, **options)
        history = read_history(folder)
        best = min(history, key=lambda row: row["val_loss"])
        command = f"python -m facevae train {recipe} --data {data} --out {folder}"
        rows.append(dict(setting.split("=", 1) for setting in chosen) | {
            "epochs": len(history), "best_epoch": int(best["epoch"]), "val_loss": best["val_loss"],
            "seconds": round(60 * history[-1]["minutes"]), "cores": torch.get_num_threads(),
            "torch": torch.__version__, "folder": str(folder),
            "command": " --set ".join([command, *every]),
        })  # fmt: skip
        _write_table(Path(out) / "grid.csv", rows)
    best_two = sorted(rows, key=lambda row: row["val_loss"])[:2]
    write_text(Path(out) / "best.txt", "".join(f"{row['folder']}\n" for row in best_two))
    return rows
