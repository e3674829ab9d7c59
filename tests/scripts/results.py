"""Run the rows of assets/results.md, one recipe each, and write their table into it.

python tests/scripts/results.py ARCHIVES [ROW …] [--out runs/results]

ARCHIVES is a folder with UTKFace.tar, GENKI4K.tar, celeba.tar and frey_rawface.mat. Rows that ended
are not run again; a row that was interrupted goes on. All rows take a few hours on two cores.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache, partial
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # wherever it is run from
import numpy as np
import torch
from PIL import Image

import facevae
from facevae.evaluation.classifier import EvaluationClassifier
from facevae.evaluation.edits import evaluate_studio
from facevae.imaging.alignment import FRAMINGS
from facevae.latents.diagnostics import by_kl, encoded
from facevae.latents.directions import METHODS

PAGE = Path("assets/results.md")
ARCHIVES = {"utkface": "UTKFace.tar", "folders": "GENKI4K.tar", "celeba": "celeba.tar",
            "frey": "frey_rawface.mat"}  # fmt: skip
BEST = "smile_batch=32_latents=120"  # by its validation loss, and then
SECOND = "smile_batch=32_latents=200"
LONG = ["epochs=125", "bf16=true"]  # 288,000 faces of GENKI; source 2 showed its own 144,000
SHORT = ["epochs=30", "bf16=true"]  # to compare seeds and scales by
AGING = ["epochs=8", "bf16=true", "size=64"]
SUMMED = ["model.sigma=0.70710678", "epochs=1", "bf16=true"]  # source 1's loss
ROWS = {  # a name → a recipe and what is changed
    "frey": ["frey"], "frey-order": ["frey", "split_by=order"], "frey-gaussian": ["frey-gaussian"],
    **{f"frey-gaussian-order-{s}": ["frey-gaussian", "split_by=order", f"seed={s}"]
       for s in (0, 1, 2)},
    "morph-utkface": ["morph-utkface", "bf16=true"],
    # the source's bound of 50 on the gradient is 0.00407 times the numbers of a picture
    "morph-summed": ["morph-utkface", "clip=0.00407", *SUMMED],
    "morph-unclipped": ["morph-utkface", "clip=1000000", *SUMMED],
    **{f"smile_batch={b}_latents={d}": ["smile", f"batch={b}", f"model.latents={d}", *LONG]
       for b in (32, 64, 128) for d in (120, 200)},
    # as long as the source's
    "smile_batch=128_latents=200": ["smile", "batch=128", "model.latents=200", "bf16=true"],
    **{name: [name, *LONG] for name in ("smile-signed", "smile-beta10", "smile-beta50")},
    "smile-leaky": ["smile", "model.leak=0.1", *LONG],  # LeakyReLU for the source's ReLU
    **{f"{name}-seed-{s}": [name, f"seed={s}", *SHORT]
       for s in (0, 1, 2) for name in ("smile", "smile-signed")},
    **{f"smile-{name}-seed-{s}": ["smile", f"seed={s}", change, *SHORT]
       for name, change in (("leaky", "model.leak=0.1"), ("batch-32", "batch=32"),
                            ("latents-200", "model.latents=200")) for s in (0, 1, 2)},
    **{name: [name, *SHORT] for name in ("smile-normalized", "smile-optimal")},
    "attributes-celeba": ["attributes-celeba", "bf16=true"],
    **{name: [name, "epochs=30", "bf16=true"] for name in ("aging", "aging-plain")},
    "aging-256": ["aging", "size=256", "epochs=1", "bf16=true"],
    "aging-64": ["aging", *AGING],  # and what helps the rare old faces
    "aging-64-even": ["aging", "balance=", *AGING],
    "aging-64-weigh": ["aging", "balance=", "weigh=age", *AGING],
    "aging-64-augment": ["aging", "augment=true", *AGING],
}  # fmt: skip
EDITED = {  # a row → the row whose faces the evaluation classifier is fitted to, and the methods
    BEST: ("attributes-celeba", ["mean"]),
    "attributes-celeba": ("attributes-celeba", ["mean", "balanced"]),
    **{name: ("aging", ["condition", "vector"]) for name in ("aging", "aging-plain")},
}
FIGURES = ("negative_elbo", "source_loss", "kl", "psnr", "ssim")


def run(name: str, archives: Path, out: Path) -> None:
    """One row by the command line; rows of the same faces share them."""
    recipe = facevae.RECIPES[ROWS[name][0]].with_settings(ROWS[name][1:])
    faces, folder = out / f"faces-{recipe.source}-{recipe.size}", out / name
    for path in (faces, folder):
        path.mkdir(parents=True, exist_ok=True)
    if not (folder / "faces").exists():
        (folder / "faces").symlink_to(os.path.relpath(faces, folder))
    archive = archives / ARCHIVES[recipe.source]
    command = [sys.executable, "-m", "facevae", "run", recipe.name, "--archive", str(archive)]
    settings = [part for setting in ROWS[name][1:] for part in ("--set", setting)]
    subprocess.run([*command, "--out", str(folder), *settings], check=True)


def row(name: str, out: Path) -> list[str]:
    """The cells of a row."""
    found = json.loads((out / name / "figures.json").read_text("utf-8"))
    about, figures, (recipe, *changed) = found["run"], found["figures"], ROWS[name]
    with open(out / name / "history.csv", newline="") as file:
        losses = [float(line["val_loss"]) for line in csv.DictReader(file)]
    fifth = min(losses[: max(1, len(losses) * 4 // 5)]) - min(losses)  # what the last fifth gained
    curve = "flat" if fifth < 0.01 * (losses[0] - min(losses)) else "still falling"
    measured = [_number(figures.get(key, {}).get("this model")) for key in FIGURES]
    cost = f"{about['seconds'] / 60:.0f} min, threads: {about['cores']}, torch {about['torch']}"
    return [name, recipe, ", ".join(changed) or "–", str(about["epochs"]), curve, *measured,
            _number(figures["psnr"].get("PCA")), cost]  # fmt: skip


def edits(name: str, out: Path) -> None:
    """What the evaluation classifier sees of a row's edits and ages, by each method."""
    labelled, methods = EDITED[name]
    for method in methods:
        path = out / name / f"edits-{method}.json"
        if not path.is_file():
            studio = facevae.Studio.load(out / name / "best")
            verb = "edit" if method in METHODS else "age"
            setattr(studio, verb, partial(getattr(studio, verb), method=method))
            faces = facevae.load_faces(out / name / "faces")
            found = evaluate_studio(studio, _classifier(out / labelled / "faces"), faces)
            path.write_text(json.dumps(found, indent=1), "utf-8")


@cache
def _classifier(faces: Path) -> EvaluationClassifier:
    return EvaluationClassifier(facevae.load_faces(faces))


def edit_rows(name: str, out: Path) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of the tables of edits and of ages."""
    edited, aged = [], []
    for method in EDITED[name][1]:
        path = out / name / f"edits-{method}.json"
        found = json.loads(path.read_text("utf-8")) if path.is_file() else {"edits": {}}
        for edit, one in found["edits"].items() if method in METHODS else ():
            if "turned" in one:
                leaks = sorted(one["leaks"].items(), key=lambda leak: -leak[1])
                along = ", ".join(f"{label} {share:.2f}" for label, share in leaks) or "–"
                figures = (_number(one[key]) for key in ("turned", "identity", "years"))
                edited.append([name, method, edit, str(one["faces"]), *figures, along])
        ages = found.get("ages", {})
        if "span" in ages and method not in METHODS:
            aged.append([name, method, *(_number(figure) for figure in ages.values())])
    return edited, aged


@torch.inference_mode()
def latents(name: str, out: Path, strongest: int = 8) -> list[list[str]]:
    """What the strongest latents of a row change from −2.5 to 2.5 deviations about the mean."""
    model = facevae.FaceVAE.from_pretrained(out / name / "best")
    faces = facevae.load_faces(out / name / "faces")
    q = encoded(model, faces, faces.split()["train"])
    mean, std, kl = q.mean.mean(0), q.mean.std(0), q.kl_per_latent()
    found = []
    for latent in by_kl(kl)[:strongest]:
        step = 2.5 * std * (torch.arange(len(std)) == latent)  # (D,)
        low, high = model.decode(torch.stack([mean - step, mean + step]))[:, 0] * 255  # (H, W)
        change = (high - low).abs()
        thirds = [part.sum() / change.sum() for part in change.tensor_split(3)]
        found.append([str(latent), f"{kl[:, latent].mean():.2f}", f"{change.mean():.1f}",
                      " / ".join(f"{share:.0%}" for share in thirds)])  # fmt: skip
    return found


def groups(name: str, out: Path) -> list[str]:
    """PSNR of a row's unseen faces in bands of ages."""
    found = json.loads((out / name / "figures.json").read_text("utf-8"))["PSNR by group"]
    ages = [group for key, group in found.items() if key.startswith("age")]
    return [name, *(f"{group['average']['mean']:.2f} ({group['faces']})" for group in ages)]


def picture(names: Sequence[str], out: Path, path: Path) -> None:
    """Two faces of nobody by each of these models, from a weak smile to a strong one."""
    rows = []
    for name, seed in product(names, (1, 2)):
        studio = facevae.Studio.load(out / name / "best")
        (drawn,) = studio.sample(1, seed)
        face = studio.read(drawn, eyes=FRAMINGS[studio.framing][:2] * drawn.width)
        faces = [studio.edit(face, {"Smiling": smile}, detail=0) for smile in (-2, -1, 0, 1, 2)]
        rows.append(np.hstack([np.asarray(one) for one in faces]))
    Image.fromarray(np.vstack(rows)).save(path, quality=90)


def _number(figure: dict | float | None) -> str:
    value = figure["mean"] if isinstance(figure, dict) else figure
    return "–" if value is None else f"{value:.{1 if abs(value) > 100 else 3}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("archives", type=Path)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--out", type=Path, default=Path("runs/results"))
    args = parser.parse_args()
    for name in args.rows or ROWS:
        run(name, args.archives, args.out)
    done = [name for name in ROWS if (args.out / name / "figures.json").is_file()]
    for name in EDITED:
        if name in done and name in (args.rows or done):
            edits(name, args.out)
    if all((args.out / name / "best").is_dir() for name in (BEST, SECOND)):
        picture((BEST, SECOND), args.out, PAGE.with_name("smiles.jpg"))
    heads = ["row", "recipe", "changed", "epochs", "curve", "negative ELBO", "the source's loss",
             "KL", "PSNR", "SSIM", "PCA's PSNR", "cost"]  # fmt: skip
    _write("rows", heads, [row(name, args.out) for name in done])
    bands = [groups(name, args.out) for name in done if name.startswith("aging")]
    _write("ages of faces", ["row", "0–19", "20–39", "40–59", "60–79", "80–99"], bands)
    edited, aged = zip(*(edit_rows(name, args.out) for name in EDITED), strict=True)
    _write("edits", ["row", "method", "edit", "faces", "turned", "identity", "years moved",
                     "turned along"], sum(edited, []))  # fmt: skip
    heads = ["latent", "KL in nats", "mean change of 255", "upper / middle / lower third"]
    _write("latents", heads, latents("frey-gaussian", args.out) if "frey-gaussian" in done else [])
    _write("ages", ["row", "method", "span", "never falls", "steps that do not fall",
                    "gender kept"], sum(aged, []))  # fmt: skip


def _write(mark: str, heads: list[str], rows: list[list[str]]) -> None:
    """Put a table between its marks in the page, where rows whose runs are not here stay."""
    start, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    before, _, rest = PAGE.read_text("utf-8").partition(start)
    stood = [line[2:-2].split(" | ") for line in rest.partition(end)[0].splitlines()[4:] if line]
    new = {cells[0] for cells in rows}
    stay = [one for one in stood if not new or (one[0] in ROWS and one[0] not in new)]
    rows = sorted([*rows, *stay], key=lambda cells: [*ROWS, cells[0]].index(cells[0]))
    lines = "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---"] * len(heads), *rows])
    PAGE.write_text(f"{before}{start}\n\n{lines}\n\n{end}{rest.partition(end)[2]}", "utf-8")


if __name__ == "__main__":
    main()
