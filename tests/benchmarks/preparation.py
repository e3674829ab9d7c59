"""Preparation: against the detector on all cores; run again; with pictures added."""

from __future__ import annotations

import statistics
from pathlib import Path

from PIL import Image

import facevae
from facevae.adding import add
from facevae.align import find_faces
from facevae.packets import CHUNK, cores
from tests.benchmarks.common import fresh, photographs, said, scratch, table, timed

FLOOR = 48  # pictures that the detector is timed on
AGAIN = """
import json, sys, time
begun = time.perf_counter()
import facevae
imported = time.perf_counter()
facevae.prepare("utkface", sys.argv[1], sys.argv[2], size=128)
print(json.dumps([time.perf_counter() - imported, imported - begun]))
"""


def report() -> None:
    print("## Preparation\n", flush=True)
    with scratch() as folder:
        small, whole = cores() * CHUNK, 4 * cores() * CHUNK
        photographs(folder / "whole", whole)
        photographs(folder / "small", small)
        floors, seconds = [detector_alone(folder / "whole")], {}
        for count, name in ((small, "small"), (whole, "whole")):  # in turn: machines drift
            seconds[count] = prepared(folder, name)
            floors.append(detector_alone(folder / "whole"))
        against_the_detector(cores() * statistics.median(floors), seconds)
        run_again(folder, seconds[whole])
        added(folder, whole)


def prepared(folder: Path, name: str) -> float:
    """Seconds to find, align and store the faces of a folder of JPEGs."""
    return timed(lambda: facevae.prepare("utkface", folder / name, folder / f"{name}-faces",
                                         size=128, workers=cores(), progress=False))  # fmt: skip


def detector_alone(jpegs: Path) -> float:
    """Pictures/s of one process on one thread that only asks the detector."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    photos = [Image.open(path).convert("RGB") for path in sorted(jpegs.rglob("*.jpg"))[:FLOOR]]
    find_faces(photos[0])
    seconds = timed(lambda: [find_faces(photo) for photo in photos])
    torch.set_num_threads(threads)
    return len(photos) / seconds


def against_the_detector(floor: float, seconds: dict[int, float]) -> None:
    small, whole = seconds
    steady = (whole - small) / (seconds[whole] - seconds[small])
    start = seconds[small] - small / steady
    said(
        f"{whole} drawn JPEGs of 178×218 to aligned 128×128, {cores()} processes. Floor: the "
        "cores times what one detector on one thread does to decoded pictures. Goal 0.80. The "
        "processes' start (imports, the detector's weights) is the same for any number of "
        "pictures, so it is told apart."
    )
    table(("", "pictures/s", "of the floor"), [
        ("the floor", f"{floor:.1f}", ""),
        ("`prepare`, once started", f"{steady:.1f}", f"{steady / floor:.2f}"),
        (f"`prepare`, {start:.1f} s of start included", f"{whole / seconds[whole]:.1f}",
         f"{whole / seconds[whole] / floor:.2f}"),
    ])  # fmt: skip


def run_again(folder: Path, first: float) -> None:
    again, imports = fresh(AGAIN, folder / "whole", folder / "whole-faces")
    said("The same command on the finished folder; goal 1 s, imports apart.")
    table(("run", "s"), [("the first", f"{first:.1f}"), ("the second", f"{again:.3f}"),
                         ("its imports", f"{imports:.1f}")])  # fmt: skip


def added(folder: Path, count: int) -> None:
    """The folder that was prepared, grown by a quarter."""
    archive = photographs(folder / "whole", count + count // 4)
    out = folder / "whole-faces"
    before = len(facevae.FaceSet(out))
    seconds = [timed(lambda: add("utkface", archive, out, cores(), progress=False))
               for _ in range(2)]  # fmt: skip
    new = len(facevae.FaceSet(out)) - before
    said(f"The folder of JPEGs grown to {count + count // 4}, {count} of them known, and added "
         f"again: {new} new faces.")  # fmt: skip
    table(("run", "s"), [("the first, the start of its processes included", f"{seconds[0]:.1f}"),
                         ("the second: nothing is new", f"{seconds[1]:.3f}")])  # fmt: skip
