"""Tiny untrained studios, and the portraits as each of them reads them."""

import pytest

from tests.unit.studios import CONFIGS, tiny_studio


@pytest.fixture(scope="session")
def studios():
    return {kind: tiny_studio(kind) for kind in CONFIGS}


@pytest.fixture(scope="session")
def pairs(studios, portraits):
    """Both portraits as each studio reads them."""
    return {kind: [studio.read(p) for p in portraits] for kind, studio in studios.items()}


@pytest.fixture(params=CONFIGS)
def kind(request):
    return request.param
