"""The command line: `python -m facevae prepare|train|evaluate|report|morph|edit|age …`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import facevae
from facevae import cli
from facevae.data.sources import SOURCES
from facevae.imaging.alignment import FRAMINGS
from facevae.imaging.images import ANIMATIONS
from facevae.latents.paths import PATHS
from facevae.studio import FOLDER
from facevae.training.trainer import Diverged

# what torch says in a RuntimeError
NO_MEMORY = re.compile("can't allocate|out of memory|size calculation overflowed", re.IGNORECASE)


def within(low: float, high: float, kind: type = int) -> Callable[[str], float]:
    """A parser of numbers for argparse: whole ones or not, none outside these bounds, no NaN."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            number = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"give {number} from {low} to {high}, not {text!r}")
        return value

    return parse


SEED, AGE, UNIT = within(0, 2**31 - 1), within(0, 120, float), within(0, 1, float)
COUNT = within(1, 10**8)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"facevae: {' '.join(message.split())} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("python -m facevae", description=facevae.__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(run: Callable[[argparse.Namespace], None], about: str) -> Callable[..., Any]:
        made = commands.add_parser(run.__name__, help=about, description=about)
        made.set_defaults(run=run)
        return made.add_argument

    add = command(cli.prepare, "prepare faces from an archive, folder or file into a folder")
    add("source", help=f"{', '.join(SOURCES)}, hub:NAME, synthetic or studio")
    add("--archive", help="folder, .tar, .tar.gz, .zip or .mat that holds it")
    add("--out", required=True, help="folder to write")
    add("--size", type=within(8, 1024), default=64, help="side of a face in pixels")
    add("--framing", choices=tuple(FRAMINGS), default="face",
        help="face: tight; head: hair and chin in the picture; none: a centred square")  # fmt: skip
    add("--mask", action="store_true", help="grey out the background")
    add("--expose", action="store_true", help="even the light on the face")
    add("--workers", type=within(1, 1024), help="processes (default: all cores)")
    add("--count", type=COUNT, default=5000, help="faces to draw (synthetic, studio)")
    add("--seed", type=SEED, default=0)

    command(cli.recipes, "list the named experiments")

    add = command(cli.train, "train a recipe; on several processes by `torchrun --nproc_per_node 2 "
                  "-m facevae train …`, on GPUs by `accelerate launch -m facevae …`")  # fmt: skip
    add("recipe")
    add("--data", help="prepared folder (default: the recipe's source under data/)")
    add("--out", required=True, help="folder of the run")
    add("--resume", action="store_true", help="continue from the run's checkpoint")
    for name, least in (("epochs", 1), ("batch", 1), ("seed", 0)):
        add(f"--{name}", type=within(least, 2**31 - 1))
    add("--set", action="append", default=[], metavar="FIELD=VALUE",
        help="change a field of the recipe, or of its model: beta=4, model.latents=64")  # fmt: skip
    add("--monitor", nargs=2, metavar="PHOTO", help="two photos whose morph is drawn each epoch")
    add("--device", help="cpu, cuda or mps (default: the fastest there is)")
    add("--tensorboard", action="store_true", help="also log into OUT/tensorboard")

    add = command(cli.evaluate, "held-out figures of a model, and with --edits of a studio's edits")
    add("model", help="folder of a model, or hub:owner/name")
    add("--data", required=True, help="prepared folder")
    add("--part", choices=("train", "val", "test"), default="test")
    add("--split-by", choices=("content", "order"), default="content")
    add("--seed", type=SEED, default=0, help="of the split that the model was trained with")
    add("--no-pca", action="store_true", help="leave out PCA, which takes minutes")
    add("--against", action="append", default=[], metavar="MODEL", help="another model; repeatable")
    add("--factors", nargs="+", default=[], metavar="LABEL",
        help="score the latents against these labels (drawn faces: their factors)")  # fmt: skip
    add("--edits", action="store_true", help="evaluate edits, ages, samples and speed of a studio")
    add("--classifier", default=cli.EVALUATION_CLASSIFIER, metavar="FOLDER",
        help=f"of the evaluation classifier ({cli.EVALUATION_CLASSIFIER})")  # fmt: skip
    add("--classifier-data", nargs="+", default=[], metavar="FOLDER",
        help="fit it there first, on prepared faces with CelebA's labels and on ages")  # fmt: skip
    add("--ages", metavar="FOLDER", help="prepared faces of known ages (default: --data)")
    add("--faces", type=within(5, 10_000), default=120, help="faces of an edit")
    add("--json", action="store_true", help="print JSON instead of tables")

    add = command(cli.report, "write a page about runs: curves, pictures, latents, metrics")
    add("runs", nargs="+", metavar="RUN", help="folder that `train --out` wrote")
    add("-o", "--out", default="report.html", help="HTML file, nothing beside it")
    add("--data", nargs="+", default=[], help="prepared folders of these runs")
    add("--no-photos", dest="photos", action="store_false", help="leave out the data's pictures")

    add = command(cli.export, "write a model and its statistics as a small studio folder (float16)")
    add("model", help="folder of a model")
    add("--out", required=True)
    add("--data", help="prepared faces to fit the statistics to (default: those beside the model)")
    add("--seed", type=SEED, default=0, help="of the split that the model was trained with")

    add = command(cli.classifier, "train the editing classifier, which labels a photo")
    add("--data", required=True, nargs="+", metavar="FOLDER", help="prepared faces with labels")
    add("--out", required=True, help="folder to write, such as the studio's")
    add("--attributes", nargs="+", metavar="NAME", help="CelebA's names (default: all there are)")
    add("--epochs", type=within(1, 10_000), default=4)
    add("--seed", type=SEED, default=0)

    add = command(cli.adversarial, "train a conditional decoder on what its edits show (stage 2)")
    add("model", help="folder of a trained conditional model, with an editing classifier")
    add("--data", required=True, nargs="+", metavar="FOLDER", help="prepared faces")
    add("--out", required=True, help="folder of the run")
    add("--steps", type=COUNT, default=100_000)
    add("--resume", action="store_true", help="continue from the run's checkpoint")
    add("--device", help="cpu, cuda or mps")
    add("--seed", type=SEED, default=0)

    add = command(cli.morph, "morph one face into another")
    add("a")
    add("b")
    _picture_options(add, animated=True)
    add("--steps", type=within(2, 1000), default=24)
    add("--path", choices=PATHS, default="linear")
    add("--one-way", action="store_true", help="do not play back to the start")

    strengths = {"nargs": "+", "default": [], "metavar": "NAME=STRENGTH"}
    add = command(cli.edit, "change attributes of a face")
    add("photo")
    add("--set", help="Smiling=1 (has it), Eyeglasses=-1 (has it not) …", **strengths)
    add("--lock", nargs="+", default=[], metavar="NAME", help="attributes that must not move along")
    add("--method", choices=("mean", "balanced"), default="mean", help="of directions")
    _picture_options(add, pasted=True)

    add = command(cli.age, "make faces older and younger: frames of one photo, a sheet of several")
    add("photos", nargs="+", metavar="photo")
    add("--years", nargs="+", type=AGE, default=[*range(10, 81, 10)])
    add("--own", type=AGE, help="its age in years (default: as the model reads it)")
    add("--method", choices=("condition", "vector"), help="default: the condition, if there is one")
    _picture_options(add, animated=True, pasted=True)

    add = command(cli.reconstruct, "photos beside the decoder's pictures of them")
    add("photos", nargs="+", metavar="photo")
    _picture_options(add)

    add = command(cli.sample, "draw faces of nobody")
    add("-n", type=within(1, 10_000), default=16)
    add("-o", "--out", required=True, help="a .png file")
    add("--model", default=FOLDER, type=_folder, help="studio folder")
    add("--seed", type=SEED, default=0)
    add("--temperature", type=within(0, 10, float), default=0.9)
    add("--age", type=AGE, help="in years")
    add("--gender", choices=("male", "female"))
    add("--set", help="attributes that they have, or have not", **strengths)

    add = command(cli.average, "the average person without and with an attribute")
    add("attribute")
    add("-o", "--out", required=True, help="a .png file")
    add("--model", default=FOLDER, type=_folder, help="studio folder")
    return parser


def _folder(text: str) -> str | Path:
    return text if text.startswith("hub:") else Path(text)


def _picture_options(add: Callable[..., Any], animated: bool = False, pasted: bool = False) -> None:
    """Options of the commands that draw pictures of a photo."""
    add("-o", "--out", required=True, help=f"file: {', '.join(ANIMATIONS) if animated else '.png'}")
    add("--model", default=FOLDER, type=_folder, help="studio folder")
    add("--detail", type=UNIT, default=1.0, help="0: the decoder's picture … 1: photo kept")
    own = ", with --paste the face's own" if pasted else ""
    add("--size", type=within(8, 4096), help=f"height of a picture: {cli.PICTURE_SIZE}{own}")
    if animated:
        add("--seconds", type=within(0.01, 3600, float), default=3.0)
    if pasted:
        add("--paste", action="store_true", help="put the face back into the photo")


def main(argv: list[str] | None = None) -> int:
    """Run a command; bad input is one line on standard error and exit status 2."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
        return 0
    except (ValueError, OSError, Diverged) as error:
        said = str(error)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not NO_MEMORY.search(str(error)):
            raise  # a fault of ours
        said = "there is not enough memory for this: ask for less, or for smaller pictures"
    except KeyboardInterrupt as error:
        print(f"facevae: {str(error) or 'interrupted'}", file=sys.stderr)
        return 130
    print(f"facevae: {' '.join(said.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
