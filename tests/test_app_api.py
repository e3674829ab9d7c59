"""The app as programs meet it: gradio_client, agents over MCP, and what the log keeps of them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import app
import facevae
from facevae.page import desk, endpoints
from tests.app_pages import PORTRAITS, photo_file

pytest_plugins = "tests.app_pages"  # its fixtures
README = Path(app.__file__).with_name("README.md")
HOPPER, COLLINS = map(handle_file, PORTRAITS)
NAMES = ["/morph", "/edit", "/age", "/sample", "/attributes"]


@pytest.fixture(scope="module")
def client(url, tmp_path_factory):
    return Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("answers")))


@pytest.fixture(scope="module")
def studio():
    return facevae.Studio.load(desk.ASSETS / "studio")


@pytest.fixture(scope="module")
def hopper(studio):
    """As the app reads her."""
    return studio.read(facevae.photo.open_photo(PORTRAITS[0], app.MAX_SIDE))


def levels(picture) -> np.ndarray:
    picture = picture if isinstance(picture, Image.Image) else Image.open(picture)
    return np.asarray(picture.convert("RGB"), float)


def apart(a, b) -> float:
    return np.abs(levels(a) - levels(b)).max()


def test_every_endpoint_is_documented_with_types(client):
    told = client.view_api(return_format="dict")["named_endpoints"]
    assert [*told] == NAMES
    types = {p["parameter_name"]: p["type"]["type"] for p in told["/sample"]["parameters"]}
    assert types | {"gender": ""} == {
        "n": "integer", "seed": "integer", "temperature": "number", "age": "number", "gender": ""
    }  # fmt: skip
    for function in NAMES:
        described = endpoints.Program.__dict__[function[1:]]
        for parameter in told[function]["parameters"]:
            line = rf"\n +{parameter['parameter_name']}: \S.*[.;]\n"
            assert re.search(line, described.__doc__), (function, parameter["parameter_name"])
        assert told[function]["description"] in " ".join(described.__doc__.split())


def test_morph_edit_and_age_are_the_studios_own(client, studio, hopper):
    collins = studio.read(facevae.photo.open_photo(PORTRAITS[1], app.MAX_SIDE))
    between = client.predict(HOPPER, COLLINS, 0.25, 1, api_name="/morph")
    assert apart(between, studio.morph(hopper, collins, 0.25, size=desk.SIDE)) == 0
    wanted = {"Smiling": 1, "Eyeglasses": 0.5}
    edited = client.predict(HOPPER, wanted, 0.5, False, api_name="/edit")
    assert apart(edited, studio.edit(hopper, wanted, 0.5, size=desk.SIDE)) == 0
    aged = client.predict(HOPPER, 25, api_name="/age")
    assert apart(aged, studio.age(hopper, 25, size=desk.SIDE)) == 0


def test_the_whole_photo_comes_back_without_metadata(client, hopper):
    for name, wanted in (("/edit", {}), ("/age", hopper.years)):
        whole = client.predict(HOPPER, wanted, 1, True, api_name=name)
        with Image.open(whole) as picture:
            assert picture.size == hopper.photo.size and not picture.getexif()
        if name == "/edit":
            assert apart(whole, hopper.photo) == 0  # nothing wanted, nothing changed


def test_samples_follow_the_seed_and_what_was_asked(client, studio):
    def faces(*wanted):
        return [face["image"] for face in client.predict(*wanted, api_name="/sample")]

    drawn = faces(3, 5)
    own = studio.sample(3, seed=5)
    assert len(drawn) == 3 and max(map(apart, drawn, own)) == 0
    aged = faces(1, 5, 0.8, 70, "female")
    assert apart(aged[0], studio.sample(1, 5, 0.8, 70, 1)[0]) == 0
    assert apart(aged[0], own[0]) > 20


def test_the_attributes_are_those_that_edit_takes(client, studio):
    assert tuple(client.predict(api_name="/attributes")) == studio.attributes


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


@pytest.mark.parametrize(("name", "given", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_answered_by_one_clear_sentence(client, name, given, words):
    with pytest.raises(AppError) as caught:
        client.predict(*given, api_name=name)
    said = str(caught.value)
    assert words in said and "\n" not in said and "Traceback" not in said and len(said) < 300


@pytest.mark.parametrize("name", ["/edit", "/age", "/morph"])
def test_no_photo_and_no_name_of_one_reaches_the_log(client, tmp_path, capfd, name):
    secret = "jane-doe-passport"
    faceless = photo_file(Image.linear_gradient("L").resize((400, 300)))["buffer"]
    whole = Path(PORTRAITS[0]).read_bytes()
    for content, words in ((faceless, "no face"), (b"\xff\xd8 no", "read"), (whole, None)):
        photo = tmp_path / f"{secret}.png"
        photo.write_bytes(content)
        given = [handle_file(photo), *{"/edit": [{"Bald": 1}], "/morph": [COLLINS]}.get(name, [])]
        if words:
            with pytest.raises(AppError, match=words):
                client.predict(*given, api_name=name)
        else:
            client.predict(*given, api_name=name)
    with pytest.raises(AppError, match="handle_file"):
        client.predict(str(photo), *given[1:], api_name=name)
    log = "".join(capfd.readouterr())
    assert secret not in log and str(tmp_path) not in log and "Traceback" not in log


def test_the_readmes_example_runs_as_it_stands(url, tmp_path, monkeypatch):
    [code] = re.findall(r"```python\n(from gradio_client.*?)```", README.read_text("utf-8"), re.S)
    for name, portrait in zip(("a.jpg", "b.jpg"), PORTRAITS, strict=True):
        (tmp_path / name).write_bytes(Path(portrait).read_bytes())
    monkeypatch.chdir(tmp_path)
    known = {}
    exec(code.replace("http://127.0.0.1:7860", url), known)
    with Image.open(known["aged"]) as picture:
        assert picture.size == Image.open(PORTRAITS[0]).size
    assert len(known["faces"]) == 4


def test_agents_are_told_the_same_tools():
    pytest.importorskip("mcp", reason="pip install 'gradio[mcp]'")
    import anyio
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def ask(url: str):
        async with (
            streamablehttp_client(url) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            [told] = [tool.name for tool in tools if tool.name.endswith("attributes")]
            return tools, await session.call_tool(told, {})

    page = app.build(facevae.Studio.load(desk.ASSETS / "studio"))
    try:
        _, url, _ = app.launch(page, prevent_thread_lock=True, quiet=True, mcp_server=True)
        tools, answer = anyio.run(ask, f"{url}gradio_api/mcp/")
    finally:
        page.close(verbose=False)
    assert sorted(tool.name for tool in tools) == sorted(name[1:] for name in NAMES)
    by_name = {tool.name: tool for tool in tools}
    assert "another age" in by_name["age"].description
    asked = by_name["edit"].inputSchema["properties"]
    assert "Smiling" in asked["strengths"]["description"]
    assert "Smiling" in json.dumps([part.text for part in answer.content])


def test_without_the_extra_package_mcp_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(app, "has_mcp", lambda: False)
    assert app.main(["--mcp"]) == 2
    said = capsys.readouterr().err.strip()
    assert "gradio[mcp]" in said and "\n" not in said
