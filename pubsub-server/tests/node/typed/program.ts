// What a page's program writes with the client that is generated for the demonstration server. It is compiled beside that
// client. Each `@ts-expect-error` is a mistake that the compiler has to find: where it finds none, it reports the line.

import { EventSource } from 'eventsource';
import { TRPCClientError } from '@trpc/client';
import { createPubSub } from './client.js';
import type { PubSub, Subscription } from './client.js';
import type { AppRouter } from './contracts.js';

export function connect(url: string, token?: () => string): PubSub {
  const reconnect = { first: 20, longest: 200 };
  return createPubSub(token ? { url, EventSource, reconnect, token } : { url, EventSource, reconnect });
}

/** Asks twice with one id, and gives what the two answers say. */
export async function ping(pubsub: PubSub, message: string, clientEventId: string) {
  const first = await pubsub.sendEvent('ping:message', { message }, { clientEventId });
  const again = await pubsub.sendEvent('ping:message', { message }, { clientEventId });
  // @ts-expect-error the payload of another event
  void (() => pubsub.sendEvent('ping:message', { orderId: 'A' }));
  // @ts-expect-error the reply has no such field
  void first.result.number;
  const reply: string = first.result.reply;
  return { reply, again: again.result.reply, duplicates: [first.duplicate, again.duplicate], emitted: first.emittedEvents.map((event) => event.name) };
}

export async function publish(pubsub: PubSub, orderId: string, total: number, id?: string) {
  // @ts-expect-error clients only send it
  void (() => pubsub.publish('pingpong', 'ping:message', { message: 'x' }));
  // @ts-expect-error the channel of another event
  void (() => pubsub.publish('pingpong', 'orders:created', { orderId, total }));
  return pubsub.publish('orders', 'orders:created', { orderId, total }, id === undefined ? {} : { id });
}

/** By the procedure of the event. */
export async function create(pubsub: PubSub, orderId: string, total: number): Promise<boolean> {
  return (await pubsub.trpc.orders.created.mutate({ orderId, total })).success;
}

export interface Heard {
  orders: string[];
  missed: number;
  states: string[];
  errors: string[];
  subscription: Subscription;
}

export function listen(pubsub: PubSub, channels: string | string[], onGap: 'replay' | 'error' = 'replay'): Heard {
  const heard = { orders: [] as string[], missed: 0, states: [] as string[], errors: [] as string[] };
  const subscription = pubsub.subscribe(channels, {
    onGap,
    onEvent(event) {
      // Names tell events apart.
      if (event.name === 'orders:created') heard.orders.push(event.payload.orderId);
      else if (event.name === 'pong:response') heard.orders.push(event.payload.reply);
    },
    onMissed: () => heard.missed++,
    onState: (state) => heard.states.push(state),
    onError: (error) => heard.errors.push(error.message),
  });
  return Object.assign(heard, { subscription });
}

/** The code with which a call is refused, and where the payload is at fault. */
export async function refusal(call: () => Promise<unknown>): Promise<{ code: string | undefined; status: number | undefined; pointers: string[] }> {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof TRPCClientError)) throw error;
    const { data } = error as TRPCClientError<AppRouter>;
    return { code: data?.code, status: data?.httpStatus, pointers: data?.issues?.map(({ pointer }) => pointer) ?? [] };
  }
  throw new Error('it was not refused');
}
