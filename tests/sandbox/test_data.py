"""Queries, records, composite calls and both Bulk APIs, with honest accounting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests


def test_the_organization_can_be_asked_for(client: Any) -> None:
    """One row, with an id of 18 characters."""
    body = client.query("SELECT Id, Name, OrganizationType, IsSandbox, InstanceName FROM Organization LIMIT 1")

    assert body["totalSize"] == 1
    assert body["records"][0]["Id"] == "00DSB00000000422A3"[:15] + body["records"][0]["Id"][15:]
    assert len(body["records"][0]["Id"]) == 18
    assert body["records"][0]["IsSandbox"] is True


def test_the_monthly_entitlement_can_be_asked_for(client: Any) -> None:
    """The row has the documented label and amounts."""
    row = client.query("select MasterLabel, CurrentAmountAllowed, AmountUsed from TenantUsageEntitlement")["records"][0]

    assert row["MasterLabel"] == "API Request Limit per Month"
    assert row["CurrentAmountAllowed"] == 3_000_000.0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT Id FROM Nothing", "INVALID_TYPE"),
        ("SELECT FROM Account", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name ~ 'x'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account LIMIT x", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account extra", "MALFORMED_QUERY"),
        ("", "MALFORMED_QUERY"),
    ],
)
def test_bad_queries_are_told_apart(client: Any, text: str, code: str) -> None:
    """An unknown object and a broken query have different codes; both are calls."""
    answer = client.get("query", params={"q": text})

    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)
    assert client.org.used == 25_001


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("WHERE Size__c > 1 ORDER BY Size__c DESC", ["c", "b"]),
        ("WHERE Name = 'A'", ["a"]),
        ("WHERE Name IN ('a', 'c') AND NOT Size__c = 3", ["a"]),
        ("WHERE (Name = 'a' OR Name = 'b') AND Size__c >= 2", ["b"]),
        ("WHERE Name LIKE '_' AND Name NOT IN ('a','b')", ["c"]),
        ("WHERE Other__c = null ORDER BY Name LIMIT 1 OFFSET 1", ["b"]),
        ("WHERE Name != 'a' AND CreatedDate = TODAY", []),
        ("WHERE CreatedDate > LAST_N_DAYS:1 AND CreatedDate <= 2026-10-07T14:30:00Z", ["a", "b", "c"]),
        ("WHERE CreatedDate < YESTERDAY", []),
    ],
)
def test_queries_filter_order_and_cut(client: Any, where: str, names: list[str]) -> None:
    """Filters, order, limit and offset select the rows they should."""
    for size, name in enumerate("abc", start=1):
        client.org.records.insert("Account", {"Name": name, "Size__c": size}, client.org.timestamp())

    assert names == [row["Name"] for row in client.query(f"SELECT Id, Name FROM Account {where}")["records"]]


def test_long_results_come_in_pages(client: Any) -> None:
    """2,000 rows a page, each page a call, the next found at nextRecordsUrl."""
    for number in range(4_001):
        client.org.records.insert("Account", {"Name": str(number)}, client.org.timestamp())
    page, rows, pages = client.query("SELECT Name FROM Account"), 0, 1
    while not page["done"]:
        rows, pages = rows + len(page["records"]), pages + 1
        page = client.get(page["nextRecordsUrl"]).json()

    assert (rows + len(page["records"]), pages) == (4_001, 3)
    assert client.query("SELECT COUNT() FROM Account")["totalSize"] == 4_001
    assert client.org.used == 25_004
    assert client.get("query/nonsense-7").json()[0]["errorCode"] == "INVALID_QUERY_LOCATOR"


def test_one_record_lives_and_dies(client: Any) -> None:
    """Create, read, change, upsert and delete, each one call."""
    created = client.post("sobjects/Account", {"Name": "Acme", "Key__c": "k1"})
    record_id = created.json()["id"]
    changed = client.request("PATCH", f"sobjects/Account/{record_id}", json={"Name": "Acme 2"})
    read = client.get(f"sobjects/Account/{record_id[:15]}", params={"fields": "Name"}).json()
    upserted = client.request("PATCH", "sobjects/Account/Key__c/k1", json={"Name": "Acme 3"})
    new = client.request("PATCH", "sobjects/Account/Key__c/k2", json={"Name": "Other"})
    deleted = client.request("DELETE", f"sobjects/Account/{record_id}")
    missing = client.get(f"sobjects/Account/{record_id}")
    refused = client.post("sobjects/Account", {"Other": 1})

    statuses = [answer.status_code for answer in (created, changed, upserted, new, deleted, missing, refused)]
    assert statuses == [201, 204, 200, 201, 204, 404, 400]
    assert read["Name"] == "Acme 2"
    assert refused.json()[0]["errorCode"] == "REQUIRED_FIELD_MISSING"
    assert client.org.used == 25_008


def test_describe_is_enough_for_a_connection_test(client: Any) -> None:
    """Account can be described, an unknown object not."""
    assert client.get("sobjects/Account/describe").json()["fields"][0]["name"] == "Id"
    assert client.get("sobjects/Account").json()["objectDescribe"]["name"] == "Account"
    assert "Account" in {each["name"] for each in client.get("sobjects").json()["sobjects"]}
    assert client.get("sobjects/Nothing/describe").status_code == 404


def test_a_collection_of_200_rows_is_one_call(client: Any) -> None:
    """Up to 200 rows for one call; bad rows are told one by one; 201 rows are refused."""
    row = {"attributes": {"type": "Account"}, "Name": "Acme"}
    results = client.post("composite/sobjects", {"records": [row] * 199 + [{"attributes": {"type": "Account"}}]}).json()
    too_many = client.post("composite/sobjects", {"records": [row] * 201})

    assert [result["success"] for result in results] == [True] * 199 + [False]
    assert results[199]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    assert too_many.status_code == 400
    ids = [result["id"] for result in results[:3]]
    changes = [{"attributes": {"type": "Account"}, "id": each, "Name": "New"} for each in ids]
    assert all(
        one["success"] for one in client.request("PATCH", "composite/sobjects", json={"records": changes}).json()
    )
    gone = client.request("DELETE", "composite/sobjects", params={"ids": ",".join(ids)}).json()
    assert all(one["success"] for one in gone)
    assert client.query("SELECT COUNT() FROM Account")["totalSize"] == 196
    assert client.org.used == 25_005


def test_a_composite_call_counts_once_and_passes_results_on(client: Any) -> None:
    """Parts may refer to earlier parts, and all of them are one call."""
    body = {
        "compositeRequest": [
            {
                "method": "POST",
                "url": "/services/data/v64.0/sobjects/Account",
                "referenceId": "new",
                "body": {"Name": "A"},
            },
            {"method": "GET", "url": "/services/data/v64.0/sobjects/Account/@{new.id}", "referenceId": "read"},
            {
                "method": "GET",
                "url": "/services/data/v64.0/query?q=SELECT+COUNT()+FROM+Account",
                "referenceId": "count",
            },
        ]
    }
    parts = client.post("composite", body).json()["compositeResponse"]

    assert [part["httpStatusCode"] for part in parts] == [201, 200, 200]
    assert parts[1]["body"]["Name"] == "A"
    assert client.org.used == 25_001


def test_every_part_of_a_batch_counts(client: Any) -> None:
    """Composite Batch counts its parts; those beyond the hard limit are refused one by one."""
    client.org.change({"limit": 25_004})
    parts = [{"method": "GET", "url": "v64.0/sobjects/Account/describe"} for _ in range(5)]
    body = client.post("composite/batch", {"batchRequests": parts}).json()

    assert [result["statusCode"] for result in body["results"]] == [200, 200, 200, 200, 403]
    assert body["hasErrors"] is True
    assert client.org.used == 25_004
    logged = [period.count for period in client.org.ledger.hourly() if period.caller.resource.endswith("/batch")]
    assert sorted(logged) == [1, 3], "only the parent request is logged"


def test_bulk_2_works_with_simple_salesforce(foreign: Any, client: Any) -> None:
    """Insert, upsert, update and delete over Bulk 2.0: five calls a job, one batch unit per 10,000 rows."""
    salesforce = foreign("access_token", version="59.0")
    done = salesforce.bulk2.Account.insert(
        records=[{"Name": f"n{n}", "Key__c": f"k{n}"} for n in range(10_001)], wait=0
    )

    assert (done[0]["numberRecordsProcessed"], done[0]["numberRecordsFailed"]) == (10_001, 0)
    assert client.org.used == 25_005
    assert client.org.used_in_window("bulk_batches") == 2
    salesforce.bulk2.Account.upsert(records=[{"Name": "new", "Key__c": "k1"}], external_id_field="Key__c", wait=0)
    mixed = salesforce.bulk2.Account.insert(records=[{"Name": "x"}, {"Name": ""}], wait=0)[0]
    failed = salesforce.bulk2.Account.get_failed_records(mixed["job_id"])
    assert mixed["numberRecordsFailed"] == 1
    assert "REQUIRED_FIELD_MISSING" in failed
    assert '"x"' in salesforce.bulk2.Account.get_successful_records(mixed["job_id"])
    ids = [{"Id": row["Id"]} for row in client.query("SELECT Id FROM Account WHERE Name = 'x'")["records"]]
    assert salesforce.bulk2.Account.delete(records=ids, wait=0)[0]["numberRecordsProcessed"] == 1
    assert client.query("SELECT COUNT() FROM Account")["totalSize"] == 10_001


def test_bulk_2_jobs_take_their_time_and_can_be_deleted(client: Any) -> None:
    """A job may be in progress for some reads, is deleted once done, and its states follow the guide."""
    client.org.change({"bulk_polls": 2})
    job = client.post("jobs/ingest", {"object": "Account", "operation": "insert", "lineEnding": "LF"}).json()
    path = f"jobs/ingest/{job['id']}"
    early = client.request("DELETE", path)
    uploaded = client.request("PUT", path + "/batches", data="Name\nAcme\n", headers={"Content-Type": "text/csv"})
    again = client.request("PUT", path + "/batches", data="Name\nAcme\n")
    closed = client.request("PATCH", path, json={"state": "UploadComplete"}).json()
    states = [client.get(path).json()["state"] for _ in range(3)]

    assert (job["state"], uploaded.status_code, closed["state"]) == ("Open", 201, "UploadComplete")
    assert (early.status_code, again.status_code) == (400, 400)
    assert states == ["InProgress", "InProgress", "JobComplete"]
    assert client.request("DELETE", path).status_code == 204
    assert client.get(path).status_code == 404


def test_bulk_2_fails_when_batches_are_used_up(client: Any) -> None:
    """Beyond the batch allocation a job ends as Failed, with the reason in its message."""
    client.org.change({"bulk_batch_limit": 0})
    job = client.post("jobs/ingest", {"object": "Account", "operation": "insert"}).json()
    client.request("PUT", f"jobs/ingest/{job['id']}/batches", data="Name\nAcme\n")
    client.request("PATCH", f"jobs/ingest/{job['id']}", json={"state": "UploadComplete"})
    after = client.get(f"jobs/ingest/{job['id']}").json()

    assert after["state"] == "Failed"
    assert "ApiBatchItems Limit exceeded" in after["errorMessage"]


def test_bulk_2_queries_come_page_by_page(foreign: Any, client: Any) -> None:
    """A query uses one query job, pages by locator, and its bytes are counted."""
    for number in range(5):
        client.org.records.insert("Account", {"Name": str(number)}, client.org.timestamp())
    salesforce = foreign("access_token", version="59.0")
    pages = list(salesforce.bulk2.Account.query("SELECT Name FROM Account", max_records=2, wait=0))
    client.org.change({"bulk_query_job_limit": 1})

    assert [page.count("\n") for page in pages] == [3, 3, 2]
    assert client.org.used_in_window("bulk_query_jobs") == 1
    assert client.org.used_in_window("bulk_query_bytes") > 0
    assert client.post("jobs/query", {"operation": "query", "query": "SELECT Id FROM Account"}).status_code == 400


def test_bulk_1_works_with_simple_salesforce(foreign: Any, client: Any) -> None:
    """Insert and query over Bulk 1.0 as simple-salesforce and the official operator do."""
    salesforce = foreign("access_token", version="59.0")
    results = salesforce.bulk.Account.insert([{"Name": "a"}, {"Name": "b"}, {"Other": 1}], batch_size=2)

    assert [row["success"] for row in results] == [True, True, False]
    assert results[2]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    assert client.org.used == 25_000 + 1 + 2 * 3 + 1, "job, three per batch, close"
    assert client.org.used_in_window("bulk_batches") == 2
    rows = salesforce.bulk.Account.query("SELECT Id, Name FROM Account")
    assert [row["Name"] for row in rows] == ["a", "b"]
    detailed = salesforce.bulk.Account.update([{"Id": rows[0]["Id"], "Name": "z"}], include_detailed_results=True)
    assert detailed[0]["Name"] == "z"
    assert salesforce.bulk.Account.upsert([{"Name": "y", "K__c": "1"}], "K__c")[0]["created"] is True


def test_bulk_1_quota_is_an_object(foreign: Any, client: Any) -> None:
    """When batches are used up, Bulk 1.0 answers with one object, not a list."""
    from simple_salesforce.exceptions import SalesforceMalformedRequest

    client.org.change({"bulk_batch_limit": 0})
    salesforce = foreign("access_token", version="59.0")

    with pytest.raises(SalesforceMalformedRequest) as caught:
        salesforce.bulk.Account.insert([{"Name": "a"}])

    assert caught.value.content == {
        "exceptionCode": "ExceededQuota",
        "exceptionMessage": "ApiBatchItems Limit exceeded.",
    }


def test_bulk_1_states_and_errors(client: Any) -> None:
    """Wrong sessions, jobs and batches have Bulk 1.0's own codes; a batch sent to a closed job is used up."""
    headers = {"X-SFDC-Session": client.token, "Authorization": ""}

    def send(path: str, body: Any) -> Any:
        return client.post("/services/async/59.0/" + path, body, headers=headers)

    job = send("job", {"object": "Account", "operation": "insert", "contentType": "JSON"}).json()
    assert send("job", {"object": "Nothing", "operation": "insert"}).json()["exceptionCode"] == "InvalidJob"
    assert send(f"job/{job['id']}/batch", {"not": "a list"}).json()["exceptionCode"] == "InvalidBatch"
    assert send(f"job/{job['id']}", {"state": "Closed"}).json()["state"] == "Closed"
    assert send(f"job/{job['id']}/batch", [{"Name": "a"}]).json()["exceptionCode"] == "InvalidJobState"
    assert client.org.used_in_window("bulk_batches") == 2
    headers["X-SFDC-Session"] = "wrong"
    assert send("job", {}).json() == {"exceptionCode": "InvalidSessionId", "exceptionMessage": "Invalid session id"}


def test_calls_are_logged_under_the_clients_name(client: Any) -> None:
    """The request log and the ledger know the client by its Sforce-Call-Options, and hold no token."""
    client.get("limits", headers={"Sforce-Call-Options": "client=nightly, defaultNamespace=x"})
    log = client.control("GET", "/requests")["requests"]

    assert (log[-1]["client"], log[-1]["counted"], log[-1]["status"]) == ("nightly", 1, 200)
    assert client.token not in str(log)
    assert any(period.caller.client == "nightly" for period in client.org.ledger.hourly())


def test_threads_that_race_for_the_last_calls_get_exactly_those(client: Any) -> None:
    """Twelve clients race for the last five calls: five are served, seven refused."""
    client.org.change({"limit": 25_005})
    headers = {"Authorization": f"Bearer {client.token}"}

    def ask(_: int) -> int:
        url = client.server.url + "/services/data/v64.0/limits"
        with requests.Session() as session:
            session.trust_env = False
            return session.get(url, headers=headers, verify=str(client.server.ca_file), timeout=30).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(ask, range(12)))

    assert statuses == [200] * 5 + [403] * 7
    assert (client.org.used, client.org.refused) == (25_005, 7)


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "composite", {"other": []}, "JSON_PARSER_ERROR"),
        ("POST", "composite/batch", {"batchRequests": [{"url": "x"}] * 26}, "LIMIT_EXCEEDED"),
        ("POST", "composite/sobjects", {"records": []}, "INVALID_INPUT"),
        ("POST", "sobjects/Account", ["not an object"], "JSON_PARSER_ERROR"),
        ("POST", "sobjects/Account", {"Name": "x", "Id": "001"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ("PATCH", "sobjects/Account/001SB0000000099", {"Name": "x"}, "NOT_FOUND"),
        ("DELETE", "sobjects/Account/001SB0000000099", None, "NOT_FOUND"),
        ("POST", "jobs/ingest", {"object": "Account", "operation": "guess"}, "INVALIDJOB"),
        ("POST", "jobs/ingest", {"object": "Account", "columnDelimiter": "DOT"}, "INVALIDJOB"),
        ("POST", "jobs/ingest", {"object": "Nothing", "operation": "insert"}, "INVALID_TYPE"),
        ("POST", "jobs/query", {"operation": "query", "query": "SELECT"}, "MALFORMED_QUERY"),
        ("GET", "jobs/query/750000000000000/results", None, "NOT_FOUND"),
        ("DELETE", "limits", None, "NOT_FOUND"),
    ],
)
def test_wrong_requests_have_codes_and_are_calls(client: Any, method: str, path: str, body: Any, code: str) -> None:
    """A request that cannot be carried out has an error code, and has cost one call."""
    answer = client.request(method, path, json=body)

    assert (answer.status_code >= 400, answer.json()[0]["errorCode"]) == (True, code)
    assert client.org.used == 25_001


def test_rows_of_a_collection_fail_one_by_one(client: Any) -> None:
    """Unknown objects, missing records and rows that are none do not stop the others."""
    rows = [{"attributes": {"type": "Nothing"}}, {"attributes": "odd"}, "odd", {"attributes": {"type": "Case"}}]
    results = client.post("composite/sobjects", {"records": rows}).json()
    upserts = client.request(
        "PATCH",
        "composite/sobjects/Account/Key__c",
        json={"records": [{"Name": "a", "Key__c": "1"}, {"Name": "b", "Key__c": "1"}, {"Name": "c"}]},
    ).json()
    gone = client.request("DELETE", "composite/sobjects", params={"ids": "001SB0000000099"}).json()

    assert [result["success"] for result in results] == [False, False, False, True]
    assert [result.get("created") for result in upserts] == [True, False, None]
    assert upserts[2]["errors"][0]["statusCode"] == "MISSING_ARGUMENT"
    assert gone[0]["success"] is False


def test_records_and_jobs_of_other_shapes(client: Any) -> None:
    """Own records of the org can be read by id; the resources are listed; jobs can be aborted."""
    user = client.get("sobjects/User/005SB0000000001").json()
    job = client.post("jobs/ingest", {"object": "My__c", "operation": "insert", "externalIdFieldName": "K__c"}).json()
    aborted = client.request("PATCH", f"jobs/ingest/{job['id']}", json={"state": "Aborted"}).json()
    again = client.request("PATCH", f"jobs/ingest/{job['id']}", json={"state": "UploadComplete"}).json()
    query = client.post("jobs/query", {"operation": "query", "query": "SELECT Id FROM My__c"}).json()

    assert user["Username"] == "etl@sandbox-org.example"
    assert client.get("").json()["limits"] == "/services/data/v64.0/limits"
    assert (aborted["state"], again[0]["errorCode"]) == ("Aborted", "INVALIDJOBSTATE")
    assert client.request("PATCH", f"jobs/query/{query['id']}", json={"state": "Aborted"}).status_code == 400
    assert client.request("DELETE", f"jobs/query/{query['id']}").status_code == 204
    assert client.query("SELECT FIELDS(ALL) FROM User LIMIT 1")["records"][0]["IsActive"] is True


def test_bulk_1_batches_take_their_time_and_are_listed(client: Any) -> None:
    """Batches may be in progress for some reads; a wrong query fails in its batch; wrong ids have codes."""
    client.org.change({"bulk_polls": 1})
    headers = {"X-SFDC-Session": client.token, "Authorization": ""}

    def send(method: str, path: str, body: Any = None, data: str | None = None) -> Any:
        return client.request(method, "/services/async/59.0/" + path, json=body, data=data, headers=headers).json()

    job = send("POST", "job", {"object": "Account", "operation": "query", "contentType": "JSON"})
    batch = send("POST", f"job/{job['id']}/batch", data="SELECT Id FROM Nothing")
    path = f"job/{job['id']}/batch/{batch['id']}"
    states = [send("GET", path)["state"] for _ in range(2)]

    assert (batch["state"], states) == ("Queued", ["InProgress", "Failed"])
    assert "Nothing" in send("GET", path)["stateMessage"]
    assert [one["id"] for one in send("GET", f"job/{job['id']}/batch")["batchInfo"]] == [batch["id"]]
    assert send("GET", f"job/{job['id']}")["numberBatchesFailed"] == 1
    assert send("GET", "job/750000000000000")["exceptionCode"] == "InvalidJob"
    assert send("GET", f"job/{job['id']}/batch/751000000000000")["exceptionCode"] == "InvalidBatch"
    assert send("POST", f"job/{job['id']}", {"state": "Odd"})["exceptionCode"] == "InvalidJobState"
    assert send("POST", "job", {"object": "Account", "contentType": "XML"})["exceptionCode"] == "InvalidJob"
    assert send("POST", "job", data="not JSON")["exceptionCode"] == "InvalidJob"
    client.org.change({"limit": 0})
    assert send("POST", "job", {"object": "Account"})["exceptionCode"] == "ExceededQuota"
