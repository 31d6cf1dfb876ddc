"""``/openapi.json`` with an example for each operation, and ``/docs`` without a byte from another host."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse

from clients.gateway import examples
from clients.gateway.errors import STATUS, ApiError
from clients.gateway.gateway import Here

STATIC = "/docs/static"
PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1.0">
<link rel="stylesheet" href="{STATIC}/swagger-ui.css">
<link rel="icon" href="{STATIC}/favicon.png">
<title>musecast</title>
</head>
<body>
<div id="swagger-ui"></div>
<script src="{STATIC}/swagger-ui-bundle.js"></script>
<script>
const NAME = "musecast.key", SCHEMA = "/openapi.json";  // as the page at / keeps it: for this tab
const given = new URLSearchParams(location.hash.slice(1)).get("key");
if (given) {{
  sessionStorage.setItem(NAME, given);
  history.replaceState(null, "", location.pathname);
}}
const signed = (request) => {{
  const key = sessionStorage.getItem(NAME), headers = request.headers ??= {{}};
  const ours = new URL(request.url, location.href).origin === location.origin;
  if (key && ours && !headers.Authorization) headers.Authorization = `Bearer ${{key}}`;
  return request;
}};
(async () => {{
  while ((await fetch(SCHEMA, signed({{ url: SCHEMA }}))).status === 401) {{
    const typed = prompt("This address asks for a key.");
    if (!typed) break;
    sessionStorage.setItem(NAME, typed);
  }}
  SwaggerUIBundle({{
    url: SCHEMA, dom_id: "#swagger-ui", deepLinking: true, requestInterceptor: signed,
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
  }});
}})();
</script>
</body>
</html>
"""
"""Swagger UI, with the key of an installation that asks for one: from ``#key=``, this tab, or typed."""
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {"type": "string", "enum": [*STATUS]},
                "message": {"type": "string"},
                "retry_after_ms": {"type": "integer"},
            },
        }
    },
}
WORDS = {
    400: "The request is not valid.",
    401: "A token is needed.",
    403: "A token that is valid, and not for this; or a page that may not use this daemon.",
    404: "There is no such thing.",
    409: "It exists already.",
    413: "The body is too large.",
    429: "A limit is met; `Retry-After` says when to try again.",
    500: "A defect of the daemon.",
    502: "A stage could not do it.",
    503: "The daemon is starting, stopping or gone; `Retry-After` says when to try again.",
}


def install(app: FastAPI) -> None:
    """Replace what the framework has of both. Called after every route is there."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    files = Path(fastapi_offline.__file__).parent / "static"
    app.mount(STATIC, StaticFiles(directory=files), name="docs-static")
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'"
        for one in re.findall(r"<script>(.*?)</script>", PAGE, re.DOTALL)
    )
    styles = "style-src 'self' 'unsafe-inline'"  # Swagger UI sets some at run time
    policy = f"default-src 'self'; script-src 'self' {hashes}; {styles}; img-src 'self' data:"

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request, here: Here) -> HTMLResponse:
        status = 200
        headers = {"Content-Security-Policy": policy}
        try:
            here.tokens.of(request)
        except ApiError as error:
            # An address that is typed brings no token: the page, which holds nothing of this daemon, asks for it.
            if "text/html" not in request.headers.get("accept", ""):
                raise
            status = error.status_code
            headers |= error.headers or {}
        return HTMLResponse(PAGE, status, headers)


def describe(app: FastAPI) -> dict[str, Any]:
    """OpenAPI: the framework's, without 422, with every error and an example of each body and result."""
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for methods in schema["paths"].values():
        for operation in methods.values():
            _complete(operation)
    schemas = schema.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schema.setdefault("components", {})["schemas"] = {**schemas, "Error": ERROR}
    schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{}, {"token": []}]
    return schema


def _complete(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    for status, words in WORDS.items():
        responses.setdefault(
            str(status),
            {
                "description": words,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        )
    given, result = examples.OF.get(operation["operationId"], ({}, {}))
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        # A file has no example: the form is shown by its schema.
        if given and kind == "application/json":
            content["example"] = given
    done = "200" if "200" in responses else "202"
    if isinstance(result, dict) and result and done in responses:
        told = {"schema": {"type": "object"}, "example": result}
        responses[done].setdefault("content", {})["application/json"] = told
