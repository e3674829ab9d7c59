import pytest

from facevae import RECIPES


def test_every_recipe_is_listed_under_its_name_with_a_reason():
    assert all(name == recipe.name and recipe.why for name, recipe in RECIPES.items())
    sources = {"morph-utkface", "smile", "attributes-celeba", "frey", "aging", "drawn", "studio"}
    grid = {
        f"smile{beta}{latents}" for beta in ("", "-beta10", "-beta50") for latents in ("", "-200")
    }
    assert sources | grid | {"smile-normalized"} <= set(RECIPES)


def test_settings_are_read_as_what_their_field_holds():
    recipe = RECIPES["smile"].with_settings(
        ["beta=4", "schedule=cosine", "flip=true", "model.latents=7", "model.channels=8,16",
         "model.sigma=none", "model.conditions=age,gender"]
    )  # fmt: skip
    assert recipe.beta == 4.0 and recipe.schedule == "cosine" and recipe.flip is True
    assert recipe.model.latents == 7 and recipe.model.channels == (8, 16)
    assert recipe.model.sigma is None and recipe.model.conditions == ("age", "gender")
    assert RECIPES["smile"].beta == 1.0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("colour=red", "no setting 'colour'"),
        ("model.depth=3", "no setting 'model.depth'"),
        ("name=x", "no setting 'name'"),
        ("epochs=many", "epochs=many: this field takes a int"),
        ("epochs=1.5", "takes a int"),
        ("model.latents=x", "takes a int"),
        ("beta", "takes a float"),
        ("epochs=none", "epochs=none: this field takes a int"),
        ("batch=none", "takes a int"),
        ("warmup=none", "takes a int"),
        ("lr=none", "takes a float"),
        ("clip=none", "takes a float"),
        ("model.dropout=none", "takes a float"),
        ("balance=none", "takes a str"),
        ("changed=none", "no setting 'changed'"),
        ("model.sizes=none", "no setting 'model.sizes'"),
        ("epochs=0", "epochs=0: this field takes 1 or more"),
        ("epochs=-1", "1 or more"),
        ("clip=-1", "clip=-1.0: give a bound above 0"),
        ("clip=0", "above 0"),
        ("model.sigma=0", "sigma=0.0: give a number above 0, or none"),
        ("model.sigma=-1", "above 0"),
        ("model.encoder_added=none,1,1,0", "give a number of blocks for each of the 4 stages"),
        ("model.dropout=2", "dropout=2.0: give a number from 0 to under 1"),
        ("model.dropout=1", "under 1"),
        ("model.dropout=-0.1", "from 0"),
    ],
)
def test_a_wrong_setting_is_named(setting, message):
    with pytest.raises(ValueError, match=message):
        RECIPES["smile"].with_settings([setting])
