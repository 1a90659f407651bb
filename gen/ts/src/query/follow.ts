// Keeps queries up to date with live data.
import type { InfiniteData, QueryClient } from '@tanstack/query-core';
import type { Client } from '../gen/client/types.gen.js';
import type { LatestReading } from '../gen/types.gen.js';
import type { Live, Subscription, Topic } from '../live.js';
import type { Page } from '../query.js';

/** Options of `followLive`. */
export interface FollowOptions {
  live: Live;
  /** The client whose queries follow. */
  client: Client;
  /** What to subscribe to: `['gateways/1', 'gateways/status', 'alarms']`. */
  topics: readonly Topic[];
  /** Time in ms in which changes are collected before queries are updated. Default: 500. */
  interval?: number;
}

/**
 * Subscribes to live data, and updates the queries that it touches:
 * - readings are put into queries of `listLatestReadings`; other queries of readings become stale,
 *   so that they are read again when they are shown the next time
 * - a changed status of a gateway makes queries of gateways be read again
 * - an alarm event makes queries of alarms be read again
 * - after a gap all of these are read again
 *
 * `unsubscribe` of the subscription that it returns, or the end of `live`, ends this.
 */
export function followLive(queryClient: QueryClient, options: FollowOptions): Subscription {
  const { live, client, topics, interval = 500 } = options;
  const server = client.getConfig().baseUrl;
  const readings = new Map<number, LiveReading>();
  const touched = new Set<string>(); // beginnings of paths
  let timer: ReturnType<typeof setTimeout> | undefined;

  const update = () => {
    timer = undefined;
    const isOurs = (key: readonly unknown[], path: string) =>
      key[0] === 'oei' &&
      String(key[1]).startsWith(path) &&
      (key[2] as { server?: string } | undefined)?.server === server;
    if (readings.size > 0) {
      const predicate = ({ queryKey }: Keyed) => isOurs(queryKey, latestPath);
      queryClient.setQueriesData<Latest>({ predicate }, (data) => data && merge(data, readings));
      void queryClient.invalidateQueries({
        predicate: ({ queryKey }) => isOurs(queryKey, dataPath) && !isOurs(queryKey, latestPath),
        refetchType: 'none',
      });
    }
    for (const path of touched) {
      void queryClient.invalidateQueries({ predicate: ({ queryKey }) => isOurs(queryKey, path) });
    }
    readings.clear();
    touched.clear();
  };
  const touch = (path?: string) => {
    if (path !== undefined) touched.add(path);
    timer ??= setTimeout(update, interval);
  };
  return live.subscribe(topics, {
    onReading: (reading: LiveReading) => {
      readings.set(reading.sensor_id, reading);
      touch();
    },
    onStatus: () => touch(gatewaysPath),
    onAlarm: () => touch(alarmsPath),
    onAlarmSnapshot: () => touch(alarmsPath),
    onGap: ({ missing }: { missing: string }) =>
      touch(missing === 'status' ? gatewaysPath : dataPath),
  });
}

type LiveReading = Pick<LatestReading, 'sensor_id' | 'timestamp' | 'value' | 'quality'>;
type Latest = LatestReading[] | InfiniteData<Page<LatestReading[]>>;
interface Keyed {
  queryKey: readonly unknown[];
}

const dataPath = '/api/data';
const latestPath = '/api/data/latest';
const gatewaysPath = '/api/gateways';
const alarmsPath = '/api/alarms';

// Replaces the readings that are older. Leaves everything else the same object, as it is compared.
function merge(data: Latest, readings: ReadonlyMap<number, LiveReading>): Latest {
  if (!Array.isArray(data)) {
    const pages = data.pages.map((page) => ({ ...page, items: mergeList(page.items, readings) }));
    return { ...data, pages };
  }
  return mergeList(data, readings);
}

const mergeList = (
  list: LatestReading[],
  readings: ReadonlyMap<number, LiveReading>,
): LatestReading[] =>
  list.map((old) => {
    const reading = readings.get(old.sensor_id);
    if (!reading || Date.parse(reading.timestamp) < Date.parse(old.timestamp)) return old;
    const { timestamp, value, quality } = reading;
    return { ...old, timestamp, value, quality, age_seconds: 0, is_stale: false };
  });
