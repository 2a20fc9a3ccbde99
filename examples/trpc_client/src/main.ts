// The chat of the example `sse_axum`, through the stock client of tRPC: `npm ci && npm start -- http://127.0.0.1:PORT/api`.
//
// `chat.d.ts` is all that this program knows of the server: `cargo run --example sse_axum --features web -- --types` writes it.

import { createTRPCClient, httpBatchLink, httpSubscriptionLink, splitLink, TRPCClientError } from '@trpc/client';
import { EventSource } from 'eventsource';
import type { AppRouter } from './chat.js';

const server = process.argv[2] ?? 'http://127.0.0.1:8080/api';

/** A client with this token, or without one. */
const client = (token?: string) =>
  createTRPCClient<AppRouter>({
    links: [
      splitLink({
        condition: (operation) => operation.type === 'subscription',
        // Reconnects by itself, with the id of the last event.
        true: httpSubscriptionLink({ url: `${server}/trpc`, EventSource }),
        false: httpBatchLink({ url: `${server}/trpc`, headers: token ? { authorization: `Bearer ${token}` } : {} }),
      }),
    ],
  });

const [stranger, member] = [client(), client('letmein')];

try {
  await stranger.chat.said.mutate({ text: 'let me in' });
} catch (error) {
  if (!(error instanceof TRPCClientError)) throw error;
  console.log(`a stranger: ${error.data?.code}`);
}

const texts = ['hello', 'goodbye'];
const heard: string[] = [];
const all = new Promise<void>((resolve, reject) => {
  const subscription = stranger.chat.onSaid.subscribe(
    { lastEventId: 'earliest' },
    {
      // `data` is the envelope, with the payload's type; `id` is where to go on.
      onData: ({ data }) => {
        heard.push(data.payload.text);
        if (heard.length < texts.length) return;
        subscription.unsubscribe();
        resolve();
      },
      onError: reject,
    },
  );
});
for (const text of texts) {
  const { letters } = await member.chat.said.mutate({ text });
  console.log(`a member says "${text}", which has ${letters} letters`);
}
await all;
console.log(`everybody hears ${heard.join(', ')}`);
