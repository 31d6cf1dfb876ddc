// @ts-check
/** Messages of the gateway's WebSocket: 4 bytes of length, the header (msgpack), the payload. Pure. */

const text = new TextDecoder();

/**
 * @typedef {object} Header  A header of docs/protocol.md; media has `kind`, events have `event`.
 * @property {string} [kind] "init" or "media"
 * @property {string} [event]
 * @property {string} [boot]
 * @property {number} [seq]
 * @property {number} [n]
 * @property {number} [gen]
 * @property {number} [turn]
 * @property {number} [pts] microseconds
 * @property {number} [dur] microseconds
 * @property {string} [mime]
 * @property {any} [data]
 */

/** Reads one msgpack value at a time. A 64-bit integer that a number cannot hold becomes a BigInt. */
class Reader {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  /** @param {number} length @returns {number} where it begins */
  skip(length) {
    const from = this.at;
    this.at += length;
    if (this.at > this.bytes.length) throw new RangeError("the header ends in the middle of a value");
    return from;
  }

  /** @param {number} size 1, 2 or 4 bytes */
  unsigned(size) {
    const at = this.skip(size);
    return size === 1 ? this.view.getUint8(at) : size === 2 ? this.view.getUint16(at) : this.view.getUint32(at);
  }

  /** @param {boolean} signed */
  long(signed) {
    const at = this.skip(8);
    const value = signed ? this.view.getBigInt64(at) : this.view.getBigUint64(at);
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }

  /** @param {number} length */
  bin(length) {
    const at = this.skip(length);
    return this.bytes.subarray(at, at + length);
  }

  /** @param {number} length */
  list(length) {
    const items = [];
    for (let i = 0; i < length; i += 1) items.push(this.value());
    return items;
  }

  /** @param {number} length */
  map(length) {
    /** @type {Record<string, any>} */
    const map = Object.create(null);
    for (let i = 0; i < length; i += 1) {
      const key = String(this.value());
      map[key] = this.value();
    }
    return map;
  }

  /** @returns {any} */
  value() {
    const type = this.unsigned(1);
    if (type < 0x80) return type;
    if (type < 0x90) return this.map(type & 15);
    if (type < 0xa0) return this.list(type & 15);
    if (type < 0xc0) return text.decode(this.bin(type & 31));
    if (type >= 0xe0) return type - 256;
    switch (type) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return this.bin(this.unsigned(1 << (type - 0xc4)));
      case 0xca: return this.view.getFloat32(this.skip(4));
      case 0xcb: return this.view.getFloat64(this.skip(8));
      case 0xcc: case 0xcd: case 0xce: return this.unsigned(1 << (type - 0xcc));
      case 0xcf: return this.long(false);
      case 0xd0: return this.view.getInt8(this.skip(1));
      case 0xd1: return this.view.getInt16(this.skip(2));
      case 0xd2: return this.view.getInt32(this.skip(4));
      case 0xd3: return this.long(true);
      case 0xd9: case 0xda: case 0xdb: return text.decode(this.bin(this.unsigned(1 << (type - 0xd9))));
      case 0xdc: case 0xdd: return this.list(this.unsigned(2 << (type - 0xdc)));
      case 0xde: case 0xdf: return this.map(this.unsigned(2 << (type - 0xde)));
      default: throw new RangeError(`no header has the msgpack type 0x${type.toString(16)}`);
    }
  }
}

/** @param {Uint8Array} bytes one msgpack value @throws {RangeError} it is none */
export function unpack(bytes) {
  const reader = new Reader(bytes);
  const value = reader.value();
  if (reader.at !== bytes.length) throw new RangeError(`${bytes.length - reader.at} bytes follow the header`);
  return value;
}

/**
 * @param {ArrayBuffer} message
 * @returns {{header: Header, payload: Uint8Array<ArrayBuffer>}} the payload is a view into the message
 * @throws {RangeError} the message is none
 */
export function parse(message) {
  if (message.byteLength < 4) throw new RangeError(`a message of ${message.byteLength} bytes has no header`);
  const end = 4 + new DataView(message).getUint32(0);
  if (end > message.byteLength) throw new RangeError("the header is longer than its message");
  return { header: unpack(new Uint8Array(message, 4, end - 4)), payload: new Uint8Array(message, end) };
}
