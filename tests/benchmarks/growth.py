"""Growth: what an epoch and a preparation cost as the faces become more."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

import facevae
from facevae.packets import CHUNK, cores
from tests.benchmarks.common import (
    exponent,
    photographs,
    said,
    scratch,
    table,
    tiled,
    timed,
)

EPOCHS = {64: (1024, 4096, 16384, 65536), 128: (1024, 4096, 16384)}
SQUARES = (1024, 4096, 16384)  # pictures cut to a square
# Pictures whose face is found first, thirty times dearer: in numbers that give all cores the same.
ALIGNED = tuple(cores() * CHUNK * times for times in (1, 2, 4))
SETTINGS = ("model.channels=8,16,32", "model.latents=16", "flip=true", "batch=64")


def report() -> None:
    print("## Cost as work grows\n", flush=True)
    with scratch() as folder:
        epochs(folder)
    with scratch() as folder:
        preparations(folder)


def epochs(folder: Path) -> None:
    said("One epoch (every training face once, then validation) of a small network, s. Faces are "
         "drawn, 1,024 different ones over and over.")  # fmt: skip
    table(_columns(EPOCHS[64]), (
        _row(f"epoch, {size}×{size}", counts, _epochs(folder, size, counts), len(EPOCHS[64]))
        for size, counts in EPOCHS.items()
    ))  # fmt: skip


def _epochs(folder: Path, size: int, counts: tuple[int, ...]) -> Iterator[float]:
    recipe = facevae.RECIPES["drawn"].with_settings(SETTINGS)
    for count in counts:
        faces = tiled(folder / f"{size}-{count}", count, size)
        run = sys.modules["facevae.train"]._Run(recipe, faces, folder / "run", torch.device("cpu"))
        batches = run.batches.train(torch.Generator().manual_seed(0))[:4]
        for rows in batches:  # what the first steps alone pay for
            run.model(run.batches.load(rows)[0])[0].sum().backward()
        yield timed(lambda run=run: (run._train_epoch(1, False), run._validate(1)))


def preparations(folder: Path) -> None:
    jpegs = {n: photographs(folder / f"jpegs{n}", n) for n in sorted({1, *SQUARES, *ALIGNED})}
    said(f"`prepare` of drawn JPEGs of 178×218 by {cores()} processes, s; less the processes' "
         "start, which is the time over one picture (median of three).")  # fmt: skip
    for align, counts in ((False, SQUARES), (True, ALIGNED)):
        what = "faces found and aligned" if align else "squares, no detector"
        rows = (_row(f"{what}, {size}×{size}", counts,
                     _preparations(folder, jpegs, size, align, counts), len(counts))
                for size in (64, 128))  # fmt: skip
        table(_columns(counts), rows)


def _preparations(
    folder: Path, jpegs: dict[int, Path], size: int, align: bool, counts: tuple[int, ...]
) -> Iterator[float]:
    options = {"size": size, "align": align, "workers": cores(), "progress": False}

    def seconds(count: int, turn: int = 0) -> float:
        out = folder / f"out{size}{align}{count}-{turn}"
        return timed(lambda: facevae.prepare("utkface", jpegs[count], out, **options))

    start = statistics.median(seconds(1, turn) for turn in range(3))
    for count in counts:
        yield seconds(count) - start


def _columns(counts: tuple[int, ...]) -> list[str]:
    return ["", *(f"{count:,}" for count in counts), "exponent (goal 1.0 ± 0.1)"]


def _row(what: str, counts: tuple[int, ...], seconds: Iterator[float], width: int) -> list[str]:
    """A row of a table with `width` counts; one that stops earlier leaves the last cells empty."""
    found = list(seconds)
    cells = [f"{value:.2f}" for value in found] + [""] * (width - len(found))
    return [what, *cells, f"{exponent(counts, found):.2f}"]
