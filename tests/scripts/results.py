"""Run the rows of assets/results.md, one recipe each, and write their table into it.

python tests/scripts/results.py ARCHIVES [ROW …] [--out runs/results]

ARCHIVES is a folder with UTKFace.tar, GENKI4K.tar, celeba.tar and frey_rawface.mat. Rows that ended
are not run again; a row that was interrupted goes on. All rows take about a night on two cores.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2])
)  # the checkout, wherever it is run from
import facevae  # noqa: E402

PAGE = Path("assets/results.md")
START, END = "<!-- rows -->", "<!-- end of rows -->"
ARCHIVES = {"utkface": "UTKFace.tar", "folders": "GENKI4K.tar", "celeba": "celeba.tar",
            "frey": "frey_rawface.mat"}  # fmt: skip
SMILE = [[f"batch={b}", f"model.latents={d}"] for b in (32, 64, 128) for d in (120, 200)]
ROWS = {  # a name → a recipe and what is changed
    "frey": ["frey"],
    "frey-order": ["frey", "split_by=order"],
    "frey-gaussian": ["frey-gaussian"],
    **{f"frey-gaussian-order-{s}": ["frey-gaussian", "split_by=order", f"seed={s}"]
       for s in (0, 1, 2)},
    "morph-utkface": ["morph-utkface"],
    **{"_".join(["smile", *settings]).replace("model.", ""): ["smile", *settings]
       for settings in SMILE},
    **{name: [name] for name in ("smile-beta10", "smile-beta50", "smile-signed",
                                 "smile-normalized", "smile-optimal", "attributes-celeba")},
    "aging": ["aging"],
    "aging-even": ["aging", "balance="],
    "aging-weigh": ["aging", "balance=", "weigh=age"],
    "aging-augment": ["aging", "augment=true"],
    "aging-plain": ["aging-plain"],
    "aging-256": ["aging", "size=256", "epochs=2"],
}  # fmt: skip
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
    """The cells of a row; [] where it was not run."""
    path = out / name / "figures.json"
    if not path.is_file():
        return []
    found, recipe = json.loads(path.read_text("utf-8")), facevae.RECIPES[ROWS[name][0]]
    about, figures = found["run"], found["figures"]
    with open(out / name / "history.csv", newline="") as file:
        losses = [float(line["val_loss"]) for line in csv.DictReader(file)]
    fifth = min(losses[: max(1, len(losses) * 4 // 5)]) - min(losses)  # what the last fifth gained
    flat = fifth < 0.01 * (losses[0] - min(losses))
    measured = [_number(figures.get(key, {}).get("this model")) for key in FIGURES]
    pca = _number(figures["psnr"].get("PCA"))
    cost = f"{about['seconds'] / 60:.0f} min, threads: {about['cores']}, torch {about['torch']}"
    changes = ", ".join(ROWS[name][1:]) or "–"
    return [name, recipe.name, changes, str(about["epochs"]), "flat" if flat else "still falling",
            *measured, pca, cost]  # fmt: skip


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
    heads = ["row", "recipe", "changed", "epochs", "curve", "negative ELBO", "the source's loss",
             "KL", "PSNR", "SSIM", "PCA's PSNR", "cost"]  # fmt: skip
    table = [heads, ["---"] * len(heads), *filter(None, (row(name, args.out) for name in ROWS))]
    before, _, rest = PAGE.read_text("utf-8").partition(START)
    lines = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
    PAGE.write_text(f"{before}{START}\n\n{lines}\n\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
