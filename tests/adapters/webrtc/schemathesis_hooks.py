"""How schemathesis writes an offer."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.serializer("application/sdp")
def sdp(_: Any, value: Any) -> bytes:
    return str(value).encode("utf-8", "replace")
