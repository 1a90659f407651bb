// A session: a client that is logged in and stays so.
import { createClient } from './client.js';
import { SessionEndedError, isProblem } from './errors.js';
import type { Client } from './gen/client/types.gen.js';
import { login, logout, refreshSession } from './gen/sdk.gen.js';
import type { LoginRequest, Tokens } from './gen/types.gen.js';

export * from './errors.js';

/** Options of `connect`: an address, and one of `login`, `token` and `apiKey`. */
export interface ConnectOptions {
  /** Address of the server, with its sub path if it has one. Default: the page's origin. */
  url?: string | URL;
  /**
   * Username and password. A function is asked when they are needed: at first, and when the
   * session has ended; it may show a dialog, and calls wait until it answers.
   */
  login?: LoginRequest | (() => LoginRequest | Promise<LoginRequest>);
  /** Access token of a login that the program makes itself. A function is asked for every call. */
  token?: string | (() => string | Promise<string>);
  /** API key, for programs. */
  apiKey?: string;
  /** Time in ms for a call, with all of its attempts and waiting. Default: 60,000. */
  timeout?: number;
  /** How often a call that may be repeated is attempted again. Default: 4. */
  retries?: number;
  /** Replaces the global `fetch`. */
  fetch?: typeof fetch;
  /** Ends waiting for the login. */
  signal?: AbortSignal;
}

/** Events of a session and what their listeners are called with. */
export interface SessionEvents {
  /** The session is over, by `logout` or because the server ended it. */
  end: SessionEndedError;
  /** There is another access token. */
  token: string;
}

/** A client that is logged in and stays so. */
export interface Session {
  /** Address of the server, without a slash at the end. */
  readonly url: string;
  /** Client for the functions of the contract: `listSensors({ client: oei.client })`. */
  readonly client: Client;
  /**
   * Returns the API key, or an access token that is valid for some time yet. `refused` is a token
   * that the server does not accept any more: the answer is another one.
   */
  token(options?: { signal?: AbortSignal; refused?: string }): Promise<string>;
  /** Adds a listener, and returns the function that removes it. */
  on<E extends keyof SessionEvents>(
    event: E,
    listener: (value: SessionEvents[E]) => void,
  ): () => void;
  /** Ends the login session, in all tabs. */
  logout(): Promise<void>;
  /** Stops using the session here, without ending it on the server. */
  close(): void;
}

/** Logs in, and returns the session. */
export async function connect(options: ConnectOptions): Promise<Session> {
  const url = new URL(options.url ?? '/', globalThis.location?.href).href.replace(/\/$/, '');
  const plain = createClient({ baseUrl: url, ...(options.fetch && { fetch: options.fetch }) });
  const listeners: { [E in keyof SessionEvents]: Set<(value: SessionEvents[E]) => void> } = {
    end: new Set(),
    token: new Set(),
  };
  let tokens: (Tokens & { expires: number }) | undefined;
  let ended: SessionEndedError | undefined;
  let refreshing: Promise<void> | undefined;

  const adopt = (data: Tokens) => {
    tokens = { ...data, expires: Date.now() + data.expires_in * 1000 };
    for (const listener of listeners.token) listener(data.access_token);
  };
  const end = (err: SessionEndedError) => {
    if (ended) return;
    ended = err;
    for (const listener of listeners.end) listener(err);
  };
  const refresh = async () => {
    try {
      const body = { refresh_token: tokens!.refresh_token };
      adopt((await refreshSession({ client: plain, body })).data);
    } catch (err) {
      if (isProblem(err, 'not-authenticated'))
        end(new SessionEndedError(err.detail, { cause: err }));
      throw ended ?? err;
    }
  };
  const token: Session['token'] = async ({ refused } = {}) => {
    if (ended) throw ended;
    if (options.apiKey !== undefined) return options.apiKey;
    if (options.token !== undefined) {
      return typeof options.token === 'function' ? options.token() : options.token;
    }
    if (tokens!.access_token === refused || tokens!.expires < Date.now() + 10_000) {
      await (refreshing ??= refresh().finally(() => (refreshing = undefined)));
    }
    return tokens!.access_token;
  };
  if (options.login) {
    const body = typeof options.login === 'function' ? await options.login() : options.login;
    adopt((await login({ client: plain, body, signal: options.signal ?? null })).data);
  }
  const client = createClient({ ...plain.getConfig(), auth: () => token() });
  return {
    url,
    client,
    token,
    on(event, listener) {
      listeners[event].add(listener);
      return () => listeners[event].delete(listener);
    },
    async logout() {
      if (tokens) await logout({ client });
      end(new SessionEndedError('Logged out'));
    },
    close: () => end(new SessionEndedError('Closed')),
  };
}
