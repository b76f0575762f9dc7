// Cuts a stream of text into server-sent events. It keeps what is incomplete and opens nothing.

/** @typedef {{ event: string, data: string, id: string | null }} SseEvent */

/**
 * A parser of `text/event-stream` for one stream: feed it pieces as they come, cut anywhere.
 *
 * @returns {(piece: string) => SseEvent[]} the events that the piece completed; comments yield none
 */
export function sseParser() {
  let rest = '';
  /** @type {{ event: string, data: string[], id: string | null }} */
  let open = { event: '', data: [], id: null };

  return piece => {
    /** @type {SseEvent[]} */
    const events = [];
    rest += piece;
    // A CR at the very end may be half of a CRLF: it waits for the next piece.
    const lines = /([^\r\n]*)(\r\n|\n|\r(?!$))/g;
    let read = 0;
    for (let found = lines.exec(rest); found; found = lines.exec(rest)) {
      read = lines.lastIndex;
      const line = /** @type {string} */ (found[1]);
      if (line !== '') {
        take(line);
        continue;
      }
      if (open.data.length > 0) events.push({ event: open.event || 'message', data: open.data.join('\n'), id: open.id });
      open = { event: '', data: [], id: null };
    }
    rest = rest.slice(read);
    return events;
  };

  /** @param {string} line */
  function take(line) {
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1));
    if (name === 'data') open.data.push(value);
    if (name === 'event') open.event = value;
    if (name === 'id') open.id = value;
  }
}
