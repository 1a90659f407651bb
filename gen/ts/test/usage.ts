// Compiled strictly against the published types. Each @ts-expect-error is a mistake that the types catch.
import {
  columns,
  getDownsampledReadings,
  getHistory,
  client,
  createClient,
  createSensor,
  listReadings,
  listLatestReadings,
  login,
  ProblemType,
  Quality,
  writeReadings,
} from '@oei-ms/client';
import type { LatestReading, Problem, Sensor } from '@oei-ms/client';
import { Live } from '@oei-ms/client/live';

client.setConfig({ baseUrl: 'http://localhost:8000', auth: () => 'token' });

export async function tour(): Promise<Sensor | Problem> {
  const { data: tokens } = await login({
    body: { username: 'admin', password: 'correct horse battery staple' },
  });
  const mine = createClient({ baseUrl: 'http://localhost:8000', auth: tokens.access_token });

  const created = await createSensor({
    client: mine,
    body: { key: 't1', name: 'T1', type: 'temperature', gateway_id: 1 },
    throwOnError: false,
  });
  if (created.error) {
    for (const { field, reason } of created.error.errors ?? []) console.log(field, reason);
    if (created.error.type === ProblemType.CONFLICT) console.log('the key is taken');
    const newer: ProblemType = '/problems/of-a-newer-server';
    console.log(newer);
    // @ts-expect-error: there is no such constant
    console.log(ProblemType.TEAPOT);
    return created.error;
  }
  const etag: string | null = created.response.headers.get('ETag');
  console.log(etag);

  await writeReadings({
    body: { readings: [{ sensor_id: created.data.id, value: null, quality: Quality.BAD }] },
  });
  const latest: LatestReading[] = (
    await listLatestReadings({ query: { sensor_id: [created.data.id] } })
  ).data;
  const value: number | null | undefined = latest[0]?.value;
  console.log(value);

  // @ts-expect-error: a list of sensors is required
  await listReadings({ query: { limit: 10 } });
  // @ts-expect-error: there is no such quality
  await writeReadings({ body: { readings: [{ sensor_id: 1, value: 1, quality: 'fine' }] } });
  // @ts-expect-error: a sensor has a gateway
  await createSensor({ body: { key: 't1', name: 'T1', type: 'temperature' } });
  return created.data;
}

export async function watch(ids: number[]): Promise<Live> {
  const live = new Live({ url: 'http://localhost:8000', token: async () => 'token' });
  live.on('state', (s) => console.log(s.state === 'waiting' ? s.at : s.state, live.state.state));

  live.subscribe(['sensors/1', 'gateways/1', 'alarms'], {
    snapshot: true,
    onReading: ({ sensor_id, value }) => console.log(sensor_id, value?.toFixed(1) ?? 'none'),
    onStatus: ({ gateway_id, status }) => console.log(gateway_id, status),
    onAlarm: ({ event }) => {
      console.log(event.severity, event.after, event.value?.toFixed(1));
      // @ts-expect-error: there is no such severity
      if (event.severity === 'fatal') console.log('fatal');
    },
    onAlarmSnapshot: ({ alarms }) => console.log(alarms.map((event) => event.message)),
    onGap: ({ missing, from, to }) => console.log(missing, from, to),
  });
  live.subscribe(
    ids.map((id) => `sensors/${id}` as const),
    { gapless: { limit: 1000 } },
  );
  // @ts-expect-error: a sensor has no alarm events
  live.subscribe('sensors/1', { onAlarm() {} });
  // @ts-expect-error: the alarm log has no readings
  live.subscribe('alarms/major', { onReading() {} });
  // @ts-expect-error: there is no such topic
  live.subscribe('sensor/1');
  // @ts-expect-error: readings that are left out are gaps
  live.subscribe('sensors/1', { gapless: true, policy: 'conflate' });
  // @ts-expect-error: who logs in is missing
  new Live({ url: 'http://localhost:8000' });

  for await (const event of live.subscribe(['sensors?type=flow', 'gateways/status'])) {
    switch (event.type) {
      case 'reading':
        console.log(event.value?.toFixed(1), event.origin);
        break;
      case 'status':
        console.log(event.gateway_id, event.status);
        break;
      case 'gap':
        console.log(event.sensor_ids ?? 'all', event.reason);
        break;
      // @ts-expect-error: these topics have no alarm events
      case 'alarm':
        break;
      case 'refused':
        console.log(event.topics, event.detail);
    }
  }
  return live;
}

export async function chart(): Promise<Float64Array[]> {
  const query = { sensor_id: [1], start: '2026-01-02T00:00:00Z', end: '2026-01-03T00:00:00Z' };
  const [average] = await columns(getHistory, { query });
  const [extremes] = await columns(getHistory, { query: { ...query, agg: ['min', 'max'] } });
  const [readings] = await columns(getDownsampledReadings, { query });
  const quality: Uint8Array | undefined = readings?.quality;
  console.log(quality);
  // @ts-expect-error: it was not asked for
  console.log(extremes?.avg);
  // @ts-expect-error: readings have no aggregates
  console.log(readings?.max);
  if (!average || !extremes) return [];
  return [average.time, average.avg, extremes.min, extremes.max];
}
