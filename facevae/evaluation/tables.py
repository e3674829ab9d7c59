"""The figures of `evaluate` as tables for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NAMES = {  # figure → how it is written
    "faces": ("held-out faces", ".0f"), "psnr": ("PSNR, dB", ".2f"), "ssim": ("SSIM", ".3f"),
    "l1": ("mean absolute error", ".4f"), "pca_psnr": ("PCA with as many components, dB", ".2f"),
    "negative_elbo": ("negative ELBO, nats per image", ".1f"),
    "reconstruction": ("  reconstruction, nats", ".1f"), "kl": ("  KL, nats", ".1f"),
    "active_units": ("active latents", ".0f"), "mig": ("MIG", ".3f"), "sap": ("SAP", ".3f"),
    "disentanglement": ("DCI disentanglement", ".3f"), "completeness": ("DCI completeness", ".3f"),
    "informativeness": ("DCI informativeness", ".3f"), "factor_vae": ("FactorVAE score", ".3f"),
}  # fmt: skip
AGES = {
    "span": "age 20 → 70, share of the real span", "monotone": "age read never falls",
    "rising": "steps that do not fall", "gender_kept": "gender kept while ageing",
    "identity": "identity at the last age", "error": "error of the age, years",
}  # fmt: skip
LEAK = 0.05  # shares of other attributes from which they are listed


def rounded(found: Any) -> Any:
    """Figures with three decimals; numbers that are none as null."""
    if isinstance(found, Mapping):
        return {str(name): rounded(value) for name, value in found.items()}
    if isinstance(found, float):
        return round(found, 3) if math.isfinite(found) else None
    return found


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of text, the first to the left and the others to the right."""
    cells = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(heads))]
    lines = [
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def text(found: Mapping[str, Any]) -> str:
    """What `suite.evaluate_model` found, with `studio` where edits were evaluated."""
    columns = {"": found} | dict(found.get("against", {}))
    body = []
    for key, (name, form) in NAMES.items():
        if key in found:
            cells = [f"{one[key]:{form}}" if key in one else "" for one in columns.values()]
            body.append([name, *cells])
    parts = [table(["", *(name or "this model" for name in columns)], body)]
    groups = found.get("psnr_by_group") or {}
    if groups:
        rows = [[name, str(one["faces"]), spread(one, 2)] for name, one in groups.items()]
        parts.append(table(["group", "faces", "PSNR, dB"], rows))
    return "\n\n".join(parts + (studio_text(found["studio"]) if "studio" in found else []))


def spread(figure: Mapping[str, float] | None, digits: int = 2) -> str:
    """A mean with its 95 % interval: 0.93 (0.90–0.96)."""
    if not figure or not math.isfinite(figure["mean"]):
        return "-"
    low, high = (f"{figure[end]:.{digits}f}" for end in ("low", "high"))
    return f"{figure['mean']:.{digits}f} ({low}–{high})"


def studio_text(found: Mapping[str, Any]) -> list[str]:
    """Tables of what `suite.evaluate_studio` found."""
    heads = [
        "edit",
        "faces",
        "turned",
        "Fréchet / halves",
        "age moved",
        "identity",
        "read",
        "leaks",
    ]
    rows = []
    for name, both in found["attributes"].items():
        for side, sign in (("on", "+"), ("off", "−")):
            one = both[side]
            leaks = sorted(one.get("leaked", {}).items(), key=lambda pair: -pair[1])
            rows.append([
                f"{sign}{name}", str(one["faces"]), spread(one.get("turned")),
                f"{(one.get('frechet') or {}).get('ratio', math.nan):.2f}",
                spread(one.get("age_moved"), 1), spread(one.get("identity")),
                f"{found['classifier'].get(name, math.nan):.3f}",
                ", ".join(f"{other} {share:.2f}" for other, share in leaks if share > LEAK) or "-",
            ])  # fmt: skip
    parts = [
        table(heads, rows) + "\n(read: held-out balanced accuracy of the evaluation classifier)"
    ]
    groups = [[n, str(g["edits"]), spread(g)] for n, g in found.get("groups", {}).items()]
    if groups:
        parts.append(table(["group", "edits", "turned"], groups))
    lines = [["unchanged photo, to the bit", "yes" if found["unchanged"] else "no"]]
    if "accuracy" in found.get("critic", {}):
        lines.append(["critic from scratch, accuracy", spread(found["critic"]["accuracy"])])
    for kind, one in found["realism"].items():
        ratio = f"{one['ratio']:.2f}" if "ratio" in one else "too few faces"
        lines.append([f"Fréchet distance of {kind} / halves", ratio])
    for what, spent in found["milliseconds"].items():
        lines.append([f"{what}, one thread", f"{spent:.1f} ms"])
    for key, name in AGES.items():
        if key in found.get("ages", {}):
            lines.append([name, spread(found["ages"][key])])
    return [*parts, table(["figure", ""], lines)]
