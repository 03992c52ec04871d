"""The page's application: files that anybody may have, and data that Airflow is asked about on every route."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_provider_apiusage.salesforce.errors import ConfigurationError
from airflow_provider_apiusage.store.errors import StoreError
from airflow_provider_apiusage.ui import failures
from airflow_provider_apiusage.ui.routes import data
from airflow_provider_apiusage.ui.source import Source

STATIC = Path(__file__).with_name("static")


def make_app(source: Source | None = None) -> FastAPI:
    """Return the application.

    :param source: of the data; the default is the configured store.
    """
    app = FastAPI(title="API usage", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.source = source or Source()
    app.include_router(data, prefix="/api")
    app.add_api_route("/", page, methods=["GET", "HEAD"])
    app.mount("/static", StaticFiles(directory=STATIC, check_dir=False), name="static")
    app.add_middleware(ReadOnly)
    app.add_exception_handler(failures.Refused, failures.on_refused)
    app.add_exception_handler(HTTPException, failures.on_http)
    app.add_exception_handler(RequestValidationError, failures.on_parameters)
    app.add_exception_handler(StoreError, failures.on_store)
    app.add_exception_handler(ConfigurationError, failures.on_store)
    app.add_exception_handler(Exception, failures.on_anything)
    return app


def page() -> Response:
    """Return the page without any data."""
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


class ReadOnly:
    """Lets through what only reads, and sends the headers of :data:`failures.HEADERS` with every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] not in ("GET", "HEAD"):
            await failures.method_not_allowed()(scope, receive, send)
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                more = {"Cache-Control": "no-cache", **failures.HEADERS}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.lower().encode(), value.encode())
                        for name, value in more.items()
                        if name.lower().encode() not in there
                    ),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)
