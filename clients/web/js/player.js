// @ts-check
/**
 * Plays a session in a `<video>`: Media Source Extensions fed by the gateway's WebSocket.
 *
 *     const player = new Player(video, {url: "/ws/SID", token, fromSeq: 0, fromN: 0, onEvent, onMediaTime, ...});
 *     player.connect();                      // may be called before any click: it begins muted
 *     await player.unlock();                 // in the handler of a click: sound from here on
 *     await player.request("chat", {text});  // any operation that the socket's scope allows
 *
 * Options (all but `url` may be absent):
 * - `url`: of `/ws/{sid}`, absolute or relative to the page; http(s) becomes ws(s).
 * - `token`: string, or a function that returns one or a promise of one (asked before every connection).
 * - `fromSeq`, `fromN`: 0 for a session that was just started: media and events from its beginning on.
 * - `onEvent(header)`: every event as it arrives (`header.event`, `.turn`, `.n`, `.pts`, `.data`), once and in order.
 * - `onMediaTime(header)`: an event with a `pts` (sentence, speech.started, speech.ended, ...) when the play head
 *   reaches it. Events that a cut made void never come.
 * - `onState(state, detail)`: "connecting", "live", "reconnecting" (`detail.again_ms`), "ended" (session over or
 *   unknown: `detail.code` 1000 or 4404), "refused" (1008), "failed" (cannot be played: `detail.message`), "closed".
 * - `onNotice(code, detail)`: "blocked" (no sound without a click), "skipped" (`from_seq`, `to_seq`), "stalled",
 *   "microphone-dropped" (network too slow), "rebuilt".
 * - `onStats(stats)`: about twice a second while media comes: see `Stats`.
 *
 * Methods: `connect(changes?)` (also to go on with another session: `{url, token, fromSeq, fromN}`), `close()`,
 * `unlock()`, `request(op, args)` -> Promise of the reply (rejects with `RequestError`: `.code`, `.message`,
 * `.retry_after_ms`), `sendMicrophone(int16, sampleRate = 16000)`, `endOfSpeech()`, `mute(bool)`, `interrupt()`,
 * `currentPts()` -> microseconds on the media timeline, or null before the first picture.
 */
export class Player {
  // The implementation follows; the interface above is what others may build on.
}
