"""What a studio's edits, ages and samples are worth, as the evaluation classifier reads them."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from facevae.data.face_set import FaceSet, evenly
from facevae.evaluation.classifier import POOLED, EvaluationClassifier, features
from facevae.evaluation.metrics import against_halves, by_group, interval, pca, psnr, ssim
from facevae.evaluation.recognition import descriptors
from facevae.imaging.alignment import FRAMINGS
from facevae.imaging.compositing import Face
from facevae.imaging.images import to_pil, to_tensor
from facevae.studio import Studio

# Places (M,) of faces, and name → strength (or `age` → years) → what is shown, (M, 3, H, W)
Editor = Callable[[np.ndarray, Mapping[str, float]], Tensor]

TIED = (  # by nature: these may turn together
    {"Smiling", "Mouth_Slightly_Open"},
    {"Beard", "Mustache", "Heavy_Makeup", "Male"},
    {"Gray_Hair", "Young", "Bald"},
    {"Black_Hair", "Blond_Hair", "Gray_Hair", "Bald"},
    {"Bald", "Bangs"},
)
AGES, NEAR = (20, 30, 40, 50, 60, 70), 3  # years asked for; from a real age
MIN_FACES, MAX_FACES, SAMPLES, CRITIC_FACES = 5, 3000, 500, 40  # of a share; read; drawn; an edit
LEAK = 0.05  # share from which it is named


class ReadFaces:
    """Rows (N,) of a FaceSet: `found`, pooled features (N, F); `read`, name → (N,) probabilities or
    years, by the evaluation classifier; `people`, a face recogniser's descriptors (N, 128), None of
    whole pictures; `labels`, name → (N,), NaN unknown."""

    def __init__(self, classifier: EvaluationClassifier, faces: FaceSet, rows: np.ndarray) -> None:
        self.classifier, self.faces, self.rows = classifier, faces, rows
        images = faces.tensor(rows)
        found, framing = features(images), faces.framing
        self.people = None if framing == "none" else descriptors(images, framing)
        self.found, self.read = found[:, :POOLED], classifier.read(found)
        self.labels = dict(zip(self.read, faces.known_labels([*self.read])[rows].T, strict=True))

    def images(self, places: np.ndarray) -> Tensor:
        return self.faces.tensor(self.rows[places])  # (M, 3, H, W)

    def identity(self, places: np.ndarray, shown: Tensor) -> dict | None:
        """The share of edited faces that a face recogniser has nearer to their own original than to
        95 % of the others; None: of whole pictures it has no descriptors."""
        if self.people is None:
            return None
        apart = torch.cdist(descriptors(shown, self.faces.framing), self.people)  # (M, N)
        nearer = apart.gather(1, torch.from_numpy(places)[:, None]) < apart
        return interval((nearer.float().mean(dim=1) >= 0.95).float())

    def having(self, name: str, on: bool) -> np.ndarray:
        """Places of faces that have (lack) an attribute as they are read and by any label."""
        label, read = self.labels[name], self.read[name].numpy() > 0.5
        return np.flatnonzero((read == on) & (np.isnan(label) | (label == on)))

    def like(self, places: np.ndarray, among: np.ndarray) -> np.ndarray:
        """Two of the places `among` for each of M, as near as can be in gender and youth."""
        sides = [self.read[name] for name in ("Male", "Young") if name in self.read]
        kind = torch.stack(sides, dim=1)  # (N, 1 or 2)
        return among[linear_sum_assignment(torch.cdist(kind[places], kind[among]).repeat(2, 1))[1]]


def evaluate_edits(
    faces: ReadFaces, edit: Editor, names: Sequence[str], most: int = 120
) -> dict[str, dict]:
    """Each attribute put on faces that lack it (+) and taken off faces that have it (−): the share
    turned; Fréchet distance to other faces that have (lack) it, against halves; identity, the share
    that a face recogniser has nearer to its own original than to 95 % of the others; years moved;
    leaks, other attributes that turned. Of all edits: the share turned by group, and a `critic`."""
    edits: dict[str, dict[str, Any]] = {}
    every: list[tuple[Any, ...]] = []  # an edit's places, successes, real faces and shown ones
    for name, on in product(names, (True, False)):
        places = evenly(faces.having(name, not on), most)
        one = edits[("+" if on else "−") + name] = {"faces": len(places)}
        if len(places) < MIN_FACES:
            continue
        shown = edit(places, {name: 1.0 if on else -1.0})
        found, before = features(shown), {n: v[places] for n, v in faces.read.items()}
        after = faces.classifier.read(found)
        turned = {n: ((v > 0.5) != (before[n] > 0.5)).float() for n, v in after.items()}
        alike = faces.like(places, faces.having(name, on))
        tied = {name, "age"}.union(*(group for group in TIED if name in group))
        shares = {n: t.mean().item() for n, t in turned.items() if n not in tied}
        accuracy = faces.classifier.report[name]
        one |= {"turned": interval(turned[name]), "read": accuracy if accuracy >= 0 else None,
                "Fréchet": against_halves(found[:, :POOLED], faces.found[alike]),
                "identity": faces.identity(places, shown),
                "years": interval(after["age"] - before["age"]) if "age" in after else None,
                "leaks": {n: share for n, share in shares.items() if share > LEAK}}  # fmt: skip
        few = slice(min(len(places), len(alike), CRITIC_FACES))
        every.append((places, turned[name], places[few], faces.images(alike[few]), shown[few]))
    if not every:
        return {"edits": edits}
    places, compared = (np.concatenate([one[k] for one in every]) for k in (0, 2))
    successes, real, pictures = (torch.cat([one[k] for one in every]) for k in (1, 3, 4))
    return {"edits": edits, "turned": by_group(successes, faces.faces, faces.rows[places]),
            "critic": {"accuracy": critic(compared, real, pictures)}}  # fmt: skip


def critic(places: np.ndarray, real: Tensor, shown: Tensor, epochs: int = 20) -> dict | None:
    """Accuracy of a small network from scratch that tells real from edited faces (N, 3, H, W); 0.5:
    it cannot. It is tested on two fifths of the edited places (N,); None: too few."""
    tested, pictures = torch.from_numpy(places % 5 < 2), torch.stack([real, shown], dim=1)
    if min(tested.sum(), (~tested).sum()) < MIN_FACES:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())
                  for a, b in pairwise((3, 16, 32, 64, 96))]  # fmt: skip
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3),
                                nn.Linear(96 * 16, 1), nn.Flatten(0))  # fmt: skip
        optimizer, learnt = torch.optim.AdamW(network.parameters(), 2e-3), pictures[~tested]
        for _ in range(epochs * len(learnt) // 32):
            x = learnt[torch.randint(len(learnt), (32,))].flatten(0, 1)  # (64, 3, H, W)
            loss = F.binary_cross_entropy_with_logits(network(x), torch.tensor([1.0, 0.0] * 32))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.inference_mode():
        looks_real = torch.stack([network.eval()(pair) > 0 for pair in pictures[tested]])  # (M, 2)
    return interval((looks_real == torch.tensor([True, False])).float().mean(dim=1))


def evaluate_ages(faces: ReadFaces, edit: Editor, most: int = 120) -> dict[str, Any]:
    """Grown faces asked to be each of AGES: the span that is read, as a share of real faces' span;
    shares of faces whose age never falls, of steps that do not fall, and of genders kept."""
    years, read = faces.labels["age"], faces.read["age"]
    young, old = (read[np.abs(years - at) <= NEAR] for at in (AGES[0], AGES[-1]))
    if min(len(young), len(old)) < MIN_FACES:
        return {"too few faces about these ages": {"20": len(young), "70": len(old)}}
    places = evenly(np.flatnonzero((years >= 18) & (years <= 65)), most)
    after = [faces.classifier.predict(edit(places, {"age": float(at)})) for at in AGES]
    shown = torch.stack([one["age"] for one in after])  # (T, M)
    kept = [(one["Male"] > 0.5) == (faces.read["Male"][places] > 0.5) for one in after]
    rising = (shown.diff(dim=0) >= 0).float()
    return {"span": interval((shown[-1] - shown[0]) / (old.mean() - young.mean())),
            "never falls": interval(rising.amin(dim=0)),
            "steps that do not fall": interval(rising.mean(dim=0)),
            "gender kept": interval(torch.stack(kept).float().mean(dim=0))}  # fmt: skip


def evaluate_studio(
    studio: Studio, classifier: EvaluationClassifier, faces: FaceSet, seed: int = 0, most: int = 120
) -> dict[str, dict]:
    """Edits, ages, reconstructions and samples on test faces, at most `most` an edit."""
    if studio.framing != faces.framing:
        raise ValueError(f"the studio reads faces framed as {studio.framing!r}, not as these are: "
                         f"prepare them with --framing {studio.framing}")  # fmt: skip
    if not (names := [name for name in classifier.heads if name in studio.attributes]):
        raise ValueError("the studio edits no attribute that the evaluation classifier reads")
    split, points = faces.split(seed), FRAMINGS[studio.framing]
    unseen = ReadFaces(classifier, faces, evenly(split["test"], MAX_FACES))

    @cache
    def face(place: int) -> Face:
        crop = to_pil(unseen.images(np.array([place])))[0]
        return studio.read(crop, eyes=None if points is None else points[:2] * crop.width)

    def edit(places: np.ndarray, wanted: Mapping[str, float]) -> Tensor:
        some = map(face, places.tolist())
        return to_tensor([studio.age(one, wanted["age"]) if "age" in wanted
                          else studio.edit(one, wanted) for one in some])  # fmt: skip

    def realism(pictures: Tensor) -> float | None:
        return against_halves(features(pictures)[:, :POOLED], unseen.found)

    found = evaluate_edits(unseen, edit, names, most)
    if studio.can_age and "age" in classifier.heads:
        found["ages"] = evaluate_ages(unseen, edit, most)
    places = evenly(np.arange(len(unseen.rows)), SAMPLES)
    some, images = [face(place) for place in places.tolist()], unseen.images(places)
    decoded = torch.cat([one.decoded for one in some])
    linear = pca(faces, split["train"], studio.model.config.latents)(images)
    found["studio"] = {
        "PSNR of reconstructions, dB": interval(psnr(images, decoded)),
        "PSNR of PCA, dB": interval(psnr(images, linear)),
        "SSIM of reconstructions": interval(ssim(images, decoded)),
        "Fréchet / halves, reconstructions": realism(decoded),
        "Fréchet / halves, samples": realism(to_tensor(studio.sample(len(some)))),
        "unchanged photo, to the bit": all(studio.edit(one, {}) == one.crop for one in some),
    }
    return found
