"""What the commands of `python -m facevae` do; their options are in `facevae.__main__`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

import facevae
from facevae.imaging.images import save_animation, tile

if TYPE_CHECKING:
    from facevae.data.face_set import FaceSet
    from facevae.evaluation.classifier import EvaluationClassifier

PICTURE_SIZE = 256  # height of a written picture in pixels
MAX_STRENGTH = 2.0  # of an attribute
EVALUATION_CLASSIFIER = "runs/evaluation-classifier"


def prepare(args: argparse.Namespace) -> None:
    faces = facevae.prepare(
        args.source, args.archive, args.out, args.size, args.framing, args.workers, args.count,
        args.seed, mask=args.mask, expose=args.expose,
    )  # fmt: skip
    about = faces.manifest
    print(f"{args.out}: {about['faces']} faces of {about['seen']} pictures, "
          f"{about['duplicates']} of them duplicates")  # fmt: skip
    for reason, count in about["skipped_counts"].items():
        print(f"  skipped {count}: {reason}")


def recipes(args: argparse.Namespace) -> None:
    for recipe in facevae.RECIPES.values():
        print(f"{recipe.name:20} {recipe.why}")


def train(args: argparse.Namespace) -> None:
    from facevae.training import distributed
    from facevae.training.runs import fastest

    if args.recipe not in facevae.RECIPES:
        known = ", ".join(facevae.RECIPES)
        raise ValueError(f"the recipe {args.recipe!r} is unknown: use one of {known}")
    shorthands = {name: getattr(args, name) for name in ("epochs", "batch", "seed")}
    recipe = facevae.RECIPES[args.recipe]
    recipe = recipe.changed(**{k: v for k, v in shorthands.items() if v is not None})
    recipe = recipe.with_settings(args.set)
    _check_device(args.device)
    device = args.device or fastest()
    distributed.accelerator(torch.device(device))
    # the first process draws drawn faces, once
    faces = distributed.from_first(lambda: facevae.load_faces(args.data or recipe.source))
    facevae.train(recipe, faces, args.out, args.resume, device, tensorboard=args.tensorboard,
                  monitor=args.monitor)  # fmt: skip
    if distributed.ranks()[0] == 0:
        print(f"{args.out}/best: the model of the best validation epoch")
        print(f"  to play with it: python app.py --model {args.out}/best")


def _check_device(name: str | None) -> None:
    """Raise ValueError where the named device is not there."""
    try:
        torch.empty(0, device=name or "cpu")
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"there is no device {name!r} here ({reason}): use cpu") from error


def evaluate(args: argparse.Namespace) -> None:
    """Held-out figures of a model, and of a studio's edits: tables, or JSON with `--json`."""
    from facevae.evaluation import suite, tables

    model, faces = facevae.FaceVAE.from_pretrained(args.model), facevae.load_faces(args.data)
    labelled = all(name in faces.labels for name in model.config.conditions)
    # a studio fills in conditions that the faces carry no labels of
    studio = None if labelled and not args.edits else facevae.Studio.load(args.model)
    classifier = _evaluation_classifier(args) if args.edits else None
    factors = _factors(faces, args.factors, model.config.latents)
    against = {name: facevae.FaceVAE.from_pretrained(name) for name in args.against}
    split = faces.split(args.seed, by=args.split_by)
    rows, condition = split[args.part], None
    if studio and model.config.image_shape == faces.image_shape:
        condition = suite.filled_conditions(studio, faces, rows)
    else:
        rows = suite.metrics.known_rows(model, faces, rows, args.model)
    for name, other in against.items():
        known = suite.metrics.known_rows(other, faces, rows, name)
        kept = np.isin(rows, known)
        rows, condition = known, None if condition is None else condition[torch.from_numpy(kept)]
    if not len(rows):
        raise ValueError(
            f"no face of {args.data} in the part {args.part!r} has all conditions of the models "
            "as labels: name another --part, or other faces"
        )
    pca_rows = None if args.no_pca else split["train"]
    found = suite.evaluate_model(model, faces, rows, condition, against, factors, pca_rows)
    if studio and classifier:
        ages = facevae.load_faces(args.ages) if args.ages else None
        folder = Path(args.classifier) / "features"
        found["studio"] = suite.evaluate_studio(
            studio, faces, args.part, classifier, folder, ages, args.faces
        )
    print(json.dumps(tables.rounded(found), indent=1, ensure_ascii=False) if args.json
          else tables.text(found))  # fmt: skip


def _evaluation_classifier(args: argparse.Namespace) -> EvaluationClassifier:
    """The one in `--classifier`, or one fitted there on the faces of `--classifier-data`."""
    from facevae.evaluation.classifier import EvaluationClassifier
    from facevae.evaluation.features import backbone

    backbone()
    if not args.classifier_data:
        return EvaluationClassifier.load(args.classifier)
    sets = [facevae.load_faces(folder) for folder in args.classifier_data]
    folder = Path(args.classifier)
    found = EvaluationClassifier.fit(sets, folder / "features", progress=not args.json)
    found.save(folder)
    return found


def _factors(faces: FaceSet, names: list[str], latents: int) -> dict[str, np.ndarray]:
    """Labels to score latents against: those named, else what drawn faces were drawn from."""
    from facevae.data.synthetic import FACTORS
    from facevae.evaluation.disentanglement import MIN_FACES

    carried = [name for name, values in faces.labels.items() if values.dtype.kind in "if"]
    for name in names:
        if name not in carried:
            raise ValueError(f"no label {name!r} here: in numbers these faces carry {carried}")
    if not names and faces.manifest["source"] == "synthetic" and latents > 1:
        enough = len(faces.split()["test"]) >= MIN_FACES
        names = [factor.name for factor in FACTORS if factor.name in carried and enough]
    return {name: faces.labels[name] for name in names}


def report(args: argparse.Namespace) -> None:
    from facevae.evaluation import report as page

    data = [facevae.load_faces(folder) for folder in args.data]
    photographs = page.write_report(args.runs, args.out, data, args.photos)
    print(f"{args.out}: the report of {', '.join(args.runs)}")
    if photographs:
        print(f"  it {page.PHOTOS} (--no-photos leaves them out)")


def export(args: argparse.Namespace) -> None:
    """A studio folder in float16; where there are no statistics, they are fitted to `--data`."""
    from facevae.latents.statistics import LatentStatistics

    model = facevae.FaceVAE.from_pretrained(args.model)
    if args.data:
        faces = facevae.load_faces(args.data)
        rows = faces.split(args.seed)["train"]
        statistics = LatentStatistics.fit(model, faces, rows, seed=args.seed)
        facevae.Studio(model, statistics).save(args.out)
    else:
        facevae.Studio.load(args.model).save(args.out)
    print(f"{args.out}: the model in float16 and the statistics of its codes")


def classifier(args: argparse.Namespace) -> None:
    """Train the editing classifier and print its held-out balanced accuracy."""
    from facevae.evaluation.classifier import held_out, label_matrix
    from facevae.models.classifier import ClassifierConfig
    from facevae.models.conditions import ATTRIBUTES
    from facevae.training.classifier import train_classifier

    sets = [facevae.load_faces(folder) for folder in args.data]
    framings = {faces.framing for faces in sets}
    if len(framings) > 1:
        raise ValueError(
            f"these faces are framed as {sorted(framings)}: prepare all in one framing"
        )
    names = args.attributes or [
        name for name in (*ATTRIBUTES, "Young")
        if any((label_matrix(faces, [name]) >= 0).any() for faces in sets)
    ]  # fmt: skip
    if not names:
        raise ValueError("these faces carry no label to train on: prepare faces with CelebA's")
    aged = any("age" in faces.labels for faces in sets)
    config = ClassifierConfig(tuple(names), aged, framings.pop())
    rows = [(faces, faces.split(args.seed)["train"]) for faces in sets]
    found = train_classifier(rows, config, args.epochs, args.seed)
    found.save(args.out)
    print(f"{args.out}: reads {', '.join(names)}{' and the age' if aged else ''}")
    for name, figure in held_out(found, sets, args.seed).items():
        unit = "years of mean absolute error" if name == "age" else "balanced accuracy, held out"
        unseen = "unknown: the held-out faces do not show both classes"
        print(f"  {name:20} {unseen if np.isnan(figure) else f'{figure:.3f} {unit}'}")


def adversarial(args: argparse.Namespace) -> None:
    """Stage 2 of the studio model, by `training.adversarial`."""
    from facevae.training.edit_runs import train_edits

    sets = [facevae.load_faces(folder) for folder in args.data]
    _check_device(args.device)
    train_edits(args.model, sets, args.out, steps=args.steps, resume=args.resume, seed=args.seed,
                device=args.device or "cpu")  # fmt: skip
    print(f"{args.out}/best: the model that was trained on what its edits show")


def morph(args: argparse.Namespace) -> None:
    studio = facevae.Studio.load(args.model)
    a, b = (studio.read(photo) for photo in (args.a, args.b))
    size = args.size or PICTURE_SIZE
    frames = studio.morph_strip(a, b, args.steps, args.detail, args.path, size)
    save_animation(frames, args.out, args.seconds, not args.one_way)
    print(f"{args.out}: {args.steps} steps from {args.a} to {args.b}")


def edit(args: argparse.Namespace) -> None:
    studio = facevae.Studio.load(args.model)
    wanted = dict(_strength(text) for text in args.set)
    face = studio.read(args.photo)
    size = args.size or (None if args.paste else PICTURE_SIZE)
    picture = studio.edit(face, wanted, args.detail, args.method, args.lock, size, args.paste)
    save_animation([picture], args.out)
    print(f"{args.out}: {args.photo}, {', '.join(args.set) or 'unchanged'}")


def _strength(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        strength = float(value)
    except ValueError:
        raise ValueError(f"{text!r} is no strength: write it as Smiling=1") from None
    if not abs(strength) <= MAX_STRENGTH:  # nor NaN
        raise ValueError(
            f"{text!r} is too strong: 1 has it, -1 has it not, {MAX_STRENGTH:g} at most"
        )
    return name, strength


def age(args: argparse.Namespace) -> None:
    """One photo at several ages as frames; several photos as one sheet, a row a face."""
    studio = facevae.Studio.load(args.model)
    if len(args.photos) > 1 and (args.own is not None or args.paste):
        raise ValueError("--own and --paste are for one photo: give one, or leave them out")
    size = args.size or (None if args.paste else PICTURE_SIZE)
    rows, lines = [], []
    for photo in args.photos:
        face = studio.read(photo)
        lines.append(photo if face.years is None else f"{photo}, read as {face.years:.0f} years")
        if args.own is not None:
            face = dataclasses.replace(face, years=args.own)
        options = {"detail": args.detail, "method": args.method, "size": size, "paste": args.paste}
        rows.append([studio.age(face, years, **options) for years in args.years])
    _write_rows(rows, args.out, args.seconds)
    print(f"{args.out}: {'; '.join(lines)}")


def reconstruct(args: argparse.Namespace) -> None:
    """Photos and the decoder's pictures of them, a row a face."""
    studio, rows = facevae.Studio.load(args.model), []
    size = args.size or PICTURE_SIZE
    for photo in args.photos:
        face = studio.read(photo)
        rows.append([studio.edit(face, {}, size=size), studio.reconstruct(face, size)])
    _write_rows(rows, args.out)
    print(f"{args.out}: {', '.join(args.photos)}, each beside the decoder's picture")


def _write_rows(rows: list, out: str, seconds: float = 3.0) -> None:
    """One row as frames, several as one sheet."""
    sheet = tile([picture for row in rows for picture in row], columns=len(rows[0]))
    save_animation(rows[0] if len(rows) == 1 else [sheet], out, seconds)


def sample(args: argparse.Namespace) -> None:
    studio = facevae.Studio.load(args.model)
    gender = {"male": 0, "female": 1}.get(args.gender)
    wanted = dict(_strength(text) for text in args.set)
    faces = studio.sample(args.n, args.seed, args.temperature, args.age, gender, wanted)
    save_animation([tile(faces, columns=min(8, args.n))], args.out)
    print(f"{args.out}: {args.n} faces of nobody")


def average(args: argparse.Namespace) -> None:
    """The average person without an attribute beside the one with it."""
    studio = facevae.Studio.load(args.model)
    if args.attribute not in studio.attributes:
        known = ", ".join(studio.attributes) or "none"
        raise ValueError(f"there is no attribute {args.attribute!r} in this model: it has {known}")
    save_animation([tile([studio.average(args.attribute, has) for has in (False, True)])], args.out)
    print(f"{args.out}: the average person without and with {args.attribute}")
