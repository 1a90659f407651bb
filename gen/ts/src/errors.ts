// Errors that the functions of the contract throw.
import { ProblemType, type FieldError, type Problem } from './gen/types.gen.js';

type KnownType = (typeof ProblemType)[keyof typeof ProblemType];

/** Last segment of a problem type: `conflict` for `/problems/conflict`. */
export type ProblemKind = KnownType extends `/problems/${infer Kind}` ? Kind : never;

/** Base of all errors of this package. An aborted call throws the reason of its signal instead. */
export class OeiError extends Error {
  override readonly name: string = 'OeiError';
  /** Id of the request, as in the server's log and `X-Request-ID`. */
  readonly requestId: string | undefined;

  constructor(message: string, options: ErrorOptions & { requestId?: string | undefined } = {}) {
    super(message, options);
    this.requestId = options.requestId;
  }
}

/** An error answer of the server. Has the members of `Problem`. */
export class ProblemError extends OeiError implements Problem {
  override readonly name = 'ProblemError';
  /** Kind of the error, for programs; `about:blank` if the answer came from another server. */
  readonly type: ProblemType;
  readonly title: string;
  /** HTTP status code. */
  readonly status: number;
  /** The error in words. */
  readonly detail: string;
  readonly instance: string;
  /** The faulty fields; empty if the error is not about fields. */
  readonly errors: FieldError[];
  /** Header fields of the answer, such as `Retry-After`. */
  readonly headers: Headers;

  constructor(problem: Partial<Problem>, response: Response) {
    const title = problem.title ?? (response.statusText || `Status ${response.status}`);
    const detail = problem.detail ?? title;
    const requestId = response.headers.get('X-Request-ID') ?? problem.instance;
    super(detail, { requestId });
    this.type = problem.type ?? 'about:blank';
    this.title = title;
    this.status = response.status;
    this.detail = detail;
    this.instance = problem.instance ?? requestId ?? '';
    this.errors = problem.errors ?? [];
    this.headers = response.headers;
  }
}

/** There was no answer: no connection, or it was lost. `cause` has the error of `fetch`. */
export class NetworkError extends OeiError {
  override readonly name = 'NetworkError';
}

/** There was no answer within the call's `timeout`. */
export class TimeoutError extends OeiError {
  override readonly name = 'TimeoutError';
}

/** The session is over: log in again. `cause` has the server's answer, unless by `logout` or `close`. */
export class SessionEndedError extends OeiError {
  override readonly name = 'SessionEndedError';
}

/**
 * Reports whether an error is an answer of the server of one of these kinds (of any without), and
 * narrows its type: `isProblem(err, 'conflict', 'changed')`.
 */
export function isProblem<K extends ProblemKind>(
  err: unknown,
  ...kinds: K[]
): err is ProblemError & { readonly type: `/problems/${K}` } {
  if (!(err instanceof ProblemError)) return false;
  return kinds.length === 0 || kinds.some((kind) => err.type === `/problems/${kind}`);
}

/** Turns what a client got into the error to be thrown. An interceptor of hey-api's client. */
export function toError(error: unknown, response?: Response, request?: Request): unknown {
  if (error instanceof OeiError) return error;
  if (response) return new ProblemError(isObject(error) ? error : {}, response);
  if (request?.signal.aborted || !(error instanceof TypeError)) return error;
  const where = request ? ` from ${request.method} ${request.url.split('?')[0]}` : '';
  const requestId = request?.headers.get('X-Request-ID') ?? undefined;
  return new NetworkError(`No answer${where}`, { cause: error, requestId });
}

const isObject = (value: unknown): value is Partial<Problem> =>
  typeof value === 'object' && value !== null;
