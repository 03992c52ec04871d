"""The charts of the HTML report as Plotly figures: plain dicts, so nothing of Plotly is imported to make them.

Colours are written ``@name`` and are put in by the page from :mod:`.palette`, light or dark. No word of the org is in
a figure.
"""

from __future__ import annotations

from airflow_provider_apiusage.reporting.chart_days import bridge, week
from airflow_provider_apiusage.reporting.chart_parts import Figure
from airflow_provider_apiusage.reporting.chart_time import curve, returns
from airflow_provider_apiusage.reporting.content import ReportContent

TITLES = {
    "bridge": "Steps from yesterday and today to the last 24 hours",
    "week": "Calls of each day as each source sees them",
    "returns": "Calls that come back in the next 24 hours",
    "curve": "Calls used over the last seven days and the next one",
}
"""What a screen reader calls a chart."""


def figures(content: ReportContent) -> dict[str, Figure]:
    """Return the figures that can be drawn, by name.

    :param content: of the report.
    """
    drawn = {
        "bridge": bridge(content),
        "week": week(content.reconciliation.days),
        "returns": returns(content),
        "curve": curve(content),
    }
    return {name: figure for name, figure in drawn.items() if figure is not None}
