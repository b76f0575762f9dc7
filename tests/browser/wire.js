// A wire between a browser and the server that can be cut, and that can keep answers back.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** @typedef {import('node:net').Socket} Socket */

/** Carries bytes to a server, until it is cut. */
export class Wire {
  /** What a browser is to be pointed at. */
  host = '';
  /** @type {Set<Socket>} */
  #ends = new Set();
  #whole = true;
  /** @type {{ from: string, swallowed: () => void } | null} */
  #swallow = null;
  #server = createServer(near => this.#carry(near));

  /** @param {string} to such as `http://127.0.0.1:8080` */
  constructor(to) {
    this.port = Number(new URL(to).port);
  }

  /**
   * @param {string} to
   * @returns {Promise<Wire>}
   */
  static async to(to) {
    const wire = new Wire(to);
    await once(wire.#server.listen(0, '127.0.0.1'), 'listening');
    wire.host = `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (wire.#server.address()).port}`;
    return wire;
  }

  /** Ends what runs over it, and refuses what comes. */
  cut() {
    this.#whole = false;
    for (const end of this.#ends) end.destroy();
  }

  /**
   * Leads to another server from now on.
   *
   * @param {string} to
   */
  turn(to) {
    this.cut();
    this.port = Number(new URL(to).port);
    this.mend();
  }

  mend() {
    this.#whole = true;
    this.#swallow = null;
  }

  /**
   * Swallows what the server sends from `from` on, on each connection on its own.
   *
   * @param {string} from stands in one piece, and not in what else is loaded
   * @returns {Promise<void>} once it has happened
   */
  swallow(from) {
    return new Promise(swallowed => (this.#swallow = { from, swallowed }));
  }

  async close() {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }

  /** @param {Socket} near */
  #carry(near) {
    if (!this.#whole) return void near.destroy();
    const far = connect(this.port, '127.0.0.1');
    let swallows = false;
    far.on('data', piece => {
      if (swallows) return;
      const at = this.#swallow ? piece.indexOf(this.#swallow.from) : -1;
      swallows = at >= 0;
      near.write(swallows ? piece.subarray(0, at) : piece);
      if (swallows) this.#swallow?.swallowed();
    });
    near.on('data', piece => far.write(piece));
    for (const [end, other] of /** @type {const} */ ([[near, far], [far, near]])) {
      end.setNoDelay();
      this.#ends.add(end);
      // Whatever ends one end ends the other.
      end.on('error', () => {});
      end.on('close', () => {
        this.#ends.delete(end);
        other.destroy();
      });
    }
  }
}
