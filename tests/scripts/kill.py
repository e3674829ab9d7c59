"""Kill −9 at random moments: `python tests/scripts/kill.py [preparation] [training] [--kills 20]`.

A preparation (of drawn pictures, with the detector) and a training run (three epochs, one thread)
are killed at moments drawn from the whole of their measured length; every fourth waits from there
for a file to be in the middle of its writing. The same command then runs to its end, and what it
leaves must have the bits of an uninterrupted run, but for the minutes. Five minutes.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from facevae.data.synthetic import draw_faces
from facevae.io import UNFINISHED
from tests.helpers import content, encoded
from tests.unit.archive_files import folder_of

FACES = 300  # two shards and a rest; a second an epoch
RECIPE = ["--device", "cpu", "--epochs", "3", "--batch", "16", "--set", "model.channels=8,16,32",
          "--set", "model.latents=8", "--set", "keep_every=1"]  # fmt: skip


def photos(folder: Path) -> str:
    """Drawn faces of 64 pixels, named as UTKFace is: most are faces to the detector."""
    names = [f"{i % 90}_{i % 2}_0_2017{i:06d}.jpg.chip.jpg" for i in range(FACES)]
    files = map(encoded, draw_faces(FACES, 64)[0])
    return str(folder_of(folder, zip(names, files, strict=True)))


def started(command: list[str]) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": sys.path[0]}
    command, quiet = [sys.executable, "-m", "facevae", *command], subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)


def killed(command: list[str], out: Path, moment: float, awaited: str = "") -> bool:
    """Run and kill, from a moment on where a file is awaited; False: it was through before."""
    child, start = started(command), time.monotonic()
    while child.poll() is None:
        if time.monotonic() - start >= moment and (not awaited or any(out.rglob(awaited))):
            child.kill()  # the parent alone, as a machine short of memory would
            child.wait()
            return True
        time.sleep(0.0005)
    return False


def same_bits(command: list[str], again: list[str], folder: Path, kills: int, draw) -> bool:
    """`kills` times: kill the command, run it with `again` to its end, compare."""
    begun, same = time.monotonic(), 0
    if started([*command, str(folder / "whole")]).wait():
        raise SystemExit(f"it does not run: python -m facevae {' '.join(command)} {folder}/whole")
    length, expected = time.monotonic() - begun, content(folder / "whole")
    for number in range(kills):
        out, awaited = folder / f"{number}", UNFINISHED if number % 4 == 3 else ""
        while not killed([*command, str(out)], out, draw.uniform(0, length), awaited):
            shutil.rmtree(out)  # it was quicker than the first
        resumed, got = started([*command, str(out), *again]).wait() == 0, content(out)
        differ = sorted(name for name in expected | got if expected.get(name) != got.get(name))
        same += resumed and not differ
        print(f"{out.relative_to(folder.parent)}: {', '.join(differ) or 'the same'}", flush=True)
    print(f"{folder.name}: {kills} kills within {length:.1f} s, {same} with the same bits")
    return same == kills


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=["preparation", "training"])
    parser.add_argument("--kills", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facevae-kill-") as name:
        folder, draw = Path(name), random.Random(0)
        archive, drawn = photos(folder / "utkface"), str(folder / "drawn")
        started(["prepare", "synthetic", "--count", str(FACES), "--out", drawn]).wait()
        prepare = ["prepare", "utkface", "--workers", "1", "--archive", archive, "--out"]
        train = ["train", "drawn", "--data", drawn, *RECIPE, "--out"]
        commands = {"preparation": (prepare, []), "training": (train, ["--resume"])}
        good = [same_bits(*commands[k], folder / k, args.kills, draw) for k in args.kinds]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
