"""The command line: `python -m facevae prepare|train|evaluate|export|morph|sample|recipes`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import facevae
from facevae import metrics, pictures, sources
from facevae.latent import PATHS, GaussianPrior
from facevae.train import Diverged


def prepare(asked: argparse.Namespace) -> None:
    faces = facevae.prepare(
        asked.source, asked.archive, asked.out, asked.size, asked.align, asked.workers,
        asked.count, asked.seed,
    )  # fmt: skip
    about = faces.manifest
    print(f"{asked.out}: {about['faces']} faces of {about['seen']} pictures, "
          f"{about['duplicates']} of them duplicates")  # fmt: skip
    for reason, count in about["skipped_counts"].items():
        print(f"  skipped {count}: {reason}")


def train(asked: argparse.Namespace) -> None:
    recipe = _recipe(asked.recipe)
    changes = {"epochs": asked.epochs, "batch": asked.batch, "seed": asked.seed}
    recipe = recipe.changed(**{k: v for k, v in changes.items() if v is not None})
    faces = facevae.load_faces(asked.data or recipe.source)
    facevae.train(recipe, faces, asked.out, asked.resume, asked.device)
    print(f"{asked.out}/best: the model of the best validation epoch")


def evaluate(asked: argparse.Namespace) -> None:
    model, faces = facevae.FaceVAE.from_pretrained(asked.model), facevae.load_faces(asked.data)
    split = faces.split(asked.seed, by=asked.split_by)
    rows = split[asked.part]
    table = metrics.per_face(model, faces, rows)
    figures = metrics.summary(table) | {"faces": len(rows)}
    if not asked.no_pca:
        latents = model.config.latents
        figures["pca_psnr"] = metrics.pca_psnr(faces, split["train"], rows, latents)
    figures = {name: round(value, 3) for name, value in figures.items()}
    groups = metrics.by_group(table["psnr"], faces, rows)
    print(json.dumps(figures | {"psnr_by_group": groups}, indent=1, ensure_ascii=False))


def export(asked: argparse.Namespace) -> None:
    """Fit the sampling prior on the training faces and write a studio folder."""
    model, faces = facevae.FaceVAE.from_pretrained(asked.model), facevae.load_faces(asked.data)
    means = metrics.posteriors(model, faces, faces.split(asked.seed)["train"]).mean
    facevae.Studio(model, GaussianPrior.fit(means)).save(asked.out)
    print(f"{asked.out}: the model in float16 and its prior")


def morph(asked: argparse.Namespace) -> None:
    studio = facevae.Studio.load(asked.model)
    a, b = studio.read(asked.a), studio.read(asked.b)
    frames = studio.morph_strip(a, b, asked.steps, asked.detail, asked.path, asked.size)
    pictures.save_animation(frames, asked.out, asked.seconds, not asked.one_way)
    print(f"{asked.out}: {asked.steps} steps from {asked.a} to {asked.b}")


def sample(asked: argparse.Namespace) -> None:
    faces = facevae.Studio.load(asked.model).sample(asked.n, asked.seed, asked.temperature)
    pictures.save_animation([pictures.tile(faces, columns=min(8, asked.n))], asked.out)
    print(f"{asked.out}: {asked.n} faces of nobody")


def recipes(asked: argparse.Namespace) -> None:
    for recipe in facevae.RECIPES.values():
        print(f"{recipe.name:16} {recipe.why}")


def _recipe(name: str) -> facevae.Recipe:
    if name not in facevae.RECIPES:
        raise ValueError(f"the recipe {name!r} is unknown: use one of {', '.join(facevae.RECIPES)}")
    return facevae.RECIPES[name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m facevae", description=facevae.__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(function, about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(function.__name__, help=about, description=about)
        made.set_defaults(run=function)
        return made

    p = command(prepare, "make a folder of aligned faces from an archive, folder or file")
    p.add_argument("source", help=f"{', '.join(sources.SOURCES)}, hub:NAME or synthetic")
    p.add_argument("--archive", help="folder, .tar, .tar.gz, .zip or .mat that holds it")
    p.add_argument("--out", required=True, help="folder to write")
    p.add_argument("--size", type=int, default=64, help="side of a face in pixels")
    p.add_argument("--no-align", dest="align", action="store_false", help="take a centred square")
    p.add_argument("--workers", type=int, help="processes (default: all cores)")
    p.add_argument("--count", type=int, default=5000, help="faces to draw (synthetic)")
    p.add_argument("--seed", type=int, default=0)

    p = command(train, "train a recipe")
    p.add_argument("recipe")
    p.add_argument("--data", help="prepared folder (default: the recipe's source under data/)")
    p.add_argument("--out", required=True, help="folder of the run")
    p.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    for name in ("epochs", "batch", "seed"):
        p.add_argument(f"--{name}", type=int)
    p.add_argument("--device", help="cpu, cuda or mps (default: the fastest there is)")

    p = command(evaluate, "print held-out figures of a model, PCA beside them")
    p.add_argument("model", help="folder of a model")
    p.add_argument("--data", required=True, help="prepared folder")
    p.add_argument("--part", choices=("train", "val", "test"), default="test")
    p.add_argument("--split-by", choices=("content", "order"), default="content")
    p.add_argument("--seed", type=int, default=0, help="of the split the model was trained with")
    p.add_argument("--no-pca", action="store_true", help="skip the PCA (it takes minutes)")

    p = command(export, "write a model and a fitted prior as a folder for the studio")
    p.add_argument("model", help="folder of a model")
    p.add_argument("--data", required=True, help="prepared folder it was trained on")
    p.add_argument("--out", required=True)
    p.add_argument("--seed", type=int, default=0, help="of the split the model was trained with")

    p = command(morph, "morph one face into another")
    p.add_argument("a")
    p.add_argument("b")
    p.add_argument("-o", "--out", required=True, help=f"file: {', '.join(pictures.ANIMATIONS)}")
    p.add_argument("--model", default=facevae.studio.FOLDER, type=Path, help="studio folder")
    p.add_argument("--steps", type=int, default=24)
    p.add_argument("--detail", type=float, default=1.0, help="0: decoder alone … 1: photo kept")
    p.add_argument("--path", choices=PATHS, default="linear")
    p.add_argument("--size", type=int, default=256, help="side of a frame in pixels")
    p.add_argument("--seconds", type=float, default=3.0)
    p.add_argument("--one-way", action="store_true", help="do not play back to the start")

    p = command(sample, "draw faces of nobody")
    p.add_argument("-n", type=int, default=16)
    p.add_argument("-o", "--out", required=True, help="a .png file")
    p.add_argument("--model", default=facevae.studio.FOLDER, type=Path, help="studio folder")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--temperature", type=float, default=0.8)

    command(recipes, "list the named experiments")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command; bad input is one line on standard error and exit status 2."""
    asked = _parser().parse_args(argv)
    try:
        asked.run(asked)
    except (ValueError, OSError, Diverged) as error:
        print(f"facevae: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("facevae: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
