"""What the commands of `python -m facevae` do: their docstrings are the help, and their options
are in `facevae.__main__`."""

import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import facevae
from facevae.imaging.images import save_animation, tile
from facevae.io import explained, write_text

PICTURE_SIZE = 256  # height of a written picture in pixels


def prepare(args: Namespace) -> None:
    """Prepare faces from an archive, folder or file into a folder."""
    faces = facevae.prepare(
        args.source, args.archive, args.out, args.size, args.framing, args.workers, args.count,
        args.seed, mask=args.mask, expose=args.expose,
    )  # fmt: skip
    about = faces.manifest
    print(f"{args.out}: {about['faces']} faces of {about['seen']} pictures")
    print(f"  {about['duplicates']} duplicates: kept, on one side of a split with their originals")
    for reason, names in about["skipped"].items():
        print(f"  skipped {len(names)}: {reason}")


def recipes(args: Namespace) -> None:
    """List the named experiments."""
    for recipe in facevae.RECIPES.values():
        print(f"{recipe.name:20} {recipe.why}{f' ({recipe.note})' if recipe.note else ''}")


def _recipe(args: Namespace) -> tuple["facevae.Recipe", list[str]]:
    """The recipe that a command names, changed as it wants, and the changes."""
    if args.recipe not in facevae.RECIPES:
        known = ", ".join(facevae.RECIPES)
        raise ValueError(f"the recipe {args.recipe!r} is unknown: use one of {known}")
    short = {"epochs": args.epochs, "batch": args.batch, "seed": args.seed or None}
    settings = [f"{name}={value}" for name, value in short.items() if value] + args.set
    _check_device(args.device)
    return facevae.RECIPES[args.recipe].with_settings(settings), settings


def _check_device(name: str | None) -> None:
    with explained(ValueError, f"there is no device {name!r} here", "use cpu"):
        torch.empty(0, device=name or "cpu")


def train(args: Namespace) -> None:
    """Train a recipe; on several GPUs by `accelerate launch -m facevae train …`."""
    from facevae.training.runs import train_grid

    recipe, settings = _recipe(args)
    faces = facevae.load_faces(args.data or recipe.source)
    how = {"device": args.device, "monitor": args.monitor, "classifier": args.classifier}
    if args.grid:
        for row in train_grid(args.recipe, faces, args.out, args.grid, settings, **how):
            print(f"{row['folder']}: validation loss {row['val_loss']:.1f}")
        return
    facevae.train(recipe, faces, args.out, args.resume, **how)
    print(f"{args.out}/best: the best model; play: python app.py --model {args.out}/best")


def run(args: Namespace) -> None:
    """Prepare, train, evaluate and report a recipe: what is done is not done again."""
    from facevae.evaluation import metrics, report

    recipe, out = _recipe(args)[0], Path(args.out)
    faces = facevae.prepare(recipe.source, args.archive, out / "faces", recipe.size, recipe.framing)
    figures, page = out / "figures.json", out / "report.html"
    model = facevae.train(recipe, faces, out, resume=True, device=args.device)
    history = facevae.read_history(out)
    found = json.loads(figures.read_text("utf-8")) if figures.is_file() else {}
    if found.get("run", {}).get("epochs") != len(history):
        about: dict = {"command": f"python -m facevae {shlex.join(sys.argv[1:])}"}
        about |= {"epochs": len(history), "seconds": round(60 * history[-1]["minutes"])}
        about |= {"cores": torch.get_num_threads(), "torch": torch.__version__}
        found = {"run": about} | metrics.evaluate(model, faces, recipe.seed, recipe.split_by)
        report.write_report([out], page, [faces])
        write_text(figures, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(f"{metrics.text(found)}\n{out}/best: the model; {figures}; {page}")


def evaluate(args: Namespace) -> None:
    """Print held-out figures of a model, or with --edits of a studio's edits."""
    from facevae.evaluation import metrics

    faces, about = facevae.load_faces(args.data), Path(args.folder).parent / "recipe.json"
    run = json.loads(about.read_text("utf-8"))["recipe"] if about.is_file() else {}
    seed = run.get("seed", 0) if args.seed is None else args.seed  # another split would leak
    split_by = args.split_by or run.get("split_by", "content")
    if args.edits:
        from facevae.evaluation.classifier import EvaluationClassifier
        from facevae.evaluation.edits import evaluate_studio

        studio = facevae.Studio.load(args.folder)
        others = args.classifier_data and facevae.load_faces(args.classifier_data)
        classifier = EvaluationClassifier(others or faces)
        found = evaluate_studio(studio, classifier, faces, seed)
    else:
        model = facevae.FaceVAE.from_pretrained(args.folder)
        how = (args.against, args.factors, not args.no_pca)
        found = metrics.evaluate(model, faces, seed, split_by, *how)
    print(json.dumps(found, indent=1, ensure_ascii=False) if args.json else metrics.text(found))


def report(args: Namespace) -> None:
    """Write a page about runs: curves, pictures, latents, metrics."""
    from facevae.evaluation import report as page

    data = [facevae.load_faces(folder) for folder in args.data]
    shows_photos = page.write_report(args.runs, args.out, data)
    print(f"{args.out}: the report", f"(it {page.PHOTOS})" if shows_photos else "")


def export(args: Namespace) -> None:
    """Write a model as a small studio folder, or as a page that needs no server."""
    if not (args.out or args.web):
        raise ValueError("say where to write: --out FOLDER or --web FOLDER")
    if args.out:
        facevae.Studio.load(args.folder).save(args.out)
        print(f"{args.out}: the model in float16 and the statistics of its codes")
    if args.web:
        from facevae import web

        size = web.export(args.folder, args.web, args.runtime)
        print(f"{args.web}: {size / 1e6:.1f} MB; python -m http.server --directory {args.web}")


def classifier(args: Namespace) -> None:
    """Train the editing classifier, which labels a photo."""
    from facevae.config import ATTRIBUTES
    from facevae.evaluation.classifier import held_out
    from facevae.models.classifier import ClassifierConfig
    from facevae.training.classifier import train_classifier

    faces = facevae.load_faces(args.data)
    names = [n for n in (*ATTRIBUTES, "Young") if (faces.known_labels([n]) >= 0).any()]
    if not names:
        raise ValueError("these faces carry no label to train on: prepare faces with CelebA's")
    config = ClassifierConfig(tuple(names), "age" in faces.labels, faces.framing)
    found = train_classifier(faces, faces.split(args.seed)["train"], config, args.epochs, args.seed)
    found.save(args.out)
    for name, figure in held_out(found, faces, args.seed).items():
        unit = "years of mean absolute error" if name == "age" else "balanced accuracy, held out"
        unseen = "unknown: the held-out faces do not show both classes"
        print(f"{name:20} {unseen if np.isnan(figure) else f'{figure:.3f} {unit}'}")


def adversarial(args: Namespace) -> None:
    """Train the decoder of edits on what they show (stage 2)."""
    from facevae.training.adversarial import train_edits

    _check_device(args.device)
    faces = facevae.load_faces(args.data)
    how = (args.steps, args.resume, args.seed, args.device or "cpu")
    train_edits(args.folder, faces, args.out, *how)
    print(f"{args.out}/best: the model that was trained on what its edits show")


def morph(args: Namespace) -> None:
    """Morph one face into another."""
    studio = facevae.Studio.load(args.model)
    a, b = (studio.read(photo) for photo in args.photos)
    frames = studio.morph_strip(a, b, args.steps, args.detail, args.path, _size(args))
    save_animation(frames, args.out, args.seconds, not args.one_way)
    print(f"{args.out}: {args.steps} steps from {' to '.join(args.photos)}")


def edit(args: Namespace) -> None:
    """Change attributes of faces: one picture, or a sheet of several."""
    how = (dict(args.set), args.detail, args.method, args.lock, _size(args), args.paste)
    _draw(args, lambda studio, face: [studio.edit(face, *how)])


def age(args: Namespace) -> None:
    """Make faces older and younger: frames of one photo, a sheet of several."""
    how = (args.detail, args.method, _size(args), args.paste)
    _draw(args, lambda studio, face: [studio.age(face, years, *how) for years in args.years])


def reconstruct(args: Namespace) -> None:
    """Show photos beside the decoder's pictures."""
    size = _size(args)
    _draw(args, lambda studio, face: [studio.edit(face, {}, size=size),
                                      studio.reconstruct(face, size)])  # fmt: skip


def _draw(
    args: Namespace, row: Callable[["facevae.Studio", "facevae.Face"], list[Image.Image]]
) -> None:
    """A row of pictures of each photo: one row as frames, several as one sheet."""
    studio, rows, said = facevae.Studio.load(args.model), [], []
    if len(args.photos) > 1 and getattr(args, "paste", False):
        raise ValueError("--paste is for one photo: give one, or leave it out")
    for photo in args.photos:
        face = studio.read(photo)
        rows.append(row(studio, face))
        said.append(photo if face.years is None else f"{photo}, read as {face.years:.0f} years")
    sheet = tile([picture for row in rows for picture in row], len(rows[0]))
    save_animation(rows[0] if len(rows) == 1 else [sheet], args.out, getattr(args, "seconds", 3.0))
    print(f"{args.out}: {'; '.join(said)}")


def _size(args: Namespace) -> int | None:
    return args.size or (None if getattr(args, "paste", False) else PICTURE_SIZE)


def sample(args: Namespace) -> None:
    """Draw faces of nobody."""
    studio = facevae.Studio.load(args.model)
    gender = {"male": 0, "female": 1}.get(args.gender)
    faces = studio.sample(args.n, args.seed, args.temperature, args.age, gender, dict(args.set))
    save_animation([tile(faces, min(8, args.n))], args.out)
    print(f"{args.out}: {args.n} faces of nobody")


def average(args: Namespace) -> None:
    """Draw the average person without and with an attribute."""
    studio = facevae.Studio.load(args.model)
    save_animation([tile([studio.average(args.attribute, has) for has in (False, True)])], args.out)
    print(f"{args.out}: the average person without and with {args.attribute}")
