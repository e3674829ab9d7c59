"""Training: the loop against its own floor, against the usual loop, and over a large data set."""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

import facevae
from facevae import losses
from tests.benchmarks.common import forget, fresh, photographs, said, scratch, table, tiled

FACES, ROUNDS, STEPS, WARM = 2048, 3, 24, 3
MANY = 200_000


def report() -> None:
    print("## Training\n", flush=True)
    with scratch() as folder:
        against_the_usual_loop(folder)
        against_the_step(folder)
    large()


def against_the_step(folder: Path) -> None:
    recipe = facevae.RECIPES["studio"]
    faces = tiled(folder / "own", FACES, 128)
    run, pairs = _begun(recipe, faces, folder / "run"), []
    for i in range(ROUNDS):  # in turn, so that a drifting machine touches both alike
        pairs.append((whole_loop(run, 2 + i), bare_step(recipe, faces.image_shape)))
    loop, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    said(
        f"Recipe `studio`, 128×128, batch {recipe.batch}. Floor: forward, backward and update of "
        f"the same network on one batch in memory. Median of {ROUNDS} turns; goal 0.95."
    )
    table(("", "images/s", "of the floor"),
          [("the floor", f"{bare:.0f}", ""),
           ("`train`, data included", f"{loop:.0f}", f"{ratio:.2f}")])  # fmt: skip


def _begun(recipe: facevae.Recipe, faces: facevae.FaceSet, out: Path):
    run = sys.modules["facevae.train"]._Run(recipe, faces, out, torch.device("cpu"))
    run._train_epoch(1, progress=False)
    return run


def whole_loop(run, epoch: int) -> float:
    """Images/s of an epoch of the loop: memory map, conversion, mirroring and checks included."""
    start = time.perf_counter()
    run._train_epoch(epoch, progress=False)
    batch = run.recipe.batch
    return len(run.rows["train"]) // batch * batch / (time.perf_counter() - start)


def _network(recipe: facevae.Recipe, shape: tuple[int, int, int]) -> facevae.FaceVAE:
    return facevae.FaceVAE(dataclasses.replace(recipe.model, image_shape=shape)).train()


def bare_step(recipe: facevae.Recipe, shape: tuple[int, int, int]) -> float:
    """Images/s of the step alone."""
    model = _network(recipe, shape).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=0.0)
    images = torch.rand(recipe.batch, *shape).contiguous(memory_format=torch.channels_last)
    for step in range(WARM + STEPS):
        if step == WARM:
            start = time.perf_counter()
        log_likelihood, posterior = model(images)
        loss = losses.negative_elbo(log_likelihood, posterior.kl()).mean()
        optimizer.zero_grad(set_to_none=True)
        (loss / images[0].numel()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
    return STEPS * recipe.batch / (time.perf_counter() - start)


def usual_loop(recipe: facevae.Recipe, jpegs: Path, size: int, workers: int) -> float:
    """Images/s of a loop as public VAE repositories write it, with the same network and batch:
    JPEGs decoded as they are wanted, Adam, mean squared error plus a weighted KL."""
    cut = [transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor()]
    data = datasets.ImageFolder(jpegs, transforms.Compose(cut))
    loader = DataLoader(data, recipe.batch, shuffle=True, num_workers=workers, drop_last=True)
    model, total = _network(recipe, (3, size, size)), 0.0
    optimizer = torch.optim.Adam(model.parameters(), recipe.lr)
    for step, (images, _) in enumerate(loader):
        if step == WARM:  # its workers' start is not counted
            start = time.perf_counter()
        posterior = model.encode(images)
        again = model.decode(posterior.sample())
        loss = F.mse_loss(again, images) + 2.5e-4 * posterior.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return (len(loader) - WARM) * recipe.batch / (time.perf_counter() - start)


def against_the_usual_loop(folder: Path) -> None:
    jpegs = photographs(folder / "jpegs", FACES)
    said(
        f"Against the loop of most public VAE repositories: {FACES} drawn JPEGs of 178×218, "
        "quality 95, through `ImageFolder`, `Resize`, `CenterCrop`, `ToTensor` and `DataLoader`; "
        "Adam; mean squared error plus a weighted KL; same network and batch. `train` reads "
        "prepared faces. Images/s, goal 2 ×."
    )  # fmt: skip
    table(("recipe", "`train`", "0 workers", "2 workers", "times the better one"),
          _compared(folder, jpegs))  # fmt: skip


def _compared(folder: Path, jpegs: Path) -> Iterator[tuple[str, ...]]:
    sizes = {"drawn": 64, "morph-utkface": 64, "studio": 128}
    # the usual loops first: once `train` has begun, this process keeps its memory for them, too
    usual = {
        name: [usual_loop(facevae.RECIPES[name], jpegs, size, workers) for workers in (0, 2)]
        for name, size in sizes.items()
    }
    for name, size in sizes.items():
        faces = tiled(folder / f"{name}-faces", FACES, size)
        run = _begun(facevae.RECIPES[name], faces, folder / f"{name}-run")
        own = statistics.median(whole_loop(run, 2 + i) for i in range(2))
        yield (f"`{name}`, {size}×{size}", f"{own:.0f}", *(f"{u:.0f}" for u in usual[name]),
               f"{own / max(usual[name]):.2f}")  # fmt: skip


FIRST_BATCH = """
import json, sys, time
import torch, facevae

class Done(Exception): pass

step = torch.optim.AdamW.step
def once(*args, **kwargs):
    step(*args, **kwargs)
    raise Done

start = time.perf_counter()
torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # imports much of torch on first use
imported, torch.optim.AdamW.step = time.perf_counter(), once
try:
    faces = facevae.FaceSet(sys.argv[1])
    facevae.train("studio", faces, sys.argv[2], device="cpu", progress=False)
except Done:
    print(json.dumps([time.perf_counter() - imported, imported - start]))
"""
EPOCH = """
import json, sys
import torch, facevae

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

step, calls, peaks = torch.optim.AdamW.step, [0], [0] * 5
def counted(*args, **kwargs):
    step(*args, **kwargs)
    part = 5 * calls[0] // steps
    peaks[part] = max(peaks[part], resident())
    calls[0] += 1

recipe = facevae.RECIPES["drawn"].with_settings(
    ["epochs=1", "batch=250", "flip=true",
     "model.channels=4,8,16", "model.latents=8", "model.blocks=0"])
faces = facevae.FaceSet(sys.argv[1])
steps = len(faces.split(0)["train"]) // 250
torch.optim.AdamW.step = counted
facevae.train(recipe, faces, sys.argv[2], device="cpu", progress=False)
print(json.dumps([peaks, faces.images.nbytes / 2**20]))
"""


def large() -> None:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    rows: list[tuple[str, ...]] = []
    for size in (64, 128):
        if free < 3 * MANY * size**2 * 3:
            said(f"{MANY:,} faces of {size}×{size} were left out: the disk is too full.")
            continue
        with scratch() as folder:
            faces = tiled(folder / "many", MANY, size)
            rows += first_batches(faces, folder)
            if size == 64 and Path("/proc/self/status").exists():
                memory(faces, folder)
    said(f"From calling `train` (recipe `studio`) to the end of its first step, on {MANY:,} "
         "prepared faces, imports apart; goal 2 s.")  # fmt: skip
    table(("faces", "s", "torch's own import of its optimizers, s"), rows)


def first_batches(faces: facevae.FaceSet, folder: Path) -> Iterator[tuple[str, ...]]:
    size = "×".join(map(str, faces.images.shape[1:3]))
    forget(faces)
    for state in ("on the disk alone", "in memory, too"):
        first, imported = fresh(FIRST_BATCH, faces.folder, folder / "first")
        yield f"{size}, {state}", f"{first:.2f}", f"{imported:.2f}"


def memory(faces: facevae.FaceSet, folder: Path) -> None:
    peaks, whole = fresh(EPOCH, faces.folder, folder / "epoch")
    said(f"Memory of one epoch over {MANY:,} faces of 64×64 ({whole:,.0f} MiB on disk), a tiny "
         "network: the peak of the process's own (RssAnon) in each fifth.")  # fmt: skip
    table(("", "first", "second", "third", "fourth", "last"),
          [("MiB", *(f"{peak:.0f}" for peak in peaks))])  # fmt: skip
