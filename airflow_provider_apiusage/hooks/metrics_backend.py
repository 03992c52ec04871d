"""Airflow's ``Stats`` from 3.1 on: started where nobody has, and what its backend keeps of a metric."""

from __future__ import annotations

import inspect
import sys
from functools import cache
from typing import Any

from airflow.providers.common.compat.sdk import Stats, conf


def is_on() -> bool:
    """Tell whether ``[metrics]`` names a backend."""
    return any(_option(name) for name in ("statsd_datadog_enabled", "statsd_on", "otel_on"))


def keeps_tags() -> bool:
    """Tell whether the backend keeps tags; the order is the one in which Airflow chooses it."""
    if _option("statsd_datadog_enabled"):
        return _option("statsd_datadog_metrics_tags", True)
    if _option("statsd_on"):
        return _option("statsd_influxdb_enabled")
    return _option("otel_on")


def keeps_names() -> bool:
    """Tell whether names with variables are wanted where tags are kept."""
    return _option("legacy_names_on", True)


def stats() -> Any:
    """Return Airflow's ``Stats``.

    From Airflow 3.2 on each process has to start it. Task processes do so. The triggerer starts another copy, that of
    the core, and ``dag.test()`` none: there, what is sent through the Task SDK would be lost without a word.
    """
    if not _started():
        _start()
    return Stats


def _started() -> bool:
    holder = sys.modules[Stats.__module__]
    if hasattr(holder, "_factory"):
        return holder._factory is not None
    factory = getattr(type(Stats), "factory", None) if "factory" not in vars(Stats) else vars(Stats)["factory"]
    return factory is not None and getattr(factory, "__name__", "") != "NoStatsLogger"


@cache
def _start() -> None:
    try:
        from airflow.sdk.observability.metrics.stats_utils import get_stats_factory
    except ImportError:  # Airflow 3.1 starts it by itself
        return
    factory = get_stats_factory(*([Stats] if inspect.signature(get_stats_factory).parameters else []))
    options = {"export_legacy_names": keeps_names()}
    takes = inspect.signature(Stats.initialize).parameters
    Stats.initialize(factory=factory, **{name: value for name, value in options.items() if name in takes})


def _option(name: str, default: bool = False) -> bool:
    return bool(conf.getboolean("metrics", name, fallback=default))
