"""Refresh the tables and pictures of assets/results.md: `python tests/results.py RUNS DATA`.

RUNS holds a folder a run (the commands that made them are in the tables), DATA the prepared faces.
Prose is kept; what stands between `<!-- name -->` and `<!-- end -->` is drawn anew from each run's
`figures.json` (evaluated where it is missing) and `judge-*.json` (what `judge` printed).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from facevae import FaceSet, FaceVAE, latent, measured, metrics, pictures, plots, results
from facevae.files import replacing, write_text

PAGE = Path(__file__).resolve().parents[1] / "assets" / "results.md"
PICTURES = PAGE.parent / "results"
SYSTEMS = (
    "frey", "frey-order", "frey-gaussian", "frey-gaussian-order", "morph-utkface",
    "smile", "smile-200", "smile-beta10", "smile-beta10-200", "smile-beta50", "smile-beta50-200",
    "smile-normalized", "smile-optimal", "attributes-celeba", "aging", "aging-plain", "studio",
    "studio-grown", "studio-wide",
)  # fmt: skip
BETAS = ("0.5", "1", "2", "4", "10", "50")
SEEDS = (0, 1, 2)
STRIP_ROWS = 4


def systems(runs: Path, sets: list[FaceSet]) -> str:
    return results.table(results.rows_of([runs / name for name in SYSTEMS], sets))


def drawn_betas(runs: Path, sets: list[FaceSet]) -> str:
    """β against reconstruction, KL and disentanglement, mean ± spread over seeds."""
    columns = {"reconstruction": 1, "kl": 2, "active_units": 1, "psnr": 2, "mig": 3, "sap": 3,
               "disentanglement": 3, "factor_vae": 3}  # fmt: skip
    rows = [(f"β = {beta}", f"drawn-beta-{beta}") for beta in BETAS]
    rows += [("β-TCVAE, β = 10", "drawn-tc-10")]
    return _betas(runs, sets, rows, columns)


def smile_betas(runs: Path, sets: list[FaceSet]) -> str:
    columns = {"reconstruction": 1, "kl": 1, "active_units": 0, "psnr": 2, "ssim": 3}
    return _betas(runs, sets, [(f"β = {b}", f"smile64-beta-{b}") for b in BETAS], columns, ("",))


def _betas(runs: Path, sets, rows, columns: dict[str, int], seeds=SEEDS) -> str:
    table = [["", *(name.replace("_", " ") for name in columns)]]
    for title, name in rows:
        folders = [runs / (f"{name}-{seed}" if seed != "" else name) for seed in seeds]
        read = [results.read_run(folder) for folder in folders]
        found = [results.figures(run, results.faces_of(run, sets)) for run in read]
        table.append([title, *(_spread([f[c] for f in found], d) for c, d in columns.items())])
    return _markdown(table)


def _spread(values: list[float], digits: int) -> str:
    more = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{more}"


def edits(runs: Path, sets: list[FaceSet]) -> str:
    """Success and leakage of attributes on unseen faces, detail kept, placed at +1 and +2."""
    table = [["attribute", "model", "method", "faces", "turned at +1", "at +2",
              "others turned at +2", "age moved at +2"]]  # fmt: skip
    for path in sorted(runs.glob("*/judge-*.json")):
        name = path.stem.removeprefix("judge-")
        for method, found in json.loads(path.read_text()).get(name, {}).items():
            one, two = (found[strength]["detail 1"] for strength in ("+1", "+2"))
            leaks = ", ".join(f"{k} {v:.2f}" for k, v in two["leakage"].items() if v is not None)
            cells = [f"{one['success']:.2f}", f"{two['success']:.2f}", leaks,
                     f"{two['age_moved']:+.1f}" if "age_moved" in two else "–"]  # fmt: skip
            table.append([name, path.parent.name, method, str(one["faces"]), *cells])
    return _markdown(table)


def strips(runs: Path, sets: list[FaceSet]) -> str:
    """The first faces of each strip that `judge -o` wrote: drawn by the model, no photograph."""
    shown = []
    for path in sorted(runs.glob("*/judge-*.png")):
        with Image.open(path) as strip:
            side = results.read_run(path.parent).shape[1]
            rows = strip.convert("RGB").crop((0, 0, strip.width, STRIP_ROWS * side))
        name = f"{path.parent.name}-{path.stem.removeprefix('judge-')}.jpg"
        _save(rows, name, quality=88)
        shown.append(f"![{name}](results/{name})")
    return "\n\n".join(shown) + "\n"


def judges(runs: Path, sets: list[FaceSet]) -> str:
    """How well each judge reads real unseen faces."""
    table = [["judge of", "faces", "what it reads"]]
    for path in sorted(runs.glob("*/judge-*.json")):
        for data, found in json.loads(path.read_text())["judge"].items():
            reads = ", ".join(f"{k} {_figure(v)}" for k, v in found.items())
            table.append([f"{path.parent.name}, {path.stem.removeprefix('judge-')}", data, reads])
    return _markdown(table)


def _figure(found) -> str:
    if isinstance(found, dict):
        return " ".join(f"{k} {v:.2f}" for k, v in found.items() if isinstance(v, float))
    return f"{found:.2f}" if isinstance(found, float) else str(found)


def aging(runs: Path, sets: list[FaceSet]) -> str:
    """Requested against read age."""
    table = [["model", "how", "detail", "slope", "mean error", "read at 20 … 70", "gender kept",
              "R² of age from z"]]  # fmt: skip
    for path in sorted(runs.glob("*/judge-age.json")):
        found = json.loads(path.read_text())["aging"]
        real = found["real"]
        read = ", ".join(f"{v:.0f}" for v in real["read"].values())
        table.append([path.parent.name, "real faces of that age", "–", f"{real['slope']:.2f}", "–",
                      read, "–", f"{found['r_squared']:.2f}"])  # fmt: skip
        for how in ("shift", "condition"):
            for detail, one in found.get(how, {}).items():
                read = ", ".join(f"{v:.0f}" for v in one["read"].values())
                table.append([path.parent.name, how, detail.removeprefix("detail "),
                              f"{one['slope']:.2f}", f"{one['mean_error']:.1f}", read,
                              f"{one.get('Male_kept', float('nan')):.2f}", ""])  # fmt: skip
    return _markdown(table)


def frey(runs: Path, sets: list[FaceSet]) -> str:
    """What each latent of the Frey model does, measured; its traversals and map as pictures."""
    run = results.read_run(runs / "frey-gaussian")
    faces = results.faces_of(run, sets)
    model = FaceVAE.from_pretrained(run.folder / "best")
    rows = run.split(faces)["train"]
    posterior = metrics.posteriors(model, faces, rows)
    kls = posterior.kl_per_latent().mean(0)  # (D,)
    table = [["latent", "KL in nats", "mean change", "brighter by", "upper / middle / lower third",
              "left / right half"]]  # fmt: skip
    strips = []
    for index in latent.by_kl(posterior.kl_per_latent())[:8]:
        strip = measured.traverse(model, posterior.mean, index)
        size, brighter, thirds = measured.change(strip)
        half = measured.change(strip.transpose(2, 3))[2]  # of the turned picture: side to side
        sides = (half[0] + half[1] / 2, half[2] + half[1] / 2)
        table.append([str(index), f"{kls[index]:.2f}", f"{size:.1f}", f"{brighter:+.1f}",
                      " / ".join(f"{s:.0%}" for s in thirds),
                      " / ".join(f"{s:.0%}" for s in sides)])  # fmt: skip
        strips.append(strip)
    drawn = pictures.tile(pictures.to_pil(torch.cat(strips)), len(strips[0]))
    _save(drawn.resize((2 * drawn.width, 2 * drawn.height)), "frey_traversals.png")
    points = latent.map_2d(posterior.mean, "tsne")
    with replacing(PICTURES / "frey_map.png") as path:
        path.write_bytes(plots.png(lambda: plots.scatter(points, rows, {}, "t-SNE")))
    return _markdown(table)


def _save(picture: Image.Image, name: str, **options) -> None:
    with replacing(PICTURES / name) as path:
        picture.save(path, optimize=True, **options)


def _markdown(rows: list[list[str]]) -> str:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("data", type=Path)
    asked = parser.parse_args()
    sets = [FaceSet(path.parent) for path in sorted(asked.data.glob("*/manifest.json"))]
    text = PAGE.read_text(encoding="utf-8")
    for make in (systems, drawn_betas, smile_betas, edits, strips, judges, aging, frey):
        old = re.compile(rf"(<!-- {make.__name__} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not old.search(text):
            raise SystemExit(f"{PAGE.name} has no place for {make.__name__}")
        made = make(asked.runs, sets)
        text = old.sub(lambda found, made=made: f"{found[1]}\n{made}\n{found[2]}", text)
    write_text(PAGE, text)


if __name__ == "__main__":
    main()
