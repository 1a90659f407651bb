// Lists, page by page or item by item.
import { OeiError } from './errors.js';

/** What a list operation takes, apart from its own parameters. */
interface ListOptions {
  query?: unknown;
  signal?: AbortSignal | null;
}

type Answer<T> = Promise<{ data: T | undefined; request: Request; response: Response }>;

/** A function of the contract whose answer has a `Link` to the next page. */
export type ListOperation<Options, Page> = (options: Options) => Answer<Page>;

/**
 * Returns the pages of a list, each read when the loop asks for it:
 * `for await (const page of pages(listSensors, { client, query: { limit: 500 } }))`.
 * `limit` is the size of a page.
 */
export async function* pages<Options extends ListOptions, Page>(
  operation: ListOperation<Options, Page>,
  options: NoInfer<Options>,
): AsyncGenerator<Page, void, undefined> {
  for (let query: unknown = options.query; ;) {
    const { data, request, response } = await operation({ ...options, query, throwOnError: true });
    yield data!;
    options.signal?.throwIfAborted();
    const next = nextQuery(request.url, response);
    if (!next) return;
    query = next;
  }
}

/** Returns the items of a list: `for await (const sensor of items(listSensors, { client }))`. */
export async function* items<Options extends ListOptions, Item>(
  operation: ListOperation<Options, Item[]>,
  options: NoInfer<Options>,
): AsyncGenerator<Item, void, undefined> {
  for await (const page of pages(operation, options)) yield* page;
}

// Only the parameters of a Link are used: the request goes where the operation goes.
function nextQuery(url: string, response: Response): Record<string, string[]> | undefined {
  const link = /<([^>]*)>\s*;\s*rel="?next"?/.exec(response.headers.get('Link') ?? '')?.[1];
  if (link === undefined) return undefined;
  const next = new URL(link, url);
  if (next.origin !== new URL(url).origin) {
    throw new OeiError(`The next page is on another server, ${next.origin}`);
  }
  if (next.search === new URL(url).search) throw new OeiError('The next page is this page');
  const query: Record<string, string[]> = {};
  for (const [name, value] of next.searchParams) (query[name] ??= []).push(value);
  return query;
}
