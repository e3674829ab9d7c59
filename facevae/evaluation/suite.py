"""Everything that `evaluate` measures of a model or a studio on held-out faces."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facevae.data.face_set import evenly
from facevae.evaluation import edits, metrics, realism
from facevae.evaluation.classifier import EvaluationClassifier, label_matrix, labelled_rows
from facevae.evaluation.features import features, set_features
from facevae.imaging.alignment import FRAMINGS
from facevae.imaging.images import to_pil, to_tensor

if TYPE_CHECKING:
    from facevae.data.face_set import FaceSet
    from facevae.imaging.face import Face
    from facevae.models.vae import FaceVAE
    from facevae.studio import Studio

DISENTANGLEMENT_FACES = 5000
REFERENCE_FACES, COMPARED_FACES = 16_000, 1000  # real faces; of a Fréchet distance
TIMED, PHOTO_SIDE = 20, 1024  # edits, pixels


def filled_conditions(studio: Studio, faces: FaceSet, rows: np.ndarray) -> Tensor | None:
    """(M, K) conditions of rows as they are labelled, else as the studio reads them."""
    names = studio.model.config.conditions
    if not names:
        return None
    scale = np.array([100.0 if name == "age" else 1.0 for name in names])
    known = torch.from_numpy((label_matrix(faces, names)[rows] / scale).astype(np.float32))
    mean = studio.statistics.mean_condition.expand(len(rows), -1)
    classifier = studio.classifier
    if classifier is not None and classifier.framing == faces.framing:
        parts = [classifier.predict(faces.tensor(piece)) for piece in _pieces(rows)]
        predicted = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        if "Male" in predicted:
            predicted["gender"] = 1 - predicted["Male"]
        if "age" in predicted:
            predicted["age"] = predicted["age"] / 100
        columns = [predicted.get(name, mean[:, k]) for k, name in enumerate(names)]
        read = torch.stack(columns, dim=1)
    else:
        probed = studio.editor.probe(metrics.posteriors(studio.model, faces, rows, mean).mean)
        assert probed is not None  # there are conditions
        read = probed
    return torch.where(known.isnan(), read, known)


def evaluate_model(
    model: FaceVAE, faces: FaceSet, rows: np.ndarray, condition: Tensor | None,
    against: Mapping[str, FaceVAE], factors: Mapping[str, np.ndarray], pca_rows: np.ndarray | None,
) -> dict:  # fmt: skip
    """Reconstruction, likelihood and disentanglement of a model on rows of faces.

    Args:
        condition: (M, K) of the rows. against: other models on the same rows, by name.
        factors: labels (N,) to score latents against; none leaves that out.
        pca_rows: training rows for PCA of as many components; None leaves it out.
    """
    table = metrics.per_face(model, faces, rows, condition)
    found: dict = {"faces": len(rows)} | metrics.summary(table)
    if pca_rows is not None:
        found["pca_psnr"] = metrics.pca_psnr(faces, pca_rows, rows, model.config.latents)
    if factors:
        found |= latent_scores(model, faces, rows, condition, factors)
    found["psnr_by_group"] = metrics.by_group(table["psnr"], faces, rows)
    found["against"] = {}
    for name, other in against.items():
        its = metrics.per_face(other, faces, rows)
        gain = {"psnr_difference": metrics.paired(table["psnr"], its["psnr"])}
        scores = latent_scores(other, faces, rows, None, factors) if factors else {}
        found["against"][name] = metrics.summary(its) | scores | gain
    return found


def latent_scores(
    model: FaceVAE, faces: FaceSet, rows: np.ndarray, condition: Tensor | None,
    factors: Mapping[str, np.ndarray],
) -> dict[str, float]:  # fmt: skip
    """Disentanglement scores over the rows in which all factors are known."""
    from facevae.evaluation import disentanglement

    known = np.flatnonzero(disentanglement.known({n: v[rows] for n, v in factors.items()}))
    known = evenly(known, DISENTANGLEMENT_FACES)
    given = None if condition is None else condition[known]
    codes = metrics.posteriors(model, faces, rows[known], given).mean.numpy()
    return disentanglement.scores(codes, {n: v[rows[known]] for n, v in factors.items()})


def evaluate_studio(
    studio: Studio, faces: FaceSet, part: str, classifier: EvaluationClassifier,
    folder: Path | None = None, ages: FaceSet | None = None, most: int = 120,
) -> dict:  # fmt: skip
    """What edits, ages and samples of a studio are worth on unseen faces; see `evaluation.edits`.

    Args:
        folder: of cached features. ages: faces of known ages, for ageing; `faces` by default.
        most: faces of an edit.

    Raises:
        ValueError: the faces are of another framing than the studio reads.
    """
    if studio.framing != faces.framing:
        raise ValueError(
            f"the studio reads faces framed as {studio.framing!r}, and these are framed as "
            f"{faces.framing!r}: prepare them with --framing {studio.framing}"
        )
    report: dict = {"classifier": classifier.report}
    recogniser = _recogniser()
    pool = edits.ReadFaces.of(classifier, faces, _rows(faces, part, 26 * most), folder)
    real = edits.ReadFaces.of(classifier, faces, _rows(faces, "train", REFERENCE_FACES), folder)
    read = StudioFaces(studio, pool)
    names = [name for name in classifier.attributes if name in studio.attributes]
    report |= edits.evaluate_edits(classifier, pool, read.edit, real, names, recogniser, most)
    timed = [read.face(place) for place in range(min(len(pool.rows), TIMED))]
    report["unchanged"] = all(
        np.array_equal(np.asarray(studio.edit(face, {})), np.asarray(face.crop)) for face in timed
    )
    report["milliseconds"] = speed(studio, timed, names)
    report["realism"] = _realism(studio, faces, faces.split()[part], folder)
    if studio.can_age and "age" in classifier.report:
        aged = ages or faces
        rows = aged.split()[part]
        span = edits.real_ages(classifier, aged, rows, folder)
        grown = edits.ReadFaces.of(classifier, aged, evenly(rows, 4 * most), folder)
        report["ages"] = edits.evaluate_ages(
            classifier, grown, StudioFaces(studio, grown).edit, span, recogniser, most
        )
    return report


class StudioFaces:
    """Faces of a FaceSet as a studio reads them, each read once; `edit` is an `edits.Editor`."""

    def __init__(self, studio: Studio, pool: edits.ReadFaces) -> None:
        self.studio, self.pool = studio, pool
        self._faces: dict[int, Face] = {}

    def face(self, place: int) -> Face:
        """The face at a place of the pool; the eyes lie where its framing has them."""
        if place not in self._faces:
            crop = to_pil(self.pool.images(np.array([place])))[0]
            points = FRAMINGS[self.studio.framing]
            eyes = None if points is None else np.asarray(points)[:2] * crop.width
            self._faces[place] = self.studio.read(crop, eyes=eyes)
        return self._faces[place]

    def edit(self, places: np.ndarray, wanted: Mapping[str, float]) -> Tensor:
        """What the studio shows of faces (M, 3, H, W) at strengths, or at an `age` in years."""
        shown = []
        for face in map(self.face, places.tolist()):
            if "age" in wanted:
                shown.append(self.studio.age(face, wanted["age"]))
            else:
                shown.append(self.studio.edit(face, wanted))
        return to_tensor([picture.convert("RGB") for picture in shown])


def speed(studio: Studio, faces: Sequence[Face], names: Sequence[str]) -> dict[str, float]:
    """Medians in milliseconds on one thread, of an edit at the model's size and of a whole photo of
    PHOTO_SIDE pixels."""
    if not faces or not names:
        return {}
    threads, found = torch.get_num_threads(), {}
    torch.set_num_threads(1)
    try:
        found["edit"] = _median(lambda face: studio.edit(face, {names[0]: 0.5}), faces)
        if studio.whole_photos:
            large = faces[0].photo.resize((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.BICUBIC)
            eyes = np.asarray(FRAMINGS[studio.framing])[:2] * PHOTO_SIDE
            face = studio.read(large, eyes=eyes)
            found["whole photo"] = _median(
                lambda one: studio.edit(one, {names[0]: 0.5}, paste=True), [face] * 5
            )
    finally:
        torch.set_num_threads(threads)
    return found


def _median(make: Callable[[Face], object], faces: Sequence[Face]) -> float:
    seconds = []
    for face in faces:
        start = time.perf_counter()
        make(face)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds))


@torch.inference_mode()
def _realism(studio: Studio, faces: FaceSet, rows: np.ndarray, folder: Path | None) -> dict:
    """Fréchet distances of reconstructions and of samples to real faces, against halves."""
    rows = evenly(rows, COMPARED_FACES)
    real, condition = set_features(faces, rows, folder), filled_conditions(studio, faces, rows)
    codes = metrics.posteriors(studio.model, faces, rows, condition).mean
    decoded = []
    for piece in _pieces(np.arange(len(rows))):
        given = None if condition is None else condition[piece]
        decoded.append(features(studio.model.decode(codes[piece], given).expand(-1, 3, -1, -1)))
    drawn = studio.sample(len(rows) // 2)
    samples = features(to_tensor([picture.convert("RGB") for picture in drawn]))
    return {
        "reconstructions": realism.against_halves(torch.cat(decoded), real),
        "samples": realism.against_halves(samples, real),
    }


def _rows(faces: FaceSet, part: str, count: int) -> np.ndarray:
    rows = labelled_rows(faces, part, count)
    return rows if len(rows) else evenly(faces.split()[part], count)


def _pieces(rows: np.ndarray, size: int = 64) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _recogniser() -> edits.Recogniser | None:
    """dlib's, where it is installed."""
    from facevae.evaluation.recogniser import DlibRecogniser

    return DlibRecogniser() if DlibRecogniser.installed() else None
