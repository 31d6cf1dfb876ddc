// @ts-check
/**
 * The lines of both sides, as the visitor reads them. Pure: no DOM.
 *
 * A sentence of the avatar appears when the play head reaches it; what an interruption cut is kept apart from what was
 * heard. The visitor's own words appear while they are being recognised.
 */

/** @typedef {import("./state.js").Header} Header */
/** @typedef {{index: number, text: string, pts: number, dur: number|null}} Sentence */
/**
 * @typedef {object} Line
 * @property {number} id
 * @property {"you"|"avatar"} who
 * @property {number|null} turn       null: typed, and not accepted yet
 * @property {string} text            of the visitor
 * @property {boolean} final          false: still being recognised
 * @property {Sentence[]} sentences   of the avatar, those that were reached
 * @property {{flushFrom: number, spoken: string|null}|null} cut
 * @property {string} note            why there is no more of it
 * @property {boolean} typed
 * @property {boolean} unheard        typed, and a voice came in between before anything was answered
 */

/** Lines that are kept; the transcript of the session has all of them. */
const KEPT = 200;

const CJK = /[\u3000-\u9fff\uff00-\uffef]$/;

export class Conversation {
  constructor() {
    /** @type {Line[]} */
    this.lines = [];
    this.made = 0;
    /** The newest turn that a voice cut: its event may come before the reply that names the turn. */
    this.bargedIn = 0;
  }

  /** @param {"you"|"avatar"} who @param {number|null} turn  null: typed @param {string} [text] @returns {Line} */
  add(who, turn, text = "") {
    const line = {
      id: this.made++, who, turn, text, final: true, typed: turn === null, sentences: [], cut: null, note: "",
      unheard: false,
    };
    this.lines.push(line);
    if (this.lines.length > KEPT) this.lines.shift();
    return line;
  }

  /** @param {"you"|"avatar"} who @param {number} turn */
  find(who, turn) {
    return this.lines.findLast((line) => line.who === who && line.turn === turn);
  }

  /** What was typed is this turn. @param {Line} line @param {number} turn */
  accepted(line, turn) {
    line.turn = turn;
    line.unheard = turn === this.bargedIn;
  }

  /** @param {number} turn */
  answer(turn) {
    return this.find("avatar", turn) ?? this.add("avatar", turn);
  }

  /** An event as it arrives. @param {Header} header */
  arrived({ event, turn, data }) {
    if (event === "transcript.partial" || event === "transcript.final") {
      const line = this.find("you", turn) ?? this.add("you", turn);
      line.text = data.text;
      line.final = event === "transcript.final";
    } else if (event === "turn.failed") {
      this.answer(turn).note = data.message;
    } else if (event === "turn.interrupted") {
      if (data.reason === "no_speech") this.lines = this.lines.filter((line) => line.turn !== turn);
      const line = this.find("avatar", turn);
      if (data.reason === "barge_in" && !line) {
        this.bargedIn = turn;
        const asked = this.find("you", turn);
        if (asked?.typed) asked.unheard = true;
      }
      if (line) line.cut = { flushFrom: data.flush_from, spoken: data.spoken_text ?? null };
    }
  }

  /** An event as the play head reaches it. @param {Header} header @returns {string} the sentence that begins, or "" */
  reached({ event, turn, pts, data }) {
    if (event !== "sentence" || this.find("avatar", turn)?.cut) return "";
    const line = this.answer(turn);
    // A sentence is told a second time when its end is known.
    const known = line.sentences.find((one) => one.index === data.index);
    if (known) {
      known.dur = data.dur;
      return "";
    }
    line.sentences.push({ index: data.index, text: data.text, pts: data.pts ?? pts ?? 0, dur: data.dur ?? null });
    return data.text;
  }
}

/** @param {string[]} sentences Sentences as one text, with spaces where the language has them. */
export function join(sentences) {
  return sentences.reduce((text, next) => text + (!text || CJK.test(text) ? "" : " ") + next.trim(), "");
}

/**
 * What was heard of a line of the avatar, and what an interruption cut.
 *
 * @param {Line} line
 * @returns {{heard: string, cut: string}}
 */
export function spoken(line) {
  const text = join(line.sentences.map((one) => one.text));
  if (!line.cut) return { heard: text, cut: "" };
  const { spoken: words, flushFrom } = line.cut;
  const end = words === null ? heardUntil(line.sentences, flushFrom) : lengthOf(text, words);
  return { heard: text.slice(0, end).trimEnd(), cut: text.slice(end).trimStart() };
}

/** Where `words` end in `text`, whatever the spaces between them. @param {string} text @param {string} words */
function lengthOf(text, words) {
  let left = words.replace(/\s/g, "").length;
  let end = 0;
  while (left > 0 && end < text.length) {
    if (!/\s/.test(text[end])) left -= 1;
    end += 1;
  }
  // What ends a word belongs to it.
  while (end > 0 && /\p{P}/u.test(text[end] ?? "")) end += 1;
  return end;
}

/** The same where only media times are known. @param {Sentence[]} sentences @param {number} flushFrom */
function heardUntil(sentences, flushFrom) {
  const whole = sentences.filter((one) => one.dur !== null && one.pts + one.dur <= flushFrom);
  return join(whole.map((one) => one.text)).length;
}
