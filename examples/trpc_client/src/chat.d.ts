/* eslint-disable */
// Written by `pubsub codegen` from the event definitions of the program. What is changed here is lost.

import type {
  TRPCBuiltRouter,
  TRPCMutationProcedure,
  TRPCQueryProcedure,
  TRPCSubscriptionProcedure,
} from '@trpc/server';

/** A position in a channel, or in several. Opaque: keep it, and give it back as `lastEventId`. */
export type Cursor = string;

/** What goes with an event. */
export interface EventMeta {
  clientEventId?: string;
  correlationId?: string;
  userId?: string;
  /** Whether a caller published it or an action emitted it. */
  source?: 'api' | 'action';
  version?: number;
  key?: string;
  [key: string]: unknown;
}

/** An event. */
export interface EventEnvelope<Name extends string = string, Payload = unknown, Channel extends string = string> {
  id: string;
  name: Name;
  channel: Channel;
  payload: Payload;
  /** In place of the payload, where that is not JSON. */
  payloadBase64?: string;
  contentType?: string;
  /** RFC 3339, UTC. */
  timestamp: string;
  meta?: EventMeta;
}

/** An event of a stream or a history, and the position behind it. */
export interface Item<Event = EventEnvelope> {
  id: Cursor;
  data: Event;
}

/**
 * Somebody said something.
 *
 * Event `chat:said`, version 1.
 */
export interface ChatSaid {
  /** @minLength 1 */
  text: string;
}

/** The reply to event `chat:said`, version 1. */
export interface ChatSaidReply {
  /**
   * @format uint
   * @minimum 0
   */
  letters: number;
}

/** The payload of each event, in its newest version. */
export interface Events {
  'chat:said': ChatSaid;
}

/** The channel of each event. */
export interface EventChannels {
  'chat:said': 'chat';
}

/** What the action behind each event returns. */
export interface EventResults {
  'chat:said': ChatSaidReply;
}

/** The events that the server sends to clients. */
export type ServerEventName = 'chat:said';

/** The events that clients may send. */
export type ClientEventName = 'chat:said';

/** The event of a name, as it comes from the server. */
export type EventOf<Name extends ServerEventName> = Name extends ServerEventName
  ? EventEnvelope<Name, Events[Name], EventChannels[Name]>
  : never;

/** The name of an event that is in no catalog: `'demo:x' as UndeclaredEventName`, for channels that allow it. */
export type UndeclaredEventName = string & { readonly undeclared: never };

export interface PublishOptions {
  /** Repeat it after an uncertain failure: the event is published once. */
  id?: string;
  meta?: Record<string, unknown>;
  correlationId?: string;
}

export type PublishInput =
  | { [Name in ServerEventName]: PublishOptions & { channel: EventChannels[Name]; name: Name; payload: Events[Name] } }[ServerEventName]
  | (PublishOptions & { channel: string; name: UndeclaredEventName; payload?: unknown });

export interface PublishOutput {
  success: true;
  eventId: string;
  channel: string;
  /** `null` where the broker does not tell it. */
  cursor: Cursor | null;
  timestamp: string;
  duplicate: boolean;
}

export interface SendOptions {
  /** Repeat it after an uncertain failure: the action runs once. */
  clientEventId?: string;
  correlationId?: string;
}

export type SendEventInput = {
  [Name in ClientEventName]: SendOptions & {
    name: Name;
    payload: Events[Name];
    channel?: EventChannels[Name];
    options?: SendOptions & { immediate?: boolean };
  };
}[ClientEventName];

export interface SendEventOutput<Result = unknown> {
  success: true;
  status: 'success';
  eventId: string;
  channel: string;
  requestId: string;
  /** What the action returned; `null` without action. */
  result: Result;
  /** The sent event, and after it those that the action emitted. */
  emittedEvents: EventEnvelope[];
  duplicate: boolean;
  message: string;
}

export interface ResumeInput {
  /** The position after which to start, or `earliest`. Live events only, if there is none. */
  lastEventId?: Cursor;
  /** What to do when the position is gone: start with all that is kept, after a `pubsub:gap`; or fail. */
  onGap?: 'replay' | 'error';
}

interface SubscribeOptions extends ResumeInput {
  eventTypes?: string[];
  filters?: { name?: string | string[] };
  cursor?: Cursor;
}

export type SubscribeInput = SubscribeOptions & ({ channel: string; channels?: never } | { channels: string[]; channel?: never });

export interface FetchHistoryInput {
  channel: string;
  after?: Cursor;
  /** RFC 3339. */
  since?: string;
  /** 1 to 1000, by default 100. */
  limit?: number;
}

export interface History {
  channel: string;
  items: Item[];
  hasMore: boolean;
  /** The position of the newest event: a subscription from there misses nothing. */
  latest: Cursor | null;
}

export interface ChannelInfo {
  name: string;
  pattern: boolean;
  family: string | null;
  description: string | null;
  eventTypes: string[];
  ordered: boolean;
  historySize: number | null;
  historyRetentionMs: number | null;
  maxSubscribers: number | null;
  maxEventSize: number | null;
  activeSubscribers: number;
  latest: Cursor | null;
}

export interface EventDefinition {
  name: string;
  channel: string;
  direction: 'SSE' | 'CSE' | 'BOTH' | 'INTERNAL';
  description: string | null;
  version: number | null;
  /** JSON Schema. */
  payloadSchema: Record<string, unknown> | boolean | null;
}

export interface EventDefinitions {
  events: string[];
  definitions: Record<string, EventDefinition>;
  totalEvents: number;
}

export interface ServiceStatus {
  status: 'running' | 'draining' | 'degraded';
  version: string;
  adapter: string;
  eventsRegistered: number;
  channels: string[];
  activeSubscribers: number;
  /** Seconds. */
  uptime: number;
  timestamp: string;
}

export interface SubscriptionStats {
  totalSubscriptions: number;
  activeChannels: string[];
  perChannel: Record<string, number>;
  slowConsumersDropped: number;
  connectionStatus: string;
  lastActivity: string | null;
}

export interface HealthReport {
  healthy: boolean;
  details: unknown;
}

/** A fault of an input, and where it lies. */
export interface Issue {
  /** JSON pointer. */
  pointer: string;
  message: string;
}

/** What `error.shape` of a `TRPCClientError` is. */
export interface ErrorShape {
  message: string;
  code: import('@trpc/server').TRPC_ERROR_CODE_NUMBER;
  data: {
    code: import('@trpc/server').TRPC_ERROR_CODE_KEY;
    httpStatus: number;
    path?: string;
    issues?: Issue[];
  };
}

type Query<Input, Output> = TRPCQueryProcedure<{ meta: unknown; input: Input; output: Output }>;
type Mutation<Input, Output> = TRPCMutationProcedure<{ meta: unknown; input: Input; output: Output }>;
type Subscription<Input, Event> = TRPCSubscriptionProcedure<{
  meta: unknown;
  input: Input;
  output: AsyncIterable<Item<Event>>;
}>;

/** The type for `createTRPCClient<AppRouter>`. */
export type AppRouter = TRPCBuiltRouter<
  {
    ctx: object;
    meta: object;
    errorShape: ErrorShape;
    // There is none. But by `false`, tRPC would make each type what JSON leaves of it, which these are already, and in
    // doing so would let everything `unknown` be missing.
    transformer: boolean;
  },
  AppRecord
>;

type AppRecord = {
  pubsub: {
    /** Puts an event on a channel; no action runs. */
    publish: Mutation<PublishInput, PublishOutput>;
    /** Sends an event as a client: its action runs, then it is published. */
    sendEvent: Mutation<SendEventInput, SendEventOutput>;
    /** Past events of a channel, oldest first. */
    fetchHistory: Query<FetchHistoryInput, History>;
    /** The channels that the caller may read. */
    listChannels: Query<{ family?: string } | void, { channels: ChannelInfo[] }>;
    getChannelInfo: Query<{ channel: string }, ChannelInfo>;
    getEventDefinitions: Query<void, EventDefinitions>;
    getServiceStatus: Query<void, ServiceStatus>;
    getSubscriptionStats: Query<void, SubscriptionStats>;
    health: Query<void, HealthReport>;
    /** The events of channels as they come. */
    subscribe: Subscription<SubscribeInput, EventEnvelope>;
  };
  chat: {
    /** Somebody said something. */
    onSaid: Subscription<ResumeInput | void, EventOf<'chat:said'>>;
    /** Somebody said something. */
    said: Mutation<ChatSaid, ChatSaidReply>;
  };
};
