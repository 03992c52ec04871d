"""The commands as Airflow's parser takes them. Read at every start of ``airflow``: what a command does is imported when
it runs.
"""

from __future__ import annotations

from typing import Any

_RUN = "airflow_provider_apiusage.cli."


def get_apiusage_commands() -> list[Any]:
    """Return the group ``apiusage``, for the provider's ``cli`` key (Airflow 3.2 and newer)."""
    from airflow.cli import cli_config
    from airflow.cli.cli_config import ARG_VERBOSE, ARG_YES, ActionCommand, GroupCommand, lazy_load_command

    Arg: Any = cli_config.Arg  # its constructor has no types
    conn_id = Arg(
        ("--conn-id",),
        help="Airflow connection to the org (default: salesforce_default)",
        default="salesforce_default",
    )
    store = Arg(("--store-conn-id",), help="Airflow connection of the store (default: [apiusage] store_conn_id)")
    org = Arg(("--org",), help="The org's id, 15 or 18 characters, instead of the one that the connection led to last")
    output = Arg(
        ("-o", "--output"),
        help="table for people, json for programs (default: table)",
        choices=("table", "json"),
        default="table",
    )
    refresh = Arg(("--refresh",), help="Take a snapshot first, which spends 1 API call", action="store_true")
    reserve = Arg(("--reserve",), help="What must stay free besides: calls, or a share such as 10%%")
    at = Arg(("--at",), help="ISO instant in the org's time, UTC unless it says otherwise (default: now)")
    report = Arg(
        ("--daily-report",), help="Id of a saved copy of the 7-day report (1 API call more), or path of its CSV"
    )
    common = (conn_id, org, store, output, ARG_VERBOSE)

    def fail_on(default: str) -> Any:
        return Arg(
            ("--fail-on",),
            help=f"Exit with 3 from this severity on (default: {default})",
            choices=("info", "warning", "error", "never"),
            default=default,
        )

    def command(name: str, words: str, more: str, *args: Any) -> ActionCommand:
        return ActionCommand(
            name=name,
            help=words,
            description=f"{words}. {more}",
            func=lazy_load_command(f"{_RUN}{name}.run"),
            args=args,
        )

    return [
        GroupCommand(
            name="apiusage",
            help="Salesforce API usage: what is used, what may start, what is wrong",
            description="Salesforce API usage: what is used, what may start, what is wrong. Exit codes: 0 fine, 1 an "
            "error, 2 wrong usage, 3 the answer is no (docs/commands.md).",
            subcommands=(
                command(
                    "status",
                    "Say what is used, and what can be granted now",
                    "Reads the store; spends no API call without --refresh. With --needs, exits with 3 unless the gate "
                    "would grant it now.",
                    *common,
                    refresh,
                    reserve,
                    Arg(("--needs",), help='Calls that a load needs: 5000, or JSON such as {"DailyBulkApiBatches": 5}'),
                ),
                command(
                    "snapshot",
                    "Read the org's limits now and keep them",
                    "Spends 1 API call, and 1 each for a report by id, a list of event log files and each new file.",
                    *common,
                    report,
                    Arg(
                        ("--events",),
                        help="Read event logs, too",
                        choices=("auto", "hourly", "daily", "object"),
                    ),
                ),
                command(
                    "reconcile",
                    "Put the rolling figure beside the daily counts and the event logs",
                    "Reads the store and keeps nothing; spends no API call without --refresh. Exits with 3 if the "
                    "sources contradict one another.",
                    *common,
                    refresh,
                    report,
                    at,
                    fail_on("error"),
                    Arg(("--tolerance",), help="Calls by which sources may differ (default: 0)", type=int, default=0),
                    Arg(("--markdown",), help="Write the report there as Markdown: a path or URL"),
                    Arg(("--html",), help="Write the report there as one HTML file with charts: a path or URL"),
                ),
                command(
                    "forecast",
                    "Look 24 hours ahead: when calls are free, when the allowance runs out",
                    "Reads the store; spends no API call without --refresh. With --needs, exits with 3 unless they are "
                    "free now with 90 % confidence.",
                    *common,
                    refresh,
                    reserve,
                    at,
                    Arg(("--needs",), help="Calls that a load needs", type=int),
                ),
                command(
                    "gates",
                    "Say who waits for quota, who holds some, and what was decided",
                    "Reads the store; spends no API call.",
                    *common,
                    Arg(("--decisions",), help="How many of the last decisions (default: 10)", type=int, default=10),
                ),
                command(
                    "release",
                    "End a reservation, or take a waiting request out of the queue",
                    "Writes the store; spends no API call. Exits with 3 if nothing was ended.",
                    Arg(("target",), help="Its id, or its holder: dag/run/task, dag/run/task[3] if mapped (see gates)"),
                    org,
                    store,
                    output,
                    ARG_YES,
                    ARG_VERBOSE,
                ),
                command(
                    "doctor",
                    "Check connection, permissions, sources, store and clock, and say what to fix",
                    "Spends a handful of API calls and says how many. Exits with 3 if something does not work.",
                    *common,
                    report,
                    fail_on("error"),
                ),
            ),
        )
    ]
