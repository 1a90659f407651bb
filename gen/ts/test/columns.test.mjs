// Tests of columns against the real server.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  columns,
  createGateway,
  createSensor,
  getDownsampledReadings,
  getHistory,
  isProblem,
  listReadings,
  Quality,
  writeReadings,
} from '@oei-ms/client';
import { logIn, startServer } from './server.mjs';

const day = Math.floor(Date.now() / 86_400_000 - 3) * 86_400_000;
const minute = (m) => day + m * 60_000;
const at = (m) => new Date(minute(m)).toISOString();
const query = (ids) => ({ sensor_id: ids, start: at(0), end: at(60) });
let server, first, second;
before(async () => {
  server = await startServer();
  await logIn(server.origin);
  const gateway_id = (await createGateway({ body: { name: 'Gateway' } })).data.id;
  const add = async (name) =>
    (await createSensor({ body: { name, type: 'flow', gateway_id } })).data.id;
  [first, second] = [await add('a'), await add('b')];
  const readings = [
    { sensor_id: second, timestamp: at(3), value: 30, quality: Quality.UNCERTAIN },
    { sensor_id: first, timestamp: at(1).replace('000Z', '000250Z'), value: 10 },
    { sensor_id: first, timestamp: at(2), value: null, quality: Quality.BAD },
    { sensor_id: first, timestamp: at(40), value: 40 },
  ];
  await writeReadings({ body: { readings } });
});
after(() => server?.stop());

test('history has an array for each aggregate, with NaN where there is no value', async () => {
  const q = { ...query([second, first]), interval: '15m', agg: ['min', 'count'], fill: 'null' };
  const [a, b] = await columns(getHistory, { query: q });
  assert.deepEqual([a.sensor_id, b.sensor_id], [first, second]);
  assert.deepEqual(Object.keys(a).sort(), ['count', 'end', 'min', 'sensor_id', 'time']);
  assert.deepEqual(a.time, new Float64Array([0, 15, 30, 45].map(minute)));
  assert.deepEqual(a.end, new Float64Array([15, 30, 45, 60].map(minute)));
  assert.deepEqual(a.min, new Float64Array([10, NaN, 40, NaN]));
  assert.deepEqual(a.count, new Float64Array([2, 0, 1, 0]));
  assert.deepEqual(b.min, new Float64Array([30, NaN, NaN, NaN]));
});

test('downsampled readings have time, value and quality', async () => {
  const [a, b] = await columns(getDownsampledReadings, {
    query: { ...query([first, second]), include: ['sensor'] },
  });
  assert.equal(a.sensor.name, 'a');
  assert.deepEqual(a.time, new Float64Array([minute(1) + 0.25, minute(40)]));
  assert.deepEqual(a.value, new Float64Array([10, 40]));
  assert.deepEqual([a.quality, b.quality], [new Uint8Array([0, 0]), new Uint8Array([1])]);
});

test('readings come per sensor, oldest first, with those that have no value', async () => {
  const [a, b] = await columns(listReadings, { query: query([first, second]) });
  assert.deepEqual(a.time, new Float64Array([minute(1) + 0.25, minute(2), minute(40)]));
  assert.deepEqual(a.value, new Float64Array([10, NaN, 40]));
  assert.deepEqual(a.quality, new Uint8Array([0, 2, 0]));
  assert.deepEqual([b.sensor_id, b.value], [second, new Float64Array([30])]);
});

test('errors are those of the operation', async () => {
  const failed = columns(getHistory, { query: query([999_999]) });
  await assert.rejects(failed, (err) => isProblem(err) && err.status === 400);
});
