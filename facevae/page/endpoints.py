"""What a program may call: `Client(url).predict(…, api_name="/edit")`, or a tool over MCP.

Gradio shows names, types and docstrings by `Client(url).view_api()` and on the page's own
"Use via API". Every answer is made of what was sent with the question: nothing is remembered.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

import gradio as gr
from gradio.data_classes import ImageData
from PIL import Image
from pydantic import ValidationError

import facevae
from facevae.page.desk import SIDE, Desk
from facevae.page.edit import REACH
from facevae.page.parts import photo_input, take_by

MOST_SAMPLES, MOST_SEED = 64, 2**31 - 1
APART = {"concurrency_id": "programs", "concurrency_limit": 1}  # the page waits for none of them
GENDERS = {"any": None, "male": 0, "female": 1}


def refused(reason: str) -> gr.Error:
    """A sentence for the caller alone: a log would keep the name of the photo that it may tell."""
    return gr.Error(reason, print_exception=False)


@contextmanager
def told() -> Iterator[None]:
    """What the studio says of bad input, NoFaceFound among it, as the caller's answer."""
    try:
        yield
    except ValueError as error:
        raise refused(str(error)) from None


class Upload(ImageData):
    """A photo as it is sent. Gradio would log in full what is none, such as the name of a file."""

    @classmethod
    def model_validate(cls, obj: Any, **how: Any) -> Upload:
        try:
            return super().model_validate(obj, **how)
        except ValidationError:
            raise refused("a photo must be uploaded: gradio_client's handle_file does it") from None


class Program:
    """The endpoints' functions."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.studio = desk, desk.studio

    @told()
    def morph(self, photo_a: str, photo_b: str, t: float, detail: float) -> Image.Image:
        """Morph the face of one photo into that of another.

        Args:
            photo_a: the photo of the face to begin with.
            photo_b: the photo of the face to end with.
            t: where on the way, from 0 (the face of photo_a) to 1 (that of photo_b).
            detail: 1 keeps the photos' own detail, 0 is the model's picture alone.

        Returns:
            The face between, 320 × 320 pixels.
        """
        a, b = self.read(photo_a), self.read(photo_b)
        return self.studio.morph(a, b, t, detail=detail, size=SIDE)

    @told()
    def edit(self, photo: str, strengths: dict, detail: float, paste: bool) -> Image.Image:
        """Change what the face in a photo looks like: its smile, glasses, hair …

        What there is to change is named by /attributes.

        Args:
            photo: a photo that shows a face; of several the largest is taken.
            strengths: such as {"Smiling": 1, "Eyeglasses": -1}: 1 has it, -1 not; ±1.5 at most.
            detail: 1 keeps the photo's own detail, 0 is the model's picture alone.
            paste: true for the whole photo with the face put back into it, false for the face.

        Returns:
            The edited face, 320 × 320 pixels, or the whole photo.
        """
        wanted = checked_strengths(strengths)
        return self.studio.edit(self.read(photo), wanted, detail, (), *shape(paste))

    @told()
    def age(self, photo: str, years: float, detail: float, paste: bool) -> Image.Image:
        """Show the face in a photo at another age.

        Args:
            photo: a photo that shows a face; of several the largest is taken.
            years: the age wanted; ages beyond those that the model has learnt are taken as them.
            detail: 1 keeps the photo's own detail, 0 is the model's picture alone.
            paste: true for the whole photo with the face put back into it, false for the face.

        Returns:
            The aged face, 320 × 320 pixels, or the whole photo.
        """
        return self.studio.age(self.read(photo), years, detail, *shape(paste))

    @told()
    def sample(
        self, n: int, seed: int, temperature: float, age: float | None = None, gender: str = "any"
    ) -> list[Image.Image]:
        """Draw faces of nobody.

        Args:
            n: how many, 1 to 64.
            seed: the same seed gives the same faces.
            temperature: how much they vary, from 0 (all the mean face) to 2.
            age: in years, about; left out, as it comes.
            gender: "male" or "female"; "any", as it comes.

        Returns:
            The faces, in the model's own size.
        """
        return self.studio.sample(n, seed, temperature, age, GENDERS[gender])

    @told()
    def attributes(self) -> list[str]:
        """Name the attributes that /edit takes.

        Returns:
            CelebA's names, such as "Smiling", and "Beard".
        """
        return list(self.studio.attributes)

    def read(self, photo: str | None) -> facevae.Face:
        if not photo:
            raise refused("a photo is missing: give one that shows a face")
        return self.desk.read(photo)


def shape(paste: bool) -> tuple[int | None, bool]:
    """`size` and `paste` for the studio: a whole photo keeps its own size."""
    return (None, True) if paste else (SIDE, False)


def between(value: object, low: float, high: float) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return low <= value <= high  # false for NaN, too


def checked_strengths(strengths: object) -> dict[str, float]:
    if not isinstance(strengths, dict):
        raise refused('strengths must be by attribute, such as {"Smiling": 1}')
    for name, at in strengths.items():
        if not between(at, -REACH, REACH):
            raise refused(
                f"the strength of {name!r} must be a number from {-REACH} to {REACH}, not {at!r}"
            )
    return strengths


def number(
    label: str, value: float | None, low: float, high: float, whole: bool = False
) -> gr.Number:
    """An input for a number; one whose usual value is None may be left out."""
    precision = 0 if whole else None
    component = gr.Number(value, label=label, minimum=low, maximum=high, precision=precision)
    kind = "a whole number" if whole else "a number"

    def checked(given: object) -> float | None:  # Gradio's own check fails on what is no number
        if given is None and value is None:
            return None
        if not between(given, low, high) or (whole and given != int(given)):
            raise refused(f"{label} must be {kind} from {low} to {high}, not {given!r}")
        return int(given) if whole else given

    take_by(component, checked)
    return component


def build(desk: Desk) -> None:
    program = Program(desk)

    def offer(function: Callable, inputs: list, output: gr.components.Component) -> None:
        answer = desk.programs.of(function)
        gr.on([], answer, inputs, output, api_name=function.__name__, **APART)

    with gr.Row(visible=False):
        photos = photo, photo_a, photo_b = [*map(photo_input, ("photo", "photo_a", "photo_b"))]
        for upload in photos:
            upload.data_model = Upload
        detail = number("detail", 1, 0, 1)
        paste = gr.Checkbox(False, label="paste")
        picture = gr.Image(label="picture", format="png")
        offer(program.morph, [photo_a, photo_b, number("t", 0.5, 0, 1), detail], picture)
        strengths = gr.JSON({"Smiling": 1}, label="strengths")
        offer(program.edit, [photo, strengths, detail, paste], picture)
        offer(program.age, [photo, number("years", 70, 0, 120), detail, paste], picture)
        usual = inspect.signature(facevae.Studio.sample).parameters["temperature"]
        wanted = [
            number("n", 1, 1, MOST_SAMPLES, whole=True),
            number("seed", 0, 0, MOST_SEED, whole=True),
            number("temperature", usual.default, 0, 2),
            number("age", None, 0, 120),
            gr.Radio([*GENDERS], value="any", label="gender"),
        ]
        offer(program.sample, wanted, gr.Gallery(label="faces", format="png"))
        offer(program.attributes, [], gr.JSON(label="attributes"))
