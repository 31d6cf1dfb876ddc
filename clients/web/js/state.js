// @ts-check
/**
 * What the visitor is told about the conversation, in one word. Pure: no DOM, no clock.
 *
 * Events come twice: as they arrive, and again when the play head reaches their media time. What the visitor sees and
 * hears (the avatar speaks, the avatar is silent) follows the second; arrival is up to a second early.
 */

/** @typedef {"connecting"|"idle"|"listening"|"hearing"|"thinking"|"speaking"|"interrupted"|"reconnecting"|"degraded"|"error"|"ended"} Word */
/** @typedef {"connecting"|"open"|"reconnecting"|"ended"} Link */
/** @typedef {{event: string, turn: number, pts?: number, data: Record<string, any>}} Header */
/**
 * @typedef {object} State
 * @property {Link} link
 * @property {boolean} microphone      it is open
 * @property {number|null} hearing     the turn of the voice that is being heard
 * @property {number[]} waiting        turns that the visitor has not heard anything of
 * @property {number[]} coming         of those: their speech has arrived, the play head is not there yet
 * @property {number|null} speaking    the turn that is heard now
 * @property {boolean} interrupted     an answer was cut, a moment ago
 * @property {Record<string, any>|null} degraded
 * @property {string} error            what ended the conversation for good; empty: nothing did
 */
/**
 * @typedef {{type: "link", link: Link} | {type: "microphone", on: boolean} | {type: "event", header: Header}
 *   | {type: "media", header: Header} | {type: "settled"} | {type: "error", message: string} | {type: "session"}} Action
 */

/** @type {Word[]} */
export const WORDS = [
  "connecting", "idle", "listening", "hearing", "thinking", "speaking", "interrupted", "reconnecting", "degraded", "error", "ended",
];

/** @type {State} */
export const START = {
  link: "connecting", microphone: false, hearing: null, waiting: [], coming: [], speaking: null,
  interrupted: false, degraded: null, error: "",
};

/** @param {number[]} turns @param {number} turn */
const without = (turns, turn) => turns.filter((one) => one !== turn);

/**
 * @param {State} state
 * @param {Action} action
 * @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "link": return { ...state, link: action.link };
    case "microphone": return { ...state, microphone: action.on };
    case "settled": return { ...state, interrupted: false };
    case "error": return { ...state, error: action.message };
    case "session": return { ...START, microphone: state.microphone };
    case "event": return arrived(state, action.header);
    case "media": return reached(state, action.header);
  }
}

/** @param {State} state @param {Header} header @returns {State} */
function arrived(state, { event, turn, data }) {
  const hearing = state.hearing === turn ? null : state.hearing;
  switch (event) {
    case "user.speech.started": return { ...state, hearing: turn, interrupted: false };
    case "user.speech.ended":
    case "turn.started": return { ...state, hearing, waiting: [...without(state.waiting, turn), turn] };
    case "speech.started": return { ...state, coming: [...without(state.coming, turn), turn] };
    case "turn.ended": return state.coming.includes(turn) ? state : { ...state, hearing, waiting: without(state.waiting, turn) };
    case "turn.failed":
    case "turn.interrupted": {
      const cut = event === "turn.interrupted" && data.reason !== "no_speech"
        && (state.speaking === turn || state.waiting.includes(turn));
      return {
        ...state, hearing, waiting: without(state.waiting, turn), coming: without(state.coming, turn),
        speaking: state.speaking === turn ? null : state.speaking, interrupted: state.interrupted || cut,
      };
    }
    case "degraded": return { ...state, degraded: data };
    case "recovered": return { ...state, degraded: null };
    case "session.ended": return { ...state, link: "ended", hearing: null, waiting: [], coming: [], speaking: null };
    default: return state;
  }
}

/** @param {State} state @param {Header} header @returns {State} */
function reached(state, { event, turn }) {
  if (event === "speech.started") {
    if (!state.coming.includes(turn)) return state;  // it was cut before the play head got there: its end will not come
    return { ...state, speaking: turn, waiting: without(state.waiting, turn), coming: without(state.coming, turn), interrupted: false };
  }
  if (event === "speech.ended" && state.speaking === turn) return { ...state, speaking: null };
  return state;
}

/** @param {State} state @returns {Word} */
export function word(state) {
  if (state.error) return "error";
  if (state.link !== "open") return state.link;
  if (state.hearing !== null) return "hearing";
  if (state.interrupted) return "interrupted";
  if (state.speaking !== null) return "speaking";
  if (state.waiting.length) return "thinking";
  if (state.degraded) return "degraded";
  return state.microphone ? "listening" : "idle";
}

/** Whether there is something that an interruption would cut. @param {State} state */
export const busy = (state) => state.speaking !== null || state.waiting.length > 0;
