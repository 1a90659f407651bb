import type { AlarmEvent, WsPosition } from '../gen/types.gen.js';
import {
  type GapEvent,
  type Handlers,
  isAlarmTopic,
  isReadingTopic,
  isStatusTopic,
  type LiveEvent,
  LiveError,
  type ReadingEvent,
  type Topic,
} from './events.js';
import { Gapless, type GaplessOptions, type Source } from './gapless.js';

/** Options of a subscription, and the handlers of its events. */
export type SubscribeOptions<T extends Topic = Topic> = Handlers<T> & {
  /** Begin with the latest readings, again after every gap, and with the alarms not normal. */
  snapshot?: boolean;
  /** Ends the subscription. */
  signal?: AbortSignal;
  /** How many events wait for the iterator at most; 1000 if absent. */
  buffer?: number;
} & (
    | {
        /**
         * Read what was stored while the connection was away, and pass it on before newer
         * readings: in order of time per sensor, each reading once. A late reading is found if it
         * is newer than the last 8 to 128 readings of its sensor.
         */
        gapless?: boolean | GaplessOptions;
        policy?: 'every';
        interval_ms?: never;
      }
    | {
        gapless?: false;
        /**
         * At most one reading of each sensor per `interval_ms`, the newest. When subscriptions
         * share a topic, the one that asks for most applies to all.
         */
        policy: 'conflate';
        /** Milliseconds between two readings of a sensor, 100 to 60,000; 1000 if absent. */
        interval_ms?: number;
      }
  );

/**
 * A subscription: handlers are called with its events, or `for await` receives them; leaving the
 * loop ends the subscription.
 *
 * At most `buffer` events wait for the loop. When more come, those of readings and status that
 * wait are dropped and a `gap` event says so; a `gapless` subscription keeps them and reads the
 * further ones from the server when the loop has caught up. When alarm events alone fill the
 * buffer, an `alarmSnapshot` replaces them. A server that no longer admits the client, and topics
 * that are all refused, end the loop with a `LiveError`.
 */
export interface Subscription<T extends Topic = Topic> extends AsyncIterableIterator<LiveEvent<T>> {
  /** The topics, without those that were refused. */
  readonly topics: ReadonlySet<T>;
  /**
   * Resolves when the server has accepted the topics for the first time: what is stored from then
   * on will come. Rejects with a `LiveError` if the subscription ends before.
   */
  readonly ready: Promise<void>;
  /** Ends the subscription and the loops over it. */
  unsubscribe(): void;
}

/** What a consumer needs of the connection. */
export interface Connection extends Source {
  /** Sends what the subscriptions want now. */
  update(): void;
  remove(consumer: Consumer, topics: Iterable<Topic>): void;
}

interface Waiter {
  resolve: (result: IteratorResult<LiveEvent>) => void;
  reject: (error: unknown) => void;
}

/** A subscription as the connection sees it. */
export class Consumer implements Subscription {
  readonly topics: Set<Topic>;
  /** Milliseconds between two readings of a sensor; 0 for every reading. */
  readonly interval: number;
  /** Topics whose snapshot has not come yet. */
  readonly awaited = new Set<Topic>();
  readonly gapless?: Gapless;
  readonly ready: Promise<void>;

  #settle!: { resolve: () => void; reject: (error: LiveError) => void }; // ready
  #handlers: Record<string, ((event: LiveEvent) => void) | undefined>;
  #connection: Connection;
  #snapshot: boolean;
  #started = false; // the first snapshot has come
  #pending: Set<Topic>; // not confirmed on this connection
  #lostAt?: number; // when the connection before this one was lost
  #alarmsFrom?: WsPosition; // of the last alarm snapshot
  #alarmsDropped = false;
  #buffer: LiveEvent[] = [];
  #maxBuffer: number;
  #iterated: boolean;
  #waiters: Waiter[] = [];
  #drained: (() => void)[] = [];
  #ended = false;
  #error?: LiveError;
  #unlisten?: () => void;

  constructor(topics: Iterable<Topic>, options: SubscribeOptions, connection: Connection) {
    this.topics = new Set(topics);
    this.#pending = new Set(this.topics);
    this.ready = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.ready.catch(() => {}); // it need not be looked at
    this.#handlers = options as never;
    this.#connection = connection;
    this.#snapshot = options.snapshot ?? false;
    this.#maxBuffer = options.buffer ?? 1000;
    this.#iterated = !Object.keys(options).some((name) => name.startsWith('on'));
    this.interval = options.policy === 'conflate' ? (options.interval_ms ?? 1000) : 0;
    if (options.gapless) {
      const limits = options.gapless === true ? {} : options.gapless;
      this.gapless = new Gapless(this, connection, limits);
    }
    this.#want((topic) => this.#snapshot || (!!this.gapless && isReadingTopic(topic)));
    const stop = () => this.unsubscribe();
    options.signal?.addEventListener('abort', stop);
    this.#unlisten = () => options.signal?.removeEventListener('abort', stop);
  }

  get full(): boolean {
    return this.#buffer.length >= this.#maxBuffer;
  }

  /** Resolves when the iterator has taken all events. */
  async drained(): Promise<void> {
    if (this.#buffer.length > 0) await new Promise<void>((resolve) => this.#drained.push(resolve));
  }

  emit(event: LiveEvent): void {
    if (this.#ended) return;
    const handler = this.#handlers[`on${event.type[0]!.toUpperCase()}${event.type.slice(1)}`];
    if (handler) attempt(() => handler(event));
    else if (event.type === 'refused' && !this.#iterated) console.warn(event);
    if (!this.#iterated) return;
    const waiter = this.#waiters.shift();
    if (waiter) {
      waiter.resolve({ value: event, done: false });
      return;
    }
    if (this.full && event.type !== 'gap') this.#makeRoom();
    if (event.type !== 'alarm' || !this.#alarmsDropped) this.#buffer.push(event);
  }

  /** Drops readings and status, and alarm events if they alone fill half of the buffer. */
  #makeRoom(): void {
    if (this.gapless && this.#buffer.length < 2 * this.#maxBuffer) return; // it stops at one
    const dropped = this.gapless ? ['status'] : ['reading', 'status', 'gap'];
    const first = this.#buffer.find((event) => 'timestamp' in event);
    let kept = this.#buffer.filter(({ type }) => !dropped.includes(type));
    const others = kept.filter(({ type }) => !type.startsWith('alarm'));
    if (2 * (kept.length - others.length) > this.#maxBuffer) {
      this.#alarmsDropped = true;
      kept = others;
    }
    this.#buffer = kept;
    const since = first && 'timestamp' in first ? Date.parse(first.timestamp) : Date.now();
    if (first) this.#missed('buffer', since, this.gapless ? 'status' : 'readings');
  }

  reading(event: ReadingEvent): void {
    if (this.gapless) this.gapless.add(event);
    else this.emit(event);
  }

  /** Takes a reading of a snapshot; `news` says that it differs from the last of its sensor. */
  snapshotReading(event: ReadingEvent, asked: boolean, news: boolean): void {
    const wanted = asked && this.#snapshot && !this.#started;
    if (this.gapless) this.gapless.seed(event, wanted);
    else if (wanted || news) this.emit(event);
  }

  alarm(event: AlarmEvent): void {
    const from = this.#alarmsFrom;
    const included = from?.epoch === event.epoch && event.offset <= from.offset;
    if (included || this.#alarmsDropped || [...this.awaited].some(isAlarmTopic)) return;
    if (this.#hasSeverity(event)) this.emit({ type: 'alarm', event });
  }

  alarmSnapshot(position: WsPosition, alarms: AlarmEvent[]): void {
    this.#alarmsFrom = position;
    this.#alarmsDropped = false;
    this.emit({
      type: 'alarmSnapshot',
      alarms: alarms.filter((event) => this.#hasSeverity(event)),
    });
  }

  #hasSeverity(event: AlarmEvent): boolean {
    return this.topics.has('alarms') || this.topics.has(`alarms/${event.severity}`);
  }

  /** Takes note that the server has accepted topics. */
  confirm(topics: Iterable<Topic>): void {
    for (const topic of topics) this.#pending.delete(topic);
    if (this.#pending.size > 0) return;
    this.#settle.resolve();
    if (this.#lostAt === undefined) return;
    const lostAt = this.#lostAt;
    this.#lostAt = undefined;
    if ([...this.topics].some(isStatusTopic)) this.#missed('connection', lostAt, 'status');
    this.missed('connection', lostAt);
  }

  /** Takes note that the snapshot of a topic is complete. */
  complete(topics: Iterable<Topic>): void {
    for (const topic of topics) this.awaited.delete(topic);
    if (this.awaited.size === 0) this.#started = true;
  }

  /** Takes note that the connection is lost; since then nothing has come. */
  lost(since: number): void {
    if (this.#pending.size < this.topics.size) this.#lostAt ??= since;
    this.#pending = new Set(this.topics);
    if (this.#lostAt !== undefined) this.gapless?.hold();
    if (this.#snapshot && !this.gapless) this.#want(isReadingTopic);
  }

  /**
   * Takes note that readings since then may be missing. It asks for them within `delay`
   * milliseconds, since other clients may do so too.
   */
  missed(reason: GapEvent['reason'], since: number, delay = 0): void {
    if (![...this.topics].some(isReadingTopic)) return;
    if (this.gapless) {
      void this.gapless.fill(delay);
      return;
    }
    this.#missed(reason, since, 'readings');
    if (this.#snapshot && delay > 0) {
      setTimeout(() => this.#want(isReadingTopic), Math.random() * delay);
    }
  }

  #missed(reason: GapEvent['reason'], since: number, missing: GapEvent['missing']): void {
    const [from, to] = [since, Date.now()].map((time) => this.#connection.serverTime(time));
    this.emit({ type: 'gap', missing, reason, from: from!, to: to! });
  }

  #want(choose: (topic: Topic) => boolean): void {
    for (const topic of this.topics) {
      if (topic !== 'gateways/status' && choose(topic)) this.awaited.add(topic);
    }
    this.#connection.update();
  }

  refuse(topics: Topic[], code: LiveError['code'] & string, detail: string): void {
    for (const topic of topics) {
      this.topics.delete(topic);
      this.awaited.delete(topic);
    }
    this.emit({ type: 'refused', topics, code, detail });
    if (this.topics.size > 0) this.confirm(topics);
    else this.end(new LiveError(code, `${detail}: ${topics.join(', ')}`));
  }

  unsubscribe(): void {
    this.end();
  }

  end(error?: LiveError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#unlisten?.();
    this.#settle.reject(error ?? new LiveError(1000, 'unsubscribed'));
    this.gapless?.stop();
    this.#connection.remove(this, this.topics);
    for (const resolve of this.#drained.splice(0)) resolve();
    for (const waiter of this.#waiters.splice(0)) {
      if (this.#error) waiter.reject(this.#error);
      else waiter.resolve({ value: undefined, done: true });
      this.#error = undefined;
    }
  }

  async next(): Promise<IteratorResult<LiveEvent>> {
    this.#iterated = true;
    const event = this.#buffer.shift();
    if (this.#buffer.length === 0) this.#drain();
    if (event) return { value: event, done: false };
    if (!this.#ended)
      return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
    const error = this.#error;
    this.#error = undefined;
    if (error) throw error;
    return { value: undefined, done: true };
  }

  #drain(): void {
    for (const resolve of this.#drained.splice(0)) resolve();
    if (!this.#alarmsDropped) return;
    this.#alarmsDropped = false;
    this.#want(isAlarmTopic);
  }

  async return(): Promise<IteratorResult<LiveEvent>> {
    this.#buffer = [];
    this.unsubscribe();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    this.#iterated = true;
    return this;
  }
}

/** Calls a function of the user. What it throws is reported like an error of an event listener. */
export function attempt(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
