// When to attempt a call again, and waiting that can be aborted.
import { ProblemError } from './errors.js';

const minBackoff = 500;
const maxBackoff = 8_000;

/**
 * Returns how many ms to wait after an attempt (1, 2, …): what the answer asks for with
 * `Retry-After`, else a random time in a range that doubles with each attempt.
 */
export function delayAfter(attempt: number, headers?: Headers): number {
  const value = headers?.get('Retry-After');
  if (value) {
    const seconds = Number(value);
    if (seconds >= 0) return seconds * 1000;
    // A date is compared with the server's clock: ours may be wrong.
    const delay = Date.parse(value) - Date.parse(headers!.get('Date') ?? new Date().toUTCString());
    if (delay >= 0) return delay;
  }
  const ceiling = Math.min(maxBackoff, minBackoff * 2 ** (attempt - 1));
  return ceiling * (0.5 + Math.random() / 2);
}

/** Returns the header fields of an error answer. */
export const headersOf = (err: unknown): Headers | undefined =>
  err instanceof ProblemError ? err.headers : undefined;

/** Returns a time in ms that a timer can have: after longer ones it would fire at once. */
export const clamp = (ms: number): number => Math.min(ms, 2 ** 31 - 1);

/** Waits some ms. Rejects with the reason of the signal when it is aborted. */
export function sleep(ms: number, signal?: AbortSignal | null): Promise<void> {
  let timer: ReturnType<typeof setTimeout>;
  const slept = new Promise<void>((resolve) => (timer = setTimeout(resolve, clamp(ms))));
  return abortable(slept, signal).finally(() => clearTimeout(timer));
}

/** Waits for a promise, at most until the signal is aborted. */
export function abortable<T>(promise: Promise<T>, signal?: AbortSignal | null): Promise<T> {
  if (!signal) return promise;
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
