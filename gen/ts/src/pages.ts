// Lists, page by page or item by item.
import { OeiError } from './errors.js';
import { linkTo } from './link.js';
import { call, type DataOf, type Operation, type OptionsOf } from './operation.js';

/** The items of a list operation. */
export type ItemOf<Op extends Operation<readonly unknown[]>> = DataOf<Op>[number];

/**
 * Returns the pages of a list, each read when the loop asks for it:
 * `for await (const page of pages(listSensors, { client, query: { limit: 500 } }))`.
 * `limit` is the size of a page. Leaving the loop ends the reading, as does `signal`.
 */
export async function* pages<Op extends Operation<readonly unknown[]>>(
  operation: Op,
  options: OptionsOf<Op>,
): AsyncGenerator<DataOf<Op>, void, undefined> {
  const { signal } = options as { signal?: AbortSignal | null };
  let next: NextPage | undefined;
  do {
    const answer = await call(operation, options, next && { query: next });
    yield answer.data;
    signal?.throwIfAborted();
    next = nextPage(answer);
  } while (next);
}

/** Returns the items of a list: `for await (const sensor of items(listSensors, { client }))`. */
export async function* items<Op extends Operation<readonly unknown[]>>(
  operation: Op,
  options: OptionsOf<Op>,
): AsyncGenerator<ItemOf<Op>, void, undefined> {
  for await (const page of pages(operation, options)) yield* page as readonly ItemOf<Op>[];
}

/** Parameters of the next page of a list. */
export type NextPage = Record<string, string[]>;

/**
 * Returns the parameters of the page that the `Link` of an answer leads to. Only the parameters
 * are used: the next request goes to the same operation, so that tokens go nowhere else.
 */
export function nextPage(answer: { request: Request; response: Response }): NextPage | undefined {
  const here = new URL(answer.request.url);
  const target = linkTo('next', answer.response);
  if (target === undefined) return undefined;
  const next = new URL(target, here);
  if (next.origin !== here.origin) {
    throw new OeiError(`The next page is on another server, ${next.origin}`);
  }
  if (next.search === here.search) throw new OeiError('The next page is the same page');
  const query: NextPage = {};
  for (const [name, value] of next.searchParams) (query[name] ??= []).push(value);
  return query;
}
