"""Two processes against one: the same losses, and how much faster."""

from __future__ import annotations

from facevae.packets import cores
from tests.benchmarks.common import free_port, fresh, said, scratch, table, tiled

FACES, EPOCHS = 4096, 2
NUMBERS = ("train_loss", "val_loss", "reconstruction", "kl")
PROGRAM = """
import json, sys, time
import torch, facevae
from facevae import parallel

recipe = facevae.RECIPES["morph-utkface"].changed(epochs=int(sys.argv[3]))
facevae.train(recipe, facevae.FaceSet(sys.argv[1]), sys.argv[2], device="cpu", progress=False)
if parallel.ranks()[0] == 0:
    history = facevae.read_history(sys.argv[2])
    print(json.dumps([history, torch.get_num_threads()]))
"""


def report() -> None:
    print("## Several processes\n", flush=True)
    each = max(1, cores() // 2)
    with scratch() as folder:
        faces = tiled(folder / "faces", FACES, 64)
        launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port"]
        ways = {
            f"1 process, {_threads(each)}": ([], each),
            f"2 processes, {_threads(each)} each": ([*launch, str(free_port())], each),
            f"1 process, {_threads(2 * each)}": ([], 2 * each),
        }
        found = {}
        for i, (way, (command, threads)) in enumerate(ways.items()):
            history, used = fresh(PROGRAM, faces.folder, folder / f"run{i}", EPOCHS,
                                  launch=command, threads=threads)  # fmt: skip
            assert used == threads, f"{way}: torch took {used} threads"
            found[way] = history
    losses(found)
    speed(found)


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"


def losses(found: dict[str, list[dict[str, float]]]) -> None:
    one, two = list(found.values())[:2]
    pairs = zip(one, two, strict=True)
    apart = max(abs(b[name] - a[name]) for a, b in pairs for name in NUMBERS)
    said(f"Recipe `morph-utkface` on {FACES:,} drawn faces of 64×64, {EPOCHS} epochs, by "
         f"`torchrun` over gloo, which share each batch. Losses in nats an image of {3 * 64**2:,} "
         f"numbers: the largest difference is {apart:.2f}, {apart / 64**2 / 3:.0e} a number (sums "
         "in another order, which each step hands on).")  # fmt: skip
    table(("", *(f"epoch {row['epoch']:.0f}, {name}" for row in one for name in ("train", "val"))),
          [(way, *(f"{row[name]:.3f}" for row in history for name in ("train_loss", "val_loss")))
           for way, history in list(found.items())[:2]])  # fmt: skip


def speed(found: dict[str, list[dict[str, float]]]) -> None:
    """Of the last epoch: the first pays for what is done once."""
    rates = {way: FACES / 60 / (history[-1]["minutes"] - history[-2]["minutes"])
             for way, history in found.items()}  # fmt: skip
    first = next(iter(rates.values()))
    said("The speed of the last epoch, its validation and checkpoint included:")
    table(("", "faces/s", "of the first line"),
          [(way, f"{rate:.0f}", f"{rate / first:.2f}") for way, rate in rates.items()])  # fmt: skip
