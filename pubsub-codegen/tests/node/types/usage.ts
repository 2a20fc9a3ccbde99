// What a program writes. Each `@ts-expect-error` is a mistake that the compiler has to find: where it finds none, it
// reports the line.

import { createTRPCClient, httpBatchLink, httpSubscriptionLink, splitLink, TRPCClientError } from '@trpc/client';
import type { inferRouterInputs, inferRouterOutputs } from '@trpc/server';
import type {
  AppRouter,
  EventEnvelope,
  EventOf,
  Events,
  OrdersCreated,
  OrdersCreatedReply,
  Payment,
  State,
  StatsMeasured,
  UndeclaredEventName,
} from '@contracts/contracts.js';
import { createPubSub } from '@contracts/client.js';

const trpc = createTRPCClient<AppRouter>({
  links: [
    splitLink({
      condition: (operation) => operation.type === 'subscription',
      true: httpSubscriptionLink({ url: '/trpc', connectionParams: () => ({ token: 'x' }) }),
      false: httpBatchLink({ url: '/trpc' }),
    }),
  ],
});

/** Compiles only if both are the same type. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function holds<T extends true>(_?: T): void {}

const order: OrdersCreated = {
  contact: { mail: 'a@b' },
  createdBy: 'me',
  lines: [{ sku: 'x', quantity: 1, size: [1, 2, 'cm'], corners: [1, 2, 3, 4], parts: [] }],
  orderId: 'A-1',
  payment: { kind: 'card', number: '4', expires: null },
  shape: { Box: [1, 2] },
  state: 'in-work',
  tags: [],
  total: 1.5,
  'user-id': null,
};

export async function calls() {
  const reply = await trpc.orders.created.mutate(order);
  holds<Same<typeof reply, { number: number; success: boolean }>>();
  const fits: OrdersCreatedReply = reply;

  // @ts-expect-error a field is missing
  await trpc.orders.created.mutate({ orderId: 'A-1', total: 1 });
  // @ts-expect-error a field has another type
  await trpc.orders.created.mutate({ ...order, total: '1.5' });
  // @ts-expect-error there is no such field
  await trpc.orders.created.mutate({ ...order, totals: 1.5 });
  // @ts-expect-error it is a mutation
  await trpc.orders.created.query(order);
  // @ts-expect-error there is no such procedure
  await trpc.orders.removed.mutate(order);
  // @ts-expect-error the reply has no such field
  reply.nothing;

  const targets = await trpc.netTargets.listAll.query({ prefix: null });
  const sku: string | undefined = targets[0]?.line.sku;
  await trpc.netTargets.listAll.query({});
  // @ts-expect-error a query cannot be mutated
  await trpc.netTargets.listAll.mutate({});

  await trpc.chat.said.mutate('hello');
  await trpc.chat.left.mutate(null);
  // @ts-expect-error a word is no number
  await trpc.chat.said.mutate(7);
  // @ts-expect-error what stays among services has no procedure
  trpc.audit;
  return [fits, sku];
}

export function streams() {
  const subscription = trpc.orders.onCreated.subscribe(undefined, {
    onData(item) {
      const cursor: string = item.id;
      const total: number = item.data.payload.total;
      const name: 'orders:created' = item.data.name;
      // @ts-expect-error the payload has no such field
      item.data.payload.totals;
      return [cursor, total, name];
    },
    onError(error) {
      const pointer: string | undefined = error.data?.issues?.[0]?.pointer;
      return pointer;
    },
  });
  trpc.stats.onMeasured.subscribe({ lastEventId: 'earliest', onGap: 'error' }, { onData: (item) => item.data.payload.byName.x });
  // @ts-expect-error there is no such word
  trpc.stats.onMeasured.subscribe({ onGap: 'ignore' }, { onData: () => {} });
  // @ts-expect-error clients only send it
  trpc.chat.onLeft;
  trpc.pubsub.subscribe.subscribe({ channels: ['orders', 'chat'] }, { onData: (item) => item.data.name });
  // @ts-expect-error one or several
  trpc.pubsub.subscribe.subscribe({ channel: 'orders', channels: ['chat'] }, { onData: () => {} });
  subscription.unsubscribe();
}

export async function own() {
  await trpc.pubsub.publish.mutate({ channel: 'orders', name: 'orders:created', payload: order });
  await trpc.pubsub.publish.mutate({ channel: 'demo', name: 'demo:x' as UndeclaredEventName, payload: [1] });
  // @ts-expect-error the payload of another event
  await trpc.pubsub.publish.mutate({ channel: 'chat', name: 'chat:said', payload: order });
  // @ts-expect-error the channel of another event
  await trpc.pubsub.publish.mutate({ channel: 'chat', name: 'orders:created', payload: order });
  // @ts-expect-error only clients send it
  await trpc.pubsub.publish.mutate({ channel: 'chat', name: 'chat:left', payload: null });

  const sent = await trpc.pubsub.sendEvent.mutate({ name: 'chat:said', payload: 'hello', clientEventId: '1' });
  const first: EventEnvelope | undefined = sent.emittedEvents[0];
  // @ts-expect-error the server sends it
  await trpc.pubsub.sendEvent.mutate({ name: 'stats:measured', payload: {} });
  // @ts-expect-error the payload of another event
  await trpc.pubsub.sendEvent.mutate({ name: 'chat:said', payload: order });

  const history = await trpc.pubsub.fetchHistory.query({ channel: 'orders', limit: 10 });
  const latest: string | null = history.latest;
  const channels = await trpc.pubsub.listChannels.query();
  const size: number | null = channels.channels[0]!.historySize;
  const up: number = (await trpc.pubsub.getServiceStatus.query()).uptime;
  const schema = (await trpc.pubsub.getEventDefinitions.query()).definitions['orders:created']?.payloadSchema;
  await trpc.pubsub.health.query();
  return [first, latest, size, up, schema];
}

export function kinds(measured: StatsMeasured, payment: Payment, event: EventOf<'orders:created' | 'chat:said'>) {
  const by: number | undefined = measured.byNumber['7']?.value;
  const nested: (boolean | null)[][] = measured.nested;
  if (payment.kind === 'invoice') {
    const days: number = payment.days;
    // @ts-expect-error of another variant
    payment.number;
    return days;
  }
  // Names tell events apart.
  const text: string = event.name === 'chat:said' ? event.payload : event.payload.orderId;
  const states: State[] = ['open', 'in-work', 'done'];
  // @ts-expect-error no such state
  states.push('closed');
  // @ts-expect-error a tuple of three
  order.lines[0]!.size = [1, 2];
  // @ts-expect-error four corners
  order.lines[0]!.corners = [1, 2, 3];
  // @ts-expect-error none of the shapes
  order.shape = { Triangle: 1 };
  const odd: Events['odd:every-thing'] = {
    constant: 'yes',
    literals: 'two',
    pair: [1],
    tuple: ['a', 1, 2],
    both: { a: 1, extra: 'b' },
    open: { known: 'a', other: 1 },
    itself: { constant: 'yes' },
  };
  // @ts-expect-error another constant
  odd.constant = 'no';
  // @ts-expect-error nothing fits
  odd.never = 1;
  return [by, nested, text, odd];
}

export type Inputs = inferRouterInputs<AppRouter>['orders']['created'];
export type Outputs = inferRouterOutputs<AppRouter>['netTargets']['listAll'];
holds<Same<Inputs, OrdersCreated>>();
const outputs: Outputs = [];

export async function helper() {
  const pubsub = createPubSub({ url: '/api', token: async () => 'x' });
  await pubsub.publish('orders', 'orders:created', order, { id: '1' });
  // @ts-expect-error the channel of another event
  await pubsub.publish('chat', 'orders:created', order);
  // @ts-expect-error a wrong payload
  await pubsub.publish('chat', 'chat:said', 7);
  const sent = await pubsub.sendEvent('orders:created', order);
  const number: number = sent.result.number;
  // @ts-expect-error a wrong payload
  await pubsub.sendEvent('orders:created', { orderId: 'A-1' });
  // @ts-expect-error the server sends it
  await pubsub.sendEvent('stats:measured', {});
  const subscription = pubsub.subscribe(['orders', 'chat'], {
    events: ['orders:created', 'chat:said'],
    onEvent(event, cursor) {
      const id: string = event.name === 'orders:created' ? event.payload.orderId : event.payload;
      return id + cursor;
    },
    onMissed: (gap) => gap.resumedAfter,
  });
  // @ts-expect-error the server never sends it
  pubsub.subscribe('chat', { events: ['chat:left'], onEvent: () => {} });
  subscription.close();
  try {
    await pubsub.trpc.chat.left.mutate(null);
  } catch (error) {
    if (error instanceof TRPCClientError) return error.message;
  }
  return [number, outputs];
}
