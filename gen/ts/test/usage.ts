// Compiled strictly against the published types. Each @ts-expect-error is a mistake that the types catch.
import { client, createClient, createSensor, listReadings, listLatestReadings, login, ProblemType, Quality, writeReadings } from '@oei-ms/client';
import type { LatestReading, Problem, Sensor } from '@oei-ms/client';
import { Live } from '@oei-ms/client/live';

client.setConfig({ baseUrl: 'http://localhost:8000', auth: () => 'token' });

export async function tour(): Promise<Sensor | Problem> {
  const { data: tokens } = await login({ body: { username: 'admin', password: 'correct horse battery staple' } });
  const mine = createClient({ baseUrl: 'http://localhost:8000', auth: tokens.access_token });

  const created = await createSensor({
    client: mine, body: { key: 't1', name: 'T1', type: 'temperature', gateway_id: 1 }, throwOnError: false,
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

  await writeReadings({ body: { readings: [{ sensor_id: created.data.id, value: null, quality: Quality.BAD }] } });
  const latest: LatestReading[] = (await listLatestReadings({ query: { sensor_id: [created.data.id] } })).data;
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

export function watch(): Live {
  const live = new Live({
    url: 'http://localhost:8000/ws',
    token: async () => 'token',
    onMessage(message) {
      switch (message.type) {
        case 'sensor_data':
          console.log(message.sensor_id, message.data.value?.toFixed(1) ?? 'none', message.data.quality);
          break;
        case 'lagged':
          console.log(message.dropped + 1);
          break;
        case 'alarm':
          console.log(message.event.severity, message.event.after, message.event.value?.toFixed(1));
          // @ts-expect-error: there is no such severity
          if (message.event.severity === 'fatal') console.log('fatal');
          break;
        case 'alarm_snapshot':
          console.log(message.alarms.map((event) => event.message));
          break;
        case 'error':
          // @ts-expect-error: an error has no data
          console.log(message.code, message.data);
      }
    },
    onState: (s) => console.log(s.state === 'waiting' ? s.delay : s.state),
  });
  live.subscribe(['sensors/1', 'gateways/1']);
  return live;
}
