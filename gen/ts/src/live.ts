// Live data over a WebSocket that logs in, subscribes, renews its login, and reconnects after a lost connection.
import type { WsClientMessage, WsPosition, WsServerMessage, WsSubscribe, WsTopic } from './gen/types.gen.js';

export type { WsPosition, WsServerMessage, WsTopic } from './gen/types.gen.js';

/** Options of a subscription; see `WsSubscribe`. */
export type SubscribeOptions = Pick<WsSubscribe, 'policy' | 'interval_ms' | 'snapshot'>;

export interface LiveOptions {
  /** Address of `/ws`, with http or ws as its scheme. In a page of the same server `/ws` is enough. */
  url: string | URL;
  /** Returns the access token. Called for every connection and before the login expires; refresh the session here. */
  token: () => string | Promise<string>;
  /**
   * Called with every message except `ping`, in order. Alarm events are complete and each comes once, across reconnections; after
   * `resync` the `alarm_snapshot` replaces what the client knew. Readings missed between `waiting` and `subscribed`, or before a
   * `resync` of readings, can be read with `listReadings`; topics with `snapshot` send the newest readings again.
   */
  onMessage: (message: WsServerMessage) => void;
  /** Called with every change of the connection's state. */
  onState?: (state: LiveState) => void;
  /** Position in the alarm log to resume after: the `position` of an earlier `Live`. Without it, events from now on are sent. */
  resume?: WsPosition;
  /** Whether readings come in batches, as `sensor_data_batch`. */
  batch?: boolean;
  /** WebSocket class for environments without a global one. */
  WebSocket?: typeof WebSocket;
}

export type LiveState =
  | { state: 'connecting' }
  | { state: 'open' }
  /** Reconnects after `delay` milliseconds. */
  | { state: 'waiting'; delay: number; code: number; reason: string }
  /** Closed by `close`, or because the server does not admit this client; does not reconnect. */
  | { state: 'closed'; code: number; reason: string };

const finalCodes = new Set([1009, 4400, 4403]); // close codes after which it does not reconnect
const overloadCodes = new Set([1013, 4429]); // close codes after which it waits for at least 5 s
const alarmsTooSlow = 4413; // alarm events came faster than they were read: reconnect at once
const silenceTimeout = 75_000; // the server sends a ping every 30 s
const maxTopicsPerMessage = 1000;

export class Live {
  readonly #options: LiveOptions;
  readonly #topics = new Map<WsTopic, SubscribeOptions>();
  #position: WsPosition | undefined; // in the alarm log
  #socket: WebSocket | undefined;
  #open = false;
  #closed = false;
  #resync = false; // the next alarm snapshot replaces the position
  #failures = 0; // connections lost since the last login
  #tokenFailures = 0; // those of them whose token was refused
  #timers: { silence?: Timer; renew?: Timer; reconnect?: Timer; resubscribe?: Timer } = {};

  constructor(options: LiveOptions) {
    this.#options = options;
    this.#position = options.resume;
    void this.#connect();
  }

  /** Position in the alarm log after the last event, for `resume`; undefined before a subscription to alarms. */
  get position(): WsPosition | undefined {
    return this.#position;
  }

  /** Subscribes to topics, now and after every reconnection. Topics that are subscribed to already take on the options. */
  subscribe(topics: WsTopic | readonly WsTopic[], options: SubscribeOptions = {}): void {
    const changed = [...new Set([topics].flat())].filter((t) => !same(this.#topics.get(t), options));
    for (const t of changed) this.#topics.set(t, options);
    if (this.#open) this.#subscribe(changed);
  }

  /** Ends the subscription to topics. */
  unsubscribe(topics: WsTopic | readonly WsTopic[]): void {
    const removed = [topics].flat().filter((t) => this.#topics.delete(t));
    if (removed.length > 0 && ![...this.#topics.keys()].some(isAlarmTopic)) this.#position = undefined;
    if (this.#open) this.#sendTopics({ type: 'unsubscribe' }, removed);
  }

  /** Closes the connection; it is not opened again. */
  close(): void {
    this.#end(1000, 'closed by the client');
  }

  async #connect(): Promise<void> {
    this.#options.onState?.({ state: 'connecting' });
    let token: string;
    try {
      token = await this.#options.token();
    } catch (err) {
      this.#lost(1006, `no token: ${String(err)}`); // perhaps the network; the caller may call close instead
      return;
    }
    if (this.#closed) return;
    const socket = new (this.#options.WebSocket ?? WebSocket)(address(this.#options.url));
    this.#socket = socket;
    this.#expectMessage();
    socket.onopen = () => this.#send({ type: 'auth', token });
    socket.onmessage = (e) => this.#receive(JSON.parse(String(e.data)) as WsServerMessage);
    socket.onclose = (e) => this.#lost(e.code, e.reason);
  }

  #receive(message: WsServerMessage): void {
    this.#expectMessage();
    switch (message.type) {
      case 'ping':
        return;
      case 'authenticated':
        this.#renewBefore(Date.parse(message.expires_at));
        if (!this.#open) {
          this.#open = true;
          this.#failures = this.#tokenFailures = 0;
          this.#options.onState?.({ state: 'open' });
          this.#subscribe([...this.#topics.keys()]);
        }
        break;
      case 'alarm':
        if (this.#position?.epoch === message.epoch && message.offset <= this.#position.offset) return; // received before
        this.#position = { epoch: message.epoch, offset: message.offset };
        break;
      case 'alarm_snapshot':
        if (this.#position?.epoch !== message.epoch || this.#resync) this.#position = { epoch: message.epoch, offset: message.offset };
        this.#resync &&= message.more;
        break;
      case 'subscribed':
        if (message.epoch !== undefined && message.offset !== undefined) this.#position ??= { epoch: message.epoch, offset: message.offset };
        break;
      case 'resync':
        if (message.scope === 'alarms') this.#resync = true;
        else this.#resubscribeSnapshots();
        break;
      case 'error':
        if (message.code === 'unknown_topic' || message.code === 'forbidden') {
          for (const t of message.topics ?? []) this.#topics.delete(t); // not subscribed to again
        }
    }
    this.#options.onMessage(message);
  }

  // Sends a newer token after four fifths of the login's validity. Without one, the server closes the socket at expiry.
  #renewBefore(expiry: number): void {
    clearTimeout(this.#timers.renew);
    const wait = Math.min(Math.max(0.8 * (expiry - Date.now()), 10_000), 2 ** 31 - 1);
    this.#timers.renew = setTimeout(async () => {
      const token = await Promise.resolve(this.#options.token()).catch(() => undefined);
      if (token !== undefined && this.#open) this.#send({ type: 'auth', token });
    }, wait);
  }

  #expectMessage(): void {
    clearTimeout(this.#timers.silence);
    this.#timers.silence = setTimeout(() => this.#lost(1006, 'no message from the server'), silenceTimeout);
  }

  #lost(code: number, reason: string): void {
    if (this.#closed) return;
    this.#disconnect();
    this.#failures++;
    if (code === 4401) this.#tokenFailures++;
    if (finalCodes.has(code) || this.#tokenFailures > 2) {
      this.#end(code, reason);
      return;
    }
    const ceiling = Math.min(30_000, 500 * 2 ** this.#failures);
    const delay = Math.round((overloadCodes.has(code) ? 5_000 : 100) + Math.random() * (code === alarmsTooSlow && this.#failures === 1 ? 0 : ceiling));
    this.#options.onState?.({ state: 'waiting', delay, code, reason });
    this.#timers.reconnect = setTimeout(() => void this.#connect(), delay);
  }

  #end(code: number, reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#disconnect();
    this.#options.onState?.({ state: 'closed', code, reason });
  }

  #disconnect(): void {
    for (const t of Object.values(this.#timers)) clearTimeout(t);
    const socket = this.#socket;
    this.#socket = undefined;
    this.#open = false;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  // Subscribes to topics, those with equal options in one message, alarms from the last position on.
  #subscribe(topics: WsTopic[]): void {
    const groups = new Map<string, { options: SubscribeOptions; topics: WsTopic[] }>();
    for (const t of topics) {
      const options = this.#topics.get(t) ?? {};
      const key = JSON.stringify([options.policy, options.interval_ms, options.snapshot]);
      if (!groups.has(key)) groups.set(key, { options, topics: [] });
      groups.get(key)!.topics.push(t);
    }
    for (const { options, topics } of groups.values()) {
      const resume = topics.some(isAlarmTopic) && this.#position ? { resume: this.#position } : {};
      this.#sendTopics({ type: 'subscribe', ...options, ...(this.#options.batch ? { batch: true } : {}), ...resume }, topics);
    }
  }

  // Asks for the newest readings again after some may have been missed. Waits for a random time, since all clients do this at once.
  #resubscribeSnapshots(): void {
    clearTimeout(this.#timers.resubscribe);
    this.#timers.resubscribe = setTimeout(() => {
      this.#subscribe([...this.#topics].filter(([t, options]) => options.snapshot && !isAlarmTopic(t)).map(([t]) => t));
    }, Math.random() * 2_000);
  }

  #sendTopics(message: Omit<WsSubscribe, 'topics'> | { type: 'unsubscribe' }, topics: WsTopic[]): void {
    for (let i = 0; i < topics.length; i += maxTopicsPerMessage) this.#send({ ...message, topics: topics.slice(i, i + maxTopicsPerMessage) });
  }

  #send(message: WsClientMessage): void {
    this.#socket?.send(JSON.stringify(message));
  }
}

const isAlarmTopic = (t: WsTopic): boolean => t.startsWith('alarms');

const same = (a: SubscribeOptions | undefined, b: SubscribeOptions): boolean =>
  a !== undefined && a.policy === b.policy && a.interval_ms === b.interval_ms && a.snapshot === b.snapshot;

type Timer = ReturnType<typeof setTimeout>;

function address(url: string | URL): URL {
  const u = new URL(url, globalThis.location?.href);
  u.protocol = u.protocol.replace('http', 'ws');
  return u;
}
