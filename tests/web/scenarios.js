// What a viewer does, in any browser; each returns numbers that test_player.py judges.
import { install } from "./stage.js";

const SENTENCE = "The quick brown fox jumps over the lazy dog, and then it rests for a while in the warm sun.";
const LONG = `${SENTENCE} ${SENTENCE} ${SENTENCE} ${SENTENCE}`;

async function page(browser, base, path = "/app.css") {
  const one = await browser.newPage();
  const errors = [];
  one.onError((error) => errors.push(String(error)));
  await one.goto(base + path);
  await one.evaluate(install);
  return Object.assign(one, { errors });
}

/** A sentence from its beginning to its end. */
export async function say({ browser, base }) {
  const one = await page(browser, base);
  const result = await one.evaluate(async (text) => {
    await stage.play({ settings: { idle: "none" } });
    if (navigator.userAgent.includes("Chrome")) await stage.listen();
    await stage.wait(() => stage.log.states.some((state) => state.state === "live"));
    const asked = performance.now();
    const turn = await stage.say(text);
    await stage.event("turn.ended", turn);
    await stage.reached("speech.ended", turn);
    const { events, media, frames, appends, notices, loudness, stats } = stage.log;
    return {
      asked, turn, events, media, frames, appends, notices, stats,
      loud: Math.max(0, ...loudness.map((sample) => sample.rms)),
      mime: stage.player.head.buffer.media.readyState,
    };
  }, SENTENCE);
  await one.close();
  return { ...result, errors: one.errors };
}

/** `times` answers that are cut while they are spoken; the next one is asked for at once or after a while. */
export async function cuts({ browser, base, times = 4, settings = {} }) {
  const one = await page(browser, base);
  const result = await one.evaluate(async ([text, count, more]) => {
    await stage.play({ settings: { idle: "none", ...more } });
    const sounds = navigator.userAgent.includes("Chrome");
    if (sounds) await stage.listen();
    const rounds = [];
    let turn = await stage.say(text);
    for (let round = 0; round < count; round += 1) {
      await stage.reached("speech.started", turn);
      const { pts } = stage.log.media.find((m) => m.event === "speech.started" && m.turn === turn);
      await stage.wait(() => stage.player.currentPts() > pts + 700_000 + round * 137_000 % 500_000);
      const from = stage.log.frames.length;
      const pressed = performance.now();
      const reply = stage.player.interrupt();
      const next = round % 2 ? reply.then(() => stage.say(text)) : stage.wait(() => performance.now() > pressed + 500).then(() => stage.say(text));
      const event = await stage.event("turn.interrupted", turn);
      const appended = stage.log.appends.length;
      const flush = event.data.flush_from / 1e6;
      const muted = await stage.wait(() => stage.video.muted && performance.now());
      turn = await next;
      await stage.reached("speech.started", turn);
      await stage.wait(() => !stage.video.muted);
      const append = stage.log.appends[appended]?.at;
      await stage.wait(() => stage.video.currentTime > flush + 0.5);
      rounds.push({
        flush, pressed, event: event.at, muted, append,
        frames: stage.log.frames.slice(from),
        loudness: stage.log.loudness.filter((sample) => sample.at > pressed - 100),
        heard: performance.now(),
      });
    }
    return { rounds, notices: stage.log.notices };
  }, [LONG, times, settings]);
  await one.close();
  return { ...result, errors: one.errors };
}
