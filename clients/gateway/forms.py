"""Bodies that are either a form with a file, or JSON."""

from __future__ import annotations

import base64
import json
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request

from clients.gateway.bodies import Arguments
from clients.gateway.errors import ApiError

T = TypeVar("T", bound=Arguments)
FIELDS = 24
FIELD_BYTES = 64 << 10


async def read(request: Request, kind: type[T], file: str) -> tuple[T, bytes | None]:
    """The arguments, and the bytes of the form's ``file`` or of the JSON's base64 of that name; None without one.

    Raises:
        ApiError: INVALID_ARGUMENT for what is neither form nor JSON, or has a file twice.
        RequestValidationError: an argument does not fit.
    """
    what = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if what == "multipart/form-data":
        return await _form(request, kind, file)
    if what == "application/json":
        return await _json(request, kind, file)
    raise ApiError(
        "INVALID_ARGUMENT",
        f"the body must be multipart/form-data with a file {file!r}, or application/json; not {what[:80]!r}",
    )


async def _form(request: Request, kind: type[T], file: str) -> tuple[T, bytes | None]:
    fields: dict[str, str] = {}
    data: bytes | None = None
    async with request.form(max_files=1, max_fields=FIELDS, max_part_size=FIELD_BYTES) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != file:
                    raise ApiError("INVALID_ARGUMENT", f"the file must be called {file!r}, not {name[:80]!r}")
                data = await value.read()
            elif name == file:
                raise ApiError("INVALID_ARGUMENT", f"{file} must be a file of the form (curl: -F {file}=@FILE)")
            else:
                fields[name] = value
    try:
        # Only what is known here: a form has no types that the rest could be handed on with.
        return kind.model_validate_strings({k: v for k, v in fields.items() if k in kind.model_fields}), data
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


async def _json(request: Request, kind: type[T], file: str) -> tuple[T, bytes | None]:
    try:
        given = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise ApiError("INVALID_ARGUMENT", f"the body is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise ApiError("INVALID_ARGUMENT", "the body must be one JSON object")
    text = given.pop(file, None)
    try:
        arguments = kind.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    return arguments, None if text is None else _decoded(file, text)


def _decoded(name: str, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise ApiError("INVALID_ARGUMENT", f"{name} must be base64") from None


def documented(kind: type[Arguments], file: str, about: str, *, in_json: bool) -> dict[str, Any]:
    """``openapi_extra`` of a route that reads its body by ``read``."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    form = {**schema, "properties": {**schema["properties"], file: {"type": "string", "format": "binary"}}}
    form["required"] = [*schema.get("required", []), file]
    form["properties"].pop("path", None)
    form["properties"][file]["description"] = about
    # Arguments that are not known are not refused, and a file name has no meaning.
    plain = {**schema, "properties": {**schema["properties"]}, "required": [*schema.get("required", [])]}
    if in_json:
        plain["properties"][file] = {"type": "string", "contentEncoding": "base64", "description": about}
        plain["required"].append(file)
    else:
        plain["required"].append("path")
        plain["properties"]["path"] = {"type": "string", "maxLength": 4096}
    content = {"multipart/form-data": {"schema": form}, "application/json": {"schema": plain}}
    return {"requestBody": {"required": True, "content": content}}
