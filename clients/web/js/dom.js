// @ts-check
/** The few things that the page needs of the DOM again and again. */

/** @param {string} id @returns {any} the element; its type is known where it is used */
export const $ = (id) => document.getElementById(id);

/**
 * @param {string} tag
 * @param {Record<string, any>} [properties]  an `aria-…` or `data-…` key is set as an attribute
 * @param {...(Node|string)} children
 * @returns {any}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else /** @type {any} */ (element)[key] = value;
  }
  element.append(...children);
  return element;
}

/** @param {string} name of a symbol in index.html */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

/** Let an icon that is there show another symbol. @param {Element} parent @param {string} name */
export function setIcon(parent, name) {
  parent.querySelector("use")?.setAttribute("href", `#${name}`);
}
