import type { ProblemKind } from '../errors.js';
import { problemStatuses } from '../gen/operations.gen.js';
import type { Problem } from '../gen/types.gen.js';

export interface AnswerOptions {
  /** HTTP status; that of the contract if absent. */
  status?: number;
  headers?: Record<string, string>;
  /** Cursor of the next page; the answer has a `Link` to it. */
  next?: string;
  /** Milliseconds before the answer is sent; the delay of the server if absent. */
  delay?: number;
}

/** What a handler returns to set more than the data: see `answer` and `problem`. */
export class Answer<D> {
  constructor(
    readonly data: D,
    readonly options: AnswerOptions,
  ) {}
}

/** Answers with data and, for instance, a `status`, `headers`, the cursor of the `next` page. */
export function answer<D>(data: D, options: AnswerOptions = {}): Answer<D> {
  return new Answer(data, options);
}

export interface ProblemOptions extends Partial<Omit<Problem, 'type' | 'status'>> {
  headers?: Record<string, string>;
  /** Seconds in `Retry-After`; 1 if absent, for 429 and 503 only. */
  retryAfter?: number;
  delay?: number;
}

/** A problem of the contract as an answer. */
export class ProblemAnswer extends Answer<Problem> {}

/** Answers with a problem of the contract, with the status of its type. */
export function problem(kind: ProblemKind, options: ProblemOptions = {}): ProblemAnswer {
  const { headers, retryAfter, delay, ...members } = options;
  const status = problemStatuses[kind];
  const seconds = retryAfter ?? (status === 429 || status === 503 ? 1 : undefined);
  const title = kind.replaceAll('-', ' ');
  return new ProblemAnswer(
    { type: `/problems/${kind}`, title, status, detail: title, instance: '', ...members },
    {
      status,
      headers: { ...(seconds === undefined ? {} : { 'Retry-After': String(seconds) }), ...headers },
      ...(delay === undefined ? {} : { delay }),
    },
  );
}
