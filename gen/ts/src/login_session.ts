// A login session: tokens that are refreshed in time, once for all who wait, also in other tabs.
import { randomId } from './calls.js';
import { OeiError, SessionEndedError, isProblem, type ProblemError } from './errors.js';
import type { Client } from './gen/client/types.gen.js';
import { login, logout, refreshSession } from './gen/sdk.gen.js';
import type { LoginRequest, Tokens } from './gen/types.gen.js';
import { abortable, delayAfter, headersOf, sleep } from './retry.js';
import { Tabs, isSharedTokens, type SharedTokens } from './tabs.js';

/** Keeps tokens: `sessionStorage`, `localStorage`, or an object with the same three methods. */
export type TokenStorage = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;

/** What a login session needs. */
export interface LoginSessionOptions {
  /** Identifies the server for the tabs of the origin and in the storage. */
  name: string;
  client: Client;
  login: LoginRequest | (() => LoginRequest | Promise<LoginRequest>) | undefined;
  storage: TokenStorage | undefined;
  /** Whether the tabs of the origin share the login session. */
  tabs: boolean;
  onToken: (token: string) => void;
  onEnd: (error: SessionEndedError) => void;
}

// The server accepts a used refresh token for 30 s. All attempts are made in less.
const refreshTime = 20_000;
const refreshTimeout = 5_000; // of one attempt

/** Logs in and keeps an access token valid. */
export class LoginSession {
  readonly #options: LoginSessionOptions;
  readonly #tabs: Tabs;
  #tokens: SharedTokens | undefined; // undefined before login, and while the next login is awaited
  #renewal: Promise<void> | undefined;
  #ended: SessionEndedError | undefined;
  #joined: (() => void) | undefined; // ends waiting for credentials
  #isNewest = true; // no other tab has logged in since: new tabs join this login session

  constructor(options: LoginSessionOptions) {
    this.#options = options;
    this.#tabs = new Tabs(options.tabs ? options.name : undefined, {
      answer: (id) =>
        (id === undefined ? this.#isNewest : id === this.#tokens?.id) ? this.#tokens : undefined,
      tokens: (tokens) => {
        const own = this.#tokens;
        if (own && own.id !== tokens.id && tokens.turn === 0) this.#isNewest = false;
        this.#take(tokens);
      },
      ended: (id, reason, isFinal) => {
        if (id !== this.#tokens?.id) return;
        const ended = new SessionEndedError(reason);
        if (isFinal) this.#end(ended);
        else this.#lose(ended);
      },
    });
  }

  /** Continues the login session of the storage or of another tab, or logs in. */
  async start(signal?: AbortSignal): Promise<void> {
    if (typeof this.#options.login === 'object') return this.#logIn(signal);
    this.#take(this.#stored());
    if (!this.#tokens) await abortable(this.#tabs.ask(undefined, -1), signal);
    await this.token({ signal });
  }

  /** Returns an access token that is valid for some time yet, another one than `refused`. */
  async token(
    options: { signal?: AbortSignal | undefined; refused?: string | undefined } = {},
  ): Promise<string> {
    options.signal?.throwIfAborted();
    if (this.#ended) throw this.#ended;
    const tokens = this.#tokens;
    const left = tokens ? tokens.expires - Date.now() : 0;
    const isUsable = tokens && tokens.access !== options.refused && left > tokens.lifetime / 20;
    if (isUsable && left > tokens.lifetime / 4) return tokens.access;
    this.#renewal ??= this.#renew(tokens).finally(() => (this.#renewal = undefined));
    if (isUsable) {
      this.#renewal.catch(() => {}); // early enough to be tried again by the next call
      return tokens.access;
    }
    await abortable(this.#renewal, options.signal);
    if (!this.#tokens) throw this.#ended ?? new OeiError('The session was lost meanwhile');
    return this.#tokens.access;
  }

  /** Ends the login session on the server and in all tabs. */
  async logout(): Promise<void> {
    try {
      if (this.#tokens) await logout({ client: this.#options.client });
    } catch (err) {
      if (!(err instanceof SessionEndedError)) throw err;
    } finally {
      const ended = new SessionEndedError('Logged out');
      this.#tell(ended, true);
      this.#end(ended);
    }
  }

  /** Stops using the login session here. */
  close(): void {
    this.#ended ??= new SessionEndedError('The session was closed');
    this.#tabs.close();
  }

  // Refreshes tokens, or logs in again when they are refused and a function gives the credentials.
  async #renew(tokens: SharedTokens | undefined): Promise<void> {
    if (tokens) {
      const problem = await this.#tabs.exclusively(() => this.#refresh(tokens));
      if (problem) {
        const ended = new SessionEndedError(problem.detail, { cause: problem });
        this.#tell(ended, false);
        this.#lose(ended);
      } else if (this.#tokens) {
        return;
      }
    }
    if (this.#ended) throw this.#ended;
    await this.#logIn();
  }

  // Exchanges the refresh token, as long as it is the newest. Returns why the server refuses it.
  async #refresh({ id, turn }: SharedTokens): Promise<ProblemError | undefined> {
    this.#take(this.#stored());
    await this.#tabs.ask(id, turn);
    const start = performance.now();
    for (let attempt = 1; ; attempt++) {
      if (this.#ended) throw this.#ended;
      if (this.#tokens?.id !== id || this.#tokens.turn > turn) return undefined;
      const sent = Date.now();
      try {
        const { data } = await refreshSession({
          client: this.#options.client,
          body: { refresh_token: this.#tokens.refresh },
          timeout: refreshTimeout,
          retries: 0,
        });
        this.#adopt(shared(data, id, turn + 1, sent));
        return undefined;
      } catch (err) {
        if (this.#tokens?.id !== id) return undefined; // another tab has said that it ended
        if (isProblem(err, 'not-authenticated', 'invalid-request')) return err;
        const delay = delayAfter(attempt, headersOf(err));
        if (performance.now() + delay - start > refreshTime) throw err;
        await sleep(delay);
      }
    }
  }

  async #logIn(signal?: AbortSignal): Promise<void> {
    const { client, login: source } = this.#options;
    if (!source) throw new SessionEndedError('There is no session to continue: log in');
    const joined = new Promise<undefined>((resolve) => (this.#joined = () => resolve(undefined)));
    const asked = typeof source === 'function' ? abortable(ask(source), signal) : source;
    let body: LoginRequest | undefined;
    try {
      body = await Promise.race([asked, joined]);
    } catch (err) {
      signal?.throwIfAborted();
      const ended = new SessionEndedError('There was no login', { cause: err });
      this.#end(ended);
      throw ended;
    }
    if (!body) return; // another tab has logged in
    const sent = Date.now();
    const { data } = await login({ client, body, signal: signal ?? null });
    this.#isNewest = true;
    this.#adopt(shared(data, randomId(), 0, sent));
  }

  // Uses tokens that this tab has got from the server.
  #adopt(tokens: SharedTokens): void {
    if (this.#ended) return;
    this.#use(tokens);
    this.#store(tokens);
    this.#tabs.tell(tokens);
  }

  // Uses tokens of another tab or the storage if they are newer.
  #take(tokens: SharedTokens | undefined): void {
    const own = this.#tokens;
    if (!tokens || this.#ended) return;
    if (!own || (tokens.id === own.id && tokens.turn > own.turn)) this.#use(tokens);
  }

  #use(tokens: SharedTokens): void {
    this.#tokens = tokens;
    this.#joined?.();
    this.#options.onToken(tokens.access);
  }

  #stored(): SharedTokens | undefined {
    try {
      const tokens: unknown = JSON.parse(
        this.#options.storage?.getItem(this.#options.name) ?? 'null',
      );
      return isSharedTokens(tokens) ? tokens : undefined;
    } catch {
      return undefined; // the storage is not available, or has something else
    }
  }

  // Stores tokens, but not over those of a later login.
  #store(tokens: SharedTokens): void {
    const isOther = tokens.turn > 0 && (this.#stored()?.id ?? tokens.id) !== tokens.id;
    if (isOther) return;
    try {
      this.#options.storage?.setItem(this.#options.name, JSON.stringify(tokens));
    } catch {
      // the storage is full or not available: the tokens stay in memory
    }
  }

  // Tells storage and other tabs that the login session has ended.
  #tell({ message }: SessionEndedError, isFinal: boolean): void {
    if (!this.#tokens) return;
    const { id } = this.#tokens;
    if (this.#stored()?.id === id) this.#options.storage?.removeItem(this.#options.name);
    this.#tabs.tellEnded(id, message, isFinal);
  }

  // The login session has ended; a function that gives credentials can begin another one.
  #lose(ended: SessionEndedError): void {
    this.#tokens = undefined;
    if (typeof this.#options.login !== 'function') this.#end(ended);
  }

  #end(ended: SessionEndedError): void {
    if (this.#ended) return;
    this.#ended = ended;
    this.#tokens = undefined;
    this.#tabs.close();
    this.#options.onEnd(ended);
  }
}

// An async function also turns what a callback throws at once into a rejection.
const ask = async <T>(source: () => T | Promise<T>): Promise<T> => source();

function shared(answer: Tokens, id: string, turn: number, sent: number): SharedTokens {
  const lifetime = answer.expires_in * 1000;
  const tokens = {
    id,
    turn,
    access: answer.access_token,
    refresh: answer.refresh_token,
    expires: sent + lifetime,
    lifetime,
  };
  if (!isSharedTokens(tokens)) throw new OeiError('The answer has no tokens: is this OEI-MS?');
  return tokens;
}
