"""Model settings and recipes: what they accept, and what is said of the rest."""

import dataclasses

import pytest

from facevae.config import ATTRIBUTES, RECIPES
from tests.helpers import refused

SMILE = RECIPES["smile"]


def test_every_recipe_is_listed_under_its_name_and_says_what_it_changes():
    assert all(name == recipe.name and recipe.why for name, recipe in RECIPES.items())
    sources = {"morph-utkface", "smile", "attributes-celeba", "frey", "aging"}
    assert sources | {"drawn", "studio", "smile-beta10", "smile-beta50"} <= {*RECIPES}
    assert all(RECIPES[name].note and RECIPES[name].source != "synthetic" for name in sources)
    frey, aging = RECIPES["frey"], RECIPES["aging"]
    assert (frey.source, frey.framing, aging.size, SMILE.size) == ("frey", "none", 128, 128)
    assert (frey.model.leak, SMILE.model.leak) == (0, 0)  # ReLU, where the sources have it
    model = RECIPES["studio"].model  # with the conditions that edits know
    assert model.conditions == (*ATTRIBUTES, "age") and len(model.age_anchors) == 9
    assert model.film and not model.condition_encoder
    # normalisation is a range of the network and a likelihood, each in a row of its own
    signed, normalized = RECIPES["smile-signed"].model, RECIPES["smile-normalized"].model
    assert (SMILE.model.input_range, signed.input_range) == ("unit", "signed")
    assert dataclasses.replace(signed, input_range="unit") == SMILE.model
    assert dataclasses.replace(signed, sigma=signed.sigma / 2) == normalized


def test_settings_are_read_as_what_their_field_holds():
    recipe = SMILE.with_settings(
        ["beta=4", "schedule=cosine", "flip=true", "model.latents=7", "model.channels=8,16",
         "model.sigma=none", "model.conditions=age,gender", "rescale=false"]
    )  # fmt: skip
    assert recipe.beta == 4.0 and recipe.schedule == "cosine" and recipe.flip is True
    assert recipe.model.latents == 7 and recipe.model.channels == (8, 16)
    assert recipe.model.sigma is None and recipe.model.conditions == ("age", "gender")
    assert recipe.rescale is False and SMILE.beta == 1.0
    assert recipe.with_settings(["model.conditions="]).model.conditions == ()
    assert SMILE.with_settings([]) == SMILE


@pytest.mark.parametrize(("setting", "message"), [
    *((f"{name}=none", f"no setting '{name}'") for name in ("colour", "name", "model")),
    ("epochs=many", "epochs=many: it must be a valid integer"),
    ("epochs=0", "epochs=0: it must be greater than or equal to 1"),
    ("beta=inf", "a finite number"), ("model.sigma=0", "greater than 0"),
    ("flip=perhaps", "flip=perhaps: it must be a valid boolean"),
    ("schedule=cosin", "schedule=cosin: it must be 'constant', 'cosine' or 'plateau'"),
    ("model.input_range=x", "'signed' or 'unit'"), ("model.channels=", "one a halving"),
    ("model.channels=4,x", "model.channels.1=x"),
    ("model.film=true", "film, hold and age_anchors need conditions"),
    ("model.decoder_channels=8,8", "decoder_channels: give 4 numbers, or one more"),
    ("model.conditions=gender model.age_anchors=20,60", "need the condition age"),
    *((f"model.conditions=age model.age_anchors={years}", "two rising years or more")
      for years in ("20", "60,20")),
])  # fmt: skip
def test_a_wrong_setting_is_named_in_one_sentence(setting, message):
    with refused(ValueError, message):
        SMILE.with_settings(setting.split())
