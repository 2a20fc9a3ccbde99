// Nothing here may compile: the test holds the compiler's errors against these lines.

import type { AppRouter, OrdersCreated } from '@contracts/contracts.js';
import { createTRPCClient, httpBatchLink } from '@trpc/client';

const trpc = createTRPCClient<AppRouter>({ links: [httpBatchLink({ url: '/trpc' })] });
declare const order: OrdersCreated;

void trpc.orders.created.mutate({ ...order, total: 'much' }); // wrong
void trpc.orders.created.mutate({ ...order, state: 'lost' }); // wrong
void trpc.pubsub.publish.mutate({ channel: 'chat', name: 'chat:said', payload: 7 }); // wrong
void trpc.pubsub.sendEvent.mutate({ name: 'audit:noted', payload: { secret: 'x' } }); // wrong
