"""What `evaluate` says of a model: its figures beside those of baselines, as tables for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from facevae.data.face_set import FaceSet
from facevae.evaluation import metrics
from facevae.evaluation.classifier import POOLED, features, installed
from facevae.evaluation.disentanglement import scores
from facevae.latents.diagnostics import by_kl
from facevae.models.vae import FaceVAE


def evaluate(
    model: FaceVAE, faces: FaceSet, seed: int = 0, split_by: str = "content",
    against: Sequence[str] = (), factors: Sequence[str] = (), with_pca: bool = True,
) -> dict[str, dict]:  # fmt: skip
    """Figures of a model beside PCA's and others' on the test faces whose conditions are known:
    "figures", name → model → figure, and "PSNR by group", see `metrics.by_group`.

    Args:
        against: other models' folders or names; `diffusers:NAME` for an AutoencoderKL.
        factors: labels that the latents are scored against.
    """
    numbers = [name for name, values in faces.labels.items() if values.dtype.kind in "if"]
    if unknown := set(factors) - set(numbers):
        raise ValueError(f"no label {unknown.pop()!r} here: in numbers these faces carry {numbers}")
    split = faces.split(seed, by=split_by)
    models: dict[str, metrics.Model] = {"this model": model}
    if with_pca:
        models["PCA"] = metrics.pca(faces, split["train"], model.config.latents)
    for name in against:
        pretrained = name.startswith("diffusers:")
        load = metrics.autoencoder_kl if pretrained else FaceVAE.from_pretrained
        models[name] = load(name.removeprefix("diffusers:"))
    rows = split["test"]
    for one in models.values():
        rows = metrics.labelled(one, faces, rows)[0]
    if len(rows) < 2:
        raise ValueError("no two test faces have all conditions of the models as labels")
    describe = features if against and installed() else None
    real = describe(faces.tensor(rows)) if describe else None
    figures: dict[str, dict[str, Any]] = {}
    for name, one in models.items():
        table = metrics.per_face(one, faces, rows, metrics.labelled(one, faces, rows)[1], describe)
        its: dict[str, Any] = {key: metrics.interval(v) for key, v in table.items() if v.ndim == 1}
        if isinstance(one, FaceVAE):
            its["source_loss"] = metrics.source_loss(its["negative_elbo"]["mean"], one.config)
            its["active_latents"] = len(by_kl(table["kl_per_latent"]))
            known = {factor: faces.labels[factor][rows] for factor in factors}
            its |= scores(table["codes"].numpy(), known) if factors else {}
        if real is not None:
            found = table["features"][:, :POOLED]
            its["Fréchet / halves"] = metrics.against_halves(found, real[:, :POOLED])
        if one is model:
            groups = metrics.by_group(table["psnr"], faces, rows)
        for key, figure in its.items():
            figures.setdefault(key, {})[name] = figure
    return {"figures": figures, "PSNR by group": groups}


def text(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables of figures: title → row → column → figure, or title → row → figure."""
    tables = []
    for title, section in found.items():
        plain = [n for n, r in section.items() if not isinstance(r, Mapping) or "mean" in r]
        rows = dict(section) | {name: {"": section[name]} for name in plain}
        columns = [*dict.fromkeys(column for row in rows.values() for column in row)]
        cells = [[title, *columns]]
        cells += [[name, *(_cell(row.get(c)) for c in columns)] for name, row in rows.items()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        tables.append("\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells))
    return "\n\n".join(tables)


def _cell(figure: Any) -> str:
    """About four digits; of a mean also its interval: 0.930 (0.900–0.960)."""
    if isinstance(figure, float) and math.isfinite(figure):
        return f"{figure:.{max(0, 4 - len(str(int(abs(figure)))))}f}"
    if isinstance(figure, Mapping) and "mean" in figure:
        return "{} ({}–{})".format(*map(_cell, figure.values()))
    if isinstance(figure, Mapping):
        return ", ".join(f"{name} {_cell(one)}" for name, one in figure.items()) or "–"
    return {"None": "–", "True": "yes", "False": "no"}.get(str(figure), str(figure))
