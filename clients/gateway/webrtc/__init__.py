"""WebRTC out (WHEP): the session's H.264 as it is, its sound as Opus. Needs the extra ``webrtc``."""
