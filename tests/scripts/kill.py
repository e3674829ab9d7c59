"""Kill −9 at random moments: `python tests/scripts/kill.py [preparation] [training] [--kills 20]`.

A preparation (a tar of drawn pictures, with the detector) and a training run (a small recipe,
three epochs, one thread) are killed at moments drawn from the whole of their measured length;
every fourth waits from there for a file to be in the middle of its writing. The same command then
runs to its end, and what it leaves is compared to an uninterrupted run: the same files, and in
them the same bits but for the minutes of the history. Exit 1 if any differs. Five minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from facevae.__main__ import main as facevae
from facevae.data.synthetic import draw_faces
from facevae.io import UNFINISHED
from facevae.training.checkpoints import CHECKPOINT

ROOT = Path(__file__).resolve().parents[2]
KINDS = ["preparation", "training"]
PICTURES, FACES = 300, 300  # two shards and a rest; a second an epoch
RECIPE = ["--epochs", "3", "--batch", "16", "--set", "model.channels=8,16,32",
          "--set", "model.latents=8", "--set", "keep_every=1", "--set", "ema=0.9"]  # fmt: skip


def archive(path: Path) -> Path:
    """A tar named as UTKFace is, of drawn faces of 64 pixels: most are faces to the detector."""
    with tarfile.open(path, "w") as tar:
        for i, face in enumerate(draw_faces(PICTURES, size=64, seed=5)[0]):
            buffer = io.BytesIO()
            Image.fromarray(face).save(buffer, "JPEG", quality=90)
            member = tarfile.TarInfo(f"UTKFace/{i % 90}_{i % 2}_0_2017{i:06d}.jpg.chip.jpg")
            member.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(member, buffer)
    return path


def started(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "facevae", *command], cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def writing(out: Path) -> bool:
    """Whether a file in `out` is being written."""
    return any(UNFINISHED.match(path.name) for path in out.rglob(".*.partial*"))


def killed(command: list[str], out: Path, moment: float, in_write: bool) -> bool:
    """Run and kill; False where the run was through before."""
    child, start = started(command), time.monotonic()
    while child.poll() is None:
        if time.monotonic() - start >= moment and (not in_write or writing(out)):
            child.kill()  # the parent alone, as a machine short of memory would
            child.wait()
            return True
        time.sleep(0.0005)
    return False


def content(out: Path) -> dict[str, object]:
    """Each file's name → its bits; of the history and the checkpoint all but the minutes."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    found: dict[str, object] = {name: path.read_bytes() for name, path in files.items()}
    if "history.csv" in files:
        with open(files["history.csv"], newline="") as file:
            found["history.csv"] = [row | {"minutes": ""} for row in csv.DictReader(file)]
        state = torch.load(files[CHECKPOINT], weights_only=True)
        state["history"] = [row | {"minutes": 0} for row in state["history"]]
        found[CHECKPOINT] = flat(state)
    return found


def flat(value: object) -> object:
    """Tensors as bytes, so that == compares all of them bit by bit."""
    if isinstance(value, dict):
        return {key: flat(one) for key, one in value.items()}
    if isinstance(value, list):
        return [flat(one) for one in value]
    return value.numpy().tobytes() if isinstance(value, torch.Tensor) else value


def trial(name: str, command, again, folder: Path, kills: int, draw: random.Random) -> bool:
    """`kills` times: kill `command(out)`, finish by `again(out)`, compare. Prints one line."""
    whole, begun = folder / "whole", time.monotonic()
    if started(command(whole)).wait():
        raise SystemExit(f"the {name} does not run: python -m facevae {' '.join(command(whole))}")
    length, expected = time.monotonic() - begun, content(whole)
    done = within = resumed = same = 0
    while done < kills:
        out, in_write = folder / f"{done}", done % 4 == 3
        if not killed(command(out), out, draw.uniform(0, length), in_write):
            for path in sorted(out.rglob("*"), reverse=True):  # it was quicker than the first
                path.rmdir() if path.is_dir() else path.unlink()
            continue
        done, within = done + 1, within + writing(out)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            resumed += facevae(again(out)) == 0
        got = content(out)
        differ = sorted(k for k in expected | got if expected.get(k) != got.get(k))
        same += not differ
        print(f"{name}: {same} of {done}", file=sys.stderr, flush=True)
        if differ:
            print(f"{name}, kill {done}: these differ: {', '.join(differ)}", flush=True)
    print(f"{name}: {kills} kills within {length:.1f} s ({within} within the writing of a file), "
          f"{resumed} resumed, {same} with the same bits", flush=True)  # fmt: skip
    return same == resumed == kills


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=" or ".join(KINDS))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    draw, begun = random.Random(args.seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="facevae-kill-") as name:
        folder = Path(name)
        tar, data = archive(folder / "UTKFace.tar"), folder / "drawn"
        facevae(["prepare", "synthetic", "--out", str(data), "--count", str(FACES)])

        def prepare(out: Path) -> list[str]:
            return ["prepare", "utkface", "--archive", str(tar), "--out", str(out),
                    "--workers", "1"]  # fmt: skip

        def train(out: Path) -> list[str]:
            return ["train", "drawn", "--data", str(data), "--out", str(out), "--device", "cpu",
                    *RECIPE]  # fmt: skip

        commands = {"preparation": (prepare, prepare),
                    "training": (train, lambda out: [*train(out), "--resume"])}  # fmt: skip
        good = [
            trial(kind, *commands[kind], folder / kind, args.kills, draw)
            for kind in KINDS
            if kind in args.kinds or not args.kinds
        ]
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
