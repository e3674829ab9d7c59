"""The Edit tab in the browser."""

import numpy as np
import pytest
from PIL import Image

from facevae.ui.session import HEIGHT
from tests.app import moves as m

pytestmark = pytest.mark.browser
STATE = "document.querySelector('face-editor').state"
MODEL = "conditional"  # with gender as a condition, and directions for its labels


@pytest.fixture(scope="module")
def face(read):
    return read(MODEL, m.COLLINS)


@pytest.fixture
def page(visit):
    return visit(MODEL, "Edit")


def untouched(page) -> None:
    page.wait_for_function(f"Object.keys({STATE}.strengths).length === 0")


def test_a_slider_starts_at_what_the_model_reads_and_its_last_value_wins(page, studio, face):
    first = m.pixels(page, m.AFTER)
    assert m.near(first, studio.edit(face, {}, size=HEIGHT))
    starts = {"Male": 2 * face.readings["Male"] - 1, "Smiling": 0}  # a condition, a direction
    for name, own in starts.items():
        shown = float(page.locator(f"#edit-{name}").input_value())
        assert shown == pytest.approx(own, abs=0.026)  # half a step of 0.05
    asked = m.asked_of(page)
    m.slide(page, "#edit-Smiling", *np.linspace(1, -1.5, 25))
    last, wanted = m.settled(page, m.AFTER), {"Smiling": -1.5}
    assert m.near(last, studio.edit(face, wanted, size=HEIGHT)) and not m.near(last, first, 0.5)
    assert len(asked) <= 3  # of 25: the first, the last, perhaps one between
    m.slide(page, "#edit-Male", 1)
    both, wanted = m.settled(page, m.AFTER), wanted | {"Male": 1}
    assert m.near(both, studio.edit(face, wanted, size=HEIGHT))
    m.slide(page, "face-editor .detail input", 0)
    assert m.near(m.changed(page, m.AFTER, both), studio.edit(face, wanted, 0, size=HEIGHT))
    assert np.array_equal(m.pixels(page, "face-editor .before"), first)
    assert page.locator(".seen img").is_visible()


def test_undo_redo_reset_and_lock(page, studio, face):
    moments = []

    def click(name):
        page.get_by_role("button", name=name).click()

    def remember():
        moments.append((m.settled(page, m.AFTER), page.evaluate(STATE)))

    def is_at(n):
        same = np.array_equal(m.settled(page, m.AFTER), moments[n][0])
        return same and page.evaluate(STATE) == moments[n][1]

    remember()
    m.slide(page, "#edit-Smiling", 0, 1, 1.5)  # a drag is one step
    remember()
    m.slide(page, "#edit-Beard", 1.5)
    remember()
    click("Undo")
    assert is_at(1)
    page.keyboard.press("Control+z")
    assert is_at(0) and page.get_by_role("button", name="Undo").is_disabled()
    page.keyboard.press("Control+Shift+z")
    click("Redo")
    assert is_at(2)
    page.get_by_label("Reset Beard").click()
    assert is_at(1)
    click("Undo")
    m.slide(page, "#edit-Smiling", -1)  # what was undone is gone
    assert page.get_by_role("button", name="Redo").is_disabled()
    click("Reset all")
    assert page.evaluate(STATE) == moments[0][1]
    page.get_by_label("Lock Beard").click()
    assert page.locator("#edit-Beard").is_disabled()
    m.slide(page, "#edit-Smiling", 1.5)
    held = studio.edit(face, {"Smiling": 1.5}, locked=["Beard"], size=HEIGHT)
    assert m.near(m.settled(page, m.AFTER), held)


def test_the_average_person_with_and_without(page, studio):
    page.get_by_label("Attribute of the average person").select_option("Glasses")
    page.get_by_role("button", name="Average person").click()
    page.locator(".pair img[src]").last.wait_for()
    for image, has in zip(page.locator(".pair img").all(), (False, True), strict=True):
        shown = m.levels(image.get_attribute("src"))
        assert m.near(shown, studio.average("Eyeglasses", has), 8)  # small: a JPEG loses more


def test_saves_the_whole_photo_and_the_face_and_shows_before_beside_after(page, face, tmp_path):
    def file(button):
        with Image.open(m.saved(page, page.locator(f"face-editor {button}"), tmp_path)) as opened:
            assert opened.format == "PNG" and not opened.getexif() and not opened.info
            return opened.convert("RGB")

    assert np.array_equal(file(".photo"), face.photo)  # nothing is edited yet
    m.slide(page, "#edit-Smiling", 1.5)
    after, whole = m.settled(page, m.AFTER), file(".photo")
    change = np.abs(m.levels(whole) - m.levels(face.photo)).sum(2) > 0
    assert whole.size == face.photo.size and 0 < change.mean() < 0.6
    assert m.near(after, file(".alone").resize((HEIGHT, HEIGHT)), 6)
    m.drag(page, "face-editor .picture", (0.05, 0.03), (0.6, 0.03))
    page.wait_for_timeout(300)  # the words fade in
    (tmp_path / "shot.png").write_bytes(page.locator("face-editor .picture").screenshot())
    shown = m.levels(Image.open(tmp_path / "shot.png").resize((HEIGHT, HEIGHT)))
    was = m.pixels(page, "face-editor .before")
    for columns, wanted, other in ((slice(40, 170), was, after), (slice(215, 280), after, was)):
        there = (slice(190, 270), columns)  # about the mouth, clear of the handle
        assert np.abs(shown - wanted)[there].mean() < np.abs(shown - other)[there].mean()
    page.keyboard.press("ArrowLeft")
    assert page.locator("face-editor .picture").get_attribute("aria-valuenow") == "55"


def test_a_new_face_starts_anew_and_a_bad_photo_changes_nothing(page):
    m.slide(page, "#edit-Smiling", -1.5)
    edited = m.settled(page, m.AFTER)
    for photo, words in ((m.WHITE, "no face"), (b"\xff\xd8 no picture", "cannot be read")):
        m.upload(page, "edited", photo)
        m.place(page, "edited").locator(".status").get_by_text(words).wait_for()
        assert np.array_equal(m.pixels(page, m.AFTER), edited)
    m.choose(page, "edited", "Grace Hopper", "Grace Hopper")
    untouched(page)
    assert np.array_equal(m.settled(page, m.AFTER), m.crop(page, "edited"))
    assert page.get_by_role("button", name="Undo").is_disabled()


def test_a_link_brings_back_the_face_and_its_edit_but_no_photo(visit, page):
    m.choose(page, "edited", "Random face")
    untouched(page)
    m.settled(page, m.AFTER)
    m.slide(page, "#edit-Smiling", -1.5)
    page.get_by_label("Lock Beard").click()
    m.slide(page, "face-editor .detail input", 0.5)
    before, kept = m.settled(page, m.AFTER), m.link(page)
    again = visit(MODEL, "Edit", link=m.linked(kept))
    assert np.array_equal(m.settled(again, m.AFTER), before)
    assert again.evaluate(STATE) == page.evaluate(STATE)
    m.upload(page, "edited", Image.open(m.PORTRAITS[0]))
    m.named(page, "edited", "Your photo")
    untouched(page)
    m.slide(page, "#edit-Smiling", 1)
    assert m.link(page) == {"tab": "edit", "strengths": {"Smiling": 1}, "locked": [], "detail": 1,
                            "method": "mean"}  # fmt: skip


def test_a_broken_link_opens_all_the_same(visit):
    edit = {"face": {"draw": "x"}, "strengths": {"No": 1}, "detail": "a", "locked": 7}
    page = visit(MODEL, "Edit", link=m.linked(edit | {"tab": "edit"}))
    m.named(page, "edited", "Eileen Collins")
    assert page.evaluate(STATE) == {"strengths": {}, "locked": [], "detail": 1, "method": "mean"}
    spot = {"seed": -1, "index": 0, "x": "0", "y": 0, "latents": [1], "moved": 7}
    assert visit(MODEL, "Explore", link=m.linked({"tab": "explore", "spot": spot}))
    assert visit(MODEL, link="#{nothing")


def test_on_a_phone_the_sliders_come_right_below_the_picture_which_stays_in_view(visit):
    page = visit(MODEL, "Edit", "phone")
    picture, sliders = page.locator("face-editor .picture"), page.locator("face-editor .attribute")
    box, first = picture.bounding_box(), sliders.first.bounding_box()
    assert 0 < first["y"] - (box["y"] + box["height"]) < 90
    sliders.last.scroll_into_view_if_needed()
    page.mouse.wheel(0, 300)
    page.wait_for_timeout(300)
    box = picture.bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= 844 / 2 and m.fits(page)
