"""The command line: `python -m facevae prepare|train|evaluate|report|morph|edit|age …`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import facevae
from facevae import commands as do
from facevae import pictures, sources
from facevae.hair import BATCH, FILE
from facevae.latent import PATHS
from facevae.train import Diverged

# of torch, which says it by a RuntimeError
NO_MEMORY = re.compile("can't allocate|out of memory|size calculation overflowed", re.IGNORECASE)


def within(low: float, high: float, kind: type = int) -> Callable[[str], float]:
    """A reader of numbers for argparse: whole ones or not, none outside these bounds, no NaN."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            number = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"give {number} from {low} to {high}, not {text!r}")
        return value

    return read


SEED, AGE = within(0, 2**31 - 1), within(0, 120, float)


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, as all else here does."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"facevae: {' '.join(message.split())} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("python -m facevae", description=facevae.__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(
        function: Callable[[argparse.Namespace], None], about: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(function.__name__, help=about, description=about)
        made.set_defaults(run=function)
        return made

    p = command(do.prepare, "make a folder of aligned faces from an archive, folder or file")
    p.add_argument("source", help=f"{', '.join(sources.SOURCES)}, hub:NAME or synthetic")
    p.add_argument("--archive", help="folder, .tar, .tar.gz, .zip or .mat that holds it")
    p.add_argument("--out", required=True, help="folder to write")
    p.add_argument("--size", type=within(8, 1024), default=64, help="side of a face in pixels")
    p.add_argument("--no-align", dest="align", action="store_false", help="take a centred square")
    p.add_argument("--mask", action="store_true", help="calm the background to a neutral grey")
    p.add_argument("--expose", action="store_true", help="even the light on the face")
    p.add_argument("--add", action="store_true",
                   help="put behind the faces in --out what they lack of --archive")  # fmt: skip
    p.add_argument("--workers", type=within(1, 1024), help="processes (default: all cores)")
    p.add_argument("--count", type=within(1, 10**8), default=5000, help="faces to draw (synthetic)")
    p.add_argument("--seed", type=SEED, default=0)

    p = command(do.train, "train a recipe; on several CPU processes: torchrun --nproc_per_node 2 "
                "-m facevae train ..., on GPUs: accelerate launch -m facevae ...")  # fmt: skip
    p.add_argument("recipe")
    p.add_argument("--data", help="prepared folder (default: the recipe's source under data/)")
    p.add_argument("--out", required=True, help="folder of the run")
    p.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    for name, least in (("epochs", 1), ("batch", 1), ("seed", 0)):
        p.add_argument(f"--{name}", type=within(least, 2**31 - 1))
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the recipe, or of its model: beta=4, model.latents=64",
    )
    p.add_argument("--device", help="cpu, cuda or mps (default: the fastest there is)")
    p.add_argument("--tensorboard", action="store_true", help="also log into OUT/tensorboard")

    p = command(do.evaluate, "print held-out figures of a model, PCA beside them")
    p.add_argument("model", help="folder of a model, or hub:owner/name")
    p.add_argument("--data", required=True, help="prepared folder")
    p.add_argument("--part", choices=("train", "val", "test"), default="test")
    p.add_argument("--split-by", choices=("content", "order"), default="content")
    p.add_argument("--seed", type=SEED, default=0, help="of the split the model was trained with")
    p.add_argument("--no-pca", action="store_true", help="skip the PCA (it takes minutes)")
    p.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="MODEL",
        help="another model's folder, or hub:owner/name, on the same faces; may be repeated",
    )
    p.add_argument(
        "--factors",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="also score how well the latents line up with these labels, such as age gender "
        "(drawn faces: all they were drawn from, unless named)",
    )

    p.add_argument("--judge", metavar="FOLDER", help="of a judge trained apart (`judge --judge`): "
                   "examine a studio's edits, ages and samples, too")  # fmt: skip
    p.add_argument("--recognizer", action="store_true",
                   help="with --judge: also whether an edited face is still taken for the same "
                   "person (wants dlib-bin, face_recognition_models)")  # fmt: skip

    p = command(do.export, "write a model and a fitted prior as a folder for the studio")
    p.add_argument("model", help="folder of a model")
    p.add_argument("--data", required=True, help="prepared folder it was trained on")
    p.add_argument("--out", required=True)
    p.add_argument("--seed", type=SEED, default=0, help="of the split the model was trained with")
    p.add_argument(
        "--prior",
        default="gaussian",
        help="gaussian (the default), a number of Gaussians that are mixed, or likeliest: of "
        "these, judged on validation faces; minutes",
    )
    p.add_argument("--onnx", action="store_true",
                   help="also encoder.onnx and decoder.onnx (wants onnx, onnxscript)")  # fmt: skip

    p = command(do.guide, "find what edits and ageing go by, and put it beside a studio's model")
    p.add_argument("model", help="folder of the studio")
    p.add_argument("--data", required=True, help="prepared folder it was trained on, with ages")
    p.add_argument("--reader", help="folder of the reader: loaded, or taught and kept there")
    p.add_argument("--reader-data", nargs="+", default=[], metavar="FOLDER",
                   help="more prepared folders, for labels that --data does not carry")  # fmt: skip
    p.add_argument("--epochs", type=within(1, 10_000), default=12, help="of the reader")
    p.add_argument("--steps", type=within(0, 100_000), default=700,
                   help="of steering an attribute; 0: directions by regression alone")  # fmt: skip
    p.add_argument("--tutors", type=within(0, 10), default=0, metavar="N",
                   help="more readers to steer by, kept in the reader's folder")  # fmt: skip
    p.add_argument("--seed", type=SEED, default=0, help="of the split the model was trained with")

    p = command(do.prior, "teach what new faces are drawn from, and put it beside a studio's model")
    p.add_argument("model", help="folder of the studio, with a guide, whose reader tells kinds of "
                   "face apart")  # fmt: skip
    p.add_argument("--data", required=True, help="prepared folder it was trained on")
    p.add_argument("--kinds", type=within(1, 1000), default=16, help="a Gaussian for each")
    p.add_argument("--steps", type=within(0, 10_000_000), default=60_000,
                   help="of the denoiser that betters them; 0: the Gaussians alone")  # fmt: skip
    p.add_argument("--bf16", action="store_true",
                   help="multiply in bfloat16: faster where the processor knows it")  # fmt: skip
    p.add_argument("--seed", type=SEED, default=0, help="of the split the model was trained with")

    p = command(do.hair, "teach the network that finds hair (wants mediapipe==0.10.14)")
    p.add_argument("--data", required=True, help="prepared folder of crops of 128 pixels")
    p.add_argument("--wide", required=True,
                   help="CelebA prepared by --size 128 --no-align: whole heads")  # fmt: skip
    p.add_argument("--out", default=FILE, help="file to write (default: the shipped one)")
    p.add_argument("--faces", type=within(BATCH, 10_000_000), default=7000,
                   help="training faces to learn from, of each")  # fmt: skip
    p.add_argument("--epochs", type=within(1, 10_000), default=8)
    p.add_argument("--seed", type=SEED, default=0, help="of the split and the network")

    p = command(do.report, "write a page of runs: curves, pictures, latents, metrics")
    p.add_argument("runs", nargs="+", metavar="RUN", help="folder that `train --out` wrote")
    p.add_argument("-o", "--out", default="report.html", help="HTML file, nothing beside it")
    p.add_argument("--data", nargs="+", default=[], help="prepared folders of these runs")
    p.add_argument("--no-photos", dest="photos", action="store_false",
                   help="leave the data's own pictures out")  # fmt: skip

    p = command(do.results, "write a table of runs: held-out figures, PCA beside them, commands")
    p.add_argument("runs", nargs="+", metavar="RUN", help="folder that `train --out` wrote")
    p.add_argument("-o", "--out", help="Markdown file (default: print it)")
    p.add_argument(
        "--data",
        nargs="+",
        default=[],
        help="prepared folders of these runs; not needed for figures that are kept",
    )
    p.add_argument("--machine", default="", help="what they were trained on, such as '3 CPU cores'")

    p = command(
        do.judge, "print what edits of unseen faces do, as a network trained apart reads it"
    )
    p.add_argument("model", help="folder of a model")
    p.add_argument("--data", required=True, help="prepared folder it was trained on")
    p.add_argument("--attribute", help="label whose directions are judged, such as Smiling")
    p.add_argument("--age", action="store_true", help="judge requested against read age")
    p.add_argument("--labels", nargs="+", help="attributes the judge reads (default: all)")
    p.add_argument("--judge", help="folder of the judge: loaded, or trained and kept there")
    p.add_argument(
        "--judge-data",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="more prepared folders, for labels that --data does not carry",
    )
    p.add_argument(
        "--strengths",
        nargs="+",
        type=float,
        default=[1.0, 2.0],
        help="each is tried as + on faces without it and as - on faces with it",
    )
    p.add_argument("--relative", action="store_true", help="move by the strength, not to it")
    p.add_argument("--faces", type=within(1, 10**8), default=300, help="unseen faces to edit")
    p.add_argument(
        "--train-faces", type=within(1, 10**8), help="training faces to use (default: all)"
    )
    p.add_argument("--epochs", type=within(1, 10_000), default=8, help="of the judge")
    p.add_argument("--seed", type=SEED, default=0, help="of the split the model was trained with")
    p.add_argument("-o", "--out", help="also write a strip of decoded faces from -2 to +2 (.png)")

    p = command(do.morph, "morph one face into another")
    p.add_argument("a")
    p.add_argument("b")
    _of_a_photo(p, animated=True)
    p.add_argument("--steps", type=within(2, 1000), default=24)
    p.add_argument("--path", choices=PATHS, default="linear")
    p.add_argument("--one-way", action="store_true", help="do not play back to the start")

    p = command(do.edit, "change attributes of a face")
    p.add_argument("photo")
    p.add_argument("--set", nargs="+", default=[], metavar="NAME=STRENGTH",
                   help="Smiling=1 (has it), Eyeglasses=-1 (has it not) ...")  # fmt: skip
    p.add_argument("--lock", nargs="+", default=[], metavar="NAME", help="what must not move")
    _of_a_photo(p, pasted=True)

    p = command(do.age, "make a face older and younger")
    p.add_argument("photo")
    p.add_argument("--years", nargs="+", type=AGE, default=[*range(10, 81, 10)])
    p.add_argument("--own", type=AGE, help="its age in years (default: as the model reads it)")
    _of_a_photo(p, animated=True, pasted=True)

    p = command(do.sample, "draw faces of nobody")
    p.add_argument("-n", type=within(1, 10_000), default=16)
    p.add_argument("-o", "--out", required=True, help="a .png file")
    p.add_argument("--model", default=facevae.studio.FOLDER, type=Path, help="studio folder")
    p.add_argument("--seed", type=SEED, default=0)
    p.add_argument("--temperature", type=within(0, 10, float), default=0.9)
    p.add_argument("--age", type=AGE, help="in years")
    p.add_argument("--gender", choices=("male", "female"))

    command(do.recipes, "list the named experiments")
    return parser


def _of_a_photo(p: argparse.ArgumentParser, animated: bool = False, pasted: bool = False) -> None:
    """Options of every command that makes pictures of a photo."""
    kinds = ", ".join(pictures.ANIMATIONS) if animated else ".png"
    p.add_argument("-o", "--out", required=True, help=f"file: {kinds}")
    p.add_argument("--model", default=facevae.studio.FOLDER, type=Path, help="studio folder")
    p.add_argument("--detail", type=within(0, 1, float), default=1.0,
                   help="0: decoder alone … 1: photo kept")  # fmt: skip
    own = ", with --paste the face's own" if pasted else ""
    p.add_argument("--size", type=within(8, 4096), help=f"side of a frame in pixels: 256{own}")
    p.add_argument("--refine", type=within(0, 1000), default=0,
                   help="steps that better the face's code: 10")  # fmt: skip
    if animated:
        p.add_argument("--seconds", type=within(0.01, 3600, float), default=3.0)
    if pasted:
        p.add_argument("--paste", action="store_true", help="put the face back into the photo")


def main(argv: list[str] | None = None) -> int:
    """Run a command; bad input is one line on standard error and exit status 2."""
    asked = _parser().parse_args(argv)
    try:
        asked.run(asked)
        return 0
    except (ValueError, OSError, Diverged) as error:
        said = str(error)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not NO_MEMORY.search(str(error)):
            raise  # a fault of ours
        said = "there is not enough memory for this: ask for less, or for smaller ones"
    except KeyboardInterrupt:
        print("facevae: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"facevae: {' '.join(said.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
