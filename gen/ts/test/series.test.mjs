// Tests of history, statistics, export and retention with the published client against the real server.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  client, createGateway, createSensor, deleteReadings, exportReadings, getDownsampledReadings, getHistory, getStatistics,
  previewRetention, Quality, updateSensor, writeReadings,
} from '@oei-ms/client';
import { logIn, startServer } from './server.mjs';

// A past day with a reading in every minute of two hours, except for one gap, and a spike.
const day = new Date(Math.floor(Date.now() / 86_400_000 - 3) * 86_400_000);
const at = (minute) => new Date(day.getTime() + minute * 60_000).toISOString();
const range = { start: at(0), end: at(120) };
const same = (a, b) => assert.equal(Date.parse(a), Date.parse(b));
let server, sensor, other;
before(async () => {
  server = await startServer();
  client.setConfig({ throwOnError: false });
  await logIn(server.origin);
  const gateway = (await createGateway({ body: { key: 'ts-series', name: 'Gateway' }, throwOnError: true })).data;
  const add = async (key) => (await createSensor({ body: { key, name: key, type: 'temperature', gateway_id: gateway.id }, throwOnError: true })).data.id;
  [sensor, other] = [await add('t1'), await add('t2')];
  const readings = [];
  for (let m = 0; m < 120; m++) {
    if (m >= 30 && m < 45) continue;
    readings.push({ sensor_id: sensor, timestamp: at(m), value: m === 77 ? 1000 : m, quality: m === 100 ? Quality.BAD : Quality.GOOD });
  }
  readings.push({ sensor_id: other, timestamp: at(0), value: 1 }, { sensor_id: other, timestamp: at(60), value: 2 });
  const { data } = await writeReadings({ body: { readings }, throwOnError: true });
  assert.equal(data.stored, 107);
});
after(() => server?.stop());

test('history in buckets, of several sensors, as rows', async () => {
  const { data } = await getHistory({
    query: { sensor_id: [other, sensor], ...range, interval: '1h', agg: ['count', 'min', 'max', 'first', 'percent_good'] }, throwOnError: true,
  });
  assert.deepEqual([data.interval, data.timezone, data.next, data.series.map((s) => s.sensor_id)], ['1h', 'UTC', null, [sensor, other]]);
  const [first, second] = data.series[0].points;
  assert.deepEqual([first.count, first.min, first.max, first.first, first.percent_good, first.avg], [45, 0, 59, 0, 100, undefined]);
  assert.deepEqual([second.count, second.min, second.max], [60, 60, 1000]);
  assert.ok(second.percent_good < 100);
  same(first.end, second.start);
  assert.deepEqual(data.series[1].points.map((p) => p.first), [1, 2]);
});

test('history as columns, with empty buckets filled', async () => {
  const { data } = await getHistory({
    query: { sensor_id: [sensor], ...range, interval: '15m', agg: ['avg', 'count'], fill: 'linear', format: 'columns' }, throwOnError: true,
  });
  const { start, avg, count } = data.series[0].columns;
  assert.deepEqual([start.length, count[2], avg[2]], [8, 0, (avg[1] + avg[3]) / 2]);
});

test('a day on which the clock changes has 23 hours', async () => {
  const { data } = await getHistory({
    query: { sensor_id: [sensor], start: '2026-03-28T23:00:00Z', end: '2026-03-29T22:00:00Z', interval: '1d', timezone: 'Europe/Berlin', fill: 'null' }, throwOnError: true,
  });
  const [point, more] = data.series[0].points;
  assert.deepEqual([(Date.parse(point.end) - Date.parse(point.start)) / 3_600_000, more, point.avg], [23, undefined, null]);
});

test('a history cut by limit continues at next', async () => {
  const starts = [];
  for (let start = range.start; start;) {
    const { data } = await getHistory({ query: { sensor_id: [sensor], start, end: range.end, interval: '30m', limit: 3 }, throwOnError: true });
    starts.push(...data.series[0].points.map((p) => p.start));
    same(data.coverage.end, data.next ?? range.end);
    start = data.next;
  }
  assert.deepEqual(starts.map((s) => (Date.parse(s) - day.getTime()) / 60_000), [0, 30, 60, 90]);
});

test('downsampled readings contain the peak', async () => {
  for (const method of ['minmax', 'lttb']) {
    const { data } = await getDownsampledReadings({ query: { sensor_id: [sensor], ...range, method, points: 20 }, throwOnError: true });
    const { readings } = data.series[0];
    assert.equal(data.method, method);
    assert.ok(readings.length <= 20 && readings.some((r) => r.value === 1000), `${method}: ${JSON.stringify(readings)}`);
    same(readings[0].timestamp, at(0));
    same(readings.at(-1).timestamp, at(119));
  }
});

test('a matching If-None-Match is answered with 304', async () => {
  const query = { sensor_id: [sensor], ...range, interval: '1h' };
  const tag = (await getHistory({ query, throwOnError: true })).response.headers.get('ETag');
  assert.equal((await getHistory({ query, headers: { 'If-None-Match': tag } })).response.status, 304);
});

test('a refused interval names one that is possible', async () => {
  const { error } = await getHistory({ query: { sensor_id: [sensor], start: '2020-01-01T00:00:00Z', end: range.end, interval: '1s' } });
  assert.equal(error.status, 400);
  assert.equal(error.errors[0].field, 'interval');
  assert.match(error.errors[0].reason, /use \d+\w+ or longer/);
});

test('statistics of the whole range and of each hour', async () => {
  const { data } = await getStatistics({ query: { sensor_id: [sensor], ...range, percentiles: ['p50', 'p99'] }, throwOnError: true });
  const [all] = data.series[0].intervals;
  assert.deepEqual([data.interval, data.percentile_method, all.count, all.usable, all.gaps, all.longest_gap_seconds], [null, 'exact', 105, 104, 1, 960]);
  assert.deepEqual([all.min, all.max, all.last.value, Object.keys(all.percentiles)], [0, 1000, 119, ['p50', 'p99']]);
  same(all.first.timestamp, at(0));
  const hourly = (await getStatistics({ query: { sensor_id: [sensor, other], ...range, interval: '1h' }, throwOnError: true })).data;
  assert.deepEqual(hourly.series.map((s) => s.intervals.map((i) => i.count)), [[45, 60], [1, 1]]);
});

test('an export contains the readings, and continues after a given one', async () => {
  const csv = (await exportReadings({ query: { sensor_id: [sensor, other], ...range, format: 'csv' }, parseAs: 'text', throwOnError: true })).data;
  const lines = csv.trimEnd().split('\n');
  assert.deepEqual([lines.length, lines[0]], [108, 'sensor_id,timestamp,value,quality,status_code']);
  const [id, timestamp] = lines[50].split(',');
  const rest = (await exportReadings({ query: { sensor_id: [sensor, other], ...range, after: `${id}@${timestamp}` }, parseAs: 'text', throwOnError: true })).data;
  assert.deepEqual(rest.trimEnd().split('\n'), lines.slice(51));
  const json = (await exportReadings({ query: { sensor_id: [other], format: 'ndjson' }, parseAs: 'text', throwOnError: true })).data;
  assert.deepEqual(json.trimEnd().split('\n').map((l) => JSON.parse(l).value), [1, 2]);
  const parquet = (await exportReadings({ query: { sensor_id: [sensor], format: 'parquet' }, parseAs: 'arrayBuffer', throwOnError: true })).data;
  assert.equal(Buffer.from(parquet).subarray(0, 4).toString(), 'PAR1');
});

test('retention is previewed, old readings are rejected, and readings can be deleted', async () => {
  assert.deepEqual((await previewRetention({ throwOnError: true })).data, []);
  await updateSensor({ path: { id: other }, body: { retention_days: 1 }, throwOnError: true });
  const [goes] = (await previewRetention({ throwOnError: true })).data;
  assert.deepEqual([goes.is_dropped, goes.sensors.map((s) => [s.sensor_id, s.retention_seconds])], [false, [[other, 86_400]]]);
  const late = (await writeReadings({ body: { readings: [{ sensor_id: other, timestamp: at(5), value: 3 }] }, throwOnError: true })).data;
  assert.equal(late.results[0].reason, 'too_old');
  const gone = (await deleteReadings({ query: { sensor_id: other, ...range }, throwOnError: true })).data;
  assert.equal(gone.readings, 2);
});
