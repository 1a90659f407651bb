import { OeiError } from '../errors.js';
import type { AlarmEvent, GatewayStatus, Quality, Severity, WsError } from '../gen/types.gen.js';

/** A topic with readings: of a sensor, of a gateway's sensors, or of the sensors of a type. */
export type ReadingTopic = `sensors/${number}` | `gateways/${number}` | `sensors?type=${string}`;

/** A topic with the status of a gateway, or of all gateways. */
export type StatusTopic = `gateways/${number}` | 'gateways/status';

/** A topic with the alarm log, or with its events of one severity. */
export type AlarmTopic = 'alarms' | `alarms/${Severity}`;

/** What can be subscribed to. */
export type Topic = ReadingTopic | StatusTopic | AlarmTopic;

/** A stored reading. */
export interface ReadingEvent {
  type: 'reading';
  sensor_id: number;
  /** When the value was measured, by the gateway's clock: RFC 3339 in UTC with microseconds. */
  timestamp: string;
  /** Value in the sensor's unit; null when there is none. */
  value: number | null;
  quality: Quality;
  /**
   * `live`: it was just stored. `snapshot`: it is the latest of its sensor. `gap`: it was stored
   * while the connection was away, and was read afterwards.
   */
  origin: 'live' | 'snapshot' | 'gap';
}

/** The presence of a gateway changed. */
export interface StatusEvent {
  type: 'status';
  gateway_id: number;
  status: GatewayStatus;
  /** When it changed: RFC 3339. */
  timestamp: string;
}

/**
 * An event of the alarm log. Events are complete and in order, each comes once. `event.epoch` and
 * `event.offset` are the position from which a later `Live` can `resume`.
 */
export interface AlarmLogEvent {
  type: 'alarm';
  event: AlarmEvent;
}

/**
 * The alarms that are not normal. Replaces all that is known about alarms; the events that follow
 * come after it. Sent at the start of a subscription with `snapshot`, and to every subscription
 * when the alarm log cannot be continued.
 */
export interface AlarmSnapshotEvent {
  type: 'alarmSnapshot';
  alarms: AlarmEvent[];
}

/** Something that was stored will not come: read it from the server if it is needed. */
export interface GapEvent {
  type: 'gap';
  /** What may be missing: readings (see `listReadings`), or changes of status (`listGateways`). */
  missing: 'readings' | 'status';
  /**
   * `connection`: it was lost. `lagged`: the connection is too slow. `relay`: readings of other
   * instances of the server may be missing. `buffer`: the consumer of the iterator is too slow.
   * `limit`: more readings are missing than `gapless` reads. `failed`: they cannot be read.
   * `snapshot`: the topics have too many sensors for a snapshot.
   */
  reason: 'connection' | 'lagged' | 'relay' | 'buffer' | 'limit' | 'failed' | 'snapshot';
  /** The sensors concerned; absent for all of the subscription. */
  sensor_ids?: number[];
  /** Start of the span that may have gaps, by the server's clock: RFC 3339. */
  from: string;
  /** End of the span. */
  to: string;
}

/** The server refused topics; the subscription goes on with the others. */
export interface RefusedEvent {
  type: 'refused';
  topics: string[];
  /** `unknown_topic`, `forbidden` or `too_many_topics`. */
  code: WsError['code'];
  /** The reason in words. */
  detail: string;
}

/** The events that a subscription to topics `T` has. */
export type LiveEvent<T extends Topic = Topic> =
  | (T extends ReadingTopic ? ReadingEvent | GapEvent : never)
  | (T extends StatusTopic ? StatusEvent | GapEvent : never)
  | (T extends AlarmTopic ? AlarmLogEvent | AlarmSnapshotEvent : never)
  | RefusedEvent;

/** A function that takes events `E`, if some of the topics `T` are `Wanted`. */
type Handler<T, Wanted, E> = [Extract<T, Wanted>] extends [never] ? never : (event: E) => void;

/** Functions that are called with the events of topics `T`, in order. They are not awaited. */
export interface Handlers<T extends Topic = Topic> {
  onReading?: Handler<T, ReadingTopic, ReadingEvent>;
  onStatus?: Handler<T, StatusTopic, StatusEvent>;
  onAlarm?: Handler<T, AlarmTopic, AlarmLogEvent>;
  onAlarmSnapshot?: Handler<T, AlarmTopic, AlarmSnapshotEvent>;
  onGap?: Handler<T, ReadingTopic | StatusTopic, GapEvent>;
  onRefused?: (event: RefusedEvent) => void;
}

/** The live connection cannot serve a subscription any more. */
export class LiveError extends OeiError {
  override readonly name = 'LiveError';

  /** @param code Close code of the WebSocket, or the `code` of a `RefusedEvent`. */
  constructor(
    readonly code: number | WsError['code'],
    message: string,
  ) {
    super(message);
  }
}

export const isAlarmTopic = (topic: Topic): topic is AlarmTopic => topic.startsWith('alarms');
export const isReadingTopic = (topic: Topic): topic is ReadingTopic =>
  !isAlarmTopic(topic) && topic !== 'gateways/status';
export const isStatusTopic = (topic: Topic): topic is StatusTopic => topic.startsWith('gateways');
