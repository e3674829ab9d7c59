"""The Edit tab in the browser."""

import io

import numpy as np
import pytest
from PIL import Image

import app
from facevae.imaging.photo import open_photo
from facevae.ui import edit
from facevae.ui.session import HEIGHT
from tests.app import moves as m

pytestmark = pytest.mark.browser
STATE = "document.querySelector('face-editor').state"
MODEL = "conditional"  # with gender as a condition, and directions for its labels


@pytest.fixture(scope="module")
def studio(studios):
    return studios(MODEL)


@pytest.fixture(scope="module")
def face(studio):
    return studio.read(open_photo(m.PORTRAITS[1], app.MAX_SIDE))


@pytest.fixture
def editor(visit):
    page = visit(MODEL, "Edit")
    page.wait_for_selector("face-editor[ready]")
    return page


def value(page, attribute: str) -> float:
    return float(page.locator(f"#edit-{attribute}").input_value())


def test_a_slider_starts_at_what_the_model_reads_and_its_last_value_wins(editor, studio, face):
    page, first = editor, m.pixels(editor, m.AFTER)
    assert m.near(first, studio.edit(face, {}, size=HEIGHT))
    own = 2 * face.readings["Male"] - 1
    assert value(page, "Male") == pytest.approx(own, abs=0.026)  # half a step of 0.05
    assert value(page, "Smiling") == 0  # a direction: the photo as it is
    asked = []
    page.on("request", lambda request: "component_server" in request.url and asked.append(request))
    m.slide(page, "#edit-Smiling", *np.linspace(1, -1.5, 25))
    smile = {"Smiling": -1.5}
    last = m.settled(page, m.AFTER)
    assert m.near(last, studio.edit(face, smile, size=HEIGHT)) and not m.near(last, Image.fromarray(
        first.astype(np.uint8)), 0.5)  # fmt: skip
    assert len(asked) <= 3  # of 25: the first, the last, perhaps one between
    m.slide(page, "#edit-Male", 1)
    both = m.settled(page, m.AFTER)
    assert m.near(both, studio.edit(face, smile | {"Male": 1}, size=HEIGHT))
    m.slide(page, "face-editor .detail input", 0)
    plain = studio.edit(face, smile | {"Male": 1}, 0, size=HEIGHT)
    assert m.near(m.changed(page, m.AFTER, both), plain)
    assert np.array_equal(m.pixels(page, "face-editor .before"), first)
    assert page.locator(".seen img").is_visible()


def test_undo_redo_reset_and_lock(editor, studio, face):
    page, states, faces = editor, [], []

    def remember():
        faces.append(m.settled(page, m.AFTER))
        states.append(page.evaluate(STATE))

    def is_at(n):
        same = np.array_equal(m.settled(page, m.AFTER), faces[n])
        return same and page.evaluate(STATE) == states[n]

    remember()
    m.slide(page, "#edit-Smiling", 0, 1, 1.5)  # a drag is one step
    remember()
    m.slide(page, "#edit-Beard", 1.5)
    remember()
    page.get_by_role("button", name="Undo").click()
    assert is_at(1)
    page.keyboard.press("Control+z")
    assert is_at(0) and page.get_by_role("button", name="Undo").is_disabled()
    page.keyboard.press("Control+Shift+z")
    page.get_by_role("button", name="Redo").click()
    assert is_at(2)
    page.locator("#edit-Beard").dblclick(position={"x": 3, "y": 3})
    assert "Beard" not in page.evaluate(f"{STATE}.strengths")
    page.get_by_label("Reset Smile").click()
    assert m.near(m.settled(page, m.AFTER), studio.edit(face, {}, size=HEIGHT))
    page.get_by_role("button", name="Undo").click()
    m.slide(page, "#edit-Smiling", -1)  # what was undone is gone
    assert page.get_by_role("button", name="Redo").is_disabled()
    page.get_by_role("button", name="Reset all").click()
    assert page.evaluate(STATE) == states[0]
    page.get_by_label("Lock Beard").click()
    assert page.locator("#edit-Beard").is_disabled()
    m.slide(page, "#edit-Smiling", 1.5)
    held = studio.edit(face, {"Smiling": 1.5}, locked=["Beard"], size=HEIGHT)
    assert m.near(m.settled(page, m.AFTER), held)


def test_the_average_person_with_and_without(editor, studio):
    page = editor
    page.get_by_label("Attribute of the average person").select_option("Glasses")
    page.get_by_role("button", name="Average person").click()
    page.locator(".pair img[src]").last.wait_for()
    for image, has in zip(page.locator(".pair img").all(), (False, True), strict=True):
        shown = m.levels(image.get_attribute("src"))
        assert m.near(shown, studio.average("Eyeglasses", has), 8)  # small: a JPEG loses more


def test_saves_the_whole_photo_and_the_face_and_shows_before_beside_after(editor, tmp_path):
    page, photo = editor, open_photo(m.PORTRAITS[1], app.MAX_SIDE)

    def file(button):
        with Image.open(m.saved(page, page.locator(f"face-editor {button}"), tmp_path)) as opened:
            assert opened.format == "PNG" and not opened.getexif() and not opened.info
            return opened.convert("RGB")

    assert np.array_equal(file(".photo"), photo)  # nothing is edited yet
    m.slide(page, "#edit-Smiling", 1.5)
    after = m.settled(page, m.AFTER)
    whole, alone = file(".photo"), file(".alone")
    change = np.abs(np.asarray(whole, float) - np.asarray(photo, float)).sum(2) > 0
    assert whole.size == photo.size and 0 < change.mean() < 0.6
    assert m.near(after, alone.resize((HEIGHT, HEIGHT)), 6)
    stage = page.locator("face-editor .picture")
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 9)
    page.mouse.up()
    page.wait_for_timeout(300)  # the words fade in
    shot = Image.open(io.BytesIO(stage.screenshot())).convert("RGB").resize((HEIGHT, HEIGHT))
    shown, was = np.asarray(shot, float), m.pixels(page, "face-editor .before")
    for columns, wanted, other in ((slice(40, 170), was, after), (slice(215, 280), after, was)):
        there = (slice(190, 270), columns)  # about the mouth, clear of the handle
        assert np.abs(shown - wanted)[there].mean() < np.abs(shown - other)[there].mean()
    page.keyboard.press("ArrowLeft")
    assert stage.get_attribute("aria-valuenow") == "55"


def test_a_new_face_starts_anew_and_a_bad_photo_changes_nothing(editor):
    page = editor
    m.slide(page, "#edit-Smiling", -1.5)
    edited = m.settled(page, m.AFTER)
    m.upload(page, "edited", Image.new("RGB", (300, 300), "white"))
    assert "face" in m.line(page, "edited")
    assert np.array_equal(m.pixels(page, m.AFTER), edited)
    m.place(page, "edited").get_by_role("button", name="Grace Hopper").click()
    m.named(page, "edited", "Grace Hopper")
    page.wait_for_function(f"Object.keys({STATE}.strengths).length === 0")
    assert np.array_equal(m.settled(page, m.AFTER), m.crop(page, "edited"))
    assert page.get_by_role("button", name="Undo").is_disabled()


def test_a_link_brings_back_the_face_and_its_edit_but_no_photo(visit, editor):
    page = editor
    m.place(page, "edited").get_by_role("button", name="Random face").click()
    m.named(page, "edited", "Nobody")
    page.wait_for_function(f"Object.keys({STATE}.strengths).length === 0")
    m.settled(page, m.AFTER)
    m.slide(page, "#edit-Smiling", -1.5)
    page.get_by_label("Lock Beard").click()
    m.slide(page, "face-editor .detail input", 0.5)
    before, kept = m.settled(page, m.AFTER), m.link(page)
    again = visit(MODEL, "Edit", link=m.linked(kept))
    again.wait_for_selector("face-editor[ready]")
    assert again.get_by_role("tab", name="Edit").get_attribute("aria-selected") == "true"
    assert np.array_equal(m.settled(again, m.AFTER), before)
    assert again.evaluate(STATE) == page.evaluate(STATE)
    m.upload(page, "edited", Image.open(m.PORTRAITS[0]))
    m.named(page, "edited", "Your photo")
    page.wait_for_function(f"Object.keys({STATE}.strengths).length === 0")
    m.slide(page, "#edit-Smiling", 1)
    assert m.link(page) == {"tab": "edit", "strengths": {"Smiling": 1}, "locked": [], "detail": 1,
                          "method": "mean"}  # fmt: skip


BROKEN = {"tab": "edit", "face": {"draw": "x"}, "strengths": {"No": 1}, "detail": "a", "locked": 7}


def test_a_broken_link_opens_all_the_same(visit):
    page = visit(MODEL, "Edit", link=m.linked(BROKEN))
    page.wait_for_selector("face-editor[ready]")
    m.named(page, "edited", "Eileen Collins")
    assert page.evaluate(STATE) == {"strengths": {}, "locked": [], "detail": 1, "method": "mean"}
    page = visit(MODEL, link="#{nothing")
    assert page.get_by_role("tab", name="Morph").get_attribute("aria-selected") == "true"


def test_attributes_have_words_for_people():
    rows = edit.groups(("Smiling", "Arched_Eyebrows", "Male"))
    assert [group["title"] for group in rows] == ["Expression", "Look", "More"]
    assert rows[1]["rows"][0]["ends"] == ("feminine", "masculine")
    assert rows[2]["rows"][0]["label"] == "Arched eyebrows"
    said = edit.in_words(ValueError("'Gray_Hair' cannot move while Male is locked"))
    assert str(said) == "“Grey hair” cannot move while “Gender-typical look” is locked"
