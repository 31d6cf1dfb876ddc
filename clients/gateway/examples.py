"""One example of body and result for each operation, by ``operation_id``. Values are as a daemon gave them."""

from __future__ import annotations

from typing import Any

_SID = "3f0c9a7be1d24c6f8a55d1b2c3e4f506"
_TIMINGS = {
    "vad_end": None, "asr_final": None, "llm_first_token": None, "llm_first_sentence": None,
    "tts_first_audio": None, "lipsync_first": 46, "encode_first": 71, "first_segment": 72, "last_segment": 1240,
}  # fmt: skip
_ROW = {
    "stage": "encode", "instance": "encode.0", "epoch": 1, "pid": 4711, "state": "idle", "engine": None,
    "device": None, "busy_ms": 0, "restarts": 0, "rss_mb": 95.9, "gpu_mem_mb": None, "gpu_util": None,
    "reason": None, "required": True, "metrics": {"frames": 2400, "ms.x264": 2.1},
}  # fmt: skip

_DONE = {"code": 0, "msg": "ok"}
"""As LiveTalking says it."""
OF: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "health": ({}, {"status": "ok", "boot": "614046c0ff0f837b", "uptime_s": 15.195, "warnings": []}),
    "initialize": ({}, {"ready": True, "load_s": {"asr.0": 1.21, "tts.0": 2.9}}),
    "status": (
        {},
        {
            "stages": [_ROW], "supervisor_pid": 4700, "queues": {"tts": {"items": 0, "media_ms": 0}},
            "sessions": [], "endpoints": {
                "control": "tcp://127.0.0.1:28880", "stream": "tcp://127.0.0.1:28881",
                "gateway": "http://127.0.0.1:28888",
            },
            "warnings": [], "limits": {"sessions": 64}, "versions": {"musecast": "0.1.0", "protocol": "1"},
        },
    ),
    "start_session": (
        {"template_id": "default", "idle": "loop"},
        {
            "session_id": _SID, "width": 512, "height": 512, "fps": 25,
            "mime": 'video/mp4; codecs="avc1.64001e,mp4a.40.2"', "gen": 0, "init": "AAAAHGZ0eXA...",
            "limits": {"sessions": 64}, "ws_url": f"ws://127.0.0.1:28888/ws/{_SID}",
            "stream_url": f"http://127.0.0.1:28888/api/sessions/{_SID}/stream.mp4",
        },
    ),
    "update_session": ({"session_id": _SID, "voice": "heart"}, {"voice": "heart"}),
    "keep_alive": ({"session_id": _SID}, {}),
    "say": ({"session_id": _SID, "text": "Hello, I am made of segments."}, {"turn": 1}),
    "chat": ({"session_id": _SID, "text": "What can you do?"}, {"turn": 2}),
    "interrupt": ({"session_id": _SID}, {"turn": 2, "gen": 1, "flush_from": 1_920_000}),
    "end_session": (
        {"session_id": _SID},
        {"turns": 2, "segments": 12, "frames": 288, "media_us": 11_520_000, "late": 0, "degraded_us": 0},
    ),
    "make_token": (
        {"ttl_s": 60, "scope": ["watch", "talk"]},
        {"token": "eyJzaWQiOiJkZW1vIn0.c2lnbmF0dXJl", "expires_at": 1_796_046_000},
    ),
    "process_segment": (
        {"session_id": _SID, "audio": "UklGRiQAAABXQVZF...", "last": True},
        {
            "turn": 1, "accepted_ms": 1280, "carried_ms": 0, "segments": [0, 1, 2],
            "video_url": f"http://127.0.0.1:28888/api/sessions/{_SID}/segments/0-2.mp4",
            "frames": 32, "duration_s": 1.28, "timings_ms": _TIMINGS,
        },
    ),
    "preprocess_template": (
        {"template_id": "anna", "path": "/srv/faces/anna.jpg"},
        {
            "template_id": "anna", "frames": 200, "width": 512, "height": 512, "cached": False, "replaced": False,
            "seconds": 3.1,
        },
    ),
    "list_templates": (
        {},
        {
            "templates": [
                {
                    "template_id": "default", "kind": "image", "frames": 200, "width": 512, "height": 512,
                    "engines": ["warp"], "bytes": 118_000_000, "in_use": False, "keep": False, "outdated": False,
                }
            ]
        },
    ),
    "transcript_json": (
        {},
        {
            "session_id": _SID, "complete": True, "ended": False, "interrupted": [],
            "lines": [
                {
                    "turn": 1, "speaker": "avatar", "text": "Hello.", "pts": 320_000, "dur": 640_000, "cut": False,
                    "unheard": False,
                }
            ],
        },
    ),
    "render": ({}, {"job": _SID}),
    "render_status": ({}, {"job": _SID, "state": "running", "progress": 0.4}),
    "delete_render": ({}, {"job": _SID, "state": "cancelled", "progress": 0.4}),
    "whep_end": ({}, {}),
    "livetalking_offer": (
        {"sdp": "v=0\r\n...", "type": "offer", "avatar": "default"},
        {"sdp": "v=0\r\n...", "type": "answer", "sessionid": _SID},
    ),
    "livetalking_human": ({"sessionid": _SID, "text": "Hello.", "type": "echo", "interrupt": True}, _DONE),
    "livetalking_humanaudio": ({}, _DONE),
    "livetalking_interrupt_talk": ({"sessionid": _SID}, _DONE),
    "livetalking_is_speaking": ({"sessionid": _SID}, {**_DONE, "data": True}),
    "livetalking_record": ({"sessionid": _SID, "type": "start_record"}, _DONE),
    "livetalking_set_audiotype": (
        {"sessionid": _SID, "audiotype": 1}, {"code": -1, "msg": "templates have no custom motions: ..."},
    ),
    "list_voices": ({}, {"voices": [{"name": "heart", "engine": "hibari", "language": "en", "gender": "female"}]}),
}  # fmt: skip
