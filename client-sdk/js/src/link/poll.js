// The poll link: held requests that fetch what came meanwhile. Works wherever a web page works.

import { HearthError } from '../errors.js';
import { checkMessage } from '../wire/message.js';
import { LinkEnd, REQUEST_MS_MAX, endOf, endOfOpen, hangUp, insist, request, sender, within } from './http.js';

/** @typedef {import('./open.js').End} End */
/** @typedef {import('./open.js').Link} Link */
/** @typedef {import('./open.js').LinkEvents} LinkEvents */
/** @typedef {import('./open.js').LinkOptions} LinkOptions */

/** How long the server is asked to hold a poll; less than what keeps a link alive without contact. */
export const WAIT_S = 25;

/**
 * @param {string} links address under which links are opened
 * @param {LinkOptions} options
 * @param {LinkEvents} events
 * @returns {Link}
 */
export function openPoll(links, options, events) {
  const cut = new AbortController();
  let address = '';
  const out = sender(options, cut.signal, error => finish(endOfOpen(error)));
  queueMicrotask(() => void run());
  return {
    send: message => out.send(message),
    close: () => {
      if (cut.signal.aborted) return;
      cut.abort();
      if (address) hangUp(options, address, out.token);
    },
  };

  async function run() {
    if (cut.signal.aborted) return;
    try {
      const { link } = /** @type {{ link?: unknown }} */ (await within(cut.signal, REQUEST_MS_MAX, async signal => {
        const headers = { Prefer: 'wait=0' };
        return (await request(options, links, { method: 'POST', token: options.token, body: [], headers, signal })).json();
      }));
      if (typeof link !== 'string' || cut.signal.aborted) return finish({ code: 1006 });
      address = `${links}/${encodeURIComponent(link)}`;
      events.opened();
      out.start(address);
      for (let ack = 0; !cut.signal.aborted; ) ack = take(ack, await insist(() => poll(ack), cut.signal));
    } catch (error) {
      if (error instanceof HearthError && !cut.signal.aborted) return events.garbage();
      finish(address ? endOfOpen(error) : endOf(error));
    }
  }

  /**
   * @param {number} ack
   * @returns {Promise<Polled>}
   */
  async function poll(ack) {
    return within(cut.signal, WAIT_S * 1000 + REQUEST_MS_MAX, async signal => {
      const headers = { Prefer: `wait=${WAIT_S}` };
      const answer = await request(options, address, { method: 'POST', token: out.token, body: { ack }, headers, signal });
      return /** @type {Polled} */ ((options.parse ?? JSON.parse)(await answer.text()));
    });
  }

  /**
   * @param {number} ack
   * @param {Polled} polled
   * @returns {number} the number of the last message
   */
  function take(ack, { from, frames, close }) {
    if (from !== ack + 1 || !Array.isArray(frames)) throw new HearthError('data-loss', 'a poll was answered out of order');
    events.alive();
    for (const frame of frames) {
      if (cut.signal.aborted) break;
      events.frame(checkMessage(frame));
    }
    if (close) throw new LinkEnd(close);
    return ack + frames.length;
  }

  /** @param {End} end */
  function finish(end) {
    if (cut.signal.aborted) return;
    cut.abort();
    events.closed(end);
  }
}

/** @typedef {{ from: number, frames: unknown[], close?: End }} Polled */
