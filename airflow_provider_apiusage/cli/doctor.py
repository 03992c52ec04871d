"""``airflow apiusage doctor``."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from datetime import UTC, datetime

from airflow_provider_apiusage.cli.finding import Check, State
from airflow_provider_apiusage.cli.org_checks import DoctorHook, OrgChecks
from airflow_provider_apiusage.cli.store_checks import check_options, check_snapshots, check_store
from airflow_provider_apiusage.cli.subject import org_id_from
from airflow_provider_apiusage.cli.told import FINE, NO, Table, Told, command
from airflow_provider_apiusage.store.errors import StoreError
from airflow_provider_apiusage.store.org_connections import OrgConnections

_GRAVE = {
    "never": (),
    "error": (State.FAIL,),
    "warning": (State.FAIL, State.WARN),
    "info": (State.FAIL, State.WARN, State.SKIP),
}


@command
def run(args: Namespace) -> Told:
    """Check everything, and say what to fix."""
    wanted = org_id_from(args.org)
    hook = DoctorHook(args.conn_id, args.store_conn_id or None)
    store, engine = check_store(args.store_conn_id or None)
    org = OrgChecks(hook, wanted, args.daily_report)
    checks = [check_options(), store, *org.run()]
    org_id = org.org_id
    try:
        if engine is not None and org_id is None:
            led = (seen.org_id for seen in OrgConnections(engine).all() if seen.conn_id == args.conn_id)
            org_id = next(led, None)
        if engine is None or org_id is None:
            checks.append(Check("snapshots", State.SKIP, "Not checked: store and org come first."))
        else:
            checks.append(check_snapshots(engine, org_id, datetime.now(UTC)))
    except StoreError as gone:
        checks.append(Check("snapshots", State.SKIP, f"Not checked: {gone.what}"))
    calls = hook.api_calls
    hook.close()
    tally = Counter(check.state for check in checks)
    data = {
        "conn_id": args.conn_id,
        "org_id": org_id,
        "checks": [check.as_dict() for check in checks],
        **{state.value: tally[state] for state in State},
        "api_calls": calls,
    }
    grave = any(check.state in _GRAVE[args.fail_on] for check in checks)
    return Told(data, _lines(checks, tally, calls), NO if grave else FINE)


def _lines(checks: list[Check], tally: Counter[State], calls: int) -> list[str | Table]:
    rows = [(check.state.value.upper(), check.name, check.found) for check in checks]
    lines: list[str | Table] = [Table(("", "check", "found"), rows)]
    for check in checks:
        if check.fix:
            lines += [f"{check.state.value.upper()} {check.name}: {check.means}", f"  Fix: {check.fix}"]
    lines.append(
        f"{tally[State.OK]} ok, {tally[State.WARN]} to improve, {tally[State.FAIL]} broken, {tally[State.SKIP]} not "
        f"checked; {calls} API calls spent."
    )
    return lines
