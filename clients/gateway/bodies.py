"""Bodies of requests: the arguments of the operations, without ``v``, ``id`` and ``op``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

INT = 1 << 63
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["demo"])]
Int = Annotated[int, Field(ge=-INT, lt=INT)]
Count = Annotated[int, Field(ge=0, lt=INT)]


class Arguments(BaseModel):
    """Base of every body: types are exact; a key that is not known here is handed on to the daemon."""

    model_config = ConfigDict(strict=True, extra="allow")

    def of_request(self, *without: str) -> dict[str, Any]:
        """What was given, under the names of the operation."""
        given = self.model_dump(exclude_unset=True, exclude=set(without))
        return {name: value for name, value in given.items() if value is not None}


class StartSession(Arguments):
    """``start_session``."""

    template_id: Id = "default"
    session_id: Id | None = None
    mode: Literal["realtime", "offline"] | None = None
    idle: Literal["none", "loop"] = "none"
    barge_in: bool = True
    voice: Annotated[str, Field(max_length=128)] | None = None
    language: Annotated[str, Field(max_length=128)] | None = None
    system_prompt: Annotated[str, Field(max_length=64_000)] | None = None
    quality: Literal["high", "lossless", "fast", "max"] = "high"
    fps: float = 25
    greeting: str | None = None
    idle_timeout_s: Annotated[float, Field(ge=10, le=86_400)] | None = None
    max_duration_s: Annotated[float, Field(ge=0)] | None = None
    record: bool = False
    cut_margin_ms: Annotated[int, Field(ge=40, le=600)] | None = None


class OfSession(Arguments):
    """What names its session."""

    session_id: Id


class UpdateSession(OfSession):
    """``update_session``."""

    voice: Annotated[str, Field(max_length=128)] | None = None
    language: Annotated[str, Field(max_length=128)] | None = None
    system_prompt: Annotated[str, Field(max_length=64_000)] | None = None
    barge_in: bool | None = None
    idle_timeout_s: Annotated[float, Field(ge=10, le=86_400)] | None = None


class Say(OfSession):
    """``say``."""

    text: str
    append: bool | None = None
    turn: Int | None = None
    end: bool | None = None
    interruptible: bool | None = None


class Chat(OfSession):
    """``chat``."""

    text: str


class Interrupt(OfSession):
    """``interrupt``."""

    turn: Int | None = None


class EndSession(OfSession):
    """``end_session``."""

    drain: bool = True


class MakeToken(Arguments):
    """A token for a browser."""

    ttl_s: Annotated[int, Field(ge=1, le=86_400)] = 60
    scope: Annotated[list[Literal["watch", "talk", "control"]], Field(min_length=1, max_length=3)] = [
        "watch",
        "talk",
    ]
    origins: Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=16)] = []


class ProcessSegment(OfSession):
    """``process_segment``; ``audio`` is a file of the form, or base64."""

    format: Literal["s16le"] | None = None
    sample_rate: Int | None = None
    last: bool = False


class PreprocessTemplate(Arguments):
    """``preprocess_template``; the source is the form's ``file``, or a file of the daemon's machine."""

    template_id: Id
    path: Annotated[str, Field(max_length=4096)] | None = None
    bbox_shift: Int = 0
    crop: Literal["", "face"] = ""
    force: bool = False
    keep: bool = False
    if_absent: bool = False
