"""The command line: `python -m facevae prepare|train|run|evaluate|report|morph|edit|age …`."""

import argparse
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from pydantic import ValidationError

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
            number = f"{'a whole ' if kind is int else 'a '}number from {low} to {high}"
            raise argparse.ArgumentTypeError(f"give {number}, not {text!r}")
        return value

    return parse


def strength(text: str) -> tuple[str, float]:
    """A parser of Smiling=1."""
    name, _, value = text.partition("=")
    return name, within(-2, 2, float)(value)


FLAG, AGE = {"action": "store_true"}, within(0, 120, float)
MANY = {"action": "append", "default": []}
FACES = {"nargs": "+", "metavar": "FOLDER", "help": "prepared faces"}
OPTIONS: dict[str, dict[str, Any]] = {  # a name and, where there are several of it, a kind
    "source": {"help": f"{', '.join(SOURCES)}, hub:NAME, synthetic or studio"},
    "recipe": {"help": "one that `recipes` lists"},
    "folder": {"metavar": "model", "help": "folder of a model, or hub:owner/name"},
    "runs": {"nargs": "+", "metavar": "RUN", "help": "folder that `train --out` wrote"},
    "attribute": {"help": "by CelebA's name"},
    "photos": {"nargs": "+", "metavar": "photo"}, "photos:two": {"nargs": 2, "metavar": "photo"},
    # of what is read and written
    "--archive": {"help": "folder, .tar, .tar.gz, .zip or .mat that holds the pictures"},
    "--data": FACES | {"required": True}, "--data:maybe": FACES | {"default": []},
    "--out": {"required": True, "help": "folder to write"},
    "--out:maybe": {"help": "folder to write, of the model in float16"},
    "--web": {"metavar": "FOLDER", "help": "write a page that needs no server instead"},
    "--runtime": {"metavar": "FOLDER", "help": "npm packages of that page (default: fetched)"},
    "-o": {"required": True, "help": f"file: {', '.join(ANIMATIONS)}"},
    "-o:page": {"default": "report.html", "help": "HTML file, nothing beside it"},
    "--json": FLAG | {"help": "print JSON instead of tables"},
    # of faces
    "--size": {"type": within(8, 1024), "default": 64, "help": "side of a face in pixels"},
    "--framing": {"choices": tuple(FRAMINGS), "default": "face", "help": "head: with the hair"},
    "--mask": FLAG | {"help": "grey out the background"},
    "--expose": FLAG | {"help": "even the light on the face"},
    "--workers": {"type": within(1, 1024), "help": "processes (default: all cores)"},
    "--count": {"type": within(1, 10**8), "default": 5000, "help": "to draw (synthetic, studio)"},
    # of training
    "--epochs": {}, "--batch": {}, "--epochs:few": {"type": within(1, 10_000), "default": 4},
    "--steps:many": {"type": within(1, 10**8), "default": 100_000},
    "--seed": {"type": within(0, 2**31 - 1), "default": 0},
    "--device": {"help": "cpu, cuda or mps (default: the fastest there is)"},
    "--resume": FLAG | {"help": "continue from the run's checkpoint"},
    "--set": MANY | {"metavar": "FIELD=VALUE", "help": "of the recipe: beta=4, model.latents=64"},
    "--grid": MANY | {"metavar": "FIELD=VALUE,…", "help": "train each combination of values"},
    "--classifier": {"metavar": "FOLDER", "help": "reads the labels that the faces lack"},
    "--monitor": {"nargs": 2, "metavar": "PHOTO", "help": "whose morph is drawn each epoch"},
    # of evaluation
    "--split-by": {"choices": ("content", "order"), "help": "default: as the run was trained"},
    "--seed:split": {"type": within(0, 2**31 - 1), "help": "default: as the run was trained"},
    "--no-pca": FLAG | {"help": "leave out PCA, which takes minutes"},
    "--against": MANY | {"metavar": "diffusers:NAME", "help": "a pretrained AutoencoderKL"},
    "--factors": {"nargs": "+", "default": [], "metavar": "LABEL", "help": "to score latents by"},
    "--edits": FLAG | {"help": "evaluate edits, ages and samples of a studio"},
    "--classifier-data": FACES | {"default": [], "help": "labelled faces that edits are read by"},
    # of pictures
    "--model": {"default": FOLDER, "help": "studio folder, or hub:owner/name"},
    "--detail": {"type": within(0, 1, float), "default": 1.0, "help": "0: the decoder's picture"},
    "--size:height": {"type": within(8, 4096), "help": f"pixels, {cli.PICTURE_SIZE} by default"},
    "--seconds": {"type": within(0.01, 3600, float), "default": 3.0},
    "--steps": {"type": within(2, 1000), "default": 24},
    "--path": {"choices": PATHS, "default": "linear"},
    "--one-way": FLAG | {"help": "do not play back to the start"},
    "--paste": FLAG | {"help": "put the face back into its photo"},
    "--set:edit": {"nargs": "+", "default": [], "type": strength, "metavar": "NAME=STRENGTH",
                        "help": "1 has it, -1 has it not: Smiling=1 Eyeglasses=-1"},
    "--lock": {"nargs": "+", "default": [], "metavar": "NAME", "help": "must not move along"},
    "--method": {"choices": ("mean", "balanced"), "default": "mean", "help": "of directions"},
    "--method:age": {"choices": ("condition", "vector"), "help": "default: what the model has"},
    "--years": {"nargs": "+", "type": AGE, "default": [*range(10, 81, 10)]}, "--age": {"type": AGE},
    "-n": {"type": within(1, 10_000), "default": 16}, "--gender": {"choices": ("male", "female")},
    "--temperature": {"type": within(0, 10, float), "default": 0.9},
}  # fmt: skip
COMMANDS: dict[Callable[[argparse.Namespace], None], str] = {  # what runs it → its options
    cli.prepare: "source --archive --out --size --framing --mask --expose --workers --count --seed",
    cli.recipes: "",
    cli.train: "recipe --data:maybe --out --resume --epochs --batch --seed --set --grid "
               "--classifier --monitor --device",
    cli.run: "recipe --archive --out --epochs --batch --seed --set --device",
    cli.evaluate: "folder --data --split-by --seed:split --no-pca --against --factors --edits "
                  "--classifier-data --json",
    cli.report: "runs -o:page --data:maybe",
    cli.export: "folder --out:maybe --web --runtime",
    cli.classifier: "--data --out --epochs:few --seed",
    cli.adversarial: "folder --data --out --steps:many --resume --device --seed",
    cli.morph: "photos:two -o --model --detail --size:height --seconds --steps --path --one-way",
    cli.edit: "photos -o --model --detail --size:height --paste --set:edit --lock --method",
    cli.age: "photos -o --model --detail --size:height --paste --seconds --years --method:age",
    cli.reconstruct: "photos -o --model --size:height",
    cli.sample: "-n -o --model --seed --temperature --age --gender --set:edit",
    cli.average: "attribute -o --model",
}  # fmt: skip


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"facevae: {' '.join(message.split())} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("python -m facevae", description=facevae.__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for run, options in COMMANDS.items():
        made = commands.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
        made.set_defaults(run=run)
        for option in options.split():
            flag = option.partition(":")[0]
            made.add_argument(*(["-o", "--out"] if flag == "-o" else [flag]), **OPTIONS[option])
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command; bad input is one line on standard error and exit status 2."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
        return 0
    except (ValueError, OSError, Diverged) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not NO_MEMORY.search(str(error)):
            raise  # a fault of ours
        said = "there is not enough memory for this: ask for less, or for smaller pictures"
    except KeyboardInterrupt as error:
        print(f"facevae: {str(error) or 'interrupted'}", file=sys.stderr)
        return 130
    print(f"facevae: {' '.join(said.removeprefix('Value error, ').split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
