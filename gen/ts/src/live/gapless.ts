import type { Reading, Sensor } from '../gen/types.gen.js';
import { isReadingTopic, type GapEvent, type ReadingEvent, type Topic } from './events.js';

/** Limits of a subscription without gaps. */
export interface GaplessOptions {
  /** How many readings of a gap are read; a `gap` event tells of more. 50,000 if absent. */
  limit?: number;
}

/** Where missed readings are read. */
export interface Source {
  /** Requests a path of the API; rejects when the answer is an error. */
  get(path: string, signal: AbortSignal): Promise<Response>;
  /** Returns the server's time at that time of this clock, as RFC 3339. */
  serverTime(time: number): string;
}

/** The part of a subscription that takes readings. */
interface Sink {
  readonly topics: Iterable<Topic>;
  readonly full: boolean;
  emit(event: ReadingEvent | GapEvent): void;
  drained(): Promise<void>;
}

/** What is known of a sensor; times are microseconds since 1970. */
interface Seen {
  /** Readings up to this time are not read again. */
  floor: number;
  /** Readings after it that were passed on. */
  times: Set<number>;
}

const maxHeld = 1000; // live readings that wait for the end of a gap
const maxSeen = 8192; // times that are remembered of all sensors
const pageSize = 1000;
const maxSensors = 50; // of one request
const maxAttempts = 6;

/**
 * Reads what was stored while the connection was away. It remembers the last readings of each
 * sensor, reads those that are newer than the oldest of them, and passes on what is not among
 * them. Live readings wait meanwhile; when too many wait, they are dropped and read again.
 */
export class Gapless {
  #sink: Sink;
  #source: Source;
  #limit: number;
  #since: number; // floor of sensors without a reading
  #seen = new Map<number, Seen>();
  #held?: ReadingEvent[]; // present during a gap
  #isMissing = false; // held readings were dropped
  #abort?: AbortController;

  constructor(sink: Sink, source: Source, { limit = 50_000 }: GaplessOptions) {
    this.#sink = sink;
    this.#source = source;
    this.#limit = limit;
    this.#since = micros(source.serverTime(Date.now() - 60_000));
  }

  /** Takes the latest reading of a sensor; those after it are passed on, and itself if wanted. */
  seed(event: ReadingEvent, wanted: boolean): void {
    if (this.#seen.has(event.sensor_id)) return this.add(event);
    this.#seen.set(event.sensor_id, { floor: micros(event.timestamp), times: new Set() });
    if (wanted) this.#sink.emit(event);
  }

  add(event: ReadingEvent): void {
    if (!this.#held && this.#sink.full) void this.fill();
    if (!this.#held) {
      this.#pass(event);
      this.#forget(this.#of(event.sensor_id));
    } else if (this.#held.length < maxHeld) {
      this.#held.push(event);
    } else {
      this.#isMissing = true;
    }
  }

  /** Passes a reading on unless it was before, which it reports. */
  #pass(event: ReadingEvent): boolean {
    const time = micros(event.timestamp);
    const { floor, times } = this.#of(event.sensor_id, time);
    if (times.has(time) || (event.origin !== 'live' && time <= floor)) return false;
    times.add(time);
    this.#sink.emit(event);
    return true;
  }

  /** Forgets the first times of a sensor. */
  #forget(seen: Seen): void {
    const max = Math.max(8, Math.min(128, maxSeen / this.#seen.size));
    for (const time of seen.times) {
      if (seen.times.size <= max) return;
      seen.times.delete(time);
      seen.floor = Math.max(seen.floor, time);
    }
  }

  #of(sensor: number, time = Infinity): Seen {
    const known = this.#seen.get(sensor);
    if (known) return known;
    const seen = { floor: Math.min(this.#since, time - 1), times: new Set<number>() };
    this.#seen.set(sensor, seen);
    return seen;
  }

  /** The connection is lost: readings wait for `fill`. */
  hold(): void {
    this.stop();
    this.#held ??= [];
  }

  stop(): void {
    this.#abort?.abort();
    this.#abort = undefined;
  }

  /**
   * Reads what is missing, within `delay` milliseconds, then passes on the readings that came
   * meanwhile. While it reads, more may be missing: then it reads once more.
   */
  async fill(delay = 0): Promise<void> {
    this.#held ??= [];
    if (this.#abort) {
      this.#isMissing = true;
      return;
    }
    const { signal } = (this.#abort = new AbortController());
    if (delay > 0) await sleep(Math.random() * delay);
    if (signal.aborted) return;
    const gap = { left: this.#limit, attempts: 0 };
    do {
      if (this.#isMissing) this.#held = [];
      if (this.#held.length === 0) this.#seen.forEach((seen) => this.#forget(seen));
      this.#isMissing = false;
      if (this.#sink.full) await this.#sink.drained();
      if (!signal.aborted) await this.#read(gap, signal);
      if (signal.aborted) return;
      for (const event of this.#isMissing ? [] : this.#held) {
        if (this.#sink.full) await this.#sink.drained();
        if (signal.aborted) return;
        this.#pass(event);
      }
      if (signal.aborted) return;
    } while (this.#isMissing);
    this.#held = this.#abort = undefined;
    this.#seen.forEach((seen) => this.#forget(seen));
  }

  async #read(gap: { left: number; attempts: number }, signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        for (const group of this.#groups(await this.#sensors(signal))) {
          if (gap.left > 0) await this.#readGroup(group, gap, signal);
          if (gap.left <= 0) this.#giveUp('limit', group);
        }
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (++gap.attempts === maxAttempts) return this.#giveUp('failed', [...this.#seen.keys()]);
        const wait = (error as { retryAfter?: number }).retryAfter ?? 2 ** gap.attempts / 4;
        await sleep(wait * 1000 * (0.5 + Math.random()));
        if (signal.aborted) return;
      }
    }
  }

  async #readGroup(ids: number[], gap: { left: number }, signal: AbortSignal): Promise<void> {
    const start = time(Math.min(...ids.map((id) => this.#of(id).floor)) + 1);
    const query = new URLSearchParams({ start, order: 'asc' });
    for (const id of ids) query.append('sensor_id', String(id));
    for await (const page of this.#pages<Reading>('api/data', query, signal)) {
      for (const { sensor_id, timestamp, value, quality } of page) {
        if (this.#sink.full) await this.#sink.drained();
        if (signal.aborted) return;
        const event = { sensor_id, timestamp, value, quality, origin: 'gap' as const };
        if (this.#pass({ type: 'reading', ...event })) gap.left--;
        if (gap.left <= 0) return;
      }
    }
  }

  #giveUp(reason: GapEvent['reason'], sensor_ids: number[]): void {
    const to = this.#source.serverTime(Date.now());
    let from = micros(to);
    for (const seen of sensor_ids.map((id) => this.#of(id))) {
      let newest = seen.floor;
      for (const time of seen.times) newest = Math.max(newest, time);
      from = Math.min(from, newest);
      seen.floor = Math.max(seen.floor, micros(to));
    }
    this.#sink.emit({ type: 'gap', missing: 'readings', reason, sensor_ids, from: time(from), to });
  }

  /** Returns the sensors of the topics, and forgets others. */
  async #sensors(signal: AbortSignal): Promise<Set<number>> {
    const ids = new Set<number>();
    for (const topic of [...this.#sink.topics].filter(isReadingTopic)) {
      const [, sensor, gateway, type] = /^sensors\/(.+)|gateways\/(.+)|sensors\?type=(.+)/.exec(
        topic,
      )!;
      if (sensor) ids.add(Number(sensor));
      else {
        const query = new URLSearchParams(gateway ? { gateway_id: gateway } : { type: type! });
        for await (const page of this.#pages<Sensor>('api/sensors', query, signal)) {
          for (const { id } of page) ids.add(id);
        }
      }
    }
    for (const id of this.#seen.keys()) if (!ids.has(id)) this.#seen.delete(id);
    return ids;
  }

  /** Groups sensors whose readings are missing for about equally long: one request for each. */
  #groups(ids: Set<number>): number[][] {
    const groups: number[][] = [];
    const now = Date.now() * 1000;
    let oldest = Infinity;
    for (const id of [...ids].sort((a, b) => this.#of(a).floor - this.#of(b).floor)) {
      const group = groups.at(-1);
      const { floor } = this.#of(id);
      if (group && group.length < maxSensors && 2 * (now - floor) >= now - oldest) group.push(id);
      else {
        groups.push([id]);
        oldest = floor;
      }
    }
    return groups;
  }

  async *#pages<T>(path: string, query: URLSearchParams, signal: AbortSignal): AsyncGenerator<T[]> {
    query.set('limit', String(pageSize));
    for (let cursor: string | undefined | null = ''; cursor !== undefined;) {
      if (cursor) query.set('cursor', cursor);
      const response = await this.#source.get(`${path}?${query}`, signal);
      yield (await response.json()) as T[];
      const next = /<([^>]*)>; *rel="next"/.exec(response.headers.get('Link') ?? '')?.[1];
      cursor = next && new URL(next, 'http://any').searchParams.get('cursor');
    }
  }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Returns microseconds since 1970. */
function micros(timestamp: string): number {
  return Date.parse(timestamp) * 1000 + (Number(/\.\d{3}(\d{3})/.exec(timestamp)?.[1]) || 0);
}

function time(us: number): string {
  const ms = Math.floor(us / 1000);
  return `${new Date(ms).toISOString().slice(0, -1)}${String(us - ms * 1000).padStart(3, '0')}Z`;
}
