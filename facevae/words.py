"""The words and the frame of a report's page: what each setting does, what each figure shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

MEANINGS = {  # field of Recipe or ModelConfig → its name, what it does
    "image_shape": ("picture", "channels, height and width: they come from the faces"),
    "latents": ("latents", "how many numbers a face becomes; PCA with as many is the yardstick"),
    "channels": ("channels", "one halving of the picture each: wider draws finer and costs time"),
    "blocks": ("residual blocks", "at each size of the decoder: what sharpens its picture; 0 is "
               "the encoder's plain mirror"),
    "encoder_added": ("added to the encoder", "residual blocks by which a trained model grew, at "
                      "each size: they began as the identity"),
    "decoder_added": ("added to the decoder", "the same at the decoder's sizes"),
    "spread_grid": ("spread's grid", "deviations hang on the last map averaged to as many cells "
                    "a side, which saves half of the dense weights; 0: on all of it"),
    "pool": ("max-pooling", "the encoder halves by the largest of four pixels, not by a stride"),
    "dropout": ("dropout", "share of maps dropped while training, against learning by heart"),
    "conditions": ("conditions", "labels told to the model: the latents need not carry them"),
    "likelihood": ("likelihood", "what the pixels are taken for: it sets what an error costs"),
    "sigma": ("σ of the likelihood", "noise granted to a pixel; none: the optimal one, learnt"),
    "source": ("source", "the faces that the recipe was made for"),
    "split_by": ("split", "by content keeps copies together; by order is honest for a film"),
    "beta": ("β", "weight of the KL: 1 is the ELBO, more buys plainer latents with detail"),
    "tcvae": ("β-TCVAE", "β weighs only how the latents hang together, their total correlation"),
    "capacity": ("capacity", "nats that the KL is held to instead of being pushed to 0"),
    "warmup": ("warm-up", "epochs in which β (or the capacity) rises from 0: first learn to draw"),
    "epochs": ("epochs", "how often each face is seen"),
    "batch": ("batch", "faces a step: fewer make noisier, more frequent steps"),
    "lr": ("learning rate", "length of a step at the start"),
    "schedule": ("schedule", "how the rate falls: with a cosine, or by half on a plateau"),
    "clip": ("gradient's bound", "longer gradients are cut to this norm: no batch upsets it"),
    "flip": ("mirroring", "half of the training faces are shown mirrored: more data for nothing"),
    "augment": ("augmentation", "training faces are shifted, brightened and stretched a little"),
    "weigh": ("weighed by", "rare values of this label weigh more in the loss"),
    "ema": ("averaged weights", "decay of a running average that is validated and kept: it evens "
            "out the last steps' noise"),
    "bf16": ("bfloat16", "half the bytes a number where it is safe: faster on GPUs, and on CPUs "
             "that know it"),
    "start": ("begun from", "trained model that the weights were taken from"),
    "keep_every": ("kept every", "epochs between models that are kept beside the best"),
    "keep_best": ("best kept", "how many of the best models by validation stay on disk"),
    "balance": ("balanced by", "rare values of this label are drawn more often while training"),
    "seed": ("seed", "every random choice hangs on it: the same seed gives the same run"),
}  # fmt: skip

METRICS = {  # key of the figures → its name and format
    "psnr": ("PSNR (dB, higher is nearer)", ".2f"),
    "psnr_spread": ("its spread over faces (dB)", ".2f"),
    "ssim": ("SSIM (1 is equal)", ".3f"),
    "negative_elbo": ("negative ELBO (nats per image, lower is better)", ".1f"),
    "reconstruction": ("its reconstruction part (nats)", ".1f"),
    "kl": ("its KL part (nats)", ".1f"),
    "active_units": ("active latents (over 0.01 nats)", ".0f"),
    "mig": ("MIG (drawn factors; 1: a latent each)", ".3f"),
}

RECIPE = "Where the run differs from the plain defaults, and what each setting does."
COMPARISON = (
    "PSNR beside PCA's with as many components; a KL paid for in PSNR, or the other way round; "
    "whether a curve was flat when its run ended.",
    "Runs on other data, sizes or likelihoods cannot be compared in nats or dB, and one seed "
    "each says nothing of chance.",
)
CURVES = (
    "Training and validation falling together: a gap that opens is learning by heart. Loss is "
    "β·KL plus reconstruction, in nats per image.",
    "How the faces look: a loss that still falls by a few nats may change nothing one can see.",
)
MONITOR = (
    "The same two held-out faces at every epoch, the originals at the ends and the "
    "decoder's morph between: shape first, then light and hair, then the eyes.",
    "Any other face: one pair, chosen by its place in the split, is an anecdote.",
)
MONITOR_DRAWN = (
    "The morph between the same two held-out faces at every epoch, as the decoder draws it.",
    "The two originals, which were left out of this page; and any other face.",
)
NO_DATA = (
    "There are no metrics, reconstructions, samples or latents here: they need the prepared faces "
    "that this run was trained on (--data)."
)
NO_STRIP = (
    "The monitor's strips are left out: where their originals end could not be told, and "
    "the originals were asked to be left out."
)
FIGURES = (
    "Means over the test faces, which no step and no choice of epoch has seen; PSNR and SSIM of "
    "the picture decoded from the posterior mean, beside PCA with as many components.",
    "Which errors one minds: PSNR follows hair, shadow and background as much as the face. "
    "Groups are the data's own labels, some of them wrong. A Gaussian's negative ELBO is of a "
    "density and can be negative.",
)
PAIRS = (
    "{shown} of {faces} unseen faces at equal steps of PSNR, the worst first: the original "
    "above, what the decoder makes of its posterior mean below.",
    "What the model draws for faces unlike its data. Blur is what it does not know.",
)
PAIRS_DRAWN = (
    "{shown} of {faces} unseen faces at equal steps of PSNR, the worst first, as the decoder "
    "draws them from their posterior means.",
    "The originals, which were left out of this page: so their likeness cannot be judged here.",
)
SAMPLES = (
    "Faces of nobody. Where N(0, I) gives no faces, the codes do not fill it: a Gaussian fitted "
    "to the means of {codes} training codes knows where they lie. Temperature 0.8 is plainer.",
    "Whether a sample repeats a training face, and how much of the data's variety is missed.",
)
TOLD = " Each takes its conditions from a training face."
TRAVERSALS = (
    "The mean face with one latent moved from −2.5 to +2.5 of its deviations, the latents of the "
    "largest KL first. Below: how much changes from end to end, and the labels that go with the "
    "latent over {faces} unseen faces (Pearson's r).",
    "A meaning: r tells what goes along with a latent in these faces, not what it causes, and "
    "labels that the faces do not carry cannot show. With the rate spread evenly over many "
    "latents, one alone does little.",
)
KL = (
    "How many nats each latent carries: {active} of {all} are in use (over 0.01 nats), and "
    "{half} of them carry half of all.",
    "Whether those nats are spent on the face or on its background.",
)
MAPS = (
    "{faces} unseen faces by the two largest principal components of their codes, coloured by "
    "the labels that these two explain best (R² of a linear fit).",
    "The rest: the two hold {share} of the codes' variance, so neighbours here may be far "
    "apart, and a label that is mixed here may be plain in other directions.",
)


@dataclass(frozen=True)
class Setting:
    """A setting in words; `default` is empty where it is the value itself."""

    name: str
    value: str
    default: str
    meaning: str


def settings(recipe: dict, defaults: dict) -> list[Setting]:
    """Recipe's and model's fields, those that differ from the defaults first."""
    pairs = [*_fields(recipe["model"], defaults["model"]), *_fields(recipe, defaults)]
    found = []
    for field, value, default in pairs:
        name, meaning = MEANINGS.get(field, (field.replace("_", " "), ""))
        same = value == default or field == "image_shape"
        found.append(Setting(name, spoken(value), "" if same else spoken(default), meaning))
    return sorted(found, key=lambda setting: not setting.default)


def _fields(values: dict, defaults: dict) -> list[tuple]:
    prose = ("name", "why", "model")
    return [(k, v, defaults.get(k)) for k, v in values.items() if k not in prose]


def spoken(value: object) -> str:
    """A setting's value as one says it."""
    if value is None or value == [] or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(spoken, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def signed(value: float) -> str:
    """+0.12 or −0.12, with a real minus."""
    return f"{value:+.2f}".replace("-", "−")


def tail(settled: str, share: float) -> str:
    """What the end of the curve says of the run's length."""
    if settled not in ("flat", "still falling"):
        return f"The end of the curve: {settled}."
    return (
        f"The last fifth of the epochs brought {share:.1%} of the best validation loss's whole "
        f"improvement: {settled}."
    )


def verdict(figures: dict) -> str:
    """The model against PCA, in a sentence."""
    lead = figures["psnr"] - figures["pca_psnr"]
    beside = "above" if lead > 0 else "below"
    return (
        f"{figures['test_faces']:,} unseen faces: {abs(lead):.2f} dB {beside} PCA with as many "
        f"components. " + ("" if lead > 0 else "PCA minds nothing but the squared error; a VAE "
        "that stays below it lacks training or capacity, or spends its rate elsewhere.")
    )  # fmt: skip


def effect(change: tuple[float, float, list[float]], r: dict[str, float], faces: int) -> str:
    """What a latent does: what its traversal moves, and the labels that go with it.

    Labels are named down to |r| of three standard errors (3 / √faces), and at least 0.1.
    """
    moved, brighter, thirds = change
    third = max(range(3), key=lambda i: thirds[i])
    where = ("upper", "middle", "lower")[third]
    share = f"{thirds[third]:.0%} of it in the {where} third"
    text = f"Changes a pixel by {moved:.0f} of 255 levels, {share}"
    if abs(brighter) > 0.5 * moved:
        text += f"; the picture gets {'brighter' if brighter > 0 else 'darker'}"
    floor = max(0.1, 3 / math.sqrt(max(1, faces)))
    strong = sorted((k for k in r if abs(r[k]) >= floor), key=lambda k: -abs(r[k]))[:3]
    named = ", ".join(f"{k} {signed(r[k])}" for k in strong)
    return f"{text}. Goes with {named}." if named else f"{text}. No label reaches r {floor:.2f}."


def page(title: str, body: str, notice: str) -> str:
    """The whole HTML file; title and notice are escaped here, the body is HTML already."""
    warning = f'<p class="notice">{escape(notice)}</p>' if notice else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}: a report of facevae</title>
<style>{CSS}</style>
</head>
<body>
<header><h1>What was trained, and how well</h1><p>{escape(title)}</p></header>
<main>{warning}
{body}
</main>
</body>
</html>
"""


POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing is fetched
CSS = """
:root { --ink: #1c1917; --quiet: #6b6560; --hair: #e4dfd8; --card: #fff; --page: #f8f6f2;
  --accent: #0f766e; --warn: #92400e; }
@media (prefers-color-scheme: dark) { :root { --ink: #f5f3ef; --quiet: #a8a29a; --hair: #35302b;
  --card: #211e1b; --page: #161412; --accent: #2dd4bf; --warn: #fbbf24; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
header, main { max-width: 1180px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 36px; }
h1 { margin: 0; font-size: 30px; letter-spacing: -.02em; line-height: 1.2; }
header p, .why, .note, figcaption, small { color: var(--quiet); }
header p { margin: 6px 0 0; }
h2 { margin: 40px 0 0; font-size: 26px; letter-spacing: -.01em; }
h3 { margin: 36px 0 10px; font-size: 19px; }
h4 { margin: 0 0 6px; font-size: 14px; font-weight: 600; }
.why { margin: 4px 0 0; }
.notice { margin: 20px 0 0; padding: 10px 14px; border-left: 4px solid var(--warn);
  background: var(--card); }
a { color: var(--accent); }
figure { margin: 0; }
figcaption { max-width: 80ch; margin-top: 12px; font-size: 14px; }
figcaption p { margin: 0 0 4px; }
img { display: block; max-width: 100%; }
.small { image-rendering: pixelated; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(124px, 1fr)); gap: 10px;
  margin: 20px 0 0; }
.tiles div { padding: 12px 14px; border-radius: 12px; background: var(--card);
  border: 1px solid var(--hair); }
.tiles dt { font-size: 13px; color: var(--quiet); }
.tiles dd { margin: 2px 0 0; font-size: 20px; font-weight: 600; line-height: 1.25; }
.settings { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr));
  gap: 12px 32px; margin: 0; }
.settings dt { font-size: 15px; }
.settings dd { margin: 0; font-size: 14px; color: var(--quiet); }
details { margin-top: 14px; }
summary { cursor: pointer; color: var(--accent); }
details dl { margin-top: 12px; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr));
  gap: 18px; }
.panels > * { min-width: 0; }
.diagram { width: 100%; max-width: 520px; }
.strips div { display: flex; align-items: center; gap: 12px; margin-bottom: 4px; }
.strips span { flex: 0 0 72px; font-size: 13px; color: var(--quiet); }
.strips img { width: 100%; min-width: 0; max-width: 1050px; }
.strips .small { max-width: 700px; }
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(max(74px, 11%), 1fr));
  gap: 8px; }
.few { display: grid; grid-template-columns: repeat(4, 1fr); gap: 8px; }
.faces img, .few img { width: 100%; border-radius: 6px; }
.faces span { display: block; font-size: 12px; text-align: center; color: var(--quiet); }
.columns { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr));
  gap: 22px 24px; }
.two { grid-template-columns: repeat(auto-fill, minmax(min(480px, 100%), 1fr)); }
.columns > div > img { width: 100%; border-radius: 6px; }
.columns p { margin: 6px 0 0; font-size: 13px; color: var(--quiet); }
.tables { display: flex; flex-wrap: wrap; gap: 12px 40px; align-items: flex-start; }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 14px 6px 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--hair); }
th { font-weight: 600; white-space: nowrap; }
td:not(:first-child) { white-space: nowrap; }
.runs table { font-size: 13px; }
.runs th, .runs td { padding-right: 10px; }
main > :last-child { padding-bottom: 60px; }
@media (max-width: 640px) {
  .strips div { display: block; } .settings { grid-template-columns: 1fr; }
  h1 { font-size: 25px; } h2 { font-size: 22px; } }
"""
