// A session: a client that is logged in and stays so.
import { makeCalls } from './calls.js';
import { createClient } from './client.js';
import { SessionEndedError } from './errors.js';
import type { Client } from './gen/client/types.gen.js';
import type { LoginRequest } from './gen/types.gen.js';
import { LoginSession, type TokenStorage } from './login_session.js';

export * from './errors.js';
export type { TokenStorage } from './login_session.js';

// Options of single calls.
declare module './gen/client/types.gen.js' {
  interface Config<T extends ClientOptions = ClientOptions> {
    /**
     * Time in ms for a call of a session, with all of its attempts and waiting; 0 for no limit.
     * With `parseAs: 'stream'` it ends when the answer begins.
     */
    timeout?: number | undefined;
    /** How often a call of a session that may be repeated is attempted again. */
    retries?: number | undefined;
  }
}

/** Options of `connect`. At most one of `login`, `token` and `apiKey` is given. */
export interface ConnectOptions {
  /** Address of the server, with its sub path if it has one. Default: the page's origin. */
  url?: string | URL;
  /**
   * Username and password to log in with. A function is asked for them only when there is no
   * session to continue, and again when the session has ended: it may show a dialog, and calls
   * wait for it, until another tab has logged in (`token` event). If it rejects, the session is
   * over. Without `login`, the session of the storage or
   * of another tab is continued.
   */
  login?: LoginRequest | (() => LoginRequest | Promise<LoginRequest>);
  /** An access token, or a function that is asked for one before every call. */
  token?: string | (() => string | Promise<string>);
  /** An API key, for programs. */
  apiKey?: string;
  /**
   * Where to keep the tokens: `sessionStorage` for this tab across reloads, `localStorage` until
   * logout. Scripts of the same origin can read both, so tokens are kept in memory alone by default.
   */
  storage?: TokenStorage;
  /**
   * Whether the tabs of this origin share the session. Default: true in pages. A tab that connects
   * without username and password then continues the session of the other tabs.
   */
  tabs?: boolean;
  /** Time in ms for a call, with all of its attempts and waiting; 0: no limit. Default: 60,000. */
  timeout?: number;
  /**
   * How often a call is attempted again if that is safe: those of idempotent methods or with an
   * `Idempotency-Key` after a lost connection, 408, 429, 502, 503 and 504; others after 429.
   * Default: 4.
   */
  retries?: number;
  /** Used in place of the global `fetch`. */
  fetch?: typeof fetch;
  /** Ends waiting for the login. */
  signal?: AbortSignal;
}

/** Events of a session and what listeners are called with. */
export interface SessionEvents {
  /** The session is over: it ended on the server, by `logout`, or there was no further login. */
  end: SessionEndedError;
  /** There is another access token. */
  token: string;
}

/** Options of `Session.token`. */
export interface TokenOptions {
  /** Ends waiting for the token. */
  signal?: AbortSignal | undefined;
  /** A token that the server refused: the answer is another one. */
  refused?: string | undefined;
}

/** A client that is logged in and stays so. */
export interface Session {
  /** Address of the server, without a slash at the end. */
  readonly url: string;
  /** Client for the functions of the contract: `listSensors({ client: oei.client })`. */
  readonly client: Client;
  /** Returns the API key, or an access token that is valid for some time yet. */
  token(options?: TokenOptions): Promise<string>;
  /** Adds a listener, and returns the function that removes it. */
  on<E extends keyof SessionEvents>(
    event: E,
    listener: (value: SessionEvents[E]) => void,
  ): () => void;
  /**
   * Ends the session here, in the other tabs and on the server. If the server cannot be reached it
   * rejects, and the session ends here and in the other tabs alone.
   */
  logout(): Promise<void>;
  /** Stops using the session here; it goes on in other tabs and can be continued. No event. */
  close(): void;
}

/**
 * Connects to a server: logs in, or continues a session. Calls of the session's client throw the
 * errors of this package.
 */
export async function connect(options: ConnectOptions = {}): Promise<Session> {
  const url = address(options.url);
  const { login, token, apiKey } = options;
  if ([login, token, apiKey].filter((given) => given !== undefined).length > 1) {
    throw new TypeError('connect: give one of login, token and apiKey');
  }
  const client = createClient({ baseUrl: url, ...(options.fetch && { fetch: options.fetch }) });
  const listeners = { end: new Set<Listener<'end'>>(), token: new Set<Listener<'token'>>() };
  const source = apiKey ?? token;
  const session =
    source === undefined
      ? new LoginSession({
          name: `oei-ms ${url}`,
          client,
          login,
          storage: options.storage,
          tabs: options.tabs ?? globalThis.location !== undefined,
          onToken: (value) => emit(listeners.token, value),
          onEnd: (error) => emit(listeners.end, error),
        })
      : new FixedToken(source, (error) => emit(listeners.end, error));
  const { timeout = 60_000, retries = 4 } = options;
  makeCalls(client, { token: (o) => session.token(o), timeout, retries });
  try {
    await session.start(options.signal);
  } catch (err) {
    session.close();
    throw err;
  }
  return {
    url,
    client,
    token: (o) => session.token(o),
    on(event, listener) {
      const set = listeners[event] as Set<typeof listener>;
      set.add(listener);
      return () => void set.delete(listener);
    },
    logout: () => session.logout(),
    close: () => session.close(),
  };
}

type Listener<E extends keyof SessionEvents> = (value: SessionEvents[E]) => void;

// A session with an API key, or with a token that the program renews itself.
class FixedToken {
  readonly #source: NonNullable<ConnectOptions['token']>;
  readonly #onEnd: (error: SessionEndedError) => void;
  #ended: SessionEndedError | undefined;

  constructor(
    source: NonNullable<ConnectOptions['token']>,
    onEnd: (error: SessionEndedError) => void,
  ) {
    this.#source = source;
    this.#onEnd = onEnd;
  }

  async start(): Promise<void> {}

  async token(): Promise<string> {
    if (this.#ended) throw this.#ended;
    return typeof this.#source === 'function' ? this.#source() : this.#source;
  }

  async logout(): Promise<void> {
    if (this.#ended) return;
    this.close();
    this.#onEnd(this.#ended!);
  }

  close(): void {
    this.#ended ??= new SessionEndedError('The session was closed');
  }
}

function address(url: string | URL = '/'): string {
  const { protocol, origin, pathname } = parse(url);
  if (!protocol.startsWith('http')) {
    throw new TypeError(`connect: url ${String(url)} begins with neither http:// nor https://`);
  }
  return (origin + pathname).replace(/\/+$/, '');
}

function parse(url: string | URL): URL {
  try {
    return new URL(url, globalThis.location?.href);
  } catch {
    throw new TypeError(
      `connect: url ${String(url)} is not an address such as http://localhost:8000`,
    );
  }
}

// Calls the listeners. What one throws is reported as uncaught, and does not stop the session.
function emit<T>(listeners: Set<(value: T) => void>, value: T): void {
  for (const listener of [...listeners]) {
    try {
      listener(value);
    } catch (err) {
      queueMicrotask(() => {
        throw err;
      });
    }
  }
}
