"""``python -m airflow_provider_apiusage.cli``: the same commands on Airflow 3.1, which takes none from a provider."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from airflow_provider_apiusage.cli.definition import get_apiusage_commands


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    (group,) = get_apiusage_commands()
    made = argparse.ArgumentParser(prog="python -m airflow_provider_apiusage.cli", description=group.description)
    commands: Any = made.add_subparsers(metavar="COMMAND", required=True)
    for each in group.subcommands:
        one = commands.add_parser(each.name, help=each.help, description=each.description)
        for arg in each.args:
            arg.add_to_parser(one)
        one.set_defaults(func=each.func)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command.

    :param arguments: default: those of the process.
    """
    args = parser().parse_args(arguments)
    args.func(args)


if __name__ == "__main__":
    main()
