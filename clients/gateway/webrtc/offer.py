"""What is wanted of a viewer's offer (SDP), said to its author before anything is opened for it."""

from __future__ import annotations

from typing import Any

from aiortc import sdp

from clients.gateway.errors import ApiError

MAX_BYTES = 64 << 10
CANDIDATES = 32
"""Addresses of a viewer that are tried; further ones are passed over."""
RECEIVES = ("recvonly", "sendrecv")


def read(text: str) -> tuple[str, frozenset[str]]:
    """The offer as aiortc gets it, and the kinds of media in it: video, and audio where it is wanted.

    Raises:
        ApiError: INVALID_ARGUMENT for what is no such offer, UNSUPPORTED where H.264 is not among its codecs.
    """
    if len(text) > MAX_BYTES:
        raise ApiError("TOO_LARGE", f"the offer is larger than {MAX_BYTES} bytes")
    try:
        media = sdp.SessionDescription.parse(text).media
    except Exception as error:  # the parser raises whatever it meets
        raise invalid(error) from None
    kinds = [one.kind for one in media]
    if kinds.count("video") != 1 or kinds.count("audio") > 1 or set(kinds) - {"video", "audio"}:
        told = ", ".join(map(str, kinds[:8])) or "nothing"
        message = f"an offer has one video and at most one audio, and nothing else (here: {told})"
        raise ApiError("INVALID_ARGUMENT", message)
    for one in media:
        if one.dtls is None or not one.dtls.fingerprints:
            raise ApiError("INVALID_ARGUMENT", f"the {one.kind} cannot be encrypted: the offer has no fingerprint")
        if one.direction not in RECEIVES:
            raise ApiError("INVALID_ARGUMENT", f"the {one.kind} of the offer is {one.direction}: make it recvonly")
        if one.kind == "video" and not any(map(_fits, one.rtp.codecs)):
            offered = ", ".join(sorted({codec.name for codec in one.rtp.codecs})[:8]) or "nothing"
            message = (
                "video is sent as H.264, constrained baseline with packetization-mode 1, and the offer has "
                f"{offered}: offer it as well, or use /ws or stream.mp4"
            )
            raise ApiError("UNSUPPORTED", message)
    return _reachable(text), frozenset(kinds)


def invalid(error: Exception) -> ApiError:
    """What aiortc makes of an offer that it cannot read."""
    return ApiError("INVALID_ARGUMENT", f"the body is no offer (SDP) that can be answered: {str(error)[:200]}")


def _fits(codec: Any) -> bool:
    if codec.name.upper() != "H264" or str(codec.parameters.get("packetization-mode", "0")) != "1":
        return False
    try:
        profile, _ = sdp.parse_h264_profile_level_id(str(codec.parameters.get("profile-level-id", "42e01f")))
    except ValueError:
        return False
    return profile in (sdp.H264Profile.PROFILE_CONSTRAINED_BASELINE, sdp.H264Profile.PROFILE_BASELINE)


def _reachable(text: str) -> str:
    """Without ``.local`` names: the network would be asked for them, for seconds, and a browser behind one is
    found by its own checks.
    """
    kept, candidates = [], 0
    for line in text.splitlines():
        if line.startswith("a=candidate:"):
            fields = line.split()
            candidates += 1
            if candidates > CANDIDATES or (len(fields) > 4 and fields[4].endswith(".local")):
                continue
        kept.append(line)
    return "\r\n".join(kept) + "\r\n"
