// What a viewer does, in any browser; each returns numbers that test_player.py judges.
import { install } from "./stage.js";

export * from "./visit.js";

const SENTENCE = "The quick brown fox jumps over the lazy dog, and then it rests for a while in the warm sun.";
const TWO = `${SENTENCE} ${SENTENCE}`;
const LONG = `${TWO} ${TWO}`;

async function page(browser, base, path = "/app.css") {
  const one = await browser.newPage();
  const errors = [];
  // Firefox takes a connection that was refused, or broke while something was loading, for an error of the page.
  one.onError((error) => /establish a connection|was interrupted while/.test(error) || errors.push(String(error)));
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
    const turn = await stage.say(text);
    await stage.event("turn.ended", turn);
    const { pts } = await stage.reached("speech.ended", turn);
    await stage.wait(() => stage.log.frames.at(-1)?.time > pts / 1e6 - 0.12, undefined, "the last picture");
    const { events, media, frames, appends, seeks, begun, notices, loudness, played } = stage.log;
    return { events, media, frames, appends, seeks, begun, notices, played, loud: Math.max(0, ...loudness.map((sample) => sample.rms)) };
  }, SENTENCE);
  await one.close();
  return { ...result, errors: one.errors };
}

/**
 * `times` answers that are cut while they are spoken, most by the page itself, every fourth by somebody else. The next
 * one is asked for at once, or when the cut is all over: held where nobody idles, else idling.
 */
export async function cuts({ browser, base, times = 4, settings = {} }) {
  const one = await page(browser, base);
  const result = await one.evaluate(async ([text, count, more]) => {
    await stage.play({ settings: { idle: "none", ...more } });
    const { log, player, video } = stage;
    const sounds = navigator.userAgent.includes("Chrome");
    if (sounds) await stage.listen();
    const since = (at, list) => list.filter((entry) => entry.at >= at);
    const again = (pressed) => since(pressed, log.sound).find((entry, i, all) => i && entry.level > all[i - 1].level);
    const rebuilt = (pressed) => since(pressed, log.notices).some((notice) => notice.code === "rebuilt");
    const media = () => log.appends.filter((entry) => entry.pts !== null);
    const rounds = [];
    let turn = await stage.say(text);
    for (let round = 0; round < count; round += 1) {
      const { pts } = await stage.reached("speech.started", turn);
      await stage.wait(() => !video.muted && player.currentPts() > pts + 700_000 + round * 137_000 % 500_000);
      const frames = log.frames.length;
      const before = Math.max(...media().map((entry) => entry.gen));
      const pressed = performance.now();
      const reply = round % 4 === 3 ? stage.elsewhere("interrupt") : player.interrupt();
      const atOnce = round % 4 === 3 ? null : log.sound.at(-1).level;
      const event = await stage.event("turn.interrupted", turn);
      await reply;
      let silent = null;
      if (round % 2 === 0 && more.idle === "loop") {
        await stage.wait(() => again(pressed), undefined, "heard again");
      } else if (round % 2 === 0) {
        // A source that was made anew knows of no cut: it stands where its media ends.
        await stage.wait(() => (video.muted || video.volume === 0) && (video.playbackRate === 0
          || (rebuilt(pressed) && video.readyState <= HTMLMediaElement.HAVE_CURRENT_DATA)), undefined, "muted and held");
        await stage.wait(() => !sounds || log.loudness.at(-1).rms < 1e-3, undefined, "silence");
        silent = performance.now();
      }
      const flush = event.data.flush_from / 1e6;
      turn = await stage.say(text);
      await stage.reached("speech.started", turn);
      const heard = await stage.wait(() => again(pressed), undefined, "heard again");
      await stage.wait(() => video.currentTime > flush + 0.5);
      await stage.shown(flush);
      const news = media().filter((entry) => entry.gen > before);
      rounds.push({
        flush, pressed, at_once: atOnce, event: event.at, level: event.level, before,
        quiet: since(pressed, log.sound).find((entry) => entry.level === 0)?.at ?? null,
        rebuilt: rebuilt(pressed),
        appends: since(event.at, media()), append: news[0].at, landed: news[0],
        seeks: since(news[0].at, log.seeks),
        sound: since(pressed, log.sound), heard, silent,
        frames: log.frames.slice(frames), begun: since(news[0].at, log.begun.map((at) => ({ at }))).length,
        loud_after: silent && log.loudness.some((sample) => sample.rms > 1e-3 && silent < sample.at && sample.at < news[0].at),
      });
    }
    // As text: Firefox sends an object that is told twice only once.
    return JSON.parse(JSON.stringify({ rounds, notices: log.notices }));
  }, [LONG, times, settings]);
  await one.close();
  return { ...result, errors: one.errors };
}

/** The connection breaks in the middle of a sentence, and comes back. */
export async function reconnect({ browser, base, host }) {
  const one = await page(browser, base);
  const turn = await one.evaluate(async (text) => {
    await stage.play({ settings: { idle: "none" } });
    const number = await stage.say(text);
    await stage.reached("speech.started", number);
    await stage.wait(() => stage.video.currentTime > 1);
    return number;
  }, TWO);
  await host("kill_gateway");
  const result = await one.evaluate(async (number) => {
    await stage.event("turn.ended", number);
    await stage.reached("speech.ended", number);
    await stage.wait(() => stage.log.states.filter((one) => one.state === "live").length > 1, undefined, "another connection");
    const { events, frames, appends, seeks, begun, states, notices } = stage.log;
    return { turn: number, events, frames, appends, seeks, begun, states, notices };
  }, turn);
  await one.close();
  return { ...result, errors: one.errors };
}

/** The page itself: a typed question, an interruption, and a gateway that dies between two questions. */
export async function whole_page({ browser, base, host }) {
  const one = await page(browser, base, "/");
  const ask = (words, cut) => one.evaluate(async ([text, interrupts]) => {
    const find = (id) => document.getElementById(id);
    const log = find("log");
    await stage.wait(() => ["idle", "degraded"].includes(find("stage").dataset.state) && find("video").currentTime > 0.2,
      undefined, "a face that moves");
    const before = log.querySelectorAll(".avatar").length;
    let heard;
    const answered = () => heard !== undefined;
    // In the very task in which the answer appears: later it could be over.
    new MutationObserver((_, observer) => {
      if (log.querySelectorAll(".avatar").length <= before) return;
      observer.disconnect();
      heard = !find("video").muted;
      if (interrupts) document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
    }).observe(log, { childList: true });
    find("message").value = text;
    find("composer").requestSubmit();
    await stage.wait(answered, undefined, "an answer");
    await stage.wait(() => !interrupts || log.querySelector("s"), undefined, "words struck through");
    return { heard, log: log.innerText, session: find("transcript").getAttribute("href") };
  }, [words, cut]);
  const first = await ask("Who are you?", true);
  await one.evaluate(() => {
    globalThis.states = [];
    const { dataset } = document.getElementById("stage");
    new MutationObserver(() => globalThis.states.push(dataset.state))
      .observe(document.getElementById("stage"), { attributeFilter: ["data-state"] });
  });
  await host("kill_gateway");
  await one.evaluate(() => stage.wait(() => globalThis.states.includes("reconnecting"), undefined, "a connection that is lost"));
  const second = await ask("How do you work?", false);
  await one.close();
  return { first, second, errors: one.errors.filter((error) => !/NetworkError|fetch/.test(error)) };
}

/** The daemon is started anew below the page, which goes on with another session. */
export async function restart({ browser, base, host }) {
  const one = await page(browser, base);
  await one.evaluate(async (text) => {
    await stage.play({ settings: { idle: "none" } });
    await stage.reached("speech.started", await stage.say(text));
  }, SENTENCE);
  await host("restart_daemon");
  const result = await one.evaluate(async (text) => {
    await stage.wait(() => stage.log.states.find((one) => one.state === "ended"), undefined, "the session's end is told");
    const sid = await stage.wait(() => 1) && (await stage.start({ idle: "none" }));
    const [lives, shown, appended] = [stage.log.states.length, stage.log.frames.length, stage.log.appends.length];
    stage.log.seeks = [];
    stage.player.connect({ url: `/ws/${sid}`, fromSeq: 0, fromN: 0 });
    await stage.wait(() => stage.log.states.slice(lives).some((one) => one.state === "live"));
    stage.log.media = [];
    const turn = await stage.say(text);
    await stage.reached("speech.ended", turn);
    const { states, frames, appends, seeks, begun, notices } = stage.log;
    const news = appends.slice(appended);
    const fresh = frames.slice(shown).filter((one) => one.at > news[0].at); // the last of the old source may be told late
    return { states, frames: fresh, appends: news, seeks, begun, notices };
  }, SENTENCE);
  await one.close();
  return { ...result, errors: one.errors };
}

/** An idling face in a page that is not looked at for a while. */
export async function hidden({ browser, base, away_s = 4 }) {
  const one = await page(browser, base);
  const before = await one.evaluate(async () => {
    await stage.play({ settings: { idle: "loop", cut_margin_ms: 250 } });
    await stage.wait(() => stage.video.currentTime > 1);
    return { time: stage.video.currentTime, stats: stage.log.stats };
  });
  await one.freeze(true);
  await new Promise((done) => setTimeout(done, away_s * 1000));
  await one.freeze(false);
  const result = await one.evaluate(async (shown) => {
    const back = performance.now();
    const late = stage.log.stats.at(-1);
    await stage.wait(() => stage.log.frames.some((f) => f.at > back && f.time > shown + 2), undefined, "picture of now");
    const onTime = await stage.wait(() => stage.log.stats.find((s) => s.at > back && Math.abs(s.lag_ms) < 500), undefined, "on time again");
    const { notices, states, seeks } = stage.log;
    return { late, lag_ms: onTime.lag_ms, seeks: seeks.filter((one) => one.at > back), notices, states };
  }, before.time);
  await one.close();
  return { before, ...result, errors: one.errors };
}

/** A question is asked aloud; the microphone is a file. */
export async function microphone({ browser, base }) {
  const one = await page(browser, base);
  const result = await one.evaluate(async () => {
    const { Microphone } = await import("/js/microphone.js");
    await stage.play({ settings: { idle: "loop" } });
    await stage.wait(() => stage.log.states.some((state) => state.state === "live"));
    const sent = [];
    const levels = [];
    const device = new Microphone({
      onPcm: (pcm, rate) => sent.push({ samples: pcm.length, rate, ok: stage.player.sendMicrophone(pcm, rate) }),
      onLevel: (level) => levels.push(level),
    });
    await device.start();
    // The question is asked again and again: a busy machine may lose the first one.
    const spoken = (turn) => stage.log.media.some((e) => e.event === "speech.started" && e.turn === turn);
    const heard = await stage.wait(() => stage.log.events.find((e) => e.event === "transcript.final" && spoken(e.turn)),
      undefined, "an answer");
    device.stop();
    return {
      text: heard.data.text, loudest: Math.max(...levels),
      sizes: [...new Set(sent.map((s) => `${s.samples}@${s.rate}`))],
      notices: stage.log.notices,
    };
  });
  await one.close();
  return { ...result, errors: one.errors };
}

/** `<musecast-player>` in a page of another origin, loaded by one line. */
export async function embedded({ browser, base, port }) {
  const { createServer } = await import("node:http");
  const html = `<!doctype html><title>A page elsewhere</title>
    <script type="module" src="${base}/js/element.js"></script><div id="here"></div>`;
  const server = createServer((_, reply) => reply.setHeader("Content-Type", "text/html").end(html));
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  try {
    const home = await page(browser, base);
    const sid = await home.evaluate(() => stage.start({ idle: "loop" }));
    await home.close();
    const one = await browser.newPage();
    const errors = [];
    one.onError((error) => errors.push(String(error)));
    await one.goto(`http://127.0.0.1:${port}/`);
    await one.evaluate(install);
    const result = await one.evaluate(async ([id, gateway]) => {
      document.getElementById("here").innerHTML = `<musecast-player captions talk src="${gateway}/ws/${id}">`;
      await customElements.whenDefined("musecast-player");
      const element = document.querySelector("musecast-player");
      const told = [];
      let caption;
      for (const name of ["state", "event", "mediatime"]) element.addEventListener(`musecast-${name}`, (e) => told.push([name, e.detail]));
      element.addEventListener("musecast-mediatime", ({ detail }) => {
        if (detail.event === "sentence") caption = element.caption.textContent;
      });
      await stage.wait(() => element.video.currentTime > 0.3, undefined, "idle motion");
      const quiet = element.video.muted;
      element.shadowRoot.querySelector("button").click();
      const { turn } = await stage.patiently(() => element.say("Hello from another page."));
      await stage.wait(() => told.some(([name, d]) => name === "mediatime" && d.event === "speech.started" && d.turn === turn), undefined, "speech");
      return {
        quiet, muted: element.video.muted, caption,
        buttons: [...element.shadowRoot.querySelectorAll("button")].map((b) => [b.textContent, b.hidden]),
        states: told.filter(([name]) => name === "state").map(([, d]) => d.state),
      };
    }, [sid, base]);
    await one.close();
    return { ...result, errors };
  } finally {
    server.close();
  }
}

/** Short turns, one after the other is over: how soon each is seen. */
export async function turns({ browser, base, times = 20 }) {
  const one = await page(browser, base);
  const result = await one.evaluate(async (count) => {
    await stage.play({ settings: { idle: "none" } });
    const seen = [];
    for (let round = 0; round < count; round += 1) {
      const [appends, frames] = [stage.log.appends.length, stage.log.frames.length];
      const turn = await stage.say("Yes, of course.");
      await stage.reached("speech.ended", turn);
      await stage.event("turn.ended", turn);
      const first = stage.log.appends.slice(appends).find((a) => a.size > 5000);
      const shown = stage.log.frames.slice(frames).filter((f) => f.at > first.at);
      seen.push({ shown_ms: shown[0].at - first.at });
    }
    return { seen, notices: stage.log.notices };
  }, times);
  await one.close();
  return { ...result, errors: one.errors };
}

/** A face that idles and speaks in turn for a while: neither drift nor growth. */
export async function conversation({ browser, base, seconds = 20 }) {
  const one = await page(browser, base);
  const result = await one.evaluate(async ([text, length]) => {
    await stage.play({ settings: { idle: "loop", cut_margin_ms: 250 } });
    const began = performance.now();
    let shown = 0;
    let numbers = 0;
    const sizes = [];
    const captions = [];
    while (performance.now() - began < length * 1000) {
      const turn = await stage.say(text);
      await stage.reached("speech.ended", turn);
      const { frames } = stage.log;
      const { pts } = stage.log.media.find((m) => m.event === "speech.started" && m.turn === turn);
      const end = stage.log.media.find((m) => m.event === "speech.ended" && m.turn === turn).pts;
      shown += new Set(frames.map((f) => f.time).filter((t) => t >= pts / 1e6 && t < end / 1e6)).size;
      numbers += Math.floor(end / 40_000) - Math.ceil(pts / 40_000);
      // A sentence is told again when its end is known.
      const told = new Map(stage.log.media.filter((m) => m.event === "sentence").reverse().map((m) => [m.data.index, m]));
      for (const one of told.values()) captions.push(1000 * one.head - one.data.pts / 1000);
      const { head } = stage.player;
      const ranges = head.buffer.ranges;
      sizes.push({
        held: head.cuts.held.length, moments: head.moments.waiting.length, queue: head.buffer.queue.length,
        buffered_s: ranges.at(-1)[1] - ranges[0][0], ranges: ranges.length,
        heap: performance.memory?.usedJSHeapSize ?? 0,
      });
      stage.log.frames = [];
      stage.log.media = [];
    }
    const { stats, notices } = stage.log;
    return { shown, frames: numbers, sizes, captions_ms: captions, lags_ms: stats.map((s) => s.lag_ms), rates: stats.map((s) => s.rate), notices };
  }, [SENTENCE, seconds]);
  await one.close();
  return { ...result, errors: one.errors };
}
