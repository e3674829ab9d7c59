"""Visitors' faces and workers, without a page."""

import asyncio
import time

import pytest
from PIL import Image

import app
from facevae import CannotDo
from facevae.ui.server import WRONG, Worker
from facevae.ui.session import FORGOTTEN, MAX_FACES, PORTRAITS, Added, Origin, Session, data_uri
from tests.app.page_client import awaited

PHOTO = data_uri(PORTRAITS["Grace Hopper"].read_bytes())
DRAWN = Added(origin=Origin(draw=7))


@pytest.fixture(scope="module")
def session(studios):
    return Session(studios("plain"), app.MAX_SIDE)


def test_a_face_is_kept_under_a_key_that_nobody_can_guess_until_it_is_forgotten(studios, session):
    mine, again = (session.add(Added(photo=PHOTO)) for _ in range(2))
    assert mine["key"] != again["key"] and len(mine["key"]) > 20
    assert mine["name"] == "Your photo" and mine["origin"] is None
    assert session.face(mine["key"]).photo.size == Image.open(PORTRAITS["Grace Hopper"]).size
    with pytest.raises(CannotDo, match=FORGOTTEN):
        session.face(mine["key"][:-1])
    assert session.add(DRAWN)["origin"] == {"draw": 7}
    brief = Session(studios("plain"), app.MAX_SIDE, kept_seconds=0.0)
    key = brief.add(DRAWN)["key"]
    with pytest.raises(CannotDo, match="forgotten"):
        brief.face(key)
    assert brief.begin([None])[0]["name"] == "Grace Hopper"  # the page's own stay
    assert brief.face("Grace Hopper")
    first = session.add(DRAWN)["key"]
    session.kept |= {f"more-{n}": session.kept[first] for n in range(MAX_FACES)}
    with pytest.raises(CannotDo, match="forgotten"):
        session.face(first)
    assert session.face("more-0") and len(session.kept) == MAX_FACES


def test_a_session_begins_with_portraits_or_with_drawn_faces(studios, session):
    assert [face["name"] for face in session.begin([None] * 4)] == [*PORTRAITS, "Nobody", "Nobody"]
    grey = Session(studios("grey"), app.MAX_SIDE)
    assert {face["name"] for face in grey.begin([None] * 4)} == {"Nobody"} and not grey.thumbnails
    [linked, usual] = session.begin([{"draw": 3}, {"draw": "x", "no": 1}])
    assert linked["origin"] == {"draw": 3} and usual["name"] == "Eileen Collins"


def test_a_worker_does_one_thing_at_a_time_in_turn():
    worker, seen = Worker(), []

    def work(turn: int) -> int:
        seen.append(turn)
        time.sleep(0.01)
        seen.append(turn)
        return turn + 1

    async def all_of_them():
        return await asyncio.gather(*map(worker.serves(work), range(3)))

    assert awaited(all_of_them()) == [1, 2, 3] and seen == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(("error", "said"), [
    (CannotDo("no face was found"), "no face was found"), (ValueError("/home/jane.png"), WRONG),
], ids=["refused", "a bug"])  # fmt: skip
def test_a_refusal_is_said_and_a_bug_is_noted_without_its_words(error, said, capfd):
    def fails(request: int) -> None:
        raise error

    asked = Worker().serves(fails)
    assert awaited(asked(1)) == {"error": said}
    assert "int" in awaited(asked("x"))["error"]
    log = capfd.readouterr().err
    assert ("ValueError in test_session.py" in log) == (said == WRONG) and "jane" not in log
