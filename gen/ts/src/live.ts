import type {
  AlarmEvent,
  WsClientMessage,
  WsPosition,
  WsSensorReading,
  WsServerMessage,
} from './gen/types.gen.js';
import {
  isAlarmTopic,
  isReadingTopic,
  LiveError,
  type ReadingEvent,
  type Topic,
} from './live/events.js';
import {
  attempt,
  type Connection,
  Consumer,
  type SubscribeOptions,
  type Subscription,
} from './live/subscription.js';

export type { WsPosition } from './gen/types.gen.js';
export type * from './live/events.js';
export type { GaplessOptions } from './live/gapless.js';
export type { SubscribeOptions, Subscription } from './live/subscription.js';
export { LiveError } from './live/events.js';

/** The server and who logs in to it: a session has these, and so has an object of these two. */
export interface LiveSession {
  /** Address of the server, such as `https://oei.example`; `/` in a page of the same server. */
  readonly url: string | URL;
  /**
   * Returns an access token or API key. Called for every connection and before a login expires.
   * `refused` is a token that the server does not accept any more.
   */
  token(options?: { refused?: string }): string | Promise<string>;
  /** Client whose `fetch` requests what `gapless` subscriptions read. */
  readonly client?: { getConfig(): { fetch?: typeof fetch } };
}

/** Options of `Live`. */
export type LiveOptions = ({ session: LiveSession } | LiveSession) & {
  /** Where to continue in the alarm log: epoch and offset of the last event that was seen. */
  resume?: WsPosition;
  /** WebSocket class where there is no global one, as in Node.js 20. */
  WebSocket?: new (url: string) => WebSocket;
  /** Replaces the global `fetch`. */
  fetch?: typeof fetch;
};

/**
 * State of the connection. Times are milliseconds since 1970 by the clock of this machine. `since`
 * is when something last came from the server: what is shown may have changed after that; it is
 * absent before the first login.
 */
export type LiveState =
  /** Connecting and logging in. */
  | { state: 'connecting'; since?: number }
  /** Events come as they happen. */
  | { state: 'live' }
  /** The connection is open, but nothing came for longer than the server is silent. */
  | { state: 'stale'; since?: number }
  /** The connection was lost, with that close code. It tries again `at` that time. */
  | { state: 'waiting'; since?: number; at: number; code: number; reason: string }
  /** Like `waiting`, while this machine has no network. */
  | { state: 'offline'; since?: number; at: number; code: number; reason: string }
  /** It does not try again: `close` was called (1000), or the server does not admit this client. */
  | { state: 'closed'; since?: number; code: number; reason: string };

const finalCodes = new Set([1009, 4400, 4403]);
const restartCodes = new Set([1001, 1012]);
const overloadCodes = new Set([1013, 4429]);
const maxRefusals = 3; // of tokens, in succession
const maxTopics = 1000; // of one message
const tickMs = 1000;
const sleepMs = 5000; // a tick that is this late tells that the machine or the page slept
const silenceMs = 35_000; // the server sends something every 30 s
const recentMs = 5000; // a connection that received something so recently needs no check
const checkMs = 1500; // for an answer to a check
const connectMs = 10_000; // for a login with its token, and for other requests
const updateMs = 200; // between two updates of the subscriptions

/**
 * A live connection, shared by all its subscriptions. It connects, renews its login, notices when
 * the page or the machine slept or changed its network, reconnects and subscribes again.
 *
 * ```ts
 * const live = new Live({ session });
 * live.subscribe(['sensors/1', 'alarms'], {
 *   snapshot: true,
 *   onReading: ({ sensor_id, value }) => show(sensor_id, value),
 *   onAlarmSnapshot: ({ alarms }) => list.replace(alarms),
 *   onAlarm: ({ event }) => list.apply(event),
 * });
 * for await (const reading of live.subscribe('sensors/1', { gapless: true })) draw(reading);
 * ```
 */
export class Live {
  readonly #session: LiveSession;
  readonly #base: URL;
  readonly #WebSocket: new (url: string) => WebSocket;
  readonly #fetch: typeof fetch | undefined;
  readonly #connection: Connection;
  readonly #consumers = new Map<Topic, Set<Consumer>>();
  readonly #listeners = new Set<(state: LiveState) => void>();
  readonly #closing = new AbortController();

  #state: LiveState = { state: 'connecting' };
  #socket?: WebSocket;
  #isOpen = false; // logged in
  #attempt = 0; // counts connections
  #triedAt = 0; // when the attempt began
  #openedAt = 0;
  #failures = 0; // in succession
  #refusals = 0; // of tokens, in succession
  #token?: string;
  #refused?: string; // the token that was refused last
  #receivedAt?: number;
  #expiry = NaN; // of the login, by the server's clock
  #loggedInAt = 0; // when that expiry was first seen
  #renewAt = Infinity;
  #skew = 0; // milliseconds that the server's clock is ahead
  #ticked = Date.now();
  #ticker: Timer;
  #deadline?: Timer; // for the next message
  #reconnect?: Timer;
  #updating?: Timer;
  #updatedAt = 0;

  #subscribed = new Map<Topic, number>(); // intervals of the topics of this connection
  #confirmed = new Set<Topic>(); // topics that the server has accepted on this connection
  #asked = new Map<Topic, Set<Consumer>>(); // snapshots that were asked for, by whom
  #last = new Map<number, string>(); // timestamp of the last reading of a sensor
  #position?: WsPosition; // in the alarm log
  #resync = false; // the next alarm snapshot replaces the position
  #alarmSnapshots = new Map<string, AlarmEvent[]>(); // incomplete ones

  constructor(options: LiveOptions) {
    this.#session = 'session' in options ? options.session : options;
    const { WebSocket = globalThis.WebSocket } = options;
    if (!WebSocket) throw new TypeError('Give a WebSocket class: Node.js has one from 22 on, before with --experimental-websocket');
    this.#WebSocket = WebSocket;
    this.#base = base(this.#session.url);
    this.#fetch = options.fetch ?? this.#session.client?.getConfig().fetch;
    this.#position = options.resume;
    this.#connection = {
      update: () => this.#update(),
      remove: (consumer, topics) => this.#remove(consumer, topics),
      get: (path, signal) => this.#get(path, signal),
      serverTime: (time) => new Date(time + this.#skew).toISOString(),
    };
    this.#ticker = setInterval(() => this.#tick(), tickMs);
    this.#listen();
    void this.#connect();
  }

  /** The state now; another object after each change. */
  get state(): LiveState {
    return this.#state;
  }

  /** Position in the alarm log after the last event, for `resume`. */
  get position(): WsPosition | undefined {
    return this.#position;
  }

  /** Calls the listener with each change of the state, until the returned function is called. */
  on(event: 'state', listener: (state: LiveState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Subscribes to topics, now and after every reconnection. */
  subscribe<const T extends Topic>(
    topics: T | readonly T[],
    options: SubscribeOptions<NoInfer<T>> = {} as SubscribeOptions<T>,
  ): Subscription<T> {
    const consumer = new Consumer([topics].flat() as T[], options as never, this.#connection);
    for (const topic of consumer.topics) {
      const consumers = this.#consumers.get(topic) ?? new Set();
      this.#consumers.set(topic, consumers.add(consumer));
    }
    consumer.confirm([...consumer.topics].filter((topic) => this.#confirmed.has(topic)));
    if (this.#closing.signal.aborted || options.signal?.aborted) consumer.end();
    this.#update();
    return consumer as unknown as Subscription<T>;
  }

  /** Checks the connection, or reconnects without waiting. */
  retry(): void {
    this.#wake(true);
  }

  /** Closes the connection and ends its subscriptions. */
  close(): void {
    this.#end(1000, 'closed by the client');
  }

  #listen(): void {
    const { signal } = this.#closing;
    const on = (target: EventTarget | undefined, type: string, listener: (e: Event) => void) =>
      target?.addEventListener?.(type, listener, { signal });
    on(globalThis.document, 'visibilitychange', () => document.hidden || this.#wake());
    on(globalThis.document, 'resume', () => this.#wake(true));
    const page = globalThis as unknown as EventTarget;
    on(page, 'online', () => this.#wake(true));
    on(page, 'offline', () => this.#wake(true));
    on(page, 'pageshow', (e) => (e as PageTransitionEvent).persisted && this.#wake(true));
    on(page, 'pagehide', (e) => (e as PageTransitionEvent).persisted && this.#suspend());
  }

  // Once a second.
  #tick(): void {
    if (this.#slept()) this.#wake(true);
    this.#ticked = Date.now();
    if (!this.#isOpen) return;
    if (this.#silence() > silenceMs) this.#check();
    if (this.#ticked > this.#renewAt) void this.#login(this.#attempt);
  }

  // Timers of a hidden page always come late: it is checked when it is shown again.
  #slept(): boolean {
    return Math.abs(Date.now() - this.#ticked) > sleepMs && !globalThis.document?.hidden;
  }

  #silence(): number {
    return Math.abs(Date.now() - (this.#receivedAt ?? 0));
  }

  #wake(force = false): void {
    if (this.#closing.signal.aborted) return;
    this.#failures = 0;
    if (this.#isOpen) {
      if (this.#silence() > silenceMs) void this.#connect();
      else if (force || this.#silence() > recentMs) this.#check();
    } else if (this.#state.state !== 'connecting' || Date.now() - this.#triedAt > tickMs) {
      void this.#connect();
    }
  }

  // Logs in again: the answer shows that the connection is alive, and the login may have expired.
  #check(): void {
    if (this.#deadline) return;
    if (this.#silence() > silenceMs) this.#set({ state: 'stale' });
    this.#expect(checkMs);
    void this.#login(this.#attempt);
  }

  // The page goes into the back/forward cache, where it may have no connection.
  #suspend(): void {
    this.#disconnect();
    this.#set({ state: 'stale' });
  }

  async #connect(): Promise<void> {
    this.#disconnect();
    this.#triedAt = Date.now();
    this.#set({ state: 'connecting' });
    this.#expect(connectMs);
    await this.#login(this.#attempt);
  }

  // Sends a token, on a new connection if there is none.
  async #login(attempt: number): Promise<void> {
    this.#renewAt = Infinity;
    let token: string;
    try {
      token = await this.#session.token(
        this.#refused === undefined ? {} : { refused: this.#refused },
      );
    } catch (error) {
      if (attempt !== this.#attempt) return;
      if (this.#isOpen) this.#renewAt = Date.now() + recentMs;
      else if (isRefusal(error)) this.#end(4401, String(error));
      else this.#lost(1006, `no token: ${String(error)}`);
      return;
    }
    if (attempt !== this.#attempt) return;
    this.#token = token;
    if (this.#socket) this.#send({ type: 'auth', token });
    else this.#open(token);
  }

  #open(token: string): void {
    const url = new URL('ws', this.#base);
    url.protocol = url.protocol.replace('http', 'ws');
    let socket: WebSocket;
    try {
      socket = this.#socket = new this.#WebSocket(url.href);
    } catch (error) {
      return this.#lost(1006, String(error)); // such as by the content security policy
    }
    socket.onopen = () => this.#send({ type: 'auth', token });
    socket.onmessage = (e) => this.#receive(JSON.parse(String(e.data)) as WsServerMessage);
    socket.onclose = (e) => this.#lost(e.code, e.reason);
    socket.onerror = () => {}; // onclose follows; some classes throw without this
  }

  // Treats the connection as lost if no message comes in time.
  #expect(ms: number): void {
    clearTimeout(this.#deadline);
    const reconnect = this.#isOpen;
    this.#deadline = setTimeout(() => this.#lost(1006, 'no answer', reconnect), ms);
  }

  #receive(message: WsServerMessage): void {
    this.#receivedAt = Date.now();
    if (this.#isOpen) {
      clearTimeout(this.#deadline);
      this.#deadline = undefined;
      if (this.#state.state === 'stale') this.#set({ state: 'live' });
    }
    switch (message.type) {
      case 'authenticated':
        return this.#authenticated(Date.parse(message.expires_at ?? '') || Infinity);
      case 'ping':
        return this.#setClock(Date.parse(message.time) - Date.now());
      case 'sensor_data':
        return this.#reading(message);
      case 'sensor_data_batch':
        return message.items.forEach((item) => this.#reading(item));
      case 'snapshot':
        return this.#snapshot(message);
      case 'gateway_status': {
        const { type: _, ...status } = message;
        for (const c of this.#of(`gateways/${status.gateway_id}`, 'gateways/status')) {
          c.emit({ type: 'status', ...status });
        }
        return;
      }
      case 'alarm':
        return this.#alarm(message);
      case 'alarm_snapshot':
        return this.#alarmSnapshot(message);
      case 'subscribed':
        if (message.epoch !== undefined) {
          this.#position ??= { epoch: message.epoch, offset: message.offset! };
        }
        return this.#accepted(message.topics as Topic[]);
      case 'resync':
        if (message.scope === 'alarms') this.#resync = true;
        else this.#missed('relay', 2000);
        return;
      case 'lagged':
        return this.#missed('lagged', 1000);
      case 'error':
        this.#deny(message);
    }
  }

  #accepted(topics: Topic[]): void {
    for (const topic of topics) this.#confirmed.add(topic);
    for (const c of this.#of(...topics)) c.confirm(topics);
  }

  #setClock(skew: number): void {
    const isNews = Math.abs(skew - this.#skew) > tickMs;
    this.#skew = skew;
    if (isNews) this.#planRenewal();
  }

  #authenticated(expiry: number): void {
    if (expiry !== this.#expiry) {
      this.#expiry = expiry;
      this.#loggedInAt = Date.now();
    }
    this.#planRenewal();
    if (this.#isOpen) return;
    clearTimeout(this.#deadline);
    this.#deadline = undefined;
    this.#isOpen = true;
    this.#openedAt = Date.now();
    this.#refusals = 0;
    this.#set({ state: 'live' });
    this.#updatedAt = 0;
    this.#update();
  }

  // After four fifths of the lifetime, by the clock of the server; then often, until there is another
  // token: a session may return the current one while it gets the next.
  #planRenewal(): void {
    const lifetime = this.#expiry - this.#skew - this.#loggedInAt;
    const soonest = Date.now() + Math.max(lifetime / 20, tickMs);
    this.#renewAt = Math.max(this.#loggedInAt + 0.8 * lifetime, soonest);
  }

  #reading({ sensor_id, data, gateway_id, sensor_type }: WsSensorReading): void {
    this.#last.set(sensor_id, data.timestamp);
    const event: ReadingEvent = { type: 'reading', sensor_id, ...data, origin: 'live' };
    for (const c of this.#readers(sensor_id, gateway_id, sensor_type)) c.reading(event);
  }

  #readers(sensor: number, gateway: number, type = ''): Set<Consumer> {
    return this.#of(`sensors/${sensor}`, `gateways/${gateway}`, `sensors?type=${type}`);
  }

  #snapshot(message: WsServerMessage & { type: 'snapshot' }): void {
    const topics = message.topics as Topic[];
    const asking = new Set(topics.flatMap((topic) => [...(this.#asked.get(topic) ?? [])]));
    for (const { sensor_id, data, gateway_id, sensor_type } of message.items) {
      const last = this.#last.get(sensor_id);
      const news = last !== undefined && last !== data.timestamp;
      const event: ReadingEvent = { type: 'reading', sensor_id, ...data, origin: 'snapshot' };
      for (const c of this.#readers(sensor_id, gateway_id, sensor_type)) {
        c.snapshotReading(event, asking.has(c), news);
      }
      this.#last.set(sensor_id, data.timestamp);
    }
    if (!message.more) this.#complete(topics);
  }

  #complete(topics: Topic[]): void {
    for (const topic of topics) {
      for (const c of this.#asked.get(topic) ?? []) c.complete([topic]);
      this.#asked.delete(topic);
    }
    this.#update();
  }

  #alarm({ epoch, offset, event }: WsServerMessage & { type: 'alarm' }): void {
    if (this.#position?.epoch === epoch && offset <= this.#position.offset) return; // was received
    this.#position = { epoch, offset };
    for (const c of this.#of('alarms', `alarms/${event.severity}`)) c.alarm(event);
  }

  #alarmSnapshot(message: WsServerMessage & { type: 'alarm_snapshot' }): void {
    const { epoch, offset, topics, more } = message;
    const key = `${epoch} ${offset} ${topics}`;
    const alarms = (this.#alarmSnapshots.get(key) ?? []).concat(message.alarms);
    if (more) {
      this.#alarmSnapshots.set(key, alarms);
      return;
    }
    this.#alarmSnapshots.delete(key);
    const position = { epoch, offset };
    const asking = new Set(topics.flatMap((t) => [...(this.#asked.get(t as Topic) ?? [])]));
    if (this.#resync) {
      this.#resync = false;
      this.#position = position;
      for (const topic of this.#consumers.keys()) {
        if (isAlarmTopic(topic)) this.#of(topic).forEach((c) => asking.add(c));
      }
    }
    this.#complete(topics as Topic[]);
    for (const c of asking) c.alarmSnapshot(position, alarms);
  }

  #missed(reason: 'relay' | 'lagged', delay: number): void {
    for (const c of this.#all()) c.missed(reason, this.#receivedAt ?? Date.now(), delay);
  }

  #deny({ code, detail, topics = [] }: WsServerMessage & { type: 'error' }): void {
    const affected = topics as Topic[];
    switch (code) {
      case 'unknown_topic':
      case 'forbidden':
      case 'too_many_topics':
        for (const c of this.#of(...affected)) {
          c.refuse(
            affected.filter((topic) => c.topics.has(topic)),
            code,
            detail,
          );
        }
        for (const topic of affected) this.#consumers.delete(topic);
        this.#forget(affected);
        break;
      case 'snapshot_too_large':
        for (const c of this.#of(...affected)) if (!c.gapless) c.missed('snapshot', Date.now());
        this.#complete(affected);
        break;
      case 'not_authenticated':
        this.#refused = this.#token;
        break;
      case 'unavailable':
      case 'rate_limited':
        this.#forget(code === 'unavailable' ? affected : this.#consumers.keys());
        this.#updatedAt = Date.now() + recentMs;
        this.#update();
    }
  }

  #forget(topics: Iterable<Topic>): void {
    for (const topic of topics) {
      this.#subscribed.delete(topic);
      this.#confirmed.delete(topic);
      this.#asked.delete(topic);
    }
  }

  #of(...topics: Topic[]): Set<Consumer> {
    return new Set(topics.flatMap((topic) => [...(this.#consumers.get(topic) ?? [])]));
  }

  #all(): Set<Consumer> {
    return this.#of(...this.#consumers.keys());
  }

  #remove(consumer: Consumer, topics: Iterable<Topic>): void {
    for (const topic of topics) {
      const consumers = this.#consumers.get(topic);
      consumers?.delete(consumer);
      if (consumers?.size === 0) this.#consumers.delete(topic);
    }
    this.#update();
  }

  // Sends the changes of the subscriptions, soon and together: the server limits messages.
  #update(): void {
    if (!this.#isOpen || this.#updating) return;
    const wait = Math.max(0, this.#updatedAt + updateMs - Date.now());
    this.#updating = setTimeout(() => {
      this.#updating = undefined;
      this.#updatedAt = Date.now();
      this.#sendUnsubscribe();
      this.#sendAlarms();
      this.#sendReadings();
    }, wait);
  }

  #sendUnsubscribe(): void {
    const removed = [...this.#subscribed.keys()].filter((topic) => !this.#consumers.has(topic));
    this.#sendTopics({ type: 'unsubscribe' }, removed);
    this.#forget(removed);
    if (removed.some(isAlarmTopic) && ![...this.#subscribed.keys()].some(isAlarmTopic)) {
      this.#position = undefined;
    }
  }

  // The stream begins first, where it ended if it did; a snapshot does not move it.
  #sendAlarms(): void {
    const topics = [...this.#consumers.keys()].filter(isAlarmTopic);
    const added = topics.filter((topic) => !this.#subscribed.has(topic));
    const resume = this.#position && { resume: this.#position };
    this.#sendTopics({ type: 'subscribe', ...resume }, added);
    for (const topic of added) this.#subscribed.set(topic, 0);
    this.#sendTopics(
      { type: 'subscribe', snapshot: true },
      topics.filter((t) => this.#ask(t)),
    );
  }

  #sendReadings(): void {
    const groups = new Map<string, Topic[]>();
    for (const [topic, consumers] of this.#consumers) {
      if (isAlarmTopic(topic)) continue;
      const interval = Math.min(...[...consumers].map((c) => c.interval));
      const snapshot = this.#ask(topic);
      if (!snapshot && this.#subscribed.get(topic) === interval) continue;
      this.#subscribed.set(topic, interval);
      const conflate = { policy: 'conflate', interval_ms: interval };
      const key = JSON.stringify({ batch: true, snapshot, ...(interval > 0 && conflate) });
      groups.set(key, [...(groups.get(key) ?? []), topic]);
    }
    for (const [key, topics] of groups) {
      this.#sendTopics({ type: 'subscribe', ...JSON.parse(key) }, topics);
    }
  }

  // Reports whether a snapshot of the topic is to be asked for, and takes note of it.
  #ask(topic: Topic): boolean {
    const asking = [...this.#of(topic)].filter((c) => c.awaited.has(topic));
    if (asking.length === 0 || this.#asked.has(topic)) return false;
    this.#asked.set(topic, new Set(asking));
    return true;
  }

  #sendTopics(message: object, topics: Topic[]): void {
    for (let i = 0; i < topics.length; i += maxTopics) {
      this.#send({ ...message, topics: topics.slice(i, i + maxTopics) } as WsClientMessage);
    }
  }

  #send(message: WsClientMessage): void {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  // With `now` it reconnects without waiting, as after a check that was not answered.
  #lost(code: number, reason: string, now = false): void {
    const slept = this.#slept() && code !== 4429;
    const wasStable = this.#isOpen && Date.now() - this.#openedAt > connectMs;
    this.#failures = wasStable || slept ? 1 : this.#failures + 1;
    if (slept) this.#ticked = Date.now();
    if (code === 4401) {
      this.#refused = this.#token;
      this.#refusals++;
    }
    if (finalCodes.has(code) || this.#refusals >= maxRefusals) {
      return this.#end(code, reason);
    }
    this.#disconnect();
    if (now || slept) return void this.#connect();
    const wait = Math.round(this.#delay(code));
    const state = globalThis.navigator?.onLine === false ? 'offline' : 'waiting';
    this.#set({ state, at: Date.now() + wait, code, reason });
    this.#reconnect = setTimeout(() => void this.#connect(), wait);
  }

  #delay(code: number): number {
    if (code === 4413 && this.#failures === 1) return 0;
    if (restartCodes.has(code)) return Math.random() * 3000;
    const backoff = Math.random() * Math.min(30_000, 500 * 2 ** this.#failures);
    return (overloadCodes.has(code) ? 5000 : 100) + backoff;
  }

  #disconnect(): void {
    const wasOpen = this.#isOpen;
    this.#attempt++;
    this.#isOpen = this.#resync = false;
    this.#renewAt = Infinity;
    for (const t of [this.#deadline, this.#reconnect, this.#updating]) clearTimeout(t);
    this.#deadline = this.#updating = undefined;
    this.#subscribed.clear();
    this.#confirmed.clear();
    this.#asked.clear();
    this.#alarmSnapshots.clear();
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    if (wasOpen) for (const c of this.#all()) c.lost(this.#receivedAt ?? Date.now());
  }

  #end(code: number, reason: string): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    clearInterval(this.#ticker);
    this.#disconnect();
    const error = code === 1000 ? undefined : new LiveError(code, reason || `closed with ${code}`);
    for (const c of this.#all()) c.end(error);
    this.#set({ state: 'closed', code, reason });
  }

  #set(state: LiveState): void {
    const since = this.#receivedAt;
    if (state.state !== 'live' && since !== undefined) state.since = since;
    else if (state.state === this.#state.state) return;
    this.#state = state;
    for (const listener of this.#listeners) attempt(() => listener(state));
  }

  async #get(path: string, signal: AbortSignal): Promise<Response> {
    const fetch = this.#fetch ?? globalThis.fetch;
    const response = await fetch(new URL(path, this.#base), {
      headers: { Authorization: `Bearer ${await this.#session.token()}` },
      signal: AbortSignal.any([signal, AbortSignal.timeout(connectMs)]),
    });
    if (response.ok) return response;
    const seconds = Number(response.headers.get('Retry-After'));
    const error = new Error(`${path}: ${response.status}`);
    throw Object.assign(error, seconds > 0 && { retryAfter: seconds });
  }
}

type Timer = ReturnType<typeof setTimeout>;

/** Reports whether a token was refused for good, rather than out of reach. */
function isRefusal(error: unknown): boolean {
  const { status, name } = Object(error) as { status?: number; name?: string };
  return status === 401 || status === 403 || name === 'SessionEndedError';
}

/** Returns the server's address with a slash at its end, without `/ws`. */
function base(url: string | URL): URL {
  const address = new URL(url, globalThis.location?.href);
  address.pathname = address.pathname.replace(/(\/ws)?\/*$/, '/');
  return address;
}
