// Live readings: a WebSocket that logs in, subscribes, renews its login, and comes back by itself after a lost connection.
import type { WsClientMessage, WsPosition, WsServerMessage, WsSubscribe, WsTopic } from './gen/types.gen.js';

export type { WsPosition, WsServerMessage, WsTopic } from './gen/types.gen.js';

/** What a subscription asks for; see `WsSubscribe`. */
export type LiveTopics = Pick<WsSubscribe, 'policy' | 'interval_ms' | 'snapshot'>;

export interface LiveOptions {
  /** Address of `/ws`; http is taken for ws. In a page of the same server `/ws` is enough. */
  url: string | URL;
  /** The access token. Asked for at every connection and before the login expires: refresh the session in here. */
  token: () => string | Promise<string>;
  /**
   * Every message but `ping`, in order. Alarm events come complete, each once, across reconnections; after `resync` the
   * `alarm_snapshot` replaces what was known. Readings missed between `waiting` and `subscribed`, or before a `resync` of readings, are
   * read by `listReadings`; topics with `snapshot` tell the newest again.
   */
  onMessage: (message: WsServerMessage) => void;
  onState?: (state: LiveState) => void;
  /** Where the alarm log goes on: the `position` of an earlier `Live`, kept by the page. Without it, from now. */
  resume?: WsPosition;
  /** Ask for readings in batches, `sensor_data_batch`. */
  batch?: boolean;
  /** Stands in for the global WebSocket where there is none. */
  WebSocket?: typeof WebSocket;
}

export type LiveState =
  | { state: 'connecting' }
  | { state: 'open' }
  /** Connects again after `delay` milliseconds. */
  | { state: 'waiting'; delay: number; code: number; reason: string }
  /** For good: by `close`, or since the server will not have this client. */
  | { state: 'closed'; code: number; reason: string };

const final = new Set([1009, 4400, 4403]); // close codes that say not to come back
const later = new Set([1013, 4429]); // and those that say not at once
const behind = 4413; // alarms came too fast: back at once
const silence = 75_000; // the server pings every 30 s
const chunk = 1000; // topics in one message

export class Live {
  readonly #options: LiveOptions;
  readonly #topics = new Map<WsTopic, LiveTopics>();
  #position: WsPosition | undefined; // in the alarm log
  #socket: WebSocket | undefined;
  #open = false;
  #closed = false;
  #resync = false; // the snapshot of alarms that follows begins anew
  #tries = 0; // connections lost since the last login
  #refusals = 0; // of them, with a token that was not taken
  #timers: { watch?: Timer; renew?: Timer; retry?: Timer; again?: Timer } = {};

  constructor(options: LiveOptions) {
    this.#options = options;
    this.#position = options.resume;
    void this.#connect();
  }

  /** The place in the alarm log behind the last event, to `resume` at; undefined before alarms were subscribed to. */
  get position(): WsPosition | undefined {
    return this.#position;
  }

  /** Adds topics, now and after every reconnection. */
  subscribe(...topics: WsTopic[]): void {
    this.subscribeWith({}, ...topics);
  }

  /** As `subscribe`, with a policy or a snapshot; topics that are there already take them on. */
  subscribeWith(how: LiveTopics, ...topics: WsTopic[]): void {
    const added = topics.filter((t, i) => topics.indexOf(t) === i && !same(this.#topics.get(t), how));
    for (const t of added) this.#topics.set(t, how);
    if (this.#open) this.#subscribe(added);
  }

  unsubscribe(...topics: WsTopic[]): void {
    const removed = topics.filter((t) => this.#topics.delete(t));
    if (removed.length > 0 && ![...this.#topics.keys()].some(ofAlarms)) this.#position = undefined;
    if (this.#open) this.#sendTopics({ type: 'unsubscribe' }, removed);
  }

  close(): void {
    this.#end(1000, 'closed by the client');
  }

  async #connect(): Promise<void> {
    this.#options.onState?.({ state: 'connecting' });
    let token: string;
    try {
      token = await this.#options.token();
    } catch (err) {
      this.#lost(1006, `no token: ${String(err)}`); // perhaps the network; whoever knows better calls close
      return;
    }
    if (this.#closed) return;
    const socket = new (this.#options.WebSocket ?? WebSocket)(address(this.#options.url));
    this.#socket = socket;
    this.#watch();
    socket.onopen = () => this.#send({ type: 'auth', token });
    socket.onmessage = (e) => this.#receive(JSON.parse(String(e.data)) as WsServerMessage);
    socket.onclose = (e) => this.#lost(e.code, e.reason);
  }

  #receive(message: WsServerMessage): void {
    this.#watch();
    switch (message.type) {
      case 'ping':
        return;
      case 'authenticated':
        this.#renewBefore(Date.parse(message.expires_at));
        if (!this.#open) {
          this.#open = true;
          this.#tries = this.#refusals = 0;
          this.#options.onState?.({ state: 'open' });
          this.#subscribe([...this.#topics.keys()]);
        }
        break;
      case 'alarm':
        if (this.#position?.epoch === message.epoch && message.offset <= this.#position.offset) return; // it was told
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
        else this.#askAgain();
        break;
      case 'error':
        if (message.code === 'unknown_topic' || message.code === 'forbidden') {
          for (const t of message.topics ?? []) this.#topics.delete(t); // not asked for again
        }
    }
    this.#options.onMessage(message);
  }

  // Sends a newer token when four fifths of the login have passed. When there is none, the server closes at expiry.
  #renewBefore(expiry: number): void {
    clearTimeout(this.#timers.renew);
    const wait = Math.min(Math.max(0.8 * (expiry - Date.now()), 10_000), 2 ** 31 - 1);
    this.#timers.renew = setTimeout(async () => {
      const token = await Promise.resolve(this.#options.token()).catch(() => undefined);
      if (token !== undefined && this.#open) this.#send({ type: 'auth', token });
    }, wait);
  }

  #watch(): void {
    clearTimeout(this.#timers.watch);
    this.#timers.watch = setTimeout(() => this.#lost(1006, 'nothing heard from the server'), silence);
  }

  #lost(code: number, reason: string): void {
    if (this.#closed) return;
    this.#hangUp();
    this.#tries++;
    if (code === 4401) this.#refusals++;
    if (final.has(code) || this.#refusals > 2) {
      this.#end(code, reason);
      return;
    }
    const ceiling = Math.min(30_000, 500 * 2 ** this.#tries);
    const delay = Math.round((later.has(code) ? 5_000 : 100) + Math.random() * (code === behind && this.#tries === 1 ? 0 : ceiling));
    this.#options.onState?.({ state: 'waiting', delay, code, reason });
    this.#timers.retry = setTimeout(() => void this.#connect(), delay);
  }

  #end(code: number, reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#hangUp();
    this.#options.onState?.({ state: 'closed', code, reason });
  }

  #hangUp(): void {
    for (const t of Object.values(this.#timers)) clearTimeout(t);
    const socket = this.#socket;
    this.#socket = undefined;
    this.#open = false;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  // Subscribes to topics, those that are had in the same way together, alarms from where they were.
  #subscribe(topics: WsTopic[]): void {
    const ways = new Map<string, { how: LiveTopics; topics: WsTopic[] }>();
    for (const t of topics) {
      const how = this.#topics.get(t) ?? {};
      const key = JSON.stringify([how.policy, how.interval_ms, how.snapshot]);
      if (!ways.has(key)) ways.set(key, { how, topics: [] });
      ways.get(key)!.topics.push(t);
    }
    for (const { how, topics: some } of ways.values()) {
      const resume = some.some(ofAlarms) && this.#position ? { resume: this.#position } : {};
      this.#sendTopics({ type: 'subscribe', ...how, ...(this.#options.batch ? { batch: true } : {}), ...resume }, some);
    }
  }

  // After readings may have been missed: the newest again, a little later, since everyone else asks too.
  #askAgain(): void {
    clearTimeout(this.#timers.again);
    this.#timers.again = setTimeout(() => {
      this.#subscribe([...this.#topics].filter(([t, how]) => how.snapshot && !ofAlarms(t)).map(([t]) => t));
    }, Math.random() * 2_000);
  }

  #sendTopics(message: Omit<WsSubscribe, 'topics'> | { type: 'unsubscribe' }, topics: WsTopic[]): void {
    for (let i = 0; i < topics.length; i += chunk) this.#send({ ...message, topics: topics.slice(i, i + chunk) });
  }

  #send(message: WsClientMessage): void {
    this.#socket?.send(JSON.stringify(message));
  }
}

const ofAlarms = (t: WsTopic): boolean => t.startsWith('alarms');

const same = (a: LiveTopics | undefined, b: LiveTopics): boolean =>
  a !== undefined && a.policy === b.policy && a.interval_ms === b.interval_ms && a.snapshot === b.snapshot;

type Timer = ReturnType<typeof setTimeout>;

function address(url: string | URL): URL {
  const u = new URL(url, globalThis.location?.href);
  u.protocol = u.protocol.replace('http', 'ws');
  return u;
}
