/* eslint-disable */
// Written by `pubsub codegen`. A small client for `pubsub-server`: calls go through `@trpc/client`, streams through an
// `EventSource` with single-use tickets, since it can send no header.

import { createTRPCClient, httpBatchLink, httpSubscriptionLink, splitLink } from '@trpc/client';
import type { TRPCClient } from '@trpc/client';
import type {
  AppRouter,
  ClientEventName,
  Cursor,
  EventChannels,
  EventEnvelope,
  EventOf,
  EventResults,
  Events,
  PublishInput,
  PublishOptions,
  PublishOutput,
  SendEventInput,
  SendEventOutput,
  SendOptions,
  ServerEventName,
} from './contracts.js';

/** As much of an `EventSource` as is needed here. */
export interface Source {
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  close(): void;
}

export interface PubSubOptions {
  /** Where the router of `pubsub-server` is mounted, such as `https://shop.example/api`. */
  url: string;
  /** The caller's token; asked for again for each request and each attempt to connect. */
  token?: () => string | undefined | Promise<string | undefined>;
  /** For runtimes that have none of their own. */
  EventSource?: new (url: string) => Source;
  /** For runtimes that have none of their own. */
  fetch?: (url: string, init?: any) => Promise<any>;
  reconnect?: {
    /** The pause before the first new attempt, in milliseconds; each further one is twice as long. 500. */
    first?: number;
    /** The longest pause, in milliseconds. 30,000. */
    longest?: number;
  };
}

export interface SubscribeHandlers<Name extends ServerEventName> {
  /** Only these events. */
  events?: readonly Name[];
  /** The position after which to start, or `earliest`. Live events only, if there is none. */
  lastEventId?: Cursor;
  onGap?: 'replay' | 'error';
  /** An event, and the position behind it. */
  onEvent: (event: EventOf<Name>, cursor: Cursor) => void;
  /** Events may be missing before what comes next: load again what they are about. */
  onMissed?: (gap: { requested: string; resumedAfter: Cursor | null }) => void;
  onState?: (state: 'connecting' | 'open' | 'closed') => void;
  /** The subscription is over: the server refuses the caller. */
  onError?: (error: Error) => void;
}

export interface Subscription {
  /** The position behind the last event. */
  readonly cursor: Cursor | undefined;
  close(): void;
}

export interface PubSub {
  /** The client that the calls go through, with a typed procedure for each event. */
  readonly trpc: TRPCClient<AppRouter>;
  /** Puts an event on a channel; no action runs. */
  publish<Name extends ServerEventName>(
    channel: EventChannels[Name],
    name: Name,
    payload: Events[Name],
    options?: PublishOptions,
  ): Promise<PublishOutput>;
  /** Sends an event as a client: its action runs, then it is published. */
  sendEvent<Name extends ClientEventName>(
    name: Name,
    payload: Events[Name],
    options?: SendOptions,
  ): Promise<SendEventOutput<EventResults[Name]>>;
  /** Listens to channels, and connects again behind the last event until it is closed. */
  subscribe<Name extends ServerEventName = ServerEventName>(
    channels: string | readonly string[],
    handlers: SubscribeHandlers<Name>,
  ): Subscription;
}

/** An answer that will be the same next time. */
class Refused extends Error {}

export function createPubSub(options: PubSubOptions): PubSub {
  const scope = globalThis as any;
  const url = options.url.replace(/\/+$/, '');
  const fetch: NonNullable<PubSubOptions['fetch']> = options.fetch ?? ((input, init) => scope.fetch(input, init));
  const token = async () => options.token?.();

  async function headers(): Promise<Record<string, string>> {
    const value = await token();
    return value === undefined ? {} : { authorization: `Bearer ${value}` };
  }

  const trpc = createTRPCClient<AppRouter>({
    links: [
      splitLink({
        condition: (operation) => operation.type === 'subscription',
        true: httpSubscriptionLink({
          url: `${url}/trpc`,
          EventSource: (options.EventSource ?? scope.EventSource) as any,
          connectionParams: async () => {
            const value = await token();
            return value === undefined ? null : { token: value };
          },
        }),
        false: httpBatchLink({ url: `${url}/trpc`, fetch, headers }),
      }),
    ],
  });

  /** A ticket for one connection; none for a caller without token. */
  async function ticket(): Promise<string | undefined> {
    const authorization = await headers();
    if (!authorization.authorization) return undefined;
    const response = await fetch(`${url}/sse-ticket`, { method: 'POST', headers: authorization });
    if (response.ok) return (await response.json()).ticket;
    const message = `no ticket: HTTP status ${response.status}`;
    throw response.status === 401 || response.status === 403 ? new Refused(message) : new Error(message);
  }

  function subscribe<Name extends ServerEventName>(
    channels: string | readonly string[],
    handlers: SubscribeHandlers<Name>,
  ): Subscription {
    const Source = options.EventSource ?? scope.EventSource;
    if (!Source) throw new Error('there is no EventSource: give one in the options');
    const first = options.reconnect?.first ?? 500;
    const longest = options.reconnect?.longest ?? 30_000;
    let cursor = handlers.lastEventId;
    let source: Source | undefined;
    let timer: any;
    let attempts = 0;
    let closed = false;

    function end(error?: Error) {
      if (closed) return;
      closed = true;
      scope.clearTimeout(timer);
      source?.close();
      handlers.onState?.('closed');
      if (error) handlers.onError?.(error);
    }

    function again() {
      source?.close();
      source = undefined;
      if (closed) return;
      handlers.onState?.('connecting');
      // Half of the pause is drawn at random: clients that lost one server do not come back all at once.
      const pause = Math.min(longest, first * 2 ** Math.min(attempts++, 16));
      timer = scope.setTimeout(open, pause * (0.5 + Math.random() / 2));
    }

    async function open() {
      const query: string[] = ['named=false'];
      const add = (key: string, value: string) => query.push(`${key}=${encodeURIComponent(value)}`);
      for (const channel of typeof channels === 'string' ? [channels] : channels) add('channel', channel);
      for (const name of handlers.events ?? []) add('event', name);
      if (cursor) add('lastEventId', cursor);
      if (handlers.onGap) add('onGap', handlers.onGap);
      try {
        const value = await ticket();
        if (value !== undefined) add('ticket', value);
      } catch (error) {
        return error instanceof Refused ? end(error) : again();
      }
      if (closed) return;
      const mine: Source = new Source(`${url}/events?${query.join('&')}`);
      source = mine;
      mine.onopen = () => {
        attempts = 0;
        handlers.onState?.('open');
      };
      mine.onmessage = (message: { data: string; lastEventId: string }) => {
        // What a source that was given up still has in hand comes again from the next one.
        if (closed || source !== mine) return;
        const event: EventEnvelope = JSON.parse(message.data);
        cursor = message.lastEventId || cursor;
        if (event.name === 'pubsub:gap') handlers.onMissed?.(event.payload as any);
        else handlers.onEvent(event as unknown as EventOf<Name>, message.lastEventId);
      };
      // By itself it would come back with the ticket that is used up.
      mine.onerror = () => {
        if (source === mine) again();
      };
    }

    handlers.onState?.('connecting');
    void open();
    return {
      get cursor() {
        return cursor;
      },
      close: () => end(),
    };
  }

  return {
    trpc,
    publish: (channel, name, payload, more) =>
      trpc.pubsub.publish.mutate({ ...more, channel, name, payload } as unknown as PublishInput),
    sendEvent: (name, payload, more) =>
      trpc.pubsub.sendEvent.mutate({ ...more, name, payload } as unknown as SendEventInput) as any,
    subscribe,
  };
}
