"""A face as the studio holds it: the photo, where the face is in it, and its latent code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from facevae.imaging.alignment import Alignment, Located
from facevae.imaging.images import enlarge, to_tensor
from facevae.models.classifier import AttributeClassifier

MIN_SHARE_INSIDE = 0.85  # of the crop from brows to chin; less, and much of a face is made up
MIN_EYE_DISTANCE = 0.62  # in heights from eyes to mouth; 0.98 from the front, less in a profile
MAX_NOSE_OFFSET = 0.55  # of the nose tip from the middle of the eyes, in distances of the eyes


@dataclass(frozen=True, eq=False)
class Face:
    """A photo that a studio has read.

    Attributes:
        photo: upright RGB, without metadata.
        alignment: photo ↔ crop; None where the model reads whole pictures.
        crop: the aligned crop at the model's size, RGB or grey. image: the same, (1, C, H, W).
        mean: (1, D), the posterior mean.
        condition: (1, K), the condition that the model was given, or None.
        decoded: (1, C, H, W), decode(mean, condition).
        faces_found: number of faces in the photo.
        points: (5, 2), landmarks as fractions of the crop's side; None where they are unknown.
        years, gender: as predicted, gender 0 male and 1 female; None where nothing predicts them.
        readings: CelebA attribute → predicted probability.
        warning: one sentence where the photo does not suit the model, or "".
    """

    photo: Image.Image
    alignment: Alignment | None
    crop: Image.Image
    image: Tensor
    mean: Tensor
    condition: Tensor | None
    decoded: Tensor
    faces_found: int = 1
    points: Tensor | None = None
    years: float | None = None
    gender: int | None = None
    readings: Mapping[str, float] = field(default_factory=dict)
    warning: str = ""
    _crops: dict[tuple[int, int], Image.Image] = field(default_factory=dict, init=False, repr=False)

    @property
    def side(self) -> int:
        """Height of the crop in photo pixels."""
        return self.photo.height if self.alignment is None else round(self.alignment.side)

    def crop_at(self, size: tuple[int, int]) -> Image.Image:
        """The crop at (height, width), from the photo's own pixels; the last one is kept."""
        if size == (self.crop.height, self.crop.width):
            return self.crop
        crop = self._crops.get(size) or crop_of(self.photo, self.alignment, size, self.crop.mode)
        self._crops.clear()
        self._crops[size] = crop
        return crop

    def residual(self, size: tuple[int, int]) -> Tensor:
        """What the decoder's picture lacks of the photo, (1, C, *size) in −1 … 1."""
        return to_tensor([self.crop_at(size)]) - enlarge(self.decoded, size)


def crop_of(
    photo: Image.Image, alignment: Alignment | None, size: tuple[int, int], mode: str
) -> Image.Image:
    """The part of a photo that a model reads, at (height, width), in mode RGB or L.

    Without an alignment that is the whole picture, cut about its middle to the shape.
    """
    if alignment is not None:
        crop = alignment.crop(photo, max(size))
        crop = crop if crop.size == size[::-1] else crop.resize(size[::-1])
    else:
        crop = ImageOps.fit(photo, size[::-1], Image.Resampling.BICUBIC)
    return crop.convert(mode)


def photo_warning(photo: Image.Image, located: Located) -> str:
    """What makes a photo unfit: a face that is partly outside it, or seen from the side."""
    points = located.points
    inside = Alignment.from_points(points, "face").share_inside(photo)
    if inside < MIN_SHARE_INSIDE:
        return (
            f"{1 - inside:.0%} of the face lies outside the photo and is made up: "
            "use a photo that shows it whole"
        )
    if len(points) == 5:
        eyes, mouth = points[:2].mean(0), points[3:].mean(0)
        across = points[1] - points[0]
        distance = float(np.hypot(*across))
        nose = float((points[2] - eyes) @ across) / max(distance, 1e-6) ** 2
        height = float(np.hypot(*(mouth - eyes)))
        if distance < MIN_EYE_DISTANCE * height or abs(nose) > MAX_NOSE_OFFSET:
            return (
                "the face is turned to the side, and the model has learnt faces from the front: "
                "use a photo that shows both eyes"
            )
    return ""


def predict(
    classifier: AttributeClassifier | None,
    framing: str,
    photo: Image.Image,
    located: Located | None,
    image: Tensor,
) -> dict[str, float]:
    """What a classifier predicts of a face: attributes, and `age` in years.

    It reads the crop `image` of the given framing, or one of its own framing. Empty without a
    classifier, or where that needs a face and the whole picture is given.
    """
    if classifier is None or (located is None and classifier.framing != framing):
        return {}
    if located is not None and classifier.framing != framing:
        alignment = Alignment.from_points(located.points, classifier.framing)
        image = to_tensor([alignment.crop(photo, classifier.config.size)])
    return {name: value.item() for name, value in classifier.predict(image).items()}
