"""What a program may call: `Client(url).predict(…, api_name="/edit")`, or a tool over MCP.

Gradio shows names, types and docstrings by `Client(url).view_api()` and on the page's own
"Use via API". Every answer is made of what was sent with the request: nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

import gradio as gr
from PIL import Image

from facevae.imaging.face import Face
from facevae.ui.edit import MAX_STRENGTH
from facevae.ui.limits import refusal
from facevae.ui.session import HEIGHT, Session

QUEUE = {"concurrency_id": "programs", "concurrency_limit": 1}  # the page waits for none of them
GENDERS = {"any": None, "male": 0, "female": 1}
NUMBERS: dict[str, tuple[float | None, float, float]] = {  # usual value (None: left out), bounds
    "t": (0.5, 0.0, 1.0), "detail": (1.0, 0.0, 1.0), "years": (70.0, 0.0, 120.0),
    "n": (1, 1, 64), "seed": (0, 0, 2**31 - 1), "temperature": (0.9, 0.0, 2.0),
    "age": (None, 0.0, 120.0),
}  # fmt: skip
WHOLE = ("n", "seed")


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Answer the caller with what the studio says of bad input, NoFaceFound among it."""
    try:
        yield
    except ValueError as error:
        raise refusal(str(error)) from None


def check(**numbers: object) -> None:
    """Refuse, in a sentence, what is no number or out of its range."""
    for name, value in numbers.items():
        usual, low, high = NUMBERS[name]
        if value is None and usual is None:
            continue
        known = _between(value, low, high)
        if not known or (name in WHOLE and not float(value).is_integer()):  # type: ignore[arg-type]
            kind = "a whole number" if name in WHOLE else "a number"
            raise refusal(f"{name} must be {kind} from {low:g} to {high:.10g}, not {value!r}")


def _between(value: object, low: float, high: float) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return low <= value <= high  # false for NaN, too


class Program:
    """The endpoints' functions."""

    def __init__(self, session: Session) -> None:
        self.session, self.studio = session, session.studio

    @in_a_sentence()
    def morph(self, photo_a: dict, photo_b: dict, t: float, detail: float) -> Image.Image:
        """Morph the face of one photo into that of another; the face between, 320 pixels high.

        Args:
            photo_a: the photo of the face to begin with.
            photo_b: the photo of the face to end with.
            t: where on the way, from 0 (the face of photo_a) to 1 (that of photo_b).
            detail: 1 keeps the photos' own detail, 0 is the model's picture alone.
        """
        check(t=t, detail=detail)
        return self.studio.morph(self.read(photo_a), self.read(photo_b), t, detail, size=HEIGHT)

    @in_a_sentence()
    def edit(
        self, photo: dict, strengths: dict[str, float], detail: float, paste: bool
    ) -> Image.Image:
        """Change what the face in a photo looks like: its smile, glasses, hair …

        What there is to change is named by /attributes. The face is 320 pixels high.

        Args:
            photo: a photo that shows a face; of several the largest is taken.
            strengths: such as {"Smiling": 1, "Eyeglasses": -1}: 1 has it, -1 not; ±1.5 at most.
            detail: 1 keeps the photo's own detail, 0 is the model's picture alone.
            paste: true for the whole photo with the face put back into it, false for the face.
        """
        check(detail=detail)
        check_strengths(strengths)
        return self.studio.edit(self.read(photo), strengths, detail, **_shape(paste))

    @in_a_sentence()
    def age(self, photo: dict, years: float, detail: float, paste: bool) -> Image.Image:
        """Show the face in a photo at another age.

        Args:
            photo: a photo that shows a face; of several the largest is taken.
            years: the age wanted; ages beyond those that the model has learnt are taken as them.
            detail: 1 keeps the photo's own detail, 0 is the model's picture alone.
            paste: true for the whole photo with the face put back into it, false for the face.
        """
        check(years=years, detail=detail)
        return self.studio.age(self.read(photo), years, detail, **_shape(paste))

    @in_a_sentence()
    def sample(
        self, n: int, seed: int, temperature: float, age: float | None = None, gender: str = "any"
    ) -> list[Image.Image]:
        """Draw faces of nobody, in the model's own size.

        Args:
            n: how many, 1 to 64.
            seed: the same seed gives the same faces.
            temperature: how much they vary, from 0 (all of them a mean face) to 2.
            age: in years, about; left out, as it comes.
            gender: "male" or "female"; "any", as it comes.
        """
        check(n=n, seed=seed, temperature=temperature, age=age)
        if gender not in GENDERS:
            raise refusal(f"gender must be one of {', '.join(GENDERS)}, not {gender!r}")
        return self.studio.sample(int(n), int(seed), temperature, age, GENDERS[gender])

    @in_a_sentence()
    def attributes(self) -> list[str]:
        """Name the attributes that /edit takes: CelebA's names, and "Beard"."""
        return list(self.studio.attributes)

    def read(self, photo: dict | None) -> Face:
        if not photo:
            raise refusal("a photo is missing: give one that shows a face")
        return self.session.open(photo["path"])


def _shape(paste: bool) -> dict[str, Any]:
    """`size` and `paste` for the studio: a whole photo keeps its own size."""
    return {"size": None if paste else HEIGHT, "paste": paste}


def check_strengths(strengths: object) -> None:
    if not isinstance(strengths, dict):
        raise refusal('strengths must be by attribute, such as {"Smiling": 1}')
    most = MAX_STRENGTH
    for name, value in strengths.items():
        if not _between(value, -most, most):
            raise refusal(
                f"the strength of {name!r} must be a number from {-most} to {most}, not {value!r}"
            )


def _number(name: str) -> gr.Number:
    value, low, high = NUMBERS[name]
    precision = 0 if name in WHOLE else None
    return gr.Number(value, label=name, minimum=low, maximum=high, precision=precision)


def build(session: Session) -> None:
    program = Program(session)

    def offer(function: Callable, inputs: list, output: gr.components.Component) -> None:
        answer = session.programs.of(function)  # which checks its arguments itself
        gr.on([], answer, inputs, output, api_name=function.__name__, preprocess=False, **QUEUE)

    with gr.Row(visible=False):
        photo, photo_a, photo_b = (gr.Image(label=n) for n in ("photo", "photo_a", "photo_b"))
        detail, paste = _number("detail"), gr.Checkbox(False, label="paste")
        picture = gr.Image(label="picture", format="png")
        offer(program.morph, [photo_a, photo_b, _number("t"), detail], picture)
        strengths = gr.JSON({"Smiling": 1}, label="strengths")
        offer(program.edit, [photo, strengths, detail, paste], picture)
        offer(program.age, [photo, _number("years"), detail, paste], picture)
        gender = gr.Radio([*GENDERS], value="any", label="gender")
        wanted = [_number(name) for name in ("n", "seed", "temperature", "age")]
        offer(program.sample, [*wanted, gender], gr.Gallery(label="faces", format="png"))
        offer(program.attributes, [], gr.JSON(label="attributes"))
