"""Studio: everything that the app, the notebooks and the command line do with a photo."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facevae.imaging.alignment import Eyes, locate
from facevae.imaging.compositing import composite, paste_back, paste_frame
from facevae.imaging.face import Face, crop_of, photo_warning, predict
from facevae.imaging.images import to_pil, to_tensor
from facevae.imaging.morphing import blend_detail, carry_detail
from facevae.imaging.photo import PhotoLike, open_scaled
from facevae.io import NotAModel, local
from facevae.latents.editor import Editor, State
from facevae.latents.paths import PATHS
from facevae.latents.statistics import LatentStatistics
from facevae.models.classifier import AttributeClassifier
from facevae.models.vae import FaceVAE, soften

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "studio"
MAX_PASTE_SIDE = 512  # pixels; a morph for a whole photo is made at the face's size up to this
Shape = tuple[int, int]  # height, width


class Studio:
    """A trained FaceVAE with the statistics of its latents: reads, edits and morphs photos.

    In all methods `detail` runs from 0, the decoder's own picture, to 1, the photo's own detail
    kept; `size` is the height of a result in pixels, the model's own by default; `paste=True`
    gives the whole photo at its own resolution. A ValueError says what a model cannot do.

    Attributes:
        attributes: the names that `edit` takes: the model's conditions, then its directions.
        can_age, age_span: whether it draws ages, and which, in years.
        framing: of the faces that it reads. size: height of the model's picture.
        whole_photos: whether there is `paste`: not where the model reads whole pictures.
    """

    def __init__(
        self,
        model: FaceVAE,
        statistics: LatentStatistics,
        classifier: AttributeClassifier | None = None,
    ) -> None:
        config = model.config
        sizes = (statistics.prior.latents, len(statistics.mean_condition))
        if sizes != (config.latents, len(config.conditions)):
            raise NotAModel(
                f"the statistics are of a model with {sizes[0]} latents and {sizes[1]} conditions, "
                f"not {config.latents} and {len(config.conditions)}: train the model again"
            )
        # channels last: a decoder is a third faster so on a CPU
        self.model = model.eval().to(memory_format=torch.channels_last)
        self.statistics, self.classifier = statistics, classifier
        self.editor = Editor(config, statistics)
        self.attributes = self.editor.attributes
        self.can_age, self.age_span = self.editor.can_age, self.editor.age_span
        self.framing, self.whole_photos = statistics.framing, statistics.framing != "none"
        self.size = config.image_shape[1]

    @classmethod
    def load(cls, folder: str | Path = FOLDER) -> Studio:
        """Load any folder that `train` wrote, or `hub:owner/name` from the Hugging Face Hub.

        Raises:
            NotAModel, NotAClassifier: a file is missing, foreign or of another model, and which.
        """
        folder = local(folder)
        model, statistics = FaceVAE.from_pretrained(folder), LatentStatistics.load(folder)
        classified = (folder / "classifier.json").is_file()
        return cls(model, statistics, AttributeClassifier.load(folder) if classified else None)

    def save(self, folder: str | Path) -> None:
        """Write what `load` reads, weights as float16."""
        self.model.save_pretrained(folder, torch.float16)
        self.statistics.save(folder)
        if self.classifier is not None:
            self.classifier.save(folder)

    @torch.inference_mode()
    def read(self, photo: PhotoLike, which: int = 0, eyes: Eyes | None = None) -> Face:
        """Find and encode a face in anything Pillow reads.

        Args:
            which: 0 for the largest face, 1 for the next …
            eyes: its two eyes (x, y) in pixels of the upright photo, instead of the detector.

        Raises:
            UnreadablePhoto, NoFaceFound: why, and what to do about it.
        """
        picture, shrunk = open_scaled(photo)
        by_hand = None if eyes is None else np.asarray(eyes, float) * shrunk
        located = locate(picture, self.framing, which, by_hand) if self.whole_photos else None
        alignment = located.alignment if located else None
        mode = "L" if self.model.config.image_shape[0] == 1 else "RGB"
        crop = crop_of(picture, alignment, self._shape(None), mode)
        image = to_tensor([crop])
        predicted = predict(self.classifier, self.framing, picture, located, image)
        mean, condition, decoded = self._encode(image, predicted)
        readings = self.editor.places(mean) | self.editor.readings(condition) | predicted
        years = readings.pop("age", None)
        if years is None and self.can_age:
            years = self.editor.years((mean, condition)).item()
        gender = int(readings["Male"] < 0.5) if "Male" in readings else None
        return Face(
            picture, alignment, crop, image, mean, condition, decoded,
            located.faces_found if located else 1, located.unit_points() if located else None,
            years, gender, readings, photo_warning(picture, located) if located else "",
        )  # fmt: skip

    @torch.inference_mode()
    def correct(self, face: Face, years: float | None = None, gender: int | None = None) -> Face:
        """The face with another age or gender (0 male, 1 female) than was predicted."""
        _check_numbers(years, gender)
        years = face.years if years is None else years
        gender = face.gender if gender is None else gender
        readings = dict(face.readings) | ({} if gender is None else {"Male": 1.0 - gender})
        known = readings if years is None else readings | {"age": years}
        mean, condition, decoded = self._encode(face.image, known)
        return dataclasses.replace(face, mean=mean, condition=condition, decoded=decoded,
                                   years=years, gender=gender, readings=readings)  # fmt: skip

    def reconstruct(self, face: Face, size: int | None = None, paste: bool = False) -> Image.Image:
        """The decoder's picture of a face."""
        return self._show(face, (face.mean, face.condition), 0.0, size, paste)

    @torch.inference_mode()
    def edit(
        self, face: Face, wanted: Mapping[str, float], detail: float = 1.0, method: str = "mean",
        locked: Sequence[str] = (), size: int | None = None, paste: bool = False,
    ) -> Image.Image:  # fmt: skip
        """The face with attributes at the wanted strengths; with none, the photo to the bit.

        A strength of 1 has the attribute, −1 has it not, 0 is as it was, linear between. Where the
        model has a condition of that name it is set, else a direction is added to the code.

        Args:
            method: of directions, "mean" or "balanced"; see `LatentStatistics.direction`.
            locked: attributes that must not move along, unless they are wanted.

        Raises:
            ValueError: an attribute is unknown or cannot move, or a number is outside its range.
        """
        state = self.editor.moved((face.mean, face.condition), wanted, method, locked, face.years)
        return self._show(face, state, detail, size, paste)

    @torch.inference_mode()
    def age(
        self, face: Face, years: float, detail: float = 1.0, method: str | None = None,
        size: int | None = None, paste: bool = False,
    ) -> Image.Image:  # fmt: skip
        """The face at another age; ages outside `age_span` are clipped to it.

        Args:
            method: "condition" sets the model's condition; "vector" adds the difference between the
                mean codes at `years` and at `face.years`. By default the first that it has.
        """
        state = self.editor.aged((face.mean, face.condition), face.years, years, method)
        return self._show(face, state, detail, size, paste)

    def morph(
        self, a: Face, b: Face, t: float, detail: float = 1.0, path: str = "linear",
        size: int | None = None, paste: bool = False,
    ) -> Image.Image:  # fmt: skip
        """The face at t on the way from a (0) to b (1); with `paste`, in a's whole photo.

        Args:
            path: "linear" or "spherical". A condition is interpolated linearly.
        """
        frame = self._frames(a, b, [t], detail, path, self._shape(size, a if paste else None))[0]
        return paste_frame(a, frame, detail * (1 - t)) if paste else frame

    def morph_strip(
        self, a: Face, b: Face, steps: int = 9, detail: float = 1.0, path: str = "linear",
        size: int | None = None,
    ) -> list[Image.Image]:  # fmt: skip
        """`steps` pictures from a to b, both ends included; see `morph`."""
        if steps < 2:
            raise ValueError(f"a strip needs at least 2 steps, not {steps}")
        ts = torch.linspace(0, 1, steps).tolist()
        return self._frames(a, b, ts, detail, path, self._shape(size))

    @torch.inference_mode()
    def blend(
        self, faces: Sequence[Face], weights: Sequence[float], detail: float = 1.0,
        size: int | None = None, paste: bool = False,
    ) -> Image.Image:  # fmt: skip
        """Several faces as one, codes and detail in proportion; with `paste`, in the first photo.

        Args:
            weights: one a face, none below 0; only their ratios count.
        """
        total = sum(weights)
        if len(weights) != len(faces) or not 0 < total < math.inf or min(weights) < 0:
            raise ValueError(f"give a weight for each of the {len(faces)} faces, none below 0")
        _check_unit(detail)
        parts = [(face, w / total) for face, w in zip(faces, weights, strict=True) if w > 0]
        code = torch.stack([share * face.mean for face, share in parts]).sum(0)
        mixed = [share * face.condition for face, share in parts if face.condition is not None]
        decoded = self.model.decode(code, torch.stack(mixed).sum(0) if mixed else None)
        frame = blend_detail(parts, decoded, detail, self._shape(size, faces[0] if paste else None))
        return paste_frame(faces[0], frame, detail * weights[0] / total) if paste else frame

    @torch.inference_mode()
    def sample(
        self, n: int, seed: int = 0, temperature: float = 0.9, age: float | None = None,
        gender: int | None = None, attributes: Mapping[str, float] | None = None,
    ) -> list[Image.Image]:  # fmt: skip
        """n faces of nobody, from the prior fitted to the training faces' codes.

        Args:
            age: in years. gender: 0 male, 1 female. attributes: strengths, as `edit` takes them.
        """
        if n < 1:
            raise ValueError(f"ask for at least one sample, not {n}")
        _check_numbers(temperature, gender)
        wanted = dict(attributes or {}) | ({} if gender is None else {"Male": 1.0 - 2.0 * gender})
        state = self.editor.moved(self.editor.sampled(n, seed, temperature), wanted)
        state = state if age is None else self.editor.aged(state, None, age)
        return to_pil(self.model.decode(*state))

    @torch.inference_mode()
    def average(self, name: str, has: bool) -> Image.Image:
        """The average person with an attribute, or without it."""
        return to_pil(self.model.decode(*self.editor.average(name, has)))[0]

    def _encode(
        self, image: Tensor, readings: Mapping[str, float]
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """A face's code, condition (by readings, or else by the probe) and decoder's picture."""
        condition = None
        if self.model.config.conditions:
            condition = self.editor.condition(readings)
            if not readings:
                condition = self.editor.probe(self.model.encode(image, condition).mean)
        mean = self.model.encode(image, condition).mean
        return mean, condition, self.model.decode(mean, condition)

    @torch.inference_mode()
    def _show(
        self, face: Face, state: State, detail: float, size: int | None, paste: bool
    ) -> Image.Image:
        """A face at another code or condition, alone or in its photo; see `compositing`."""
        _check_unit(detail)
        shape, after, hold = self._shape(size, face if paste else None), face.decoded, None
        (code, condition), own = state, face.condition
        moved = condition is not None and own is not None and not torch.equal(condition, own)
        if condition is not None and own is not None and moved and self.model.config.hold:
            after, hold = self.model.decode_and_hold(code, condition)
            hold = soften(hold, self.model.distance(own, condition))
        elif moved or not torch.equal(code, face.mean):
            after = self.model.decode(code, condition)
        if paste:
            return paste_back(face, face.decoded, after, hold, detail)
        return composite(face, after, hold, detail, shape)

    @torch.inference_mode()
    def _frames(
        self, a: Face, b: Face, ts: Sequence[float], detail: float, path: str, shape: Shape
    ) -> list[Image.Image]:
        """The morph from a to b at each t, with the photos' own detail."""
        _check_unit(*ts, detail)
        if path not in PATHS:
            raise ValueError(f"the path {path!r} is unknown: use one of {[*PATHS]}")
        t = torch.tensor(ts, dtype=torch.float32)
        conditions = None
        if a.condition is not None and b.condition is not None:
            conditions = PATHS["linear"](a.condition, b.condition, t)
        decoded = self.model.decode(PATHS[path](a.mean, b.mean, t), conditions)
        return carry_detail(a, b, ts, decoded, detail, shape)

    def _shape(self, size: int | None, pasted: Face | None = None) -> Shape:
        """Of a picture `size` pixels high, by default as the model's, or as the face to paste."""
        height, width = self.model.config.image_shape[1:]
        if size is None:
            size = height if pasted is None else min(max(height, pasted.side), MAX_PASTE_SIDE)
        if size < 1:
            raise ValueError(f"a picture needs a side of at least 1 pixel, not {size}")
        return size, max(1, round(size * width / height))


def _check_unit(*numbers: float) -> None:
    if not all(0 <= number <= 1 for number in numbers):
        raise ValueError("t and detail run from 0 to 1")


def _check_numbers(number: float | None, gender: int | None) -> None:
    if not math.isfinite(number or 0.0):
        raise ValueError(f"give a finite number, not {number}")
    if gender not in (None, 0, 1):
        raise ValueError(f"the gender is 0 (male) or 1 (female), not {gender}")
