"""Which of the processes' figures have a metric of their own at ``/metrics``, and under which name."""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """A metric of Prometheus. ``label`` names what varies at the end of the figure's name."""

    name: str
    help: str
    label: tuple[str, ...] = ()
    scale: float = 1.0


COUNTERS = {
    "requests": Family("musecast_requests", "Requests."),
    "requests.refused": Family("musecast_requests_refused", "Requests that were answered with an error."),
    "busy.": Family("musecast_busy", "Input that was refused for now.", ("reason",)),
    "clients.pressing": Family("musecast_clients_pressing", "How often one began to ask too early."),
    "replies.dropped": Family("musecast_replies_dropped", "Replies that their client did not take."),
    "clients.ended": Family("musecast_clients_ended", "Control connections closed for what they held."),
    "clients.unlisted": Family("musecast_clients_unlisted", "Connections refused: their key is not listed."),
    "messages.refused": Family("musecast_messages_stale", "Messages of a dead process, an old attempt or order."),
    "messages.broken": Family("musecast_messages_broken", "Messages that could not be understood."),
    "segments": Family("musecast_segments", "Segments of turns that were published."),
    "segments.late": Family("musecast_segments_late", "Segments that came after their time."),
    "turns.": Family("musecast_turns", "Turns that are over.", ("outcome",)),
    "degraded_ms.": Family("musecast_degraded_seconds", "Media with a stand-in for lip-sync.", ("level",), 1e-3),
    "replays.": Family("musecast_item_replays", "Items given out again, by their stage.", ("item_stage",)),
    "items": Family("musecast_items", "Items done."),
    "failed": Family("musecast_items_failed", "Items that could not be done."),
    "items.": Family("musecast_engine_items", "Items done, by engine of a chain.", ("engine",)),
    "failed.": Family("musecast_engine_failures", "Failures of engines of a chain.", ("engine",)),
    "frames": Family("musecast_frames", "Frames handed on."),
    "viewers": Family("musecast_viewers", "Viewers that came."),
    "viewers.too_slow": Family("musecast_viewers_too_slow", "Viewers that were closed because they took nothing."),
    "segments.skipped": Family("musecast_segments_skipped", "Segments left out for slow viewers."),
}
"""By the figure's name in ``metrics`` of ``status``, or what it begins with; ``_total`` is added."""
HISTOGRAMS = {
    "item": Family("musecast_item_seconds", "From the start of an item to its end."),
    "first": Family("musecast_first_output_seconds", "From an item's start to the first output of an engine."),
    "first_segment": Family("musecast_turn_first_segment_seconds", "To a turn's first segment.", ("source",)),
    "journal": Family("musecast_journal_write_seconds", "One message's writes to the journal."),
}
PHASE = Family("musecast_phase_seconds", "Parts of the work; of frames the mean of a batch.", ("phase",))
GAUGES = {
    "batch_fill.recent": Family("musecast_batch_fill_ratio", "Share of real frames in recent batches."),
    "speech_waiting_ms": Family("musecast_speech_waiting_seconds", "Speech accepted and not published.", (), 1e-3),
    "audio_waiting_bytes": Family("musecast_audio_waiting_bytes", "Clients' own audio that is not rendered."),
}
