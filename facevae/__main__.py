"""The command line: `python -m facevae prepare|train|evaluate|report|results|morph …`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

import facevae
from facevae import metrics, parallel, pictures, sources
from facevae.files import write_text
from facevae.latent import PATHS, GaussianPrior, choose_prior
from facevae.train import Diverged, fastest


def prepare(asked: argparse.Namespace) -> None:
    faces = facevae.prepare(
        asked.source, asked.archive, asked.out, asked.size, asked.align, asked.workers,
        asked.count, asked.seed, mask=asked.mask, expose=asked.expose,
    )  # fmt: skip
    about = faces.manifest
    print(f"{asked.out}: {about['faces']} faces of {about['seen']} pictures, "
          f"{about['duplicates']} of them duplicates")  # fmt: skip
    for reason, count in about["skipped_counts"].items():
        print(f"  skipped {count}: {reason}")


def train(asked: argparse.Namespace) -> None:
    recipe = _recipe(asked.recipe)
    shorthands = {"epochs": asked.epochs, "batch": asked.batch, "seed": asked.seed}
    recipe = recipe.changed(**{k: v for k, v in shorthands.items() if v is not None})
    recipe = recipe.with_settings(asked.set)
    device = asked.device or fastest()
    with parallel.first_goes_first(device):  # drawn faces are drawn once
        faces = facevae.load_faces(asked.data or recipe.source)
    facevae.train(recipe, faces, asked.out, asked.resume, device, tensorboard=asked.tensorboard)
    if parallel.ranks()[0] == 0:
        print(f"{asked.out}/best: the model of the best validation epoch")


def evaluate(asked: argparse.Namespace) -> None:
    """One JSON object: a model's held-out figures, PCA's and those of any models against it."""
    model, faces = facevae.FaceVAE.from_pretrained(asked.model), facevae.load_faces(asked.data)
    others = {name: facevae.FaceVAE.from_pretrained(name) for name in asked.against}
    models = {asked.model: model} | others
    shared = metrics.readable(faces, models)
    factors = _factors(faces, asked.factors, min(m.config.latents for m in models.values()))
    split = faces.split(asked.seed, by=asked.split_by)
    rows = np.intersect1d(split[asked.part], shared)
    if not len(rows):
        raise ValueError(f"no face of {asked.data} falls to {asked.part!r}: name another --part")
    table = metrics.per_face(model, faces, rows)
    found = metrics.summary(table) | {"faces": len(rows)}
    if not asked.no_pca:
        found["pca_psnr"] = metrics.pca_psnr(faces, split["train"], rows, model.config.latents)
    if factors:
        found |= _disentanglement(model, faces, shared, factors)
    found["psnr_by_group"] = metrics.by_group(table["psnr"], faces, rows)
    found["against"] = {}
    for name, other in others.items():
        its = metrics.per_face(other, faces, rows)
        gain = {"psnr_difference": metrics.paired(table["psnr"], its["psnr"])}
        scores = _disentanglement(other, faces, shared, factors) if factors else {}
        found["against"][name] = metrics.summary(its) | scores | gain
    print(json.dumps(_rounded(found), indent=1, ensure_ascii=False))


def _factors(faces: facevae.FaceSet, names: list[str], latents: int) -> dict[str, np.ndarray]:
    """Labels to score latents against: those named, else what drawn faces were drawn from."""
    from facevae import disentanglement, results

    if not names:
        enough = len(faces) >= disentanglement.LEAST and latents > 1
        return results.known_factors(faces) if enough else {}
    carried = [name for name, values in faces.labels.items() if values.dtype.kind in "if"]
    for name in names:
        if name not in carried:
            raise ValueError(f"no label {name!r} here: in numbers these faces carry {carried}")
    return {name: faces.labels[name] for name in names}


def _disentanglement(
    model: facevae.FaceVAE, faces: facevae.FaceSet, rows: np.ndarray, factors: dict[str, np.ndarray]
) -> dict[str, float]:
    """Scores of the latents against factors, over rows of all parts in which these are known."""
    from facevae import disentanglement, results

    rows = rows[disentanglement.known({name: v[rows] for name, v in factors.items()})]
    rows = results.evenly(rows, results.MIG_FACES)
    codes = metrics.posteriors(model, faces, rows).mean
    return disentanglement.scores(codes, {name: v[rows] for name, v in factors.items()})


def _rounded(found: object) -> object:
    if isinstance(found, dict):
        return {name: _rounded(value) for name, value in found.items()}
    return round(found, 3) if isinstance(found, float) else found


def export(asked: argparse.Namespace) -> None:
    """Fit the sampling prior on the training faces and write a studio folder."""
    model, faces = facevae.FaceVAE.from_pretrained(asked.model), facevae.load_faces(asked.data)
    split = faces.split(asked.seed)
    means = metrics.posteriors(model, faces, split["train"]).mean
    if asked.prior == "gaussian":
        prior = GaussianPrior.fit(means)
    else:
        held_out = metrics.posteriors(model, faces, split["val"]).mean
        prior, nats = choose_prior(means, held_out, seed=asked.seed)
        for name, value in nats.items():
            print(f"  {name}: {value:.1f} nats an unseen face")
    facevae.Studio(model, prior).save(asked.out)
    print(f"{asked.out}: the model in float16 and its prior")


def report(asked: argparse.Namespace) -> None:
    from facevae import report as page

    data = [facevae.load_faces(folder) for folder in asked.data]
    photographs = page.report(asked.runs, asked.out, data, asked.photos)
    print(f"{asked.out}: the report of {', '.join(asked.runs)}")
    if photographs:
        print(f"  it {page.PHOTOS} (--no-photos leaves them out)")


def results(asked: argparse.Namespace) -> None:
    from facevae import results as found

    data = [facevae.load_faces(folder) for folder in asked.data]
    text = found.table(found.rows_of(asked.runs, data, asked.machine))
    if asked.out:
        write_text(asked.out, f"# Results\n\n{text}")
    print(f"{asked.out}: {len(asked.runs)} runs" if asked.out else text)


def judge(asked: argparse.Namespace) -> None:
    from facevae import trial

    if not (asked.attribute or asked.age):
        raise ValueError("nothing to judge: name an --attribute, or give --age")
    model, faces = facevae.FaceVAE.from_pretrained(asked.model), facevae.load_faces(asked.data)
    extra = [facevae.load_faces(folder) for folder in asked.judge_data]
    trial.check(model, [faces, *extra], asked.attribute, asked.age)
    school = trial.School([faces, *extra], asked.labels, asked.seed, asked.epochs,
                          asked.train_faces, asked.judge)  # fmt: skip
    one, figures = school.judge()
    labels = school.labels(one.config)
    tried = trial.Trial(model, faces, one, labels, asked.seed, asked.train_faces, asked.faces)
    report: dict = {"model": asked.model, "data": asked.data, "seed": asked.seed,
                    "faces": len(tried.test), "judge": figures}  # fmt: skip
    if asked.attribute:
        report[asked.attribute] = tried.attribute(asked.attribute, asked.strengths, asked.relative)
    if asked.age:
        report["aging"] = tried.aging()
    print(json.dumps(report, indent=1, ensure_ascii=False))
    if asked.out:
        drawn, columns = tried.strip(asked.attribute)
        pictures.tile(pictures.to_pil(torch.stack(drawn)), columns).save(asked.out)


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
    p.add_argument("--mask", action="store_true", help="calm the background to a neutral grey")
    p.add_argument("--expose", action="store_true", help="even the light on the face")
    p.add_argument("--workers", type=int, help="processes (default: all cores)")
    p.add_argument("--count", type=int, default=5000, help="faces to draw (synthetic)")
    p.add_argument("--seed", type=int, default=0)

    p = command(train, "train a recipe; on several CPU processes: torchrun --nproc_per_node 2 "
                "-m facevae train ..., on GPUs: accelerate launch -m facevae ...")  # fmt: skip
    p.add_argument("recipe")
    p.add_argument("--data", help="prepared folder (default: the recipe's source under data/)")
    p.add_argument("--out", required=True, help="folder of the run")
    p.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    for name in ("epochs", "batch", "seed"):
        p.add_argument(f"--{name}", type=int)
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the recipe, or of its model: beta=4, model.latents=64",
    )
    p.add_argument("--device", help="cpu, cuda or mps (default: the fastest there is)")
    p.add_argument("--tensorboard", action="store_true", help="also log into OUT/tensorboard")

    p = command(evaluate, "print held-out figures of a model, PCA beside them")
    p.add_argument("model", help="folder of a model, or hub:owner/name")
    p.add_argument("--data", required=True, help="prepared folder")
    p.add_argument("--part", choices=("train", "val", "test"), default="test")
    p.add_argument("--split-by", choices=("content", "order"), default="content")
    p.add_argument("--seed", type=int, default=0, help="of the split the model was trained with")
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

    p = command(export, "write a model and a fitted prior as a folder for the studio")
    p.add_argument("model", help="folder of a model")
    p.add_argument("--data", required=True, help="prepared folder it was trained on")
    p.add_argument("--out", required=True)
    p.add_argument("--seed", type=int, default=0, help="of the split the model was trained with")
    p.add_argument(
        "--prior",
        choices=("gaussian", "likeliest"),
        default="gaussian",
        help="likeliest: of it and of mixtures, judged on validation faces; minutes",
    )

    p = command(report, "write a page of runs: curves, pictures, latents, metrics")
    p.add_argument("runs", nargs="+", metavar="RUN", help="folder that `train --out` wrote")
    p.add_argument("-o", "--out", default="report.html", help="HTML file, nothing beside it")
    p.add_argument("--data", nargs="+", default=[], help="prepared folders of these runs")
    p.add_argument("--no-photos", dest="photos", action="store_false",
                   help="leave the data's own pictures out")  # fmt: skip

    p = command(results, "write a table of runs: held-out figures, PCA beside them, commands")
    p.add_argument("runs", nargs="+", metavar="RUN", help="folder that `train --out` wrote")
    p.add_argument("-o", "--out", help="Markdown file (default: print it)")
    p.add_argument(
        "--data",
        nargs="+",
        default=[],
        help="prepared folders of these runs; not needed for figures that are kept",
    )
    p.add_argument("--machine", default="", help="what they were trained on, such as '3 CPU cores'")

    p = command(judge, "print what edits of unseen faces do, as a network trained apart reads it")
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
    p.add_argument("--faces", type=int, default=300, help="unseen faces to edit")
    p.add_argument("--train-faces", type=int, help="training faces to use (default: all)")
    p.add_argument("--epochs", type=int, default=8, help="of the judge")
    p.add_argument("--seed", type=int, default=0, help="of the split the model was trained with")
    p.add_argument("-o", "--out", help="also write a strip of decoded faces from -2 to +2 (.png)")

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
