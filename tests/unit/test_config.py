"""Model settings and recipes: what they accept, and what is said of the rest."""

import dataclasses

import pytest
from pydantic import ValidationError

from facevae.config import RECIPES, ModelConfig
from facevae.models.conditions import AGE_ANCHORS, ATTRIBUTES

SMILE = RECIPES["smile"]


def test_every_recipe_is_listed_under_its_name_with_a_reason():
    assert all(name == recipe.name and recipe.why for name, recipe in RECIPES.items())
    sources = {"morph-utkface", "smile", "attributes-celeba", "frey", "aging", "drawn", "studio"}
    grid = {
        f"smile{beta}{latents}" for beta in ("", "-beta10", "-beta50") for latents in ("", "-200")
    }
    assert sources | grid | {"smile-normalized"} <= set(RECIPES)


def test_a_variant_differs_in_what_its_name_says():
    beta = RECIPES["smile-beta10-200"]
    assert (beta.beta, beta.model.latents) == (10.0, 200)
    assert dataclasses.replace(beta.model, latents=120) == SMILE.model
    assert RECIPES["smile-normalized"].model.sigma == pytest.approx(SMILE.model.sigma / 2)


def test_the_studio_recipe_has_the_conditions_that_edits_know():
    model = RECIPES["studio"].model
    assert model.conditions == (*ATTRIBUTES, "age") and model.age_anchors == AGE_ANCHORS
    assert not model.condition_encoder and model.film and model.hold


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


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("colour=red", "no setting 'colour'"),
        ("model.depth=3", "no setting 'model.depth'"),
        ("name=x", "no setting 'name'"),
        ("changed=none", "no setting 'changed'"),
        ("model.sizes=none", "no setting 'model.sizes'"),
        ("epochs=many", "epochs=many: it must be a valid integer"),
        ("epochs=1.5", "a valid integer"),
        ("epochs=none", "epochs=None: it must be a valid integer"),
        ("epochs=0", "epochs=0: it must be greater than or equal to 1"),
        ("beta", "beta=: it must be a valid number"),
        ("beta=-1", "greater than or equal to 0"),
        ("beta=inf", "a finite number"),
        ("clip=0", "clip=0: it must be greater than 0"),
        ("ema=1", "less than 1"),
        ("ema=nan", "ema=nan"),
        ("keep_best=0", "greater than or equal to 1"),
        ("warmup=-1", "greater than or equal to 0"),
        ("seed=-1", "greater than or equal to 0"),
        ("flip=perhaps", "flip=perhaps: it must be a valid boolean"),
        ("balance=none", "a valid string"),
        ("schedule=cosin", "schedule=cosin: it must be 'constant', 'cosine' or 'plateau'"),
        ("split_by=person", "'content' or 'order'"),
        ("model.latents=x", "model.latents=x"),
        ("model.latents=0", "greater than or equal to 1"),
        ("model.sigma=0", "greater than 0"),
        ("model.dropout=1", "less than 1"),
        ("model.channels=4,x", "model.channels.1=x"),
        ("model.likelihood=laplace", "'bernoulli' or 'gaussian'"),
        ("model.film=true", "film, hold and age_anchors need conditions"),
        ("model.decoder_channels=8,8", "decoder_channels=(8, 8): give 4 numbers, or one more"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(setting, message):
    with pytest.raises(ValueError) as caught:
        SMILE.with_settings([setting])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_settings_that_exclude_each_other_are_refused():
    with pytest.raises(ValueError, match="choose one"):
        SMILE.with_settings(["tcvae=true", "capacity=3"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (1, 8, 8), "channels": (4,) * 6}, "6 halvings do not suit"),
        ({"channels": ()}, "as many channels as it can be halved"),
        ({"conditions": ("gender",), "age_anchors": (20, 60)}, "need the condition age"),
        ({"conditions": ("age",), "age_anchors": (20,)}, "two anchors or more"),
        ({"conditions": ("age",), "age_anchors": (60, 20)}, "rising order"),
        ({"conditions": (1,)}, "valid string"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_models_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**settings)


def test_sizes_halve_and_round_up():
    config = ModelConfig((1, 28, 20), channels=(4, 8, 8))
    assert config.sizes == [(28, 20), (14, 10), (7, 5), (4, 3)]


def test_an_age_counts_as_its_anchors():
    ages = ModelConfig(conditions=("Male", "age"), age_anchors=(10, 40, 80))
    assert ages.condition_numbers == 4 and ModelConfig(conditions=("age",)).condition_numbers == 1
