"""The app as programs meet it: gradio_client, agents over MCP, and what the log keeps of them."""

import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from PIL import Image

import app
from facevae.ui import api
from facevae.ui.session import HEIGHT
from tests.app import moves as m
from tests.app.page_client import awaited
from tests.helpers import encoded, one_sentence, refused

README = Path(app.__file__).with_name("README.md")
HOPPER, COLLINS = map(handle_file, m.PORTRAITS)
MODEL = "conditional"
NAMES = ["/morph", "/edit", "/age", "/sample", "/attributes"]


@pytest.fixture(scope="module")
def client(urls, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    return Client(urls(MODEL), verbose=False, download_files=str(folder))


def same(a, b: Image.Image) -> bool:
    return np.array_equal(m.levels(Image.open(a)), m.levels(b))


def test_every_endpoint_is_documented_with_types(client):
    documented = client.view_api(return_format="dict")["named_endpoints"]
    assert [*documented] == NAMES
    types = [parameter["type"]["type"] for parameter in documented["/sample"]["parameters"]]
    assert types[:4] == ["integer", "integer", "number", "number"]
    for function in NAMES:
        described = api.Program.__dict__[function[1:]]
        for parameter in documented[function]["parameters"]:
            assert re.search(rf"\n +{parameter['parameter_name']}: \S.*[.;]\n", described.__doc__)
        assert documented[function]["description"] in " ".join(described.__doc__.split())


def test_the_answers_are_the_studios_own(client, studio, read):
    hopper, collins = (read(MODEL, who) for who in (m.HOPPER, m.COLLINS))
    between = client.predict(HOPPER, COLLINS, 0.25, 1, api_name="/morph")
    assert same(between, studio.morph(hopper, collins, 0.25, size=HEIGHT))
    wanted = {"Smiling": 1, "Eyeglasses": 0.5}
    edited = client.predict(HOPPER, wanted, 0.5, False, api_name="/edit")
    assert same(edited, studio.edit(hopper, wanted, 0.5, size=HEIGHT))
    aged = client.predict(HOPPER, 25, api_name="/age")
    assert same(aged, studio.age(hopper, 25, size=HEIGHT))
    whole = client.predict(HOPPER, {}, 1, True, api_name="/edit")
    assert same(whole, hopper.photo) and not Image.open(whole).getexif()
    assert tuple(client.predict(api_name="/attributes")) == studio.attributes
    for asked, drawn in (((3, 5), studio.sample(3, 5)),
                         ((1, 5, 0.8, 70, "female"), studio.sample(1, 5, 0.8, 70, 1))):  # fmt: skip
        faces = client.predict(*asked, api_name="/sample")
        assert all(same(face["image"], one) for face, one in zip(faces, drawn, strict=True))


BAD = {
    "no photo": ("/age", (None, 70), "photo: it is missing"),
    "the name of a photo": ("/age", ("jane.jpg", 70), "handle_file"),
    "an unknown attribute": ("/edit", (HOPPER, {"Smilling": 1}), "'Smilling'"),
    "no strengths": ("/edit", (HOPPER, ["Smiling"]), "strengths: Input should be a valid dict"),
    "too strong": ("/edit", (HOPPER, {"Smiling": 50}), "less than or equal to 1.5"),
    "not a number": ("/morph", (HOPPER, COLLINS, "half"), "t: Input should be a valid number"),
    "too many": ("/sample", (10**9,), "n: Input should be less than or equal to 64"),
    "half a face": ("/sample", (1.5,), "n: Input should be a valid integer"),
    "no such gender": ("/sample", (1, 0, 0.8, 30, "both"), "gender: Input should be 'any'"),
    "no age": ("/sample", (1, 0, 0.8, -3), "age: Input should be greater than or equal to 0"),
}


@pytest.mark.parametrize(("name", "args", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_answered_by_one_clear_sentence(client, capfd, name, args, words):
    with refused(AppError, words) as caught:
        client.predict(*args, api_name=name)
    assert "Traceback" not in str(caught.value) + "".join(capfd.readouterr())


def test_no_photo_and_no_name_of_one_reaches_the_log(client, tmp_path, capfd):
    photo = tmp_path / "jane-doe-passport.png"
    photo.write_bytes(Path(m.PORTRAITS[0]).read_bytes())
    client.predict(handle_file(photo), {}, api_name="/edit")
    for content, given, words in ((encoded(m.WHITE, "PNG"), handle_file, "no face"),
                                  (b"\xff\xd8 no", handle_file, "read"),
                                  (b"", lambda path: path.name, "handle_file")):  # fmt: skip
        photo.write_bytes(content)
        with pytest.raises(AppError, match=words):
            client.predict(given(photo), {}, api_name="/edit")
    log = "".join(capfd.readouterr())
    assert photo.stem not in log and str(tmp_path) not in log and "Traceback" not in log


def test_a_model_without_ages_says_what_it_would_need(urls):
    grey = Client(urls("grey"), verbose=False, download_files=False)
    with refused(AppError, "label age"):
        grey.predict(HOPPER, 70, api_name="/age")
    assert grey.predict(api_name="/attributes") == []


def test_the_readmes_example_runs_as_it_stands(urls, tmp_path, monkeypatch):
    [code] = re.findall(r"```python\n(from gradio_client.*?)```", README.read_text("utf-8"), re.S)
    for name, portrait in zip(("a.jpg", "b.jpg"), m.PORTRAITS, strict=True):
        (tmp_path / name).write_bytes(Path(portrait).read_bytes())
    monkeypatch.chdir(tmp_path)
    known = {}
    exec(code.replace("http://127.0.0.1:7860", urls(MODEL)), known)
    with Image.open(known["aged"]) as picture:
        assert picture.size == Image.open(m.PORTRAITS[0]).size


def test_agents_are_told_the_same_tools(urls):
    async def ask(url: str):
        streams = streamablehttp_client(url)
        async with streams as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            tools = (await session.list_tools()).tools
            [name] = [tool.name for tool in tools if tool.name.endswith("attributes")]
            return tools, await session.call_tool(name, {})

    tools, answer = awaited(ask(f"{urls(MODEL)}gradio_api/mcp/"))
    by_name = {tool.name: tool for tool in tools}
    assert sorted(by_name) == sorted(name[1:] for name in NAMES)
    assert "another age" in by_name["age"].description
    assert "Smiling" in by_name["edit"].inputSchema["properties"]["strengths"]["description"]
    assert "Smiling" in json.dumps([part.text for part in answer.content])


@pytest.mark.parametrize("fault", ["no model", "a taken port"])
def test_what_cannot_start_is_one_clear_line(grey_run, monkeypatch, capsys, tmp_path, fault):
    monkeypatch.setattr(app.signal, "signal", lambda *_: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        model = str(tmp_path if fault == "no model" else grey_run / "best")
        assert app.main(["--model", model, "--port", port]) == 2
    one_sentence(capsys.readouterr().err, model if fault == "no model" else port)
