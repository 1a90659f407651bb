// Answers as typed arrays, one per member, for charts.
import { getHistory, listReadings, type getDownsampledReadings } from './gen/sdk.gen.js';
import {
  Quality,
  type Aggregate,
  type DownsampledReading,
  type GetHistoryData,
  type HistoryColumns,
  type SensorSummary,
} from './gen/types.gen.js';

/** Readings of a sensor, oldest first, as arrays of equal length. */
export interface ReadingArrays {
  sensor_id: number;
  /** Key, name and unit of the sensor, with `include: ['sensor']`. */
  sensor?: SensorSummary;
  /** When each value was measured: milliseconds since 1970, with fractions. */
  time: Float64Array;
  /** Values in the sensor's unit; NaN where there is none. */
  value: Float64Array;
  /** Quality of each value: 0 good, 1 uncertain, 2 bad. */
  quality: Uint8Array;
}

/** Buckets of a sensor, oldest first, as arrays of equal length: one for each aggregate `A`. */
export type BucketArrays<A extends Aggregate = Aggregate> = {
  sensor_id: number;
  /** Key, name and unit of the sensor, with `include: ['sensor']`. */
  sensor?: SensorSummary;
  /** Start of each bucket: milliseconds since 1970. */
  time: Float64Array;
  /** End of each bucket, not included: milliseconds since 1970. */
  end: Float64Array;
} & { [K in A]: Float64Array }; // NaN where there is no value

type HistoryOptions<A extends Aggregate> = Omit<Parameters<typeof getHistory>[0], 'query'> & {
  query: Omit<GetHistoryData['query'], 'agg' | 'format' | 'limit'> & { agg?: A[] };
};

/**
 * Calls an operation and returns its series as typed arrays, ready for charts:
 *
 * ```ts
 * const query = { sensor_id: [1], start, end, points: 800, agg: ['min', 'max'] };
 * const [series] = await columns(getHistory, { client: oei.client, query });
 * const { time, min, max } = series;
 * new uPlot({ width, height, ms: 1, series: [{}, { label: 'min' }, { label: 'max' }] },
 *   [time, min, max], element); // ms: the unit of time
 * ```
 *
 * `getHistory` gives one array for each aggregate, `avg` if `agg` is absent. `fill: 'null'` gives
 * NaN for buckets without readings, over which uPlot draws the line; for a gap in the line give it
 * null: `Array.from(avg, (v) => (Number.isNaN(v) ? null : v))`. `getDownsampledReadings` and
 * `listReadings` give values with their quality; `listReadings` gives one page, oldest first, and
 * no series for a sensor without readings in it. Throws what the operation throws.
 */
export async function columns<A extends Aggregate = 'avg'>(
  operation: typeof getHistory,
  options: HistoryOptions<A>,
): Promise<BucketArrays<A>[]>;
export async function columns(
  operation: typeof getDownsampledReadings,
  options: Parameters<typeof getDownsampledReadings>[0],
): Promise<ReadingArrays[]>;
export async function columns(
  operation: typeof listReadings,
  options: Parameters<typeof listReadings>[0],
): Promise<ReadingArrays[]>;
export async function columns(
  operation: (options: never) => Promise<{ data: unknown }>,
  options: { query: object },
): Promise<object[]> {
  const fixed =
    operation === (getHistory as unknown)
      ? { format: 'columns' }
      : operation === (listReadings as unknown) && { order: 'asc' };
  const call = { ...options, query: { ...options.query, ...fixed }, throwOnError: true };
  const { data } = await operation(call as never);
  if (Array.isArray(data)) return perSensor(data).map(readingArrays);
  const { series } = data as { series: (Partial<Readings> & { columns?: HistoryColumns })[] };
  return series.map((s) => (s.columns ? bucketArrays(s, s.columns) : readingArrays(s as Readings)));
}

interface Readings {
  sensor_id: number;
  sensor?: SensorSummary;
  readings: (Omit<DownsampledReading, 'value'> & { value: number | null })[];
}

function perSensor(list: (Readings['readings'][number] & { sensor_id: number })[]): Readings[] {
  const series = new Map<number, Readings>();
  for (const reading of list) {
    const { sensor_id } = reading;
    if (!series.has(sensor_id)) series.set(sensor_id, { sensor_id, readings: [] });
    series.get(sensor_id)!.readings.push(reading);
  }
  return [...series.values()].sort((a, b) => a.sensor_id - b.sensor_id);
}

const qualities: Quality[] = [Quality.GOOD, Quality.UNCERTAIN, Quality.BAD];

function readingArrays({ readings, ...sensor }: Readings): ReadingArrays {
  const n = readings.length;
  const [time, value] = [new Float64Array(n), new Float64Array(n)];
  const quality = new Uint8Array(n);
  readings.forEach((reading, i) => {
    time[i] = milliseconds(reading.timestamp);
    value[i] = reading.value ?? NaN;
    quality[i] = qualities.indexOf(reading.quality);
  });
  return { ...sensor, time, value, quality };
}

function bucketArrays(series: object, { start, end, ...aggregates }: HistoryColumns): object {
  const { columns: _, ...sensor } = series as { columns?: unknown };
  const arrays = Object.entries(aggregates).map(([name, values]) => [
    name,
    Float64Array.from(values, (v) => v ?? NaN),
  ]);
  const [time, until] = [start, end].map((times) => Float64Array.from(times, milliseconds));
  return { ...sensor, time, end: until, ...Object.fromEntries(arrays) };
}

/** Returns milliseconds since 1970, with fractions. */
function milliseconds(timestamp: string): number {
  return Date.parse(timestamp) + (Number(/\.\d{3}(\d{3})/.exec(timestamp)?.[1]) || 0) / 1000;
}
