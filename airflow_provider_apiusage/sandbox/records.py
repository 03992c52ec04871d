"""Records that clients load into the org, kept in memory."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping
from typing import Any

from airflow_provider_apiusage.sandbox.http import ApiError
from airflow_provider_apiusage.sandbox.identity import long_id, numbered_id

#: Key prefix and required field of the standard objects one can load.
STANDARD_OBJECTS: dict[str, tuple[str, str | None]] = {
    "Account": ("001", "Name"),
    "Case": ("500", None),
    "Contact": ("003", "LastName"),
    "Lead": ("00Q", "LastName"),
    "Opportunity": ("006", "Name"),
    "Task": ("00T", None),
}


class RowError(Exception):
    """One row that could not be saved."""

    def __init__(self, code: str, message: str, *fields: str) -> None:
        super().__init__(message)
        self.code, self.message, self.fields = code, message, list(fields)

    def as_dict(self) -> dict[str, Any]:
        """Return the error as sObject Collections report it."""
        return {"statusCode": self.code, "message": self.message, "fields": self.fields}


class Records:
    """The records of every object. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._numbers: dict[str, int] = {}
        self._rows: dict[str, dict[str, dict[str, Any]]] = {}

    @staticmethod
    def object_name(name: str) -> str:
        """Return the object's proper name.

        :raises ApiError: 400 ``INVALID_TYPE`` if there is no such object. Any name that ends in ``__c`` exists.
        """
        for known in STANDARD_OBJECTS:
            if known.lower() == name.lower():
                return known
        if name.lower().endswith("__c"):
            return name
        raise ApiError(
            400, "INVALID_TYPE", f"sObject type '{name}' is not supported. If you are attempting to use a custom "
            "object, be sure to append the '__c' after the entity name."
        )  # fmt: skip

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return copies of all records of an object, oldest first."""
        with self._lock:
            return [dict(row) for row in self._rows.get(name, {}).values()]

    def find(self, name: str, record_id: str) -> dict[str, Any] | None:
        """Return a copy of one record, by its id of 15 or 18 characters."""
        with self._lock:
            row = self._rows.get(name, {}).get(record_id[:15])
            return dict(row) if row else None

    def insert(self, name: str, fields: Mapping[str, Any], now: str) -> str:
        """Save a new record and return its id.

        :raises RowError: if a required field is missing or an id is given.
        """
        fields = {key: value for key, value in fields.items() if key != "attributes"}
        if fields.get("Id"):
            raise RowError("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call", "Id")
        required = STANDARD_OBJECTS.get(name, ("", None))[1]
        if required and fields.get(required) in (None, ""):
            raise RowError("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{required}]", required)
        with self._lock:
            number = self._numbers[name] = self._numbers.get(name, 0) + 1
            short = numbered_id(_prefix(name), number)
            dates = {"CreatedDate": now, "LastModifiedDate": now, "SystemModstamp": now}
            self._rows.setdefault(name, {})[short] = {**dates, **fields, "Id": long_id(short)}
            return long_id(short)

    def update(self, name: str, record_id: str, fields: Mapping[str, Any], now: str) -> str:
        """Change a record and return its id.

        :raises RowError: if there is no such record.
        """
        with self._lock:
            row = self._rows.get(name, {}).get(record_id[:15])
            if row is None:
                raise RowError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", "Id")
            changes = {key: value for key, value in fields.items() if key not in ("attributes", "Id")}
            row.update(changes, LastModifiedDate=now, SystemModstamp=now)
            return str(row["Id"])

    def upsert(self, name: str, key: str, fields: Mapping[str, Any], now: str) -> tuple[str, bool]:
        """Change the record whose field ``key`` has the given value, or insert one; return id and whether new.

        :raises RowError: if the row has no value for ``key``, or cannot be saved.
        """
        value = fields.get(key)
        if key == "Id":
            if value:
                return self.update(name, str(value), fields, now), False
            return self.insert(name, fields, now), True
        if value in (None, ""):
            raise RowError("MISSING_ARGUMENT", f"{key} not specified", key)
        with self._lock:
            for row in self._rows.get(name, {}).values():
                if str(row.get(key)) == str(value):
                    return self.update(name, str(row["Id"]), fields, now), False
            return self.insert(name, fields, now), True

    def delete(self, name: str, record_id: str) -> str:
        """Delete a record and return its id.

        :raises RowError: if there is no such record.
        """
        with self._lock:
            row = self._rows.get(name, {}).pop(record_id[:15], None)
            if row is None:
                raise RowError("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
            return str(row["Id"])

    def name_of(self, record_id: str) -> str:
        """Return the object that a record id belongs to; empty if none.

        Objects are told apart by key prefix, as in Salesforce.
        """
        with self._lock:
            return next((name for name in self._rows if _prefix(name) == record_id[:3]), "")

    def save(self, operation: str, name: str, fields: Mapping[str, Any], key: str, now: str) -> tuple[str, bool]:
        """Carry out one row of a bulk operation; return id and whether it was created.

        :raises RowError: if the row cannot be saved.
        """
        if operation == "insert":
            return self.insert(name, fields, now), True
        if operation == "upsert":
            return self.upsert(name, key or "Id", fields, now)
        record_id = str(fields.get("Id") or fields.get("id") or "")
        if operation == "update":
            return self.update(name, record_id, fields, now), False
        return self.delete(name, record_id), False


def _prefix(name: str) -> str:
    if name in STANDARD_OBJECTS:
        return STANDARD_OBJECTS[name][0]
    return f"a{zlib.crc32(name.lower().encode()) % 1296:02x}"[:3]
