"""What edits do, as the evaluation classifier reads it: turned, leaked, aged, real, recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from facevae.evaluation import realism
from facevae.evaluation.classifier import EvaluationClassifier, label_matrix
from facevae.evaluation.features import features, set_features
from facevae.evaluation.metrics import group_masks, interval
from facevae.evaluation.recogniser import Recogniser, same_person

if TYPE_CHECKING:
    from facevae.data.face_set import FaceSet

Readings = dict[str, Tensor]  # attribute → probability (N,), and `age` in years
# Places (M,) of faces, and name → strength (or `age` → years) → what is shown, (M, 3, H, W)
Editor = Callable[[np.ndarray, Mapping[str, float]], Tensor]

TIED: tuple[set[str], ...] = (  # by nature: these may turn together
    {"Smiling", "Mouth_Slightly_Open"},
    {"Beard", "Mustache", "Heavy_Makeup", "Male"},
    {"Gray_Hair", "Young", "Bald"},
    {"Black_Hair", "Blond_Hair", "Gray_Hair", "Bald"},
    {"Bald", "Bangs"},
)
AGES = (20, 30, 40, 50, 60, 70)  # years asked for
AGED_FACES, NEAR_YEARS = (18, 65), 3  # years of faces that are aged; about a real age
MIN_FACES = 5  # a share of fewer is not reported
SHIFT = 0.02  # of the side: alignment is no surer than that
CRITIC_PAIRS = 60  # faces of an edit at most that the critic sees


@dataclass(frozen=True)
class ReadFaces:
    """Unseen or real faces, as the evaluation classifier reads them.

    Attributes:
        rows: (N,) of the FaceSet. found: features (N, F). read: probabilities and age, (N,) each.
        labels: name → (N,) real labels, NaN unknown. groups: "age 20–39" … → (N,) bool.
    """

    faces: FaceSet
    rows: np.ndarray
    found: Tensor
    read: Readings
    labels: dict[str, np.ndarray]
    groups: dict[str, np.ndarray]

    @classmethod
    def of(
        cls, classifier: EvaluationClassifier, faces: FaceSet, rows: np.ndarray,
        folder: Path | None = None,
    ) -> ReadFaces:  # fmt: skip
        """Rows (N,) of a FaceSet, features cached in a folder."""
        found, names = set_features(faces, rows, folder), (*classifier.attributes, "age")
        labels = dict(zip(names, label_matrix(faces, names)[rows].T, strict=True))
        read = classifier.predict_features(found)
        return cls(faces, rows, found, read, labels, group_masks(faces, rows))

    def images(self, places: np.ndarray) -> Tensor:
        """(M, 3, H, W) in [0, 1]."""
        return self.faces.tensor(self.rows[places])

    def has(self, name: str) -> np.ndarray:
        """(N,) bool: the attribute by label where that is known, else as it is read."""
        label, read = self.labels[name], self.read[name].numpy() > 0.5
        return np.where(np.isnan(label), read, label == 1)

    def to_edit(self, name: str, on: bool, most: int) -> np.ndarray:
        """Places of at most `most` faces, evenly spread, that lack (have) an attribute both as they
        are read and by their label."""
        read, label = self.read[name].numpy() > 0.5, self.labels[name]
        return evenly(np.flatnonzero((read != on) & (label != int(on))), most)


def evenly(places: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of places, at even distances."""
    return places[np.linspace(0, len(places) - 1, min(most, len(places))).astype(int)]


def evaluate_edits(
    classifier: EvaluationClassifier,
    faces: ReadFaces,
    edit: Editor,
    reference: ReadFaces | None = None,
    attributes: Sequence[str] | None = None,
    recogniser: Recogniser | None = None,
    most: int = 120,
    strength: float = 1.0,
) -> dict:
    """Each attribute put on faces that lack it, and taken off faces that have it.

    Args:
        reference: real faces for the Fréchet distances and the critic; None leaves both out.
        most: faces of an edit.

    Returns:
        attributes: name → "on", "off" → what `turned` gives, frechet (edited faces against real
        ones that have, or lack, the attribute, of the same genders and ages; `unedited` is the
        ratio of the photos before) and identity. groups: share turned over all edits. unsteady:
        by attribute, share read otherwise when the photo is moved by SHIFT. critic: see `critic`.
    """
    known = _identities(recogniser, faces)
    groups: dict[str, list[Tensor]] = {name: [] for name in faces.groups}
    pairs: list[tuple[str, np.ndarray, Tensor, Tensor]] = []  # name, places, real, edited
    report: dict = {"attributes": {}}
    for name in attributes or classifier.attributes:
        both = report["attributes"][name] = {}
        for on in (True, False):
            places = faces.to_edit(name, on, most)
            one: dict = {"faces": len(places)}
            both["on" if on else "off"] = one
            if len(places) < MIN_FACES:
                continue
            shown = edited(edit, places, {name: strength if on else -strength})
            found = features(shown)
            after = classifier.predict_features(found)
            one |= turned(faces, places, after, name, on)
            if reference is not None:
                mine, real = _comparable(faces, places, reference, name, on, 2)
                one["frechet"] = realism.against_halves(found[mine], reference.found[real])
                before = realism.against_halves(faces.found[places[mine]], reference.found[real])
                one["frechet"]["unedited"] = before.get("ratio")
                mine, real = _comparable(faces, places, reference, name, on, 1)
                mine, real = mine[:CRITIC_PAIRS], real[:CRITIC_PAIRS]
                pairs.append((name, places[mine], _levels(reference.images(real)),
                              _levels(shown[mine])))  # fmt: skip
            one |= same_person(recogniser, known, shown, places)
            success = ((after[name] > 0.5) == on).float()
            for group, mask in faces.groups.items():
                groups[group].append(success[torch.from_numpy(mask[places])])
    joined = {name: torch.cat(parts) for name, parts in groups.items() if parts}
    report["groups"] = {n: {"edits": len(v)} | interval(v) for n, v in joined.items()}
    report["unsteady"] = unsteady(classifier, faces)
    return report | ({"critic": critic(pairs, len(faces.rows))} if pairs else {})


def edited(
    edit: Editor, places: np.ndarray, wanted: Mapping[str, float], batch: int = 32
) -> Tensor:
    """What is shown of faces under a change, (M, 3, H, W) in [0, 1]."""
    parts = [edit(places[i : i + batch], wanted) for i in range(0, len(places), batch)]
    return torch.cat(parts).clamp(0, 1)


def turned(faces: ReadFaces, places: np.ndarray, after: Readings, name: str, on: bool) -> dict:
    """What one edit did to the faces at places (M,), as they are read before and after.

    Returns:
        turned: share that has (lacks) the attribute now. leaked: other → share whose reading
        crossed one half; tied: the same of those tied to it by nature. age_moved: years.
    """
    report: dict = {"turned": interval(((after[name] > 0.5) == on).float())}
    near = set().union(*(group for group in TIED if name in group))
    report |= {"leaked": {}, "tied": {}}
    for other in after:
        if other not in (name, "age"):
            crossed = (faces.read[other][places] > 0.5) != (after[other] > 0.5)
            report["tied" if other in near else "leaked"][other] = crossed.float().mean().item()
    if "age" in after:
        report["age_moved"] = interval(after["age"] - faces.read["age"][places])
    return report


def evaluate_ages(
    classifier: EvaluationClassifier,
    faces: ReadFaces,
    edit: Editor,
    real: Mapping[int, float],
    recogniser: Recogniser | None = None,
    most: int = 120,
) -> dict:
    """Grown faces asked to be each of AGES.

    Args:
        real: what the classifier reads off real faces of the first and the last age: `real_ages`.

    Returns:
        faces; read: age asked for → mean age read; span: read from first to last as a share of the
        real span; monotone: share of faces whose age read never falls; rising: share of steps that
        do not fall; error: years; gender_kept; identity at the last age.
    """
    years = np.where(np.isnan(faces.labels["age"]), faces.read["age"], faces.labels["age"])
    places = evenly(np.flatnonzero((years >= AGED_FACES[0]) & (years <= AGED_FACES[1])), most)
    if len(places) < MIN_FACES:
        return {"faces": len(places)}
    table, genders = [], []
    for at in AGES:
        shown = edited(edit, places, {"age": float(at)})
        after = classifier.predict(shown)
        table.append(after["age"])
        genders.append((after["Male"] > 0.5) == (faces.read["Male"][places] > 0.5))
    read = torch.stack(table)  # (T, M)
    rising = read.diff(dim=0) >= 0
    return {
        "faces": len(places),
        "real": {str(at): read_off for at, read_off in real.items()},
        "read": {str(at): row.mean().item() for at, row in zip(AGES, read, strict=True)},
        "span": interval((read[-1] - read[0]) / (real[AGES[-1]] - real[AGES[0]])),
        "monotone": interval(rising.all(dim=0).float()),
        "rising": interval(rising.float().mean(dim=0)),
        "error": interval((read - torch.tensor(AGES)[:, None]).abs().mean(dim=0)),
        "gender_kept": interval(torch.stack(genders).float().mean(dim=0)),
    } | same_person(recogniser, _identities(recogniser, faces), shown, places)


def real_ages(
    classifier: EvaluationClassifier, faces: FaceSet, rows: np.ndarray, folder: Path | None = None
) -> dict[int, float]:
    """What the classifier reads, on average, off real faces of about the first and last of AGES.

    Raises:
        ValueError: there are too few of either.
    """
    years, found = label_matrix(faces, ["age"])[rows, 0], {}
    for at in (AGES[0], AGES[-1]):
        near = rows[np.abs(years - at) <= NEAR_YEARS]
        if len(near) < MIN_FACES:
            raise ValueError(
                f"{len(near)} of these unseen faces are about {at} years old: name prepared faces "
                "of known ages by --ages"
            )
        read = classifier.predict_features(set_features(faces, near, folder))
        found[at] = read["age"].mean().item()
    return found


def unsteady(classifier: EvaluationClassifier, faces: ReadFaces, most: int = 300) -> dict:
    """By attribute the share of faces read otherwise when moved by SHIFT: what leaks by chance."""
    places = evenly(np.arange(len(faces.rows)), most)
    images = faces.images(places)
    by = max(1, round(SHIFT * images.shape[-1]))
    again = classifier.predict(F.pad(images[..., by:], (0, by, 0, 0), "replicate"))
    return {
        name: ((faces.read[name][places] > 0.5) != (again[name] > 0.5)).float().mean().item()
        for name in classifier.attributes
    }


def critic(pairs: Sequence[tuple[str, np.ndarray, Tensor, Tensor]], faces: int) -> dict:
    """Accuracy of a critic from scratch that tells real faces from edited ones, on faces of which
    it has seen no edit; by attribute, too.

    Args:
        pairs: name, places (M,) among the `faces`, real and edited pictures (M, 3, H, W) uint8.
    """
    held = torch.rand(faces, generator=torch.Generator().manual_seed(1)) < 0.4
    place = torch.from_numpy(np.concatenate([pair[1] for pair in pairs]))
    names = np.repeat([pair[0] for pair in pairs], [len(pair[1]) for pair in pairs])
    tested = held[place]
    if not MIN_FACES <= int(tested.sum()) <= len(place) - MIN_FACES:
        return {"faces": len(place)}
    real, shown = (torch.cat(pictures) for pictures in list(zip(*pairs, strict=True))[2:])
    right = realism.critic_right(real, shown, tested)
    columns = {name: right[names[tested.numpy()] == name] for name in np.unique(names).tolist()}
    by_name = {name: column.mean().item() for name, column in columns.items()}
    return {"faces": len(right), "accuracy": interval(right), "attributes": by_name}


def _identities(recogniser: Recogniser | None, faces: ReadFaces) -> Tensor | None:
    return recogniser.features(faces.images(np.arange(len(faces.rows)))) if recogniser else None


def _comparable(
    faces: ReadFaces, places: np.ndarray, reference: ReadFaces, name: str, on: bool, each: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which of M edited faces, and `each` times as many real ones that have (lack) the attribute,
    of the same genders and ages."""
    has = np.flatnonzero(reference.has(name) == on)
    ours, theirs = np.zeros(len(places), int), np.zeros(len(has), int)
    for side in {"Male", "Young"} & set(reference.read) - {name}:
        ours, theirs = 2 * ours + faces.has(side)[places], 2 * theirs + reference.has(side)[has]
    mine, real = realism.matched(ours, theirs, each)
    return mine, has[real]


def _levels(images: Tensor) -> Tensor:
    return (255 * images).round().byte()
