// What tests do inside a page. `install` is sent to the browser as it stands, so it uses nothing from outside.

export function install() {
  const wait = (what, ms = 120_000, name = String(what)) =>
    new Promise((resolve, reject) => {
      const until = performance.now() + ms;
      const look = () => {
        const value = what();
        if (value) resolve(value);
        else if (performance.now() > until) reject(new Error(`not within ${ms} ms: ${name}; ${stage.summary()}`));
        else setTimeout(look, 10);
      };
      look();
    });

  const stage = {
    wait,
    /** Everything that happened, with the time it happened at. */
    log: {
      events: [], media: [], states: [], notices: [], frames: [], appends: [], sound: [], seeks: [], loudness: [], stats: [], begun: [],
      played: [],
    },

    summary() {
      const { events, states, notices, appends, frames } = stage.log;
      return JSON.stringify({
        events: events.slice(-6).map((one) => one.event), states: states.map((one) => one.state), notices,
        appends: appends.length, frames: frames.length, at: stage.video?.currentTime, ready: stage.video?.readyState,
      });
    },

    async start(settings) {
      const reply = await fetch("/api/start_session", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ template_id: "default", ...settings }),
      });
      const session = await reply.json();
      if (!reply.ok) throw new Error(JSON.stringify(session));
      return session.session_id;
    },

    /** A player of this session in a new video; the session is new unless it is named. */
    async play({ sid, settings = {}, fromStart = true }) {
      const { Player } = await import("/js/player.js");
      const { log } = stage;
      const now = () => performance.now();
      stage.sid = sid ?? (await stage.start(settings));
      const video = (stage.video = document.createElement("video"));
      document.body.append(video);
      video.addEventListener("playing", () => log.begun.push(now()));
      const frame = (_, { mediaTime }) => {
        log.frames.push({ at: now(), time: mediaTime, heard: !video.muted });
        video.requestVideoFrameCallback(frame);
      };
      video.requestVideoFrameCallback(frame);
      // What the player does to the video, in the task in which it does it: the browser's own events come later.
      const level = () => (video.muted ? 0 : video.volume);
      const watch = (name, tell) => {
        const { get, set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, name);
        Object.defineProperty(video, name, {
          get,
          set(value) {
            const head = video.currentTime;
            set.call(video, value);
            tell(value, head);
          },
        });
      };
      for (const name of ["muted", "volume"]) watch(name, (_, head) => log.sound.push({ at: now(), level: level(), head }));
      watch("currentTime", (to, head) => log.seeks.push({ at: now(), to, head }));
      const append = SourceBuffer.prototype.appendBuffer;
      const headers = new WeakMap();
      SourceBuffer.prototype.appendBuffer = function appended(bytes) {
        const { seq, gen, pts, dur } = headers.get(bytes) ?? {};
        const one = { at: now(), size: bytes.byteLength, seq, gen, pts: pts ?? null, dur, ranges: null };
        log.appends.push(one);
        this.addEventListener("updateend", () => {
          const ranges = Array.from({ length: this.buffered.length }, (__, i) => [this.buffered.start(i), this.buffered.end(i)]);
          Object.assign(one, { done: now(), head: video.currentTime, ranges });
        }, { once: true });
        return append.call(this, bytes);
      };
      const from = fromStart ? { fromSeq: 0, fromN: 0 } : {};
      const plain = (header) => JSON.parse(JSON.stringify(header, (_, one) => (typeof one === "bigint" ? String(one) : one)));
      stage.player = new Player(video, {
        url: `/ws/${stage.sid}`,
        ...from,
        onEvent: (header) => log.events.push({ at: now(), level: level(), ...plain(header) }),
        onMediaTime: (header) => log.media.push({ at: now(), head: video.currentTime, ...plain(header) }),
        onState: (state, detail) => log.states.push({ at: now(), state, ...detail }),
        onNotice: (code, detail) => log.notices.push({ at: now(), code, ...detail }),
        onStats: (stats) => log.stats.push({ at: now(), ...stats }),
      });
      const { head } = stage.player;
      const media = head.media;
      head.media = (header, payload) => {
        headers.set(payload, header);
        media.call(head, header, payload);
      };
      const { request } = stage.player;
      stage.player.request = (op, args) => {
        const reply = request.call(stage.player, op, args);
        if (op === "played") reply.then(() => log.played.push(args), () => {});
        return reply;
      };
      stage.player.connect();
      stage.player.unlock();
      return stage.sid;
    },

    /** The sound of the video, measured: RMS over 10 ms. It takes the sound out of the element. */
    listen() {
      const context = new AudioContext();
      const analyser = context.createAnalyser();
      analyser.fftSize = 512;
      context.createMediaElementSource(stage.video).connect(analyser);
      analyser.connect(context.destination);
      const samples = new Float32Array(analyser.fftSize);
      setInterval(() => {
        analyser.getFloatTimeDomainData(samples);
        const power = samples.reduce((sum, one) => sum + one * one, 0) / samples.length;
        stage.log.loudness.push({ at: performance.now(), rms: Math.sqrt(power) });
      }, 10);
      return context.resume();
    },

    event: (name, turn, ms) =>
      wait(() => stage.log.events.find((one) => one.event === name && (turn === undefined || one.turn === turn)), ms,
        `event ${name} of turn ${turn}`),

    /** The play head has reached the event of this turn. */
    reached: (name, turn, ms) =>
      wait(() => stage.log.media.find((one) => one.event === name && one.turn === turn), ms, `${name} of ${turn} seen`),

    /** A picture from there on, told from now on: what comes before it may be told late. */
    shown: (seconds) => {
      const asked = performance.now();
      return wait(() => stage.log.frames.find((one) => one.at > asked && one.time >= seconds), undefined, `a picture behind ${seconds} s`);
    },

    /** What a machine with too much to do asks for: to come back when it says. */
    patiently: async (ask) => {
      for (;;) {
        try {
          return await ask();
        } catch (error) {
          if (error.code !== "BUSY") throw error;
          await new Promise((done) => setTimeout(done, error.retry_after_ms));
        }
      }
    },

    say: async (text, op = "say") => (await stage.patiently(() => stage.player.request(op, { text }))).turn,

    /** Another client of the same session does it. */
    elsewhere: (op) => fetch(`/api/${op}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ session_id: stage.sid }),
    }),
  };
  globalThis.stage = stage;
  return true;
}
