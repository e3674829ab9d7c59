"""What a program may call: `Client(url).predict(…, api_name="/edit")`, or a tool over MCP.

Gradio shows names, types and docstrings by `Client(url).view_api()` and on the page's own
"Use via API". Every answer is made of what was sent with the request: nothing is kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import signature
from typing import Annotated, Any, Literal

import gradio as gr
from PIL import Image
from pydantic import BeforeValidator, Field, validate_call

from facevae.ui.edit import Strength
from facevae.ui.server import refusal, sentence
from facevae.ui.session import HEIGHT, Seed, Session, Tab, Unit

QUEUE = {"concurrency_id": "programs", "concurrency_limit": 1}  # the page waits for none of them
GENDERS = {"any": None, "male": 0, "female": 1}
Years = Annotated[float, Field(ge=0, le=120)]


def _path(photo: Any) -> str:
    if not isinstance(photo, dict):
        raise ValueError("it is missing: give a photo that shows a face")
    return photo["path"]


Photo = Annotated[str, BeforeValidator(_path)]  # of an uploaded file


class Program(Tab):
    """The endpoints' functions."""

    def morph(self, photo_a: Photo, photo_b: Photo, t: Unit, detail: Unit) -> Image.Image:
        """Morph the face of one photo into that of another; the face between, 320 pixels high.

        Args:
            photo_a: the photo of the face to begin with.
            photo_b: the photo of the face to end with.
            t: where on the way, from 0 (the face of photo_a) to 1 (that of photo_b).
            detail: 1 keeps the photos' own detail, 0 is the model's picture alone.
        """
        a, b = self.session.open(photo_a), self.session.open(photo_b)
        return self.studio.morph(a, b, t, detail, size=HEIGHT)

    def edit(
        self, photo: Photo, strengths: dict[str, Strength], detail: Unit, paste: bool
    ) -> Image.Image:
        """Change what the face in a photo looks like: its smile, glasses, hair …

        What there is to change is named by /attributes. The face is 320 pixels high.

        Args:
            photo: a photo that shows a face; of several the largest is taken.
            strengths: such as {"Smiling": 1, "Eyeglasses": -1}: 1 has it, -1 not; ±1.5 at most.
            detail: 1 keeps the photo's own detail, 0 is the model's picture alone.
            paste: true for the whole photo with the face put back into it, false for the face.
        """
        face, size = self.session.open(photo), None if paste else HEIGHT
        return self.studio.edit(face, strengths, detail, size=size, paste=paste)

    def age(self, photo: Photo, years: Years, detail: Unit, paste: bool) -> Image.Image:
        """Show the face in a photo at another age.

        Args:
            photo: a photo that shows a face; of several the largest is taken.
            years: the age wanted; ages beyond those that the model has learnt are taken as them.
            detail: 1 keeps the photo's own detail, 0 is the model's picture alone.
            paste: true for the whole photo with the face put back into it, false for the face.
        """
        face, size = self.session.open(photo), None if paste else HEIGHT
        return self.studio.age(face, years, detail, size=size, paste=paste)

    def sample(
        self,
        n: Annotated[int, Field(ge=1, le=64)],
        seed: Seed,
        temperature: Annotated[float, Field(ge=0, le=2)],
        age: Years | None = None,
        gender: Literal["any", "male", "female"] = "any",
    ) -> list[Image.Image]:
        """Draw faces of nobody, in the model's own size.

        Args:
            n: how many, 1 to 64.
            seed: the same seed gives the same faces.
            temperature: how much they vary, from 0 (all of them a mean face) to 2.
            age: in years, about; left out, as it comes.
            gender: "male" or "female"; "any", as it comes.
        """
        return self.studio.sample(n, seed, temperature, age, GENDERS[gender])

    def attributes(self) -> list[str]:
        """Name the attributes that /edit takes: CelebA's names, and "Beard"."""
        return list(self.studio.attributes)


def answered(function: Callable) -> Callable:
    """The function with its arguments checked; what is wrong is said in a sentence."""
    names, checked = list(signature(function).parameters), validate_call(function)

    @functools.wraps(function)
    def answer(*given: object) -> object:
        try:
            return checked(**dict(zip(names, given, strict=False)))
        except Exception as error:
            raise refusal(sentence(error)) from None

    return answer


def build(session: Session) -> None:
    program = Program(session)

    def offer(function: Callable, inputs: list, output: gr.components.Component) -> None:
        answer = session.programs.of(answered(function))
        gr.on([], answer, inputs, output, api_name=function.__name__, preprocess=False, **QUEUE)

    def number(name: str, usual: float | None = None, precision: int | None = None) -> gr.Number:
        return gr.Number(usual, label=name, precision=precision)

    with gr.Row(visible=False):
        photo, photo_a, photo_b = (gr.Image(label=n) for n in ("photo", "photo_a", "photo_b"))
        detail, paste = number("detail", 1.0), gr.Checkbox(False, label="paste")
        picture = gr.Image(label="picture", format="png")
        offer(program.morph, [photo_a, photo_b, number("t", 0.5), detail], picture)
        strengths = gr.JSON({"Smiling": 1}, label="strengths")
        offer(program.edit, [photo, strengths, detail, paste], picture)
        offer(program.age, [photo, number("years", 70.0), detail, paste], picture)
        gender = gr.Radio([*GENDERS], value="any", label="gender")
        wanted = [number("n", 1, 0), number("seed", 0, 0), number("temperature", 0.9)]
        faces = gr.Gallery(label="faces", format="png")
        offer(program.sample, [*wanted, number("age"), gender], faces)
        offer(program.attributes, [], gr.JSON(label="attributes"))
