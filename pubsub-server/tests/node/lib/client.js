// Clients of tRPC as applications build them, with the stock links.

import {
  createTRPCClient,
  httpBatchLink,
  httpBatchStreamLink,
  httpLink,
  httpSubscriptionLink,
  splitLink,
  TRPCClientError,
} from '@trpc/client';
import { EventSource } from 'eventsource';

import { until } from './wait.js';

const LINKS = { single: httpLink, batch: httpBatchLink, stream: httpBatchStreamLink };

/**
 * A client of the server at `url`.
 *
 * `link` is one of `single`, `batch` and `stream`; `token` goes into a header, and for subscriptions into
 * `connectionParams`; `options` go to the link.
 */
export function client(url, { link = 'single', token, options = {}, subscriptions = {} } = {}) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const connectionParams = token ? { token } : undefined;
  return createTRPCClient({
    links: [
      splitLink({
        condition: (op) => op.type === 'subscription',
        true: httpSubscriptionLink({ url: `${url}/trpc`, EventSource, connectionParams, ...subscriptions }),
        false: LINKS[link]({ url: `${url}/trpc`, headers, ...options }),
      }),
    ],
  });
}

/** What a call fails with. */
export async function failure(call) {
  const outcome = await call.then(
    (value) => ({ value }),
    (error) => ({ error }),
  );
  if (!(outcome.error instanceof TRPCClientError)) {
    throw new Error(`no error of the server: ${outcome.error?.stack ?? JSON.stringify(outcome.value)}`);
  }
  return outcome.error;
}

/** A subscription, and everything that its client told of it. */
export class Subscription {
  items = [];
  states = [];
  started = 0;
  stopped = false;
  completed = false;
  error = null;
  #handle;

  constructor(procedure, input) {
    this.#handle = procedure.subscribe(input, {
      onStarted: () => (this.started += 1),
      onData: (item) => this.items.push(item),
      onError: (error) => (this.error = error),
      onStopped: () => (this.stopped = true),
      onComplete: () => (this.completed = true),
      onConnectionStateChange: (state) => this.states.push(state),
    });
  }

  /** Opens one, and waits until it is connected. */
  static async open(procedure, input) {
    const subscription = new Subscription(procedure, input);
    await subscription.has((all) => all.started > 0 || all.error, 'a connection');
    if (subscription.error) throw subscription.error;
    return subscription;
  }

  /** Waits for a condition on what was told so far. */
  async has(condition, what, deadline) {
    const seen = () => `${what}; seen: ${JSON.stringify(this.items).slice(0, 600)} ${this.error ?? ''}`;
    return until(() => condition(this), seen, deadline);
  }

  /** Waits for that many items. */
  async count(count) {
    await this.has((all) => all.items.length >= count || all.error, `${count} items`);
    if (this.error) throw this.error;
    return this.items;
  }

  /** Waits for the error that ends it. */
  async fails() {
    await this.has((all) => all.error, 'an error');
    return this.error;
  }

  payloads() {
    return this.items.map((item) => item.data.payload);
  }

  close() {
    this.#handle.unsubscribe();
  }
}
