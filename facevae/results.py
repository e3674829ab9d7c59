"""Run folders → held-out figures beside PCA's → a row of the results table each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

import numpy as np

from facevae import metrics, synthetic
from facevae.data import FaceSet, evenly
from facevae.files import write_text
from facevae.model import FaceVAE
from facevae.recipes import RECIPES, Recipe
from facevae.train import read_history

VERSION = 1  # of figures.json: raised when the same model would be given other figures
FLAT = 0.01  # a curve is flat when its last fifth brought less than this share of the whole
MIG_FACES = 5000
RULE = (
    f"The curve is *flat* when the last fifth of the epochs brought less than {FLAT:.0%} of the "
    "whole improvement of the best validation loss, and *still falling* otherwise; a schedule "
    "that ends near rate 0 flattens any curve. Under five epochs it is too short to say."
)
NOTES = (
    "Held-out figures are means over the test faces, which took no part in training; negative "
    "ELBO and KL in nats per image (of a density where the likelihood is Gaussian: it can be "
    "negative), PSNR in dB and SSIM of the picture decoded from the posterior mean. PCA has as "
    "many components as the model has latents. MIG wants known factors: drawn faces only, over at "
    f"most {MIG_FACES:,} of them. Seed 0 unless the command names another."
)


@dataclass(frozen=True)
class Run:
    """What a run folder tells without its data.

    Attributes:
        recipe: the fields of the Recipe it was run with, `model` those of its ModelConfig as
            trained; empty where the folder does not tell.
        shape: (N, H, W, C) of its faces; N is 0 where the folder does not tell.
        source: name of its data; empty where the folder does not tell.
        history: the rows of history.csv.
    """

    folder: Path
    recipe: dict
    shape: tuple[int, int, int, int]
    source: str
    history: list[dict[str, float]]

    @property
    def name(self) -> str:
        return self.recipe.get("name", self.folder.name)

    @property
    def weights(self) -> Path:
        return self.folder / "best" / "model.safetensors"

    def split(self, faces: FaceSet) -> dict[str, np.ndarray]:
        """The split it was trained with, without faces whose condition is unknown."""
        rows = faces.split(self.recipe.get("seed", 0), by=self.recipe.get("split_by", "content"))
        names = self.recipe["model"]["conditions"]
        if names:
            known = ~np.isnan(faces.conditions(names)).any(axis=1)
            rows = {part: taken[known[taken]] for part, taken in rows.items()}
        return rows


def read_run(folder: str | Path) -> Run:
    """Read a run folder: `recipe.json` if it is there, history, model settings.

    Raises:
        ValueError: it holds no run, or one without a finished epoch.
    """
    folder = Path(folder)
    for name in ("history.csv", "best/config.json", "best/model.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder} is no run with a finished epoch ({name} is missing): give a folder "
                "that `python -m facevae train … --out FOLDER` wrote"
            )
    recipe, shape, source = _read_recipe(folder)
    config = json.loads((folder / "best" / "config.json").read_text(encoding="utf-8"))
    config.pop("format", None)
    channels, height, width = config["image_shape"]
    count = shape[0] if shape else 0
    source = source or recipe.get("source", "")
    faces = (count, height, width, channels)
    return Run(folder, recipe | {"model": config}, faces, source, read_history(folder))


def _read_recipe(folder: Path) -> tuple[dict, list[int] | None, str]:
    """(recipe, shape of the faces, their source), as far as the folder tells."""
    path = folder / "recipe.json"
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        faces = found.get("faces", {})
        return found["recipe"], faces.get("shape"), faces.get("source", "")
    return {}, None, ""


def faces_of(run: Run, sets: Iterable[FaceSet]) -> FaceSet | None:
    """The prepared faces a run was trained on, told by their number, size and source."""
    fits = [
        faces
        for faces in sets
        if faces.images.shape[1:] == run.shape[1:] and run.shape[0] in (0, len(faces))
    ]
    return min(fits, key=lambda faces: faces.manifest["source"] != run.source, default=None)


def figures(run: Run, faces: FaceSet | None = None, machine: str = "") -> dict:
    """Held-out figures of a run's best model, kept in `RUN/figures.json`.

    They are evaluated again when the model is newer than the file or the faces are others.

    Args:
        faces: those it was trained on; without them the file must be there.
        machine: what it was trained on, in words; kept in the file.

    Returns:
        what `metrics.summary` gives, parameters, pca_psnr, groups (PSNR of each), kl_per_latent
        (D,), mig where the factors are known, source, folder, shape, test_faces, machine.
    """
    path = run.folder / "figures.json"
    found = _cached(path, run, faces)
    if found is None:
        if faces is None:
            raise ValueError(
                f"{run.folder} has no figures newer than its model: name the prepared faces it "
                "was trained on with --data"
            )
        found = _evaluated(run, faces)
    if machine or not path.is_file() or "machine" not in found:
        found["machine"] = machine or _machine(path)
        write_text(path, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return found


def _cached(path: Path, run: Run, faces: FaceSet | None) -> dict | None:
    if not path.is_file() or path.stat().st_mtime_ns < run.weights.stat().st_mtime_ns:
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.get("version") != VERSION:
        return None
    if faces is not None and found["shape"] != list(faces.images.shape):
        return None
    return found


def _machine(path: Path) -> str:
    """What an older file said of the machine: that does not grow stale."""
    return json.loads(path.read_text(encoding="utf-8"))["machine"] if path.is_file() else ""


def _evaluated(run: Run, faces: FaceSet) -> dict:
    model, rows = FaceVAE.from_pretrained(run.folder / "best"), run.split(faces)
    table = metrics.per_face(model, faces, rows["test"])
    found = {
        "version": VERSION,
        "source": faces.manifest["source"],
        "folder": faces.folder.name,
        "shape": list(faces.images.shape),
        "test_faces": len(rows["test"]),
        "parameters": sum(p.numel() for p in model.parameters()),
        **metrics.summary(table),
        "pca_psnr": metrics.pca_psnr(faces, rows["train"], rows["test"], model.config.latents),
        "groups": metrics.by_group(table["psnr"], faces, rows["test"]),
        "kl_per_latent": [round(kl, 4) for kl in table["kl_per_latent"].mean(0).tolist()],
    }
    factors = known_factors(faces)
    if factors:
        from facevae import disentanglement

        taken = np.concatenate([*rows.values()])
        taken = np.sort(evenly(taken, MIG_FACES))
        codes = metrics.posteriors(model, faces, taken).mean
        factors = {name: values[taken] for name, values in factors.items()}
        found |= disentanglement.scores(codes.numpy(), factors, seed=0)
    return found


def known_factors(faces: FaceSet) -> dict[str, np.ndarray]:
    """The factors that drawn faces were drawn from, name → (N,); empty for photographs."""
    if faces.manifest["source"] != "synthetic":
        return {}
    return {f.name: faces.labels[f.name] for f in synthetic.FACTORS if f.name in faces.labels}


def tail_share(history: Sequence[dict[str, float]]) -> float:
    """Share of the best validation loss's improvement that fell in the last fifth of the epochs.

    0 for a curve that gained nothing there, 1 for one that gained nothing before; NaN where it
    never improved.
    """
    best = np.minimum.accumulate([row["val_loss"] for row in history])
    fifth = math.ceil(len(best) / 5)
    whole = best[0] - best[-1]
    before = best[max(0, len(best) - 1 - fifth)]
    return float((before - best[-1]) / whole) if whole > 0 else math.nan


def settled(history: Sequence[dict[str, float]]) -> str:
    """ "flat", "still falling", or that it cannot be told: see RULE."""
    if len(history) < 5:
        return "too short to say"
    share = tail_share(history)
    return "never fell" if math.isnan(share) else "flat" if share < FLAT else "still falling"


def command_of(run: Run, data: str = "") -> str:
    """The command that makes a run again."""
    if run.name not in RECIPES:
        return f"a recipe made in code: {run.name}"
    words = [f"python -m facevae train {run.name} --data data/{data or run.source}"]
    words.append(f"--out runs/{run.folder.name}")
    seed = run.recipe.get("seed", 0)
    words += [f"--seed {seed}"] if seed else []
    return " ".join(words + [f"--set {setting}" for setting in settings_of(run)])


def settings_of(run: Run) -> list[str]:
    """What a run changed of its named recipe, but for the seed, as `--set` takes it."""
    if run.name not in RECIPES:
        return []
    known = asdict(RECIPES[run.name])
    asked = _changed(run.recipe | {"epochs": len(run.history)}, known, "")
    return asked + _changed(run.recipe["model"], known["model"], "model.")


def _changed(found: dict, known: dict, prefix: str) -> list[str]:
    """Settings that differ from the named recipe, as the command line takes them."""
    free = {"name", "why", "model", "source", "image_shape", "seed"}
    both = [field for field in known if field in found and field not in free]
    return [f"{prefix}{f}={_text(found[f])}" for f in both if _plain(found[f]) != _plain(known[f])]


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value).lower()


def _plain(value: object) -> object:
    """JSON brings tuples as lists."""
    return list(value) if isinstance(value, tuple) else value


def default_settings() -> dict:
    """The fields of a Recipe that names nothing: what every recipe differs from."""
    return json.loads(json.dumps(asdict(Recipe("", ""))))


def millions(parameters: int) -> str:
    """A number of parameters as one says it."""
    return f"{parameters / 1e6:.1f} M" if parameters >= 1e6 else f"{parameters / 1e3:.0f} k"


def minutes(history: Sequence[dict[str, float]]) -> str:
    """How long a run took."""
    spent = history[-1]["minutes"]
    return f"{spent:.0f} min" if spent >= 1 else "under 1 min"


def row(run: Run, found: dict, others: Sequence[dict] = ()) -> dict[str, str]:
    """A run's cells of the table, column → text, of what `figures` found; with the figures of
    `others`, equal runs of other seeds, figures are mean ± standard deviation."""
    _, height, width, channels = found["shape"]
    by = "" if run.recipe.get("split_by", "content") == "content" else ", split by order"
    all_found = [found, *others]

    def cell(name: str, digits: int) -> str:
        values = np.array([f[name] for f in all_found])
        spread = f" ± {values.std(ddof=1):.{digits}f}" if others else ""
        return f"{values.mean():.{digits}f}{spread}"

    name = ", ".join([run.name, *(s for s in settings_of(run) if not s.startswith("epochs="))])
    return {
        "recipe": name + (f", {len(all_found)} seeds" if others else ""),
        "data": f"{found['source']}, {found['shape'][0]:,} faces{by}",
        "size": f"{height}×{width}" + (" grey" if channels == 1 else ""),
        "latents": str(run.recipe["model"]["latents"]),
        "parameters": millions(found["parameters"]),
        "epochs": str(len(run.history)),
        "time": ", ".join(filter(None, [minutes(run.history), found["machine"]])),
        "negative ELBO": cell("negative_elbo", 1),
        "KL": cell("kl", 1),
        "PSNR": cell("psnr", 2),
        "SSIM": cell("ssim", 3),
        "PCA's PSNR": cell("pca_psnr", 2),
        "MIG": cell("mig", 3) if "mig" in found else "–",
        "curve": settled(run.history),
        "command": command_of(run, found["folder"]),
    }


def rows_of(
    folders: Sequence[str | Path], sets: Sequence[FaceSet] = (), machine: str = ""
) -> list[dict[str, str]]:
    """The rows of run folders in their order, those that differ by their seed alone as one.

    `sets` are searched for the faces that each was trained on.
    """
    groups: dict[str, list[tuple[Run, dict]]] = {}
    for folder in folders:
        run = read_run(folder)
        found = figures(run, faces_of(run, sets), machine)
        same = json.dumps([run.recipe | {"seed": None}, found["shape"]])
        groups.setdefault(same, []).append((run, found))
    return [row(*group[0], [found for _, found in group[1:]]) for group in groups.values()]


def table(rows: Sequence[dict[str, str]]) -> str:
    """The rows as a Markdown table, with its notes below."""
    heads = list(rows[0])

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    def cell(column: str, text: str) -> str:
        return f"`{text.replace('`', '')}`" if column == "command" else escape(text, quote=False)

    body = [line(cell(column, text) for column, text in r.items()) for r in rows]
    return "\n".join([line(heads), line("---" for _ in heads), *body, "", NOTES, "", RULE, ""])
