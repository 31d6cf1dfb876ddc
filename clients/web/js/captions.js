// @ts-check
/** Shows the lines of a conversation: the column of text, the caption on the picture, and a track for full screen. */

import { spoken } from "./conversation.js";
import { $, el } from "./dom.js";
import { text } from "./i18n.js";

/** Cues that are kept on the media timeline. */
const CUES = 50;
/** How long a caption stays when the end of its sentence is not known, in seconds. */
const CUE_S = 6;

export class Captions {
  /** @param {import("./conversation.js").Conversation} conversation @param {HTMLVideoElement} video */
  constructor(conversation, video) {
    this.conversation = conversation;
    this.video = video;
    this.shown = false;
    /** @type {Map<number, {element: HTMLElement, is: string}>} */
    this.drawn = new Map();
    this.track = video.addTextTrack("captions", "captions");
    this.track.mode = "hidden";
    const inside = () => { this.track.mode = document.fullscreenElement === video || document.pictureInPictureElement === video ? "showing" : "hidden"; };
    for (const event of ["enterpictureinpicture", "leavepictureinpicture", "fullscreenchange"]) video.addEventListener(event, inside);
  }

  /** Bring the column up to date; what did not change is left alone, for those who select or listen to it. */
  draw() {
    const log = $("log");
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
    const lines = this.conversation.lines.filter((line) => line.who === "you" || line.sentences.length || line.note);
    for (const [id, { element }] of this.drawn) {
      if (!lines.some((line) => line.id === id)) { element.remove(); this.drawn.delete(id); }
    }
    for (const line of lines) {
      const { heard, cut } = line.who === "you" ? { heard: line.text, cut: "" } : spoken(line);
      const is = JSON.stringify([heard, cut, line.final, line.note, line.unheard]);
      const before = this.drawn.get(line.id);
      if (before?.is === is) continue;
      const element = el("li", { className: line.who === "you" && !line.final ? "you partial" : line.who },
        el("span", { className: "unseen" }, `${text(line.who)}: `), heard);
      if (cut) element.append(" ", el("s", {}, el("span", { className: "unseen" }, text("cut")), cut));
      if (line.note) element.append(el("small", {}, text("note.failed", { reason: line.note })));
      if (line.unheard) element.append(el("small", {}, text("note.unheard")));
      if (before) before.element.replaceWith(element);
      else log.append(element);
      this.drawn.set(line.id, { element, is });
    }
    $("asks").hidden = lines.length > 0;
    log.hidden = lines.length === 0 && !$("intro").hidden;
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  /** A sentence of the avatar begins. @param {string} sentence @param {number} pts @param {number|null} dur */
  say(sentence, pts, dur) {
    $("subtitle").textContent = sentence;
    $("subtitle").hidden = !this.shown;
    $("spoken").textContent = sentence;
    const start = pts / 1e6;
    this.track.addCue(new VTTCue(start, start + (dur ? dur / 1e6 : CUE_S), sentence));
    while ((this.track.cues?.length ?? 0) > CUES) this.track.removeCue(/** @type {TextTrackCueList} */ (this.track.cues)[0]);
  }

  /** Nothing is being said any more. */
  silent() {
    $("subtitle").textContent = "";
    $("subtitle").hidden = true;
    const now = this.video.currentTime;
    for (const cue of Array.from(this.track.cues ?? [])) if (cue.endTime > now) this.track.removeCue(cue);
  }

  toggle() {
    this.shown = !this.shown;
    $("captions").setAttribute("aria-pressed", String(this.shown));
    $("subtitle").hidden = !this.shown || !$("subtitle").textContent;
  }
}
