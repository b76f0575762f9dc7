// The SSE link: a streamed answer one way, requests the other. Read with `fetch`, which can send a token where EventSource cannot.

import { readMessage } from '../wire/message.js';
import { sseParser } from '../wire/sse.js';
import { endOf, endOfOpen, hangUp, request, sender } from './http.js';

/** @typedef {import('./open.js').End} End */
/** @typedef {import('./open.js').Link} Link */
/** @typedef {import('./open.js').LinkEvents} LinkEvents */
/** @typedef {import('./open.js').LinkOptions} LinkOptions */

/**
 * @param {string} links address under which links are opened
 * @param {LinkOptions} options
 * @param {LinkEvents} events
 * @returns {Link}
 */
export function openSse(links, options, events) {
  const cut = new AbortController();
  let address = '';
  const out = sender(options, cut.signal, error => finish(endOfOpen(error)));
  queueMicrotask(() => void read());
  return {
    send: message => out.send(message),
    close: () => {
      if (cut.signal.aborted) return;
      cut.abort();
      if (address) hangUp(options, address, out.token);
    },
  };

  async function read() {
    if (cut.signal.aborted) return;
    try {
      const response = await request(options, links, {
        method: 'POST', token: options.token, body: [], headers: { Accept: 'text/event-stream' }, signal: cut.signal,
      });
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      const parse = sseParser();
      for (let piece = await reader?.read(); piece && !piece.done; piece = await reader?.read()) {
        if (cut.signal.aborted) return;
        events.alive();
        for (const event of parse(piece.value)) take(event);
      }
      finish({ code: 1006 });
    } catch (error) {
      finish(endOf(error));
    }
  }

  /** @param {import('../wire/sse.js').SseEvent} event */
  function take({ event, data }) {
    if (cut.signal.aborted) return;
    if (event === 'close') return finish(readEnd(data));
    let message;
    try {
      message = readMessage(data, options.parse);
    } catch {
      events.garbage();
      return;
    }
    if (message?.ev !== 'link') return events.frame(message);
    address = `${links}/${encodeURIComponent(message.link)}`;
    events.opened();
    out.start(address);
  }

  /** @param {End} end */
  function finish(end) {
    if (cut.signal.aborted) return;
    cut.abort();
    events.closed(end);
  }
}

/**
 * @param {string} data
 * @returns {End}
 */
function readEnd(data) {
  try {
    const { code, reason } = JSON.parse(data);
    return { code: Number(code), reason: String(reason ?? '') };
  } catch {
    return { code: 1006 };
  }
}
