"""Outlets of the user's beside our own."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias

from airflow_provider_apiusage.operators.reconcile import ApiUsageReconcileOperator
from airflow_provider_apiusage.operators.snapshot import ApiUsageSnapshotOperator

OF_THE_USER = Asset("of_the_user")


@pytest.mark.parametrize(
    ("operator", "event"), [(ApiUsageSnapshotOperator, "snapshot"), (ApiUsageReconcileOperator, "reconciliation")]
)
@pytest.mark.parametrize(
    ("written", "own"),
    [
        ({}, []),
        ({"outlets": None}, []),
        ({"outlets": []}, []),
        ({"outlets": OF_THE_USER}, [OF_THE_USER]),
        ({"outlets": (OF_THE_USER,)}, [OF_THE_USER]),
        ({"outlets": [OF_THE_USER]}, [OF_THE_USER]),
    ],
)
def test_outlets_are_taken_as_every_operator_takes_them(
    operator: type, event: str, written: dict[str, Any], own: list[Asset]
) -> None:
    """None, one or several: the DAG is read, and our alias stands beside them."""
    assert operator(task_id="task", **written).outlets == [*own, AssetAlias(f"apiusage_{event}")]
