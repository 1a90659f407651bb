import type { Problem, Tokens } from '../gen/types.gen.js';
import { Answer, answer, problem, ProblemAnswer } from './answer.js';
import {
  findOperation,
  readRequest,
  type Data,
  type FakeRequest,
  type Operation,
  type OperationName,
} from './operations.js';

/** Answers one operation: with its data, an `answer`, a `problem`, or any `Response`. */
export type Handler<N extends OperationName> = (
  request: FakeRequest<N>,
) => Reply<N> | Promise<Reply<N>>;
type Reply<N extends OperationName> = Data<N> | Answer<Data<N>> | ProblemAnswer | Response;

export type Handlers = { [N in OperationName]?: Handler<N> };

/** A recorded request. */
export interface FakeCall<N extends OperationName = OperationName> extends FakeRequest<N> {
  /** Status of the answer; 0 while there is none, or when the network failed. */
  status: number;
}

export interface FakeServerOptions {
  /** Address to pass to the client, `http://oei.test` if absent. */
  url?: string;
  /** Milliseconds before every answer; 0 if absent. */
  delay?: number;
}

export interface FakeServer {
  /** Address to pass to the client. */
  readonly url: string;
  /** Pass this to the client in place of the global `fetch`. */
  readonly fetch: typeof fetch;
  /** All requests, in the order in which they came. */
  readonly calls: readonly FakeCall[];
  /** The requests of one operation. */
  callsOf<N extends OperationName>(operation: N): FakeCall<N>[];
  /** Adds handlers; they replace those of the same operations. */
  handle(handlers: Handlers): void;
}

/**
 * Creates a server that exists only as a `fetch`. Each operation is answered by its handler.
 * `login`, `refreshSession` and `logout` have handlers from the start. Any other operation without
 * a handler is reported by `console.error` and answered with 501; the problem names it. A handler
 * that throws is reported so too, and answered with 500.
 *
 * A handler of a list returns all items. They are answered in pages by `limit` and `cursor`, with
 * `Link` and, on request, `X-Total-Count`, as the real server does. `Response.error()` is a failure
 * of the network.
 */
export function fakeServer(handlers: Handlers = {}, options: FakeServerOptions = {}): FakeServer {
  const base = new URL(options.url ?? 'http://oei.test');
  const current: Handlers = { ...sessionHandlers(), ...handlers };
  const calls: FakeCall[] = [];
  let requests = 0;

  const respond = async (request: Request): Promise<Response> => {
    const address = new URL(request.url);
    const operation = findOperation(request.method, address, base);
    if (!operation) return toResponse(noHandler(`${request.method} ${request.url}`), ++requests);
    const call = { ...(await readRequest(request, address, operation)), status: 0 };
    calls.push(call);
    const reply = await ask(operation, call, current[operation.name]);
    const delay = (reply instanceof Answer ? reply.options.delay : undefined) ?? options.delay;
    if (delay) await wait(delay, request.signal);
    const response = toResponse(reply, ++requests, { operation, call, address });
    if (response.type === 'error') throw new TypeError('Failed to fetch');
    call.status = response.status;
    return response;
  };
  return {
    url: base.href.replace(/\/$/, ''),
    calls,
    callsOf: <N extends OperationName>(name: N) =>
      calls.filter((call) => call.operation === name) as unknown as FakeCall<N>[],
    handle: (more) => void Object.assign(current, more),
    fetch: async (input, init) => {
      const request = new Request(input, init);
      request.signal.throwIfAborted();
      return Promise.race([respond(request), aborted(request.signal)]);
    },
  };
}

// Asks a handler. Its faults are told, and answered with a status after which nothing is retried.
async function ask(operation: Operation, call: FakeCall, handler?: unknown): Promise<unknown> {
  if (!handler) return noHandler(operation.name);
  try {
    const reply: unknown = await (handler as Handler<OperationName>)(call);
    if (reply !== undefined || operation.status === 204) return reply;
    throw new TypeError('it returned undefined');
  } catch (err) {
    console.error(`fakeServer: the handler of ${operation.name} failed:`, err);
    const detail = `the handler of ${operation.name} failed: ${String(err)}`;
    return problem('internal', { title: 'Handler failed', detail });
  }
}

interface Asked {
  operation: Operation;
  call: FakeCall;
  address: URL;
}

function toResponse(reply: unknown, request: number, asked?: Asked): Response {
  if (reply instanceof Response) return reply;
  const instance = `fake-${request}`;
  if (reply instanceof ProblemAnswer) {
    const { data, options } = reply;
    return new Response(JSON.stringify({ ...data, instance: data.instance || instance }), {
      status: data.status,
      headers: {
        'Content-Type': 'application/problem+json',
        'X-Request-ID': instance,
        ...options.headers,
      },
    });
  }
  const { data, options } = reply instanceof Answer ? reply : answer(reply);
  const status = options.status ?? asked!.operation.status;
  const { body, headers } = contentOf(data, options.next, asked!);
  return new Response(status === 204 || status === 304 ? null : body, {
    status,
    headers: { 'X-Request-ID': instance, ...headers, ...options.headers },
  });
}

// Sets the headers that the contract declares for the operation.
function contentOf(data: unknown, next: string | undefined, { operation, call, address }: Asked) {
  const headers: Record<string, string> = {};
  const set = (name: string, value: string | undefined) => {
    if (value !== undefined && operation.headers.includes(name)) headers[name] = value;
  };
  let content = data;
  if (Array.isArray(data) && operation.headers.includes('Link')) {
    const { limit = 100, cursor, count } = call.query as Page;
    const from = next === undefined ? Number(/^fake-(\d+)$/.exec(cursor ?? '')?.[1] ?? 0) : 0;
    const end = next === undefined ? from + limit : data.length;
    next ??= end < data.length ? `fake-${end}` : undefined;
    content = data.slice(from, end);
    if (count) set('X-Total-Count', String(data.length));
    set('Link', next === undefined ? undefined : `<${pageAddress(address, next)}>; rel="next"`);
    set('X-Truncated', String(next !== undefined));
    set('X-Next-Cursor', next);
  }
  const { format = '' } = call.query as { format?: string };
  const type = operation.content.find((t) => t.includes(format)) ?? operation.content[0];
  if (type) headers['Content-Type'] = type;
  if (content instanceof Blob || typeof content === 'string') return { body: content, headers };
  const body = JSON.stringify(content);
  set('ETag', `"${hash(body ?? '')}"`);
  const id = (content as { id?: unknown } | undefined)?.id;
  set('Location', id === undefined ? undefined : `${address.pathname}/${String(id)}`);
  return { body, headers };
}

interface Page {
  limit?: number;
  cursor?: string;
  count?: boolean;
}

function pageAddress(address: URL, cursor: string): string {
  const next = new URL(address);
  next.searchParams.set('cursor', cursor);
  next.searchParams.sort();
  return next.pathname + next.search;
}

// A login session whose tokens are told apart by their numbers.
function sessionHandlers(): Handlers {
  let pairs = 0;
  const tokens = (): Tokens => ({
    access_token: `access-${++pairs}`,
    refresh_token: `refresh-${pairs}`,
    token_type: 'bearer',
    expires_in: 1800,
  });
  return { login: tokens, refreshSession: tokens, logout: () => undefined };
}

function noHandler(what: string): ProblemAnswer {
  const detail = `fakeServer has no handler for ${what}`;
  console.error(detail);
  return problem('not-implemented', { title: 'No handler', detail });
}

function hash(text: string): string {
  let h = 5381;
  for (let i = 0; i < text.length; i++) h = ((h * 33) ^ text.charCodeAt(i)) >>> 0;
  return h.toString(36);
}

function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  });
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}
