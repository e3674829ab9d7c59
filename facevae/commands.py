"""What the commands of `python -m facevae` do; their options are in `facevae.__main__`."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import facevae
from facevae import metrics, parallel, pictures
from facevae.data import evenly
from facevae.files import write_text
from facevae.latent import GaussianPrior, MixturePrior, Prior, choose_prior, load_prior
from facevae.train import fastest

SIDE = 256  # of a frame in pixels
STRONGEST = 10  # of an attribute; a picture tells nothing long before


def prepare(asked: argparse.Namespace) -> None:
    if asked.add:
        from facevae.adding import add

        faces = add(asked.source, asked.archive, asked.out, asked.workers)
    else:
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
    device = _device(asked.device)
    with parallel.first_goes_first(device):  # drawn faces are drawn once
        faces = facevae.load_faces(asked.data or recipe.source)
    facevae.train(recipe, faces, asked.out, asked.resume, device, tensorboard=asked.tensorboard)
    if parallel.ranks()[0] == 0:
        print(f"{asked.out}/best: the model of the best validation epoch")


def _device(name: str | None) -> str:
    """A device that is there; ValueError where the named one is not."""
    try:
        torch.empty(0, device=name or "cpu")
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"there is no device {name!r} here ({reason}): use cpu") from error
    return name or fastest()


def evaluate(asked: argparse.Namespace) -> None:
    """One JSON object: a model's held-out figures, PCA's and those of any models against it; of a
    studio also what its edits, ages and samples are worth, if there is a judge."""
    recognizer = None
    if asked.recognizer:
        if not asked.judge:
            raise ValueError("--recognizer looks at edited faces: give a --judge as well")
        from facevae.recognizer import Recognizer

        recognizer = Recognizer()
    if asked.judge:  # before all figures, which take minutes: its folder may be misspelt
        from facevae.judge import Judge

        studio, one = facevae.Studio.load(asked.model), Judge.load(asked.judge)
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
    found: dict = metrics.summary(table) | {"faces": len(rows)}
    if not asked.no_pca:
        found["pca_psnr"] = metrics.pca_psnr(faces, split["train"], rows, model.config.latents)
    if factors:
        found |= _disentanglement(model, faces, shared, factors)
    if asked.judge:
        from facevae.examine import examine

        found |= examine(studio, faces, rows, one, recognizer=recognizer)
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
    rows = evenly(rows, results.MIG_FACES)
    codes = metrics.posteriors(model, faces, rows).mean
    return disentanglement.scores(codes.numpy(), {name: v[rows] for name, v in factors.items()})


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
        prior: Prior = GaussianPrior.fit(means)
    elif asked.prior.isdigit() and int(asked.prior):
        prior = MixturePrior.fit(means, int(asked.prior), seed=asked.seed)
    elif asked.prior != "likeliest":
        raise ValueError(f"--prior {asked.prior}: say gaussian, likeliest or a number above 0")
    else:
        held_out = metrics.posteriors(model, faces, split["val"]).mean
        prior, nats = choose_prior(means, held_out, seed=asked.seed)
        for name, value in nats.items():
            print(f"  {name}: {value:.1f} nats an unseen face")
    facevae.Studio(model, prior).save(asked.out)
    if asked.onnx:
        from facevae.onnx_export import export_onnx

        export_onnx(model, asked.out)
    print(f"{asked.out}: the model in float16 and its prior")


def guide(asked: argparse.Namespace) -> None:
    """Teach a reader, find directions, age curves and texture, and put them beside the model."""
    from facevae.guide import ATTRIBUTES, Guide
    from facevae.hair import finder
    from facevae.packets import cores
    from facevae.reach import gauged
    from facevae.trial import School

    finder()  # steering draws hair by it: better missed now than after half an hour
    prior = load_prior(Path(asked.model) / "prior.safetensors")
    model, faces = facevae.FaceVAE.from_pretrained(asked.model), facevae.load_faces(asked.data)
    facevae.Studio(model, prior)  # it makes one: this, too
    extra = [facevae.load_faces(folder) for folder in asked.reader_data]
    readable = [name for name in ATTRIBUTES if name != "Young"]  # that one is told by the age
    school = School([faces, *extra], readable, asked.seed, asked.epochs, None, asked.reader)
    folders = ["", *(f"tutor{n}" for n in range(1, asked.tutors + 1))]
    reader, *tutors = school.several(folders, 2, cores())  # not the network that `judge` trains
    print(json.dumps({"reader": school.held_out(reader)}, indent=1))
    found = Guide.fit(model, faces, reader, asked.seed, asked.steps, tutors, cores())
    found.save(asked.model)
    if asked.steps:
        studio = facevae.Studio(model, prior, found)
        found = replace(found, ways=gauged(studio, [reader, *tutors], faces, asked.seed))
        found.save(asked.model)
    low, high = found.curves.span
    print(f"{asked.model}: {len(found.ways)} attributes, ages {low} to {high}")


def prior(asked: argparse.Namespace) -> None:
    """Fit a mixture by the kinds of face that the studio's reader sees, and teach a denoiser."""
    from facevae.diffusion_lessons import LOOKS, gathered, taught

    studio, faces = facevae.Studio.load(asked.model), facevae.load_faces(asked.data)
    mixture, seen, unseen = gathered(
        studio.model,
        faces,
        studio.guide.reader,
        asked.kinds,
        asked.seed,
        LOOKS if asked.steps else 1,
    )
    found: Prior = mixture
    if asked.steps:
        found, left = taught(mixture, seen, unseen, asked.steps, asked.seed, asked.bf16)
        print(f"of what {asked.kinds} Gaussians err in taking noise off unseen codes (squared) "
              f"{left:.3f} is left")  # fmt: skip
    found.save(Path(asked.model) / "prior.safetensors")
    print(f"{asked.model}: a prior of {asked.kinds} kinds of face")


def hair(asked: argparse.Namespace) -> None:
    """Teach the finder of hair with maps that MediaPipe and colours give."""
    from facevae.hair import WIDE, agreement, teach
    from facevae.hair_lessons import schoolbook

    shown, held = [], []
    for folder, side in ((asked.data, 1.0), (asked.wide, WIDE)):
        faces = facevae.load_faces(folder)
        split = faces.split(asked.seed)
        shown.append(schoolbook(faces, evenly(split["train"], asked.faces), side))
        held.append(schoolbook(faces, evenly(split["test"], asked.faces // 10), side))
    crops, maps = (torch.cat(parts) for parts in zip(*shown, strict=True))
    found = teach(crops, maps, asked.epochs, asked.seed)
    found.save(asked.out)
    print(f"{asked.out}: taught by {len(crops)} pictures")
    for (unseen, wanted), what in zip(held, ("crops", "wider pictures"), strict=True):
        print(f"  of what it or the lessons call hair in {len(unseen)} unseen {what}, both do "
              f"{agreement(found, unseen, wanted):.2f}")  # fmt: skip


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
        sheet = pictures.tile(pictures.to_pil(torch.stack(drawn)), columns)
        pictures.save_animation([sheet], asked.out)


def morph(asked: argparse.Namespace) -> None:
    studio = facevae.Studio.load(asked.model)
    a, b = (studio.read(photo, refine=asked.refine) for photo in (asked.a, asked.b))
    frames = studio.morph_strip(a, b, asked.steps, asked.detail, asked.path, asked.size or SIDE)
    pictures.save_animation(frames, asked.out, asked.seconds, not asked.one_way)
    print(f"{asked.out}: {asked.steps} steps from {asked.a} to {asked.b}")


def edit(asked: argparse.Namespace) -> None:
    studio = facevae.Studio.load(asked.model)
    face = studio.read(asked.photo, refine=asked.refine)
    wanted = dict(_strength(text) for text in asked.set)
    size = asked.size or (None if asked.paste else SIDE)
    options = {"detail": asked.detail, "size": size, "paste": asked.paste}
    picture = studio.edit(face, wanted, locked=asked.lock, **options)
    pictures.save_animation([picture], asked.out)
    print(f"{asked.out}: {asked.photo}, {', '.join(asked.set) or 'unchanged'}")


def _strength(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        strength = float(value)
    except ValueError:
        raise ValueError(f"{text!r} is no strength: write it as Smiling=1") from None
    if not abs(strength) <= STRONGEST:  # nor NaN
        raise ValueError(f"{text!r} is too strong: 1 has it, -1 has it not, {STRONGEST} at most")
    return name, strength


def age(asked: argparse.Namespace) -> None:
    from dataclasses import replace

    studio = facevae.Studio.load(asked.model)
    face = studio.read(asked.photo, refine=asked.refine)
    seen = face.years  # an estimate
    if asked.own is not None:
        face = replace(face, years=asked.own)
    size = asked.size or (None if asked.paste else SIDE)
    options = {"detail": asked.detail, "size": size, "paste": asked.paste}
    frames = [studio.age(face, years, **options) for years in asked.years]
    pictures.save_animation(frames, asked.out, asked.seconds)
    print(f"{asked.out}: {asked.photo}, read as {seen:.0f} years")


def sample(asked: argparse.Namespace) -> None:
    gender = {"male": 0, "female": 1}.get(asked.gender)
    studio = facevae.Studio.load(asked.model)
    faces = studio.sample(asked.n, asked.seed, asked.temperature, asked.age, gender)
    pictures.save_animation([pictures.tile(faces, columns=min(8, asked.n))], asked.out)
    print(f"{asked.out}: {asked.n} faces of nobody")


def recipes(asked: argparse.Namespace) -> None:
    for recipe in facevae.RECIPES.values():
        print(f"{recipe.name:16} {recipe.why}")


def _recipe(name: str) -> facevae.Recipe:
    if name not in facevae.RECIPES:
        raise ValueError(f"the recipe {name!r} is unknown: use one of {', '.join(facevae.RECIPES)}")
    return facevae.RECIPES[name]
