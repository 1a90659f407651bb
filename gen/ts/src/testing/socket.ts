import type { WsClientMessage, WsServerMessage } from '../gen/types.gen.js';

export interface FakeSocketOptions {
  /**
   * When true, the test opens connections and answers every message. Otherwise connections open by
   * themselves, logins are answered by `authenticated`, and all topics are accepted.
   */
  manual?: boolean;
  /** Seconds for which a login is valid, 1800 if absent. */
  loginSeconds?: number;
}

export interface FakeSocket {
  /** Pass this class to `Live` in place of the global `WebSocket`. */
  readonly WebSocket: typeof WebSocket;
  /** All connections, in the order in which they were opened. */
  readonly connections: readonly FakeConnection[];
  /** Resolves with the newest connection, as soon as it is open and logged in. */
  connected(): Promise<FakeConnection>;
}

/** Creates a class in place of `WebSocket`; the test has the server's end of its connections. */
export function fakeSocket(options: FakeSocketOptions = {}): FakeSocket {
  const connections: FakeConnection[] = [];
  const watch = new Watch();
  class Socket extends ClientEnd {
    constructor(url: string | URL) {
      super(String(url));
      const connection = new FakeConnection(this, watch, options);
      this.onsend = (message) => connection.receive(message);
      connections.push(connection);
      if (!options.manual) queueMicrotask(() => connection.open());
    }
  }
  return {
    WebSocket: Socket as unknown as typeof WebSocket,
    connections,
    connected: () =>
      watch.until(() => (connections.at(-1)?.isLoggedIn ? connections.at(-1) : undefined)),
  };
}

/** The server's end of a connection. */
export class FakeConnection {
  /** Messages of the client, oldest first. */
  readonly received: WsClientMessage[] = [];
  /** Topics that the client is subscribed to. */
  readonly topics = new Set<string>();
  readonly #client: ClientEnd;
  readonly #watch: Watch;
  readonly #options: FakeSocketOptions;
  #loggedIn = false;

  constructor(client: ClientEnd, watch: Watch, options: FakeSocketOptions) {
    this.#client = client;
    this.#watch = watch;
    this.#options = options;
  }

  get url(): string {
    return this.#client.url;
  }

  /** True from open to close, at either end. */
  get isOpen(): boolean {
    return this.#client.readyState === State.OPEN;
  }

  /** True once `authenticated` was sent, until the connection closes. */
  get isLoggedIn(): boolean {
    return this.#loggedIn && this.isOpen;
  }

  /** Opens the connection; needed with `manual` only. */
  open(): void {
    if (this.#client.readyState !== State.CONNECTING) return;
    this.#client.readyState = State.OPEN;
    this.#client.emit('open');
    if (!this.#options.manual && /[?&]ticket=/.test(this.url)) this.#logIn();
  }

  /** Sends a message to the client. */
  push(message: WsServerMessage): void {
    if (!this.isOpen) throw new Error(`push ${message.type}: the connection is not open`);
    if (message.type === 'authenticated') this.#loggedIn = true;
    this.#client.emit('message', { data: JSON.stringify(message) });
    this.#watch.changed();
  }

  /** Ends the connection with a code of the contract, such as 1001 or 4401. */
  close(code = 1006, reason = ''): void {
    this.#client.closed(code, reason);
  }

  /** Resolves with the first message of that type from the client, past ones included. */
  message<T extends WsClientMessage['type']>(
    type: T,
    wanted: (message: Extract<WsClientMessage, { type: T }>) => boolean = () => true,
  ): Promise<Extract<WsClientMessage, { type: T }>> {
    type Wanted = Extract<WsClientMessage, { type: T }>;
    return this.#watch.until(() =>
      this.received.find((m): m is Wanted => m.type === type && wanted(m as Wanted)),
    );
  }

  /** Takes a message of the client; the client calls it. */
  receive(message: WsClientMessage): void {
    this.received.push(message);
    if (!this.#options.manual) queueMicrotask(() => this.isOpen && this.#answer(message));
    this.#watch.changed();
  }

  #answer(message: WsClientMessage): void {
    const id = message.id === undefined ? {} : { id: message.id };
    switch (message.type) {
      case 'auth':
        return this.#logIn(id);
      case 'subscribe': {
        const { topics, resume } = message;
        topics.forEach((topic) => this.topics.add(topic));
        const hasAlarms = topics.some((topic) => topic.startsWith('alarms'));
        const position = hasAlarms ? (resume ?? { epoch: 'fake', offset: 0 }) : {};
        return this.push({ type: 'subscribed', topics, ...position, ...id });
      }
      case 'unsubscribe':
        message.topics.forEach((topic) => this.topics.delete(topic));
        return this.push({ type: 'unsubscribed', topics: message.topics, ...id });
    }
  }

  #logIn(id: { id?: string } = {}): void {
    const expires = Date.now() + 1000 * (this.#options.loginSeconds ?? 1800);
    const expires_at = new Date(expires).toISOString();
    this.push({ type: 'authenticated', user_id: 1, expires_at, ...id });
  }
}

const State = { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 } as const;

type Listener = ((event: Event) => void) | null;

// What the client holds: the part of WebSocket that is about text.
class ClientEnd extends EventTarget {
  static readonly CONNECTING = State.CONNECTING;
  static readonly OPEN = State.OPEN;
  static readonly CLOSING = State.CLOSING;
  static readonly CLOSED = State.CLOSED;
  readonly CONNECTING = State.CONNECTING;
  readonly OPEN = State.OPEN;
  readonly CLOSING = State.CLOSING;
  readonly CLOSED = State.CLOSED;
  readonly bufferedAmount = 0;
  readyState: number = State.CONNECTING;
  onopen: Listener = null;
  onmessage: Listener = null;
  onerror: Listener = null;
  onclose: Listener = null;
  onsend: (message: WsClientMessage) => void = () => {};

  constructor(readonly url: string) {
    super();
  }

  send(text: string): void {
    if (this.readyState === State.CONNECTING) {
      throw new DOMException('the connection is not open yet', 'InvalidStateError');
    }
    if (this.readyState === State.OPEN) this.onsend(JSON.parse(text) as WsClientMessage);
  }

  close(code = 1005, reason = ''): void {
    if (this.readyState >= State.CLOSING) return;
    this.readyState = State.CLOSING;
    queueMicrotask(() => this.closed(code, reason));
  }

  closed(code: number, reason: string): void {
    if (this.readyState === State.CLOSED) return;
    if (this.readyState === State.CONNECTING) this.emit('error');
    this.readyState = State.CLOSED;
    this.emit('close', { code, reason, wasClean: code !== 1006 });
  }

  emit(type: 'open' | 'message' | 'error' | 'close', members: object = {}): void {
    const event = Object.assign(new Event(type), members);
    this[`on${type}`]?.(event);
    this.dispatchEvent(event);
  }
}

// Resolves promises when a condition holds; it is examined after each change.
class Watch {
  readonly #looks = new Set<() => void>();

  changed(): void {
    for (const look of [...this.#looks]) look();
  }

  until<T>(find: () => T | undefined): Promise<T> {
    return new Promise((resolve) => {
      const look = () => {
        const found = find();
        if (found === undefined) return;
        this.#looks.delete(look);
        resolve(found);
      };
      this.#looks.add(look);
      look();
    });
  }
}
