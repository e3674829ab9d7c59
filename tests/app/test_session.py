"""Visitors' faces and workers, without a page."""

import asyncio
import threading
import time

import pytest
from fastapi import HTTPException
from PIL import Image

import app
from facevae.ui.session import FORGOTTEN, MAX_FACES, PORTRAITS, Added, Origin, Session
from facevae.ui.worker import MALFORMED, Worker
from tests.app.page_client import PageClient, Refused, awaited, data_uri


@pytest.fixture(scope="module")
def session(studios):
    return Session(studios("plain"), app.MAX_SIDE)


def photo() -> Added:
    return Added(photo=data_uri(PORTRAITS["Grace Hopper"]))


def test_a_face_is_kept_under_a_key_that_nobody_can_guess(session):
    mine, again = session.add(photo()), session.add(photo())
    assert mine["key"] != again["key"] and len(mine["key"]) > 20
    assert mine["name"] == "Your photo" and mine["origin"] is None
    assert session.face(mine["key"]).photo.size == Image.open(PORTRAITS["Grace Hopper"]).size
    drawn = session.add(Added(origin=Origin(draw=7)))
    assert drawn["origin"] == {"draw": 7}


def test_a_face_is_forgotten_in_time_and_when_there_are_too_many(studios):
    brief = Session(studios("plain"), app.MAX_SIDE, kept_seconds=0.0)
    key = brief.add(Added(origin=Origin(draw=7)))["key"]
    with pytest.raises(ValueError, match="forgotten"):
        brief.face(key)
    assert brief.begin([None])[0]["name"] == "Grace Hopper"  # the page's own stay
    assert brief.face("Grace Hopper")
    many = Session(studios("plain"), app.MAX_SIDE)
    many.begin([])
    first = many.add(Added(origin=Origin(draw=7)))["key"]
    until, face = many.kept[first]
    many.kept |= {f"more-{n}": (until, face) for n in range(MAX_FACES)}
    with pytest.raises(ValueError, match="forgotten"):
        many.face(first)
    assert many.face("more-0") and len(many.kept) == MAX_FACES + 4


def test_a_session_begins_with_portraits_or_with_drawn_faces(studios, session):
    assert [face["name"] for face in session.begin([None] * 4)] == [*PORTRAITS, "Nobody", "Nobody"]
    grey = Session(studios("grey"), app.MAX_SIDE)
    assert {face["name"] for face in grey.begin([None] * 4)} == {"Nobody"} and not grey.thumbnails
    [linked, usual] = session.begin([{"draw": 3}, {"draw": "x", "no": 1}])
    assert linked["origin"] == {"draw": 3} and usual["name"] == "Eileen Collins"


def test_visitors_see_their_own_faces_alone(urls):
    mine, other = PageClient(urls("plain")), PageClient(urls("plain"))
    key = mine.ask("face-editor", "add", {"photo": data_uri(PORTRAITS["Grace Hopper"])})["key"]
    assert mine.ask("face-editor", "look", {"face": key})["before"]
    with pytest.raises(Refused) as caught:
        other.ask("face-editor", "look", {"face": key[:-1]})
    assert caught.value.said == FORGOTTEN


def test_a_worker_does_one_thing_at_a_time_in_turn():
    worker, under_way, order = Worker(), [], []

    def work(turn: int) -> int:
        under_way.append(turn)
        assert len(under_way) == 1
        time.sleep(0.01)
        order.append(under_way.pop())
        return turn + 1

    async def all_of_them():
        return await asyncio.gather(*map(worker.serves(work), range(5)))

    assert awaited(all_of_them()) == [1, 2, 3, 4, 5] and order == [0, 1, 2, 3, 4]
    assert worker.of(work)(7) == 8
    assert worker.submit(threading.get_ident).result() != threading.get_ident()


def test_what_goes_wrong_is_answered_and_noted_without_its_words(capfd):
    def refuses(request: int) -> None:
        raise ValueError("no face was found")

    def fails(request: int) -> None:
        raise LookupError("/home/jane/passport.png")

    worker = Worker()
    assert awaited(worker.serves(refuses)(1)) == {"error": "no face was found"}
    for function, request in ((fails, 1), (refuses, "x")):
        with pytest.raises(HTTPException) as caught:
            awaited(worker.serves(function)(request))
        assert caught.value.status_code == 422 and caught.value.detail == MALFORMED
    log = capfd.readouterr().err
    assert "LookupError in test_session.py" in log and "jane" not in log
