// @ts-check
/** The faces that there are, and making one's own: from a file, or from the camera. */

import { call, picture, upload } from "./api.js";
import { $, el, icon } from "./dom.js";
import { text } from "./i18n.js";

/** Built-in templates have names; those of visitors are called as they called them. */
const NAMES = /** @type {Record<string, string>} */ ({ default: "faces.builtin", "default-portrait": "faces.portrait" });
const JPEG_QUALITY = 0.92;
/** So often another name is looked for when somebody else has just taken it. */
const NAMINGS = 3;

/** @param {string} id */
const nameOf = (id) => (id in NAMES ? text(NAMES[id]) : id);

/**
 * An id for a new template that none has yet.
 *
 * @param {string} filename
 * @param {string[]} taken
 */
export function freeId(filename, taken) {
  const stem = filename.replace(/\.[^.]*$/, "").normalize("NFKD").replace(/\p{M}/gu, "").replace(/[^A-Za-z0-9_-]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 48).toLowerCase() || "face";
  let id = stem;
  for (let n = 2; taken.includes(id); n += 1) id = `${stem}-${n}`;
  return id;
}

export class Gallery {
  /** @param {{current: () => string, onPick: (templateId: string) => void}} options */
  constructor({ current, onPick }) {
    this.current = current;
    this.onPick = onPick;
    /** @type {string[]} */
    this.ids = [];
    /** @type {MediaStream|null} */
    this.stream = null;
    $("choose").onclick = () => $("file").click();
    $("file").onchange = () => { if ($("file").files[0]) this.send($("file").files[0], $("file").files[0].name); $("file").value = ""; };
    $("camera").onclick = () => this.openCamera();
    $("snap").onclick = () => this.snap();
    $("finder-close").onclick = () => this.closeCamera();
    $("faces").addEventListener("close", () => this.closeCamera());
    $("faces").addEventListener("dragover", (/** @type {DragEvent} */ event) => event.preventDefault());
    $("faces").addEventListener("drop", (/** @type {DragEvent} */ event) => {
      event.preventDefault();
      const file = event.dataTransfer?.files[0];
      if (file) this.send(file, file.name);
    });
  }

  async open() {
    $("faces").showModal();
    await this.refresh();
  }

  async refresh() {
    const { templates } = await call("api/templates").catch((error) => { this.tell(error.message, true); return { templates: [] }; });
    this.ids = templates.map((/** @type {any} */ one) => one.template_id);
    $("faces-list").replaceChildren(...this.ids.map((id) => this.card(id)));
  }

  /** @param {string} id */
  card(id) {
    const used = id === this.current();
    const canvas = el("canvas", { width: 320, height: 320, "aria-hidden": "true" });
    picture(`api/templates/${id}/picture.jpg`).then((image) => {
      const side = Math.min(image.width, image.height);
      canvas.getContext("2d").drawImage(image, (image.width - side) / 2, (image.height - side) / 4, side, side, 0, 0, 320, 320);
    }, () => {});
    const pick = el("button", { type: "button", className: "pick", "aria-pressed": String(used), onclick: () => this.pick(id) },
      canvas, el("span", {}, nameOf(id)));
    const card = el("li", {}, pick);
    if (!(id in NAMES) && !used) {
      card.append(el("button", { type: "button", className: "glass round remove", "aria-label": text("faces.remove", { name: id }), onclick: () => this.remove(id) }, icon("i-trash")));
    }
    return card;
  }

  /** @param {string} id */
  pick(id) {
    $("faces").close();
    if (id !== this.current()) this.onPick(id);
  }

  /** @param {string} id */
  async remove(id) {
    await call(`api/templates/${id}`, undefined, { method: "DELETE" }).catch((error) => this.tell(error.message, true));
    await this.refresh();
    $("choose").focus();
  }

  /** @param {Blob} file @param {string} filename @param {number} [namings] */
  async send(file, filename, namings = NAMINGS) {
    const id = freeId(filename, this.ids);
    $("upload").hidden = false;
    $("upload-bar").hidden = false;
    const { result } = upload(file, id, (step, percent) => {
      if (percent === null) $("upload-bar").removeAttribute("value");
      else $("upload-bar").value = percent;
      const shown = String(Math.round(percent ?? 0));
      if (step === "sending") this.tell(text("upload.sending", { percent: shown }));
      else this.tell(percent === null ? text("upload.preparing") : text("upload.prepare", { percent: shown }));
    });
    try {
      await result;
      this.tell(text("upload.done"));
      await this.refresh();
      this.pick(id);
      $("upload").hidden = true;
    } catch (error) {
      if (/** @type {any} */ (error).code === "ALREADY_EXISTS" && namings > 1) {
        await this.refresh();
        await this.send(file, filename, namings - 1);
        return;
      }
      this.tell(text("upload.refused", { reason: /** @type {Error} */ (error).message }), true);
    }
    $("upload-bar").hidden = true;
  }

  /** @param {string} message @param {boolean} [refused] */
  tell(message, refused = false) {
    $("upload").hidden = false;
    if (refused) $("upload-bar").hidden = true;
    $("upload-text").className = refused ? "refused" : "";
    if ($("upload-text").textContent !== message) $("upload-text").textContent = message;
  }

  async openCamera() {
    try {
      if (!navigator.mediaDevices) throw new Error(text("mic.insecure"));
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "user" } });
    } catch (error) {
      this.tell(text("faces.nocamera", { reason: /** @type {Error} */ (error).message }), true);
      return;
    }
    $("finder-video").srcObject = this.stream;
    $("finder").hidden = false;
    await $("finder-video").play();
    $("snap").focus();
  }

  async snap() {
    const video = $("finder-video");
    if (!video.videoWidth) return; // no picture has come yet
    const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    this.closeCamera();
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
    await this.send(blob, "me.jpg");
  }

  closeCamera() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    $("finder").hidden = true;
  }
}
