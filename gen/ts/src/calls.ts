// Makes the calls of a client: with a token, attempted again where that is safe, in bounded time.
import { NetworkError, OeiError, TimeoutError } from './errors.js';
import type { Client, ResolvedRequestOptions } from './gen/client/types.gen.js';
import { linkTo } from './link.js';
import { clamp, delayAfter, sleep } from './retry.js';

/** What `makeCalls` needs of a session. */
export interface CallOptions {
  /** Returns a token, another one than `refused`. */
  token: (options: { signal: AbortSignal; refused?: string }) => Promise<string>;
  timeout: number;
  retries: number;
}

const idempotentMethods = ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'];
const retryableStatuses = [408, 429, 502, 503, 504];

/** Operations without an idempotent method that may be repeated: at worst there is a second login. */
const repeatableOperations = ['POST /api/auth/login'];

/** Operations that take an `Idempotency-Key`. A test compares them with the contract. */
const keyedOperations = ['POST /api/data'];

/** Makes a client send its requests with tokens, retries and timeouts. */
export function makeCalls(client: Client, session: CallOptions): void {
  const warned = new Set<string>();
  client.interceptors.request.use((request, options) => {
    const operation = `${request.method} ${options.url}`;
    setDefault(request.headers, 'X-Request-ID', randomId);
    if (keyedOperations.includes(operation)) {
      setDefault(request.headers, 'Idempotency-Key', randomId);
    }
    const inner = options.fetch!;
    options.fetch = async (final) => {
      const response = await new Call(final as Request, options, session, inner).send();
      warnOfDeprecation(response, operation, warned);
      return response;
    };
    return request;
  });
}

class Call {
  readonly #request: Request;
  readonly #options: ResolvedRequestOptions;
  readonly #session: CallOptions;
  readonly #fetch: typeof fetch;
  readonly #control = new AbortController();
  readonly #repeatable: boolean;
  #token: string | undefined;

  constructor(
    request: Request,
    options: ResolvedRequestOptions,
    session: CallOptions,
    inner: typeof fetch,
  ) {
    this.#request = request;
    this.#options = options;
    this.#session = session;
    this.#fetch = inner;
    this.#repeatable =
      idempotentMethods.includes(request.method) ||
      request.headers.has('Idempotency-Key') ||
      repeatableOperations.includes(`${request.method} ${options.url}`);
  }

  async send(): Promise<Response> {
    const { signal } = this.#request;
    const abort = () => this.#control.abort(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    const timeout = this.#options.timeout ?? this.#session.timeout;
    const timer = timeout > 0 ? setTimeout(() => this.#expire(timeout), clamp(timeout)) : undefined;
    try {
      return await this.#attempts(timeout > 0 ? performance.now() + timeout : Infinity);
    } finally {
      clearTimeout(timer);
    }
  }

  // Attempts until there is an answer that is final, or no time for another attempt.
  async #attempts(deadline: number): Promise<Response> {
    const retries = this.#options.retries ?? this.#session.retries;
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#attempt().catch((err: unknown) => {
        if (err instanceof NetworkError && this.#repeatable) return err;
        throw err;
      });
      const failed = outcome instanceof NetworkError;
      const final = !failed && !this.#mayRepeat(outcome);
      const delay = delayAfter(attempt, failed ? undefined : outcome.headers);
      if (final || attempt > retries || performance.now() + delay > deadline) {
        if (failed) throw outcome;
        return outcome;
      }
      if (!failed) await outcome.body?.cancel();
      await sleep(delay, this.#control.signal);
    }
  }

  #mayRepeat({ status, headers }: Response): boolean {
    if (status === 429) return true; // it was not carried out
    if (!this.#repeatable) return false;
    const inProgress = status === 409 && headers.has('Retry-After'); // an idempotency key's first use
    return inProgress || retryableStatuses.includes(status);
  }

  // Sends the request; once again if its token is refused.
  async #attempt(): Promise<Response> {
    const needsToken = this.#options.security && !this.#request.headers.has('Authorization');
    if (!needsToken) return this.#fetchOnce();
    const { signal } = this.#control;
    const token = await this.#session.token({ signal });
    const response = await this.#fetchOnce(token);
    if (response.status !== 401 || this.#token !== undefined) return response;
    this.#token = await this.#session.token({ signal, refused: token });
    return this.#token === token ? response : this.#fetchOnce(this.#token);
  }

  async #fetchOnce(token?: string): Promise<Response> {
    const request = this.#request.clone();
    if (token !== undefined) request.headers.set('Authorization', `Bearer ${token}`);
    const { signal } = this.#control;
    try {
      const send = this.#fetch; // as a method of this, a browser's fetch would refuse
      const response = await send(request, { signal });
      return this.#options.parseAs === 'stream' ? response : await withBody(response);
    } catch (err) {
      if (signal.aborted) throw signal.reason;
      throw new NetworkError(`No answer from ${describe(request)}`, this.#context(err));
    }
  }

  #expire(timeout: number): void {
    const text = `No answer from ${describe(this.#request)} in ${timeout} ms`;
    this.#control.abort(new TimeoutError(text, this.#context()));
  }

  #context(cause?: unknown): ConstructorParameters<typeof OeiError>[1] & object {
    return { cause, requestId: this.#request.headers.get('X-Request-ID') ?? undefined };
  }
}

// Reads the body of an answer, so that a connection that is lost meanwhile is a failed attempt.
async function withBody(response: Response): Promise<Response> {
  if (!response.body) return response;
  const { status, statusText, headers, url } = response;
  const bytes = await response.arrayBuffer();
  const body = bytes.byteLength > 0 ? bytes : null; // Chromium has an empty one with 204, too
  return Object.defineProperty(new Response(body, { status, statusText, headers }), 'url', {
    value: url,
  });
}

function warnOfDeprecation(response: Response, operation: string, warned: Set<string>): void {
  if (!response.headers.has('Deprecation') || warned.has(operation)) return;
  warned.add(operation);
  const sunset = response.headers.get('Sunset');
  const guide = linkTo('deprecation', response);
  const text = `${operation} is deprecated${sunset ? ` and ends ${sunset}` : ''}`;
  console.warn(`OEI-MS: ${text}${guide ? `, see ${guide}` : ''}`);
}

const describe = (request: Request): string => `${request.method} ${request.url.split('?')[0]}`;

function setDefault(headers: Headers, name: string, value: () => string): void {
  if (!headers.has(name)) headers.set(name, value());
}

/** Returns 128 random bits in hexadecimal. Unlike `randomUUID` it works in pages without TLS. */
export const randomId = (): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) =>
    b.toString(16).padStart(2, '0'),
  ).join('');
