// Names of channels that no other test uses.

import { randomUUID } from 'node:crypto';

/** A channel of this family: `demo`, `short`, `tiny` or `secure`. */
export function channel(family = 'demo') {
  return `${family}.${randomUUID().slice(0, 13)}`;
}

/** An identifier. */
export function id() {
  return randomUUID();
}

/** A URL's path to a procedure with its input. */
export function call(procedure, input, more = '') {
  const query = input === undefined ? '' : `input=${encodeURIComponent(JSON.stringify(input))}`;
  const parameters = [query, more].filter(Boolean).join('&');
  return `/trpc/${procedure}${parameters && '?'}${parameters}`;
}
