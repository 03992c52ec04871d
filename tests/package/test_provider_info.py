"""What Airflow learns about the provider when it starts."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

import airflow_provider_apiusage
from airflow_provider_apiusage.get_provider_info import get_provider_info

DISTRIBUTION = "airflow-provider-apiusage"


@pytest.mark.parametrize("schema", ["provider_info.schema.json", "provider.yaml.schema.json"])
def test_metadata_is_valid_against_both_schemas(schema: str) -> None:
    """Airflow checks the first at run time; the second is the stricter definition of the same keys."""
    text = (Path(airflow.__file__).parent / schema).read_text()

    jsonschema.validate(get_provider_info(), json.loads(text))


def test_every_module_named_exists() -> None:
    """A hook, operator, sensor or trigger module that the metadata names can be imported."""
    info = get_provider_info()
    names = [
        name
        for kind in ("hooks", "operators", "sensors", "triggers")
        for entry in info[kind]
        for name in entry["python-modules"]
    ]

    assert len(names) == 11
    for name in names:
        importlib.import_module(name)


def test_versions_agree() -> None:
    """The package, its metadata and what Airflow is told name one version."""
    assert version(DISTRIBUTION) == airflow_provider_apiusage.__version__
    assert get_provider_info()["versions"][0] == airflow_provider_apiusage.__version__


def test_airflow_finds_the_provider_and_its_configuration() -> None:
    """Airflow's own provider manager lists the package, and its options have their documented defaults."""
    from airflow.providers_manager import ProvidersManager

    providers: dict[str, Any] = ProvidersManager().providers
    assert DISTRIBUTION in providers

    from airflow.configuration import conf

    assert conf.get("apiusage", "store_conn_id") == ""
    assert conf.getfloat("apiusage", "poll_interval") == 300


def test_the_plugin_loads() -> None:
    """The plugin's entry point leads to a plugin with the provider's name."""
    (plugin,) = [found for found in entry_points(group="airflow.plugins") if found.dist.name == DISTRIBUTION]

    assert plugin.load().name == "apiusage"
