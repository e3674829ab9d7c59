"""Conditions that change together."""

import pytest
import torch

from facevae.models.conditions import at_age, changed

NAMES = ("Smiling", "Beard", "Mustache", "Bangs", "Black_Hair", "Blond_Hair", "Bald",
         "Heavy_Makeup", "Male", "age")  # fmt: skip


def condition(**has):
    return torch.tensor([[float(has.get(name, 0.0)) for name in NAMES]])


@pytest.mark.parametrize(("wanted", "has", "expected"), [
    ({"Smiling": 0}, {"Smiling": 0.25}, {"Smiling": 0.25}),
    ({"Smiling": 0.5}, {"Smiling": 0.5}, {"Smiling": 0.75}),
    ({"Smiling": -0.5}, {"Smiling": 0.5}, {"Smiling": 0.25}),
    ({"Blond_Hair": 1}, {"Black_Hair": 1}, {"Blond_Hair": 1}),
    ({"Blond_Hair": 0.5}, {"Black_Hair": 1}, {"Blond_Hair": 0.5, "Black_Hair": 0.5}),
    ({"Black_Hair": 1}, {"Bald": 1}, {"Black_Hair": 1}), ({"Bangs": 1}, {"Bald": 1}, {"Bangs": 1}),
    ({"Bald": 1}, {"Bangs": 1, "Black_Hair": 1}, {"Bald": 1}),
    ({"Bald": 1, "Bangs": 0.5}, {}, {"Bald": 1, "Bangs": 0.5}),
    ({"Mustache": 1}, {}, {"Mustache": 1, "Beard": 1}),
    ({"Beard": -1}, {"Beard": 1, "Mustache": 1}, {}),
    ({"Male": 1}, {"Heavy_Makeup": 1}, {"Male": 1}),
    ({"Male": -1}, {"Male": 1, "Beard": 1, "Mustache": 1, "Bald": 1}, {}),
    ({"Male": -1, "Beard": 1}, {"Male": 1}, {"Beard": 1}),
    ({"age": 0.5}, {"age": 0.25, "Smiling": 1}, {"age": 0.5, "Smiling": 1}),
    ({"age": 0.05}, {"Beard": 1, "Bald": 0.25, "Male": 1}, {"age": 0.05, "Bald": 0.25, "Male": 1}),
    ({"age": 0.05, "Beard": 1}, {}, {"age": 0.05, "Beard": 1}),
    ({"age": 0.15}, {"Beard": 1}, {"age": 0.15, "Beard": 1}),
])  # fmt: skip
def test_what_is_wanted_takes_along_what_excludes_it(wanted, has, expected):
    before = condition(**has)
    result = changed(NAMES, before, wanted)[0]
    found = {name: value.item() for name, value in zip(NAMES, result, strict=True) if value}
    assert found == pytest.approx(expected) and torch.equal(before, condition(**has))


def test_each_face_moves_from_where_it_is_and_growing_up_brings_a_beard_back_bit_by_bit():
    both = torch.cat([condition(Smiling=1), condition(Bangs=1)])
    assert changed(NAMES, both, {"Smiling": 0.5})[:, 0].tolist() == [1.0, 0.5]
    assert changed(NAMES, both, {"Bald": 1.0}, ["Bangs"])[1, NAMES.index("Bangs")] == 1
    assert changed(("Bald",), torch.zeros(1, 1), {"Bald": 1.0}).tolist() == [[1.0]]
    bearded, ages = condition(Beard=1).repeat(4, 1), torch.tensor([0.05, 0.11, 0.14, 0.4])
    grown = at_age(NAMES, bearded, ages)
    assert grown[:, NAMES.index("Beard")].tolist() == pytest.approx([0, 0.5, 1, 1])
    assert torch.equal(grown[:, NAMES.index("age")], ages)
    assert at_age(NAMES, bearded, ages, ["Beard"])[0, NAMES.index("Beard")] == 1
