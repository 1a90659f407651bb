// Options for TanStack Query v5: queries, lists with pages, changes, and queries that follow live
// data. Imports types of @tanstack/query-core alone, and so works with every framework's adapter.
import type { DataTag, InfiniteData, QueryClient } from '@tanstack/query-core';
import type { OeiError } from './errors.js';
import type { Client } from './gen/client/types.gen.js';
import { call, describe, type DataOf, type Operation, type OptionsOf } from './operation.js';
import { nextPage, type NextPage } from './pages.js';

export { followLive, type FollowOptions } from './query/follow.js';
export type { NextPage } from './pages.js';

/**
 * Key of a query: `oei`, the path of the operation in the contract, and what tells its calls apart.
 * A key without the latter matches all calls of the operation.
 */
export type Key =
  | readonly ['oei', url: string]
  | readonly ['oei', url: string, call: KeyedCall]
  | readonly ['oei', url: string, call: KeyedCall, 'pages'];

/** What tells the calls of an operation apart. */
export interface KeyedCall {
  server?: string;
  path?: unknown;
  query?: unknown;
}

/**
 * Returns the key of an operation's queries, to find or to invalidate them:
 * `queryClient.invalidateQueries({ queryKey: queryKey(listSensors) })`. With options it is the key
 * of the queries with these parameters.
 */
export function queryKey<Op extends Operation>(operation: Op, options?: OptionsOf<Op>): Key {
  const { url, path, query } = describe(operation, options ?? {});
  if (!options) return ['oei', url];
  const server = (options as { client?: Client }).client?.getConfig().baseUrl;
  return [
    'oei',
    url,
    { ...(server && { server }), ...(path && { path }), ...(query && { query }) },
  ];
}

/**
 * Returns options of a query: `useQuery(queryOptions(getSensor, { client, path: { id: 7 } }))`.
 * The session attempts calls again where that helps, so TanStack Query does not (`retry: false`).
 */
export function queryOptions<Op extends Operation>(operation: Op, options: OptionsOf<Op>) {
  return {
    queryKey: queryKey(operation, options) as DataTag<Key, DataOf<Op>, OeiError>,
    queryFn: async ({ signal }: { signal: AbortSignal }): Promise<DataOf<Op>> =>
      (await call(operation, options, { signal })).data,
    retry: false,
  };
}

/** A page of a list, and where the next one begins; null on the last one. */
export interface Page<Items> {
  items: Items;
  next: NextPage | null;
}

/**
 * Returns options of a query that reads a list page by page:
 * `useInfiniteQuery(infiniteQueryOptions(listSensors, { client }))`. `query.limit` is the size of a
 * page; `data.pages.flatMap((page) => page.items)` are the items read so far.
 */
export function infiniteQueryOptions<Op extends Operation<readonly unknown[]>>(
  operation: Op,
  options: OptionsOf<Op>,
) {
  type Data = InfiniteData<Page<DataOf<Op>>, NextPage | null>;
  return {
    queryKey: [...queryKey(operation, options), 'pages'] as unknown as DataTag<Key, Data, OeiError>,
    queryFn: async (context: {
      signal: AbortSignal;
      pageParam: NextPage | null;
    }): Promise<Page<DataOf<Op>>> => {
      const { signal, pageParam } = context;
      const more = pageParam ? { signal, query: pageParam } : { signal };
      const answer = await call(operation, options, more);
      return { items: answer.data, next: nextPage(answer) ?? null };
    },
    initialPageParam: null as NextPage | null,
    getNextPageParam: (page: Page<DataOf<Op>>): NextPage | null => page.next,
    retry: false,
  };
}

/**
 * Returns options of a change: `useMutation(mutationOptions(createSensor, { client }))`, then
 * `mutate({ body })`. Options given to `mutate` are added to those given here.
 */
export function mutationOptions<Op extends Operation>(
  operation: Op,
  options: Partial<OptionsOf<Op>> = {},
) {
  return {
    mutationFn: async (more: OptionsOf<Op>): Promise<DataOf<Op>> =>
      (await call(operation, options as OptionsOf<Op>, more as object)).data,
  };
}
