"""Conditions that change together."""

import pytest
import torch

from facevae.models.conditions import changed

NAMES = ("Smiling", "Beard", "Mustache", "Bangs", "Black_Hair", "Blond_Hair", "Bald",
         "Heavy_Makeup", "Male", "age")  # fmt: skip


def condition(**has):
    return torch.tensor([[float(has.get(name, 0.0)) for name in NAMES]])


def after(wanted, **has):
    result = changed(NAMES, condition(**has), wanted)[0]
    return {name: value.item() for name, value in zip(NAMES, result, strict=True) if value}


@pytest.mark.parametrize(
    ("wanted", "has", "expected"),
    [
        ({}, {"Smiling": 1}, {"Smiling": 1}),
        ({"Smiling": 1}, {}, {"Smiling": 1}),
        ({"Smiling": -1}, {"Smiling": 1}, {}),
        ({"Smiling": 0}, {"Smiling": 0.25}, {"Smiling": 0.25}),
        ({"Smiling": 0.5}, {"Smiling": 0.5}, {"Smiling": 0.75}),
        ({"Smiling": -0.5}, {"Smiling": 0.5}, {"Smiling": 0.25}),
        ({"Blond_Hair": 1}, {"Black_Hair": 1}, {"Blond_Hair": 1}),
        ({"Blond_Hair": 0.5}, {"Black_Hair": 1}, {"Blond_Hair": 0.5, "Black_Hair": 0.5}),
        ({"Black_Hair": 1}, {"Bald": 1}, {"Black_Hair": 1}),
        ({"Bald": 1}, {"Bangs": 1, "Black_Hair": 1}, {"Bald": 1}),
        ({"Bangs": 1}, {"Bald": 1}, {"Bangs": 1}),
        ({"Mustache": 1}, {}, {"Mustache": 1, "Beard": 1}),
        ({"Beard": -1}, {"Beard": 1, "Mustache": 1}, {}),
        ({"Male": 1}, {"Heavy_Makeup": 1}, {"Male": 1}),
        ({"Male": -1}, {"Male": 1, "Beard": 1, "Mustache": 1, "Bald": 1}, {}),
        ({"Male": -1, "Beard": 1}, {"Male": 1}, {"Beard": 1}),
        ({"Bald": 1, "Bangs": 0.5}, {}, {"Bald": 1, "Bangs": 0.5}),
    ],
)
def test_what_is_wanted_takes_along_what_excludes_it(wanted, has, expected):
    assert after(wanted, **has) == expected


def test_an_age_is_set_as_it_is_and_the_original_stays():
    before = condition(age=0.3, Smiling=1)
    result = changed(NAMES, before, {"age": 0.7})
    assert result[0, -1] == pytest.approx(0.7) and before[0, -1] == pytest.approx(0.3)


def test_each_face_moves_from_where_it_is():
    both = torch.cat([condition(Smiling=1), condition()])
    assert changed(NAMES, both, {"Smiling": 0.5})[:, 0].tolist() == [1.0, 0.5]


def test_names_that_a_model_lacks_are_not_taken_along():
    assert changed(("Bald",), torch.zeros(1, 1), {"Bald": 1.0}).tolist() == [[1.0]]
