// Readings: write, list, latest, history, charts, statistics, export, retention, delete.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  createSensor,
  deleteReadings,
  deleteSensor,
  exportReadings,
  getDownsampledReadings,
  getHistory,
  getStatistics,
  listLatestReadings,
  listReadings,
  previewRetention,
  updateSensor,
  writeReadings,
} from '@oei-ms/client';

const minute = 60_000;

export function driveData(plant) {
  const begin = Math.floor(Date.now() / minute) * minute - 10 * minute; // ten whole minutes ago
  const at = (minutes) => new Date(begin + minutes * minute).toISOString();
  const values = [20, 30, 25, 45]; // one a minute
  let sensor_id;
  const range = () => ({ sensor_id: [sensor_id], start: at(0), end: at(4) });

  test('readings are written, each with its own outcome', async () => {
    sensor_id = (
      await createSensor({
        body: {
          key: 'oil',
          name: 'Oil',
          type: 'temperature',
          unit: 'Cel',
          gateway_id: plant.gateway.id,
        },
      })
    ).data.id;
    const readings = values.map((value, i) => ({ sensor_id, timestamp: at(i), value }));
    const { data: first } = await writeReadings({ body: { readings } });
    assert.deepEqual([first.stored, first.rejected], [4, 0]);
    const { data: again } = await writeReadings({
      body: { readings: [...readings, { ...readings[0], value: -1 }] },
    });
    assert.deepEqual([again.stored, again.duplicates, again.conflicts], [0, 4, 1]);
  });

  test('readings are listed newest first, the latest with its age', async () => {
    const { data: rows, response } = await listReadings({ query: { ...range(), limit: 3 } });
    assert.deepEqual(
      rows.map((r) => r.value),
      [45, 25, 30],
    );
    assert.equal(response.headers.get('X-Truncated'), 'true');
    const { data: newest } = await listLatestReadings({
      query: { sensor_id: [sensor_id], include: 'sensor' },
    });
    const [latest] = newest;
    assert.deepEqual(
      [latest.value, latest.sensor.unit, latest.is_stale],
      [45, 'Cel', latest.age_seconds > 300],
    );
  });

  test('history is aggregated in buckets, as rows or as columns', async () => {
    const query = { ...range(), interval: '2m', agg: ['min', 'max', 'avg'] };
    const { data: rows } = await getHistory({ query });
    assert.equal(rows.interval, '2m');
    const buckets = rows.series[0].points;
    assert.equal(
      buckets.reduce((max, b) => Math.max(max, b.max), 0),
      45,
    );
    const { data: columns } = await getHistory({ query: { ...query, format: 'columns' } });
    assert.deepEqual(
      columns.series[0].columns.avg,
      buckets.map((b) => b.avg),
    );
  });

  test('a chart gets the readings that draw like all of them', async () => {
    const { data: chart } = await getDownsampledReadings({
      query: { ...range(), points: 500, method: 'lttb' },
    });
    assert.deepEqual(
      chart.series[0].readings.map((r) => r.value),
      values,
    );
  });

  test('statistics have percentiles, gaps and the rate', async () => {
    const { data: statistics } = await getStatistics({
      query: { ...range(), percentiles: ['p50'], gap_seconds: 30 },
    });
    const [whole] = statistics.series[0].intervals;
    assert.deepEqual([whole.count, whole.min, whole.max, whole.avg], [4, 20, 45, 30]);
    assert.deepEqual(
      [whole.percentiles, whole.gaps, whole.longest_gap_seconds],
      [{ p50: 27.5 }, 3, 60],
    );
    assert.equal(statistics.percentile_method, 'exact');
  });

  test('an export is a file: text here, a stream for long ones', async () => {
    const { data: csv, response } = await exportReadings({
      query: { ...range(), format: 'csv' },
      parseAs: 'text',
    });
    assert.match(response.headers.get('Content-Disposition'), /^attachment; filename=".*\.csv"$/);
    assert.deepEqual(
      csv
        .trim()
        .split(/\r?\n/)
        .map((line) => line.split(',')[2]),
      ['value', '20', '30', '25', '45'],
    );

    const { data: stream } = await exportReadings({
      query: { ...range(), format: 'ndjson' },
      parseAs: 'stream',
    });
    let text = '';
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) text += chunk;
    assert.deepEqual(
      text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).value),
      values,
    );
  });

  test('retention is previewed before it removes readings', async () => {
    const { data: short } = await createSensor({
      body: { key: 'short', name: 'Short', type: 'level', gateway_id: plant.gateway.id },
    });
    const old = new Date(begin - 3 * 24 * 60 * minute).toISOString();
    const { data: written } = await writeReadings({
      body: { readings: [{ sensor_id: short.id, timestamp: old, value: 1 }] },
    });
    assert.equal(written.stored, 1);
    assert.deepEqual((await previewRetention()).data, []);
    await updateSensor({ path: { id: short.id }, body: { retention_days: 1 } });
    const { data: partitions } = await previewRetention({ query: { limit: 1 } });
    const [partition] = partitions;
    assert.deepEqual(
      partition.sensors.map((s) => [s.sensor_id, s.retention_seconds]),
      [[short.id, 86_400]],
    );
    assert.ok(
      partition.start <= old && old < partition.end,
      `${partition.start} to ${partition.end} does not hold ${old}`,
    );
    await deleteSensor({ path: { id: short.id } });
  });

  test('readings of a range are deleted for good', async () => {
    const query = { sensor_id, start: at(1), end: at(3) };
    const { data: preview } = await deleteReadings({ query: { ...query, dry_run: true } });
    assert.deepEqual([preview.dry_run, preview.readings], [true, 2]);
    const { data: deleted } = await deleteReadings({ query });
    assert.deepEqual([deleted.dry_run, deleted.readings], [false, 2]);
    const { data: left } = await listReadings({ query: { sensor_id: [sensor_id], order: 'asc' } });
    assert.deepEqual(
      left.map((r) => r.value),
      [20, 45],
    );
  });
}
