"""The app as programs meet it: gradio_client, agents over MCP, and what the log keeps of them."""

import io
import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import app
from facevae.imaging.photo import open_photo
from facevae.ui import api
from facevae.ui.session import HEIGHT
from tests.app import moves as m
from tests.app.page_client import awaited

README = Path(app.__file__).with_name("README.md")
HOPPER, COLLINS = map(handle_file, m.PORTRAITS)
NAMES = ["/morph", "/edit", "/age", "/sample", "/attributes"]


@pytest.fixture(scope="module")
def client(urls, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    return Client(urls("conditional"), verbose=False, download_files=str(folder))


@pytest.fixture(scope="module")
def studio(studios):
    return studios("conditional")


@pytest.fixture(scope="module")
def hopper(studio):
    """As the app reads her."""
    return studio.read(open_photo(m.PORTRAITS[0], app.MAX_SIDE))


def apart(a, b: Image.Image) -> float:
    return np.abs(m.levels(Image.open(a)) - m.levels(b)).max()


def test_every_endpoint_is_documented_with_types(client):
    documented = client.view_api(return_format="dict")["named_endpoints"]
    assert [*documented] == NAMES
    types = {p["parameter_name"]: p["type"]["type"] for p in documented["/sample"]["parameters"]}
    assert types | {"gender": ""} == {
        "n": "integer", "seed": "integer", "temperature": "number", "age": "number", "gender": ""
    }  # fmt: skip
    for function in NAMES:
        described = api.Program.__dict__[function[1:]]
        for parameter in documented[function]["parameters"]:
            assert re.search(rf"\n +{parameter['parameter_name']}: \S.*[.;]\n", described.__doc__)
        assert documented[function]["description"] in " ".join(described.__doc__.split())


def test_the_answers_are_the_studios_own(client, studio, hopper):
    collins = studio.read(open_photo(m.PORTRAITS[1], app.MAX_SIDE))
    between = client.predict(HOPPER, COLLINS, 0.25, 1, api_name="/morph")
    assert apart(between, studio.morph(hopper, collins, 0.25, size=HEIGHT)) == 0
    wanted = {"Smiling": 1, "Eyeglasses": 0.5}
    edited = client.predict(HOPPER, wanted, 0.5, False, api_name="/edit")
    assert apart(edited, studio.edit(hopper, wanted, 0.5, size=HEIGHT)) == 0
    aged = client.predict(HOPPER, 25, api_name="/age")
    assert apart(aged, studio.age(hopper, 25, size=HEIGHT)) == 0
    whole = client.predict(HOPPER, {}, 1, True, api_name="/edit")
    assert apart(whole, hopper.photo) == 0  # nothing wanted, nothing changed
    assert not Image.open(whole).getexif()
    assert tuple(client.predict(api_name="/attributes")) == studio.attributes


def test_samples_follow_the_seed_and_what_was_asked(client, studio):
    def faces(*wanted):
        return [face["image"] for face in client.predict(*wanted, api_name="/sample")]

    own = studio.sample(3, seed=5)
    assert max(map(apart, faces(3, 5), own)) == 0
    aged = faces(1, 5, 0.8, 70, "female")
    assert apart(aged[0], studio.sample(1, 5, 0.8, 70, 1)[0]) == 0 and apart(aged[0], own[0]) > 5


BAD = {
    "no photo": ("/age", (None, 70), "photo is missing"),
    "the name of a photo": ("/age", ("jane.jpg", 70), "handle_file"),
    "an unknown attribute": ("/edit", (HOPPER, {"Smilling": 1}), "'Smilling'"),
    "no strengths": ("/edit", (HOPPER, ["Smiling"]), "by attribute"),
    "a strength in words": ("/edit", (HOPPER, {"Smiling": "much"}), "number from -1.5 to 1.5"),
    "too strong": ("/edit", (HOPPER, {"Smiling": 50}), "number from -1.5 to 1.5"),
    "not a number": ("/morph", (HOPPER, COLLINS, "half"), "t must be a number from 0 to 1"),
    "off the way": ("/morph", (HOPPER, COLLINS, 1.5), "t must be a number from 0 to 1"),
    "too many": ("/sample", (10**9,), "n must be a whole number from 1 to 64"),
    "half a face": ("/sample", (1.5,), "n must be a whole number"),
    "no seed": ("/sample", (1, None), "seed must be a whole number"),
    "no such gender": ("/sample", (1, 0, 0.8, 30, "both"), "both"),
    "no age": ("/sample", (1, 0, 0.8, -3), "age must be a number from 0 to 120"),
}


@pytest.mark.parametrize(("name", "args", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_answered_by_one_clear_sentence(client, capfd, name, args, words):
    with pytest.raises(AppError) as caught:
        client.predict(*args, api_name=name)
    said = str(caught.value)
    assert words in said and "\n" not in said and len(said) < 300
    assert "Traceback" not in said + "".join(capfd.readouterr())


def test_no_photo_and_no_name_of_one_reaches_the_log(client, tmp_path, capfd):
    photo, buffer = tmp_path / "jane-doe-passport.png", io.BytesIO()
    Image.linear_gradient("L").resize((400, 300)).save(buffer, "PNG")
    whole = Path(m.PORTRAITS[0]).read_bytes()
    for content, words in ((buffer.getvalue(), "no face"), (b"\xff\xd8 no", "read"), (whole, None)):
        photo.write_bytes(content)
        if words:
            with pytest.raises(AppError, match=words):
                client.predict(handle_file(photo), {}, api_name="/edit")
        else:
            client.predict(handle_file(photo), {}, api_name="/edit")
    with pytest.raises(AppError, match="handle_file"):
        client.predict(str(photo), {}, api_name="/edit")
    log = "".join(capfd.readouterr())
    assert photo.stem not in log and str(tmp_path) not in log and "Traceback" not in log


def test_a_model_without_ages_says_what_it_would_need(urls):
    grey = Client(urls("grey"), verbose=False, download_files=False)
    with pytest.raises(AppError, match="label age"):
        grey.predict(HOPPER, 70, api_name="/age")
    assert grey.predict(api_name="/attributes") == []


def test_the_readmes_example_runs_as_it_stands(urls, tmp_path, monkeypatch):
    [code] = re.findall(r"```python\n(from gradio_client.*?)```", README.read_text("utf-8"), re.S)
    for name, portrait in zip(("a.jpg", "b.jpg"), m.PORTRAITS, strict=True):
        (tmp_path / name).write_bytes(Path(portrait).read_bytes())
    monkeypatch.chdir(tmp_path)
    known = {}
    exec(code.replace("http://127.0.0.1:7860", urls("conditional")), known)
    with Image.open(known["aged"]) as picture:
        assert picture.size == Image.open(m.PORTRAITS[0]).size


def test_agents_are_told_the_same_tools(studio, uploads):
    pytest.importorskip("mcp", reason="pip install 'gradio[mcp]'")
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def ask(url: str):
        streams = streamablehttp_client(url)
        async with streams as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            tools = (await session.list_tools()).tools
            [name] = [tool.name for tool in tools if tool.name.endswith("attributes")]
            return tools, await session.call_tool(name, {})

    page = app.build(studio)
    where = {"prevent_thread_lock": True, "quiet": True, "mcp_server": True}
    url = app.launch(page, studio, **where)[1]
    tools, answer = awaited(ask(f"{url}gradio_api/mcp/"))
    page.close(verbose=False)
    by_name = {tool.name: tool for tool in tools}
    assert sorted(by_name) == sorted(name[1:] for name in NAMES)
    assert "another age" in by_name["age"].description
    assert "Smiling" in by_name["edit"].inputSchema["properties"]["strengths"]["description"]
    assert "Smiling" in json.dumps([part.text for part in answer.content])


@pytest.mark.parametrize("fault", ["no model", "a taken port"])
def test_what_cannot_start_is_one_clear_line(models, monkeypatch, capsys, tmp_path, fault):
    monkeypatch.setattr(app.signal, "signal", lambda *_: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        model = str(tmp_path if fault == "no model" else models("grey"))
        assert app.main(["--model", model, "--port", port]) == 2
    said = capsys.readouterr().err.strip()
    assert (model if fault == "no model" else port) in said and "\n" not in said
