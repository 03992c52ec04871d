"""What loads are estimated to cost is what the org counts when simple-salesforce really makes them, over TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import Any

import pytest
import simple_salesforce.bulk
import simple_salesforce.bulk2
from simple_salesforce import Salesforce

from airflow_provider_apiusage.sandbox import SandboxOrg, SandboxServer
from airflow_provider_apiusage.sandbox.records import Records
from airflow_provider_apiusage.usage.cost import estimate_cost

Load = Callable[[Any, int], None]
PATH = "/services/data/v64.0"


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that simple-salesforce meant to wait between two reads of a job; it does not."""
    seconds: list[float] = []
    for module in (simple_salesforce.bulk, simple_salesforce.bulk2):
        monkeypatch.setattr(module, "sleep", seconds.append)
    return seconds


@pytest.fixture(scope="module")
def shared() -> Iterator[SandboxServer]:
    """One org for all tests here: what is compared is what a load adds."""
    with SandboxServer(SandboxOrg(limit=10_000_000)) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(running.ca_file))
        yield running


@pytest.fixture
def org(shared: SandboxServer) -> SandboxOrg:
    """The org without any record, as it is by default."""
    shared.org.records = Records()
    shared.org.change({"bulk_polls": 0, "query_page_size": 2_000})
    return shared.org


@pytest.fixture(scope="module")
def salesforce(shared: SandboxServer) -> Any:
    extra = shared.connection("access_token")["extra"]
    return Salesforce(instance_url=extra["instance_url"], session_id=extra["access_token"], version="64.0")


def counted(org: SandboxOrg, load: Callable[[], None]) -> dict[str, int]:
    """Return what a load took of each limit."""
    used = {
        "DailyApiRequests": lambda: org.used,
        "DailyBulkApiBatches": lambda: org.used_in_window("bulk_batches"),
        "DailyBulkV2QueryJobs": lambda: org.used_in_window("bulk_query_jobs"),
        "DailyBulkV2QueryFileStorageMB": lambda: org.used_in_window("bulk_query_bytes"),
    }
    before = {name: count() for name, count in used.items()}
    load()
    taken = {name: count() - before[name] for name, count in used.items()}
    taken["DailyBulkV2QueryFileStorageMB"] = ceil(taken["DailyBulkV2QueryFileStorageMB"] / 1_000_000)
    return {name: count for name, count in taken.items() if count}


def accounts(rows: int) -> list[dict[str, Any]]:
    return [{"Name": f"Account {number}"} for number in range(rows)]


def cut(rows: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(rows), size):
        yield list(rows[start : start + size])


def collection(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"allOrNone": False, "records": [{"attributes": {"type": "Account"}, **row} for row in rows]}


def parts(rows: int, size: int) -> list[dict[str, Any]]:
    """Requests that hold ``size`` rows each: a record, or a Collection."""
    if size == 1:
        return [{"url": f"{PATH}/sobjects/Account", "body": row} for row in accounts(rows)]
    return [{"url": f"{PATH}/composite/sobjects", "body": collection(some)} for some in cut(accounts(rows), size)]


def rest(salesforce: Any, rows: int) -> None:
    for row in accounts(rows):
        salesforce.Account.create(row)


def collections(salesforce: Any, rows: int) -> None:
    for some in cut(accounts(rows), 200):
        salesforce.restful("composite/sobjects", method="POST", json=collection(some))


def composite(size: int, most: int) -> Load:
    """Composite requests of up to ``most`` parts with ``size`` rows each."""

    def load(salesforce: Any, rows: int) -> None:
        for some in cut(parts(rows, size), most):
            asked = [{"method": "POST", "referenceId": f"part{n}", **part} for n, part in enumerate(some)]
            salesforce.restful("composite", method="POST", json={"compositeRequest": asked})

    return load


def composite_batch(size: int) -> Load:
    def load(salesforce: Any, rows: int) -> None:
        for some in cut(parts(rows, size), 25):
            asked = [{"method": "POST", "url": part["url"], "richInput": part["body"]} for part in some]
            salesforce.restful("composite/batch", method="POST", json={"batchRequests": asked})

    return load


def bulk1(**options: Any) -> Load:
    return lambda salesforce, rows: list(salesforce.bulk.Account.insert(accounts(rows), **options)).clear()


def bulk2(files: int, **options: Any) -> Load:
    """Bulk 2.0 jobs, and the first ``files`` of their results."""

    def load(salesforce: Any, rows: int) -> None:
        handler = salesforce.bulk2.Account
        readers = (handler.get_successful_records, handler.get_failed_records, handler.get_unprocessed_records)
        for job in handler.insert(records=accounts(rows), **options):
            for read in readers[:files]:
                read(job["job_id"])

    return load


WRITERS: list[tuple[str, Load, dict[str, Any], list[int]]] = [
    ("rest", rest, {}, [1, 2, 7]),
    ("collections", collections, {}, [1, 199, 200, 201, 401]),
    ("composite", composite(200, 5), {}, [1, 999, 1_000, 1_001, 2_001]),
    ("composite", composite(1, 25), {"batch_size": 25}, [1, 24, 25, 26, 51]),
    ("composite_batch", composite_batch(1), {}, [1, 25, 26, 51]),
    ("composite_batch", composite_batch(200), {"batch_size": 200}, [1, 200, 201, 1_001]),
    ("bulk1", bulk1(), {}, [1, 9_999, 10_000, 10_001, 20_001]),
    ("bulk1", bulk1(batch_size=100), {"batch_size": 100}, [1, 99, 100, 101, 301]),
    ("bulk1", bulk1(batch_size=100, include_detailed_results=True), {"batch_size": 100, "result_files": 2}, [1, 201]),
    ("bulk2", bulk2(0), {"result_files": 0}, [1, 9_999, 10_000, 10_001, 20_001]),
    ("bulk2", bulk2(2), {}, [1, 250]),
    ("bulk2", bulk2(3, batch_size=100), {"batch_size": 100, "result_files": 3}, [1, 99, 100, 101, 301]),
    ("bulk2", bulk2(1, batch_size=10_001), {"batch_size": 10_001, "result_files": 1}, [10_001, 20_003]),
]
WRITES = [
    pytest.param(api, load, how, rows, id=f"{api}-{how}-{rows}") for api, load, how, many in WRITERS for rows in many
]


@pytest.mark.parametrize(("api", "load", "how", "rows"), WRITES)
def test_writing_costs_what_was_estimated(
    org: SandboxOrg, salesforce: Any, waited: list[float], api: str, load: Load, how: dict[str, Any], rows: int
) -> None:
    """Calls and batches, on both sides of every border between two calls, batches and jobs."""
    taken = counted(org, lambda: load(salesforce, rows))

    assert taken == estimate_cost(records=rows, api=api, polls=1, **how)
    assert len(org.records.rows("Account")) == rows


@pytest.mark.parametrize("busy", [0, 1, 4])
@pytest.mark.parametrize(("api", "load", "how"), [writer[:3] for writer in WRITERS if writer[0].startswith("bulk")])
def test_a_job_that_takes_its_time_costs_its_reads(
    org: SandboxOrg, salesforce: Any, waited: list[float], api: str, load: Load, how: dict[str, Any], busy: int
) -> None:
    """Each batch of Bulk 1.0, or job of Bulk 2.0, is read until it is done; told as time, at most one read more."""
    org.change({"bulk_polls": busy})
    taken = counted(org, lambda: load(salesforce, 301))
    exact = estimate_cost(records=301, api=api, polls=busy + 1, **how)
    jobs = 4 if how.get("batch_size") == 100 else 1
    as_time = estimate_cost(records=301, api=api, job_minutes=sum(waited) / jobs / 60, **how)

    assert taken == exact
    assert exact["DailyApiRequests"] <= as_time["DailyApiRequests"] <= exact["DailyApiRequests"] + 2 * jobs


def test_results_that_nobody_reads_cost_no_poll_either(org: SandboxOrg, salesforce: Any) -> None:
    """``bypass_results`` of Bulk 1.0: create, one call a batch, close."""
    taken = counted(org, lambda: bulk1(batch_size=100, bypass_results=True)(salesforce, 201))

    assert taken == estimate_cost(records=201, api="bulk1", batch_size=100, polls=0, result_files=0)
    assert taken == {"DailyApiRequests": 5, "DailyBulkApiBatches": 3}


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 1])
@pytest.mark.parametrize(("api", "load", "how"), [writer[:3] for writer in WRITERS if writer[0] != "rest"])
def test_rows_sent_again_cost_calls_of_their_own(
    org: SandboxOrg, salesforce: Any, waited: list[float], api: str, load: Load, how: dict[str, Any], share: float
) -> None:
    """A second pass over a share of the rows."""

    def twice() -> None:
        load(salesforce, 201)
        load(salesforce, ceil(201 * share))

    assert counted(org, twice) == estimate_cost(records=201, api=api, polls=1, retry_share=share, **how)


@pytest.mark.parametrize(
    ("page", "rows"),
    [(2_000, rows) for rows in (0, 1, 1_999, 2_000, 2_001, 4_000, 4_001)] + [(200, rows) for rows in (200, 201, 999)],
)
def test_a_query_costs_a_call_a_page(org: SandboxOrg, salesforce: Any, page: int, rows: int) -> None:
    """``query_all`` of simple-salesforce, also where the org makes its pages shorter."""
    org.change({"query_page_size": page})
    for account in accounts(rows):
        org.records.insert("Account", account, org.timestamp())
    taken = counted(org, lambda: salesforce.query_all("SELECT Name FROM Account"))

    assert taken == estimate_cost(records=rows, api="query", batch_size=page)


@pytest.mark.parametrize("busy", [0, 3])
@pytest.mark.parametrize(("page", "rows"), [(100, rows) for rows in (0, 1, 99, 100, 101, 300, 301)] + [(50_000, 3_000)])
def test_a_bulk_query_costs_a_job_its_reads_its_pages_and_megabytes(
    org: SandboxOrg, salesforce: Any, waited: list[float], page: int, rows: int, busy: int
) -> None:
    """The job is created, read until it is done, and its results come in pages."""
    org.change({"bulk_polls": busy})
    for number in range(rows):
        org.records.insert("Account", {"Name": f"{number:0>997}"}, org.timestamp())
    query = salesforce.bulk2.Account.query("SELECT Name FROM Account", max_records=page)
    taken = counted(org, lambda: list(query).clear())

    row = 1_001  # with its quotes and line end, and its part of the header
    assert taken == estimate_cost(
        records=rows, api="bulk2_query", batch_size=page, polls=busy + 1, bytes_per_record=row
    )


@pytest.mark.parametrize("name", ["äöü", "Grüße", "naïve café", "東京都千代田区"])
def test_letters_beyond_ascii_may_take_two_jobs(
    org: SandboxOrg, salesforce: Any, waited: list[float], name: str
) -> None:
    """simple-salesforce measures ``records=`` two ways: with more such letters than rows it makes two jobs of one."""
    rows = [{"Name": name}] * 1_000
    taken = counted(org, lambda: salesforce.bulk2.Account.insert(records=rows))

    assert taken == estimate_cost(records=1_000, api="bulk2", batch_size=500, polls=1, result_files=0)


def test_the_example_of_the_documentation(org: SandboxOrg, salesforce: Any, waited: list[float]) -> None:
    """25,000 rows by Bulk 1.0 with one read of each batch are 11 calls and 3 batches."""
    taken = counted(org, lambda: bulk1()(salesforce, 25_000))

    assert taken == estimate_cost(records=25_000, api="bulk1", polls=1)
    assert taken == {"DailyApiRequests": 11, "DailyBulkApiBatches": 3}
