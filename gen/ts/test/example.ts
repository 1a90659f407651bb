// A complete program: writes a reading, creates an alarm, acknowledges it when it is raised, and draws a chart.
import {
  acknowledgeAlarm,
  client,
  createAlarm,
  createGateway,
  createSensor,
  getDownsampledReadings,
  login,
  writeReadings,
} from '@oei-ms/client';
import { Live } from '@oei-ms/client/live';

export async function monitorBearing(
  origin: string,
  password: string,
  draw: (values: number[]) => void,
): Promise<void> {
  client.setConfig({ baseUrl: origin });
  const { data: tokens } = await login({ body: { username: 'admin', password } });
  client.setConfig({ auth: () => tokens.access_token });

  const { data: gateway } = await createGateway({ body: { name: 'Press line 1' } });
  const { data: sensor } = await createSensor({
    body: { name: 'Bearing', type: 'temperature', unit: 'Cel', gateway_id: gateway.id },
  });
  await createAlarm({
    body: {
      sensor_id: sensor.id,
      rule: {
        name: 'Bearing hot',
        kind: 'threshold',
        severity: 'major',
        limits: { high: { value: 80 } },
      },
    },
  });

  const live = new Live({ url: origin, token: () => tokens.access_token });
  live.subscribe('alarms', {
    onAlarm: async ({ event }) => {
      if (event.kind !== 'raised') return;
      const { alarm_id, occurrence, state_version } = event;
      await acknowledgeAlarm({
        path: { id: alarm_id },
        body: { occurrence, state_version, comment: 'on it' },
      });
      live.close();
    },
  });
  await writeReadings({ body: { readings: [{ sensor_id: sensor.id, value: 85 }] } });

  const end = new Date(),
    start = new Date(end.getTime() - 86_400_000);
  const { data: chart } = await getDownsampledReadings({
    query: {
      sensor_id: [sensor.id],
      start: start.toISOString(),
      end: end.toISOString(),
      points: 1000,
    },
  });
  draw(chart.series[0]!.readings.map((r) => r.value));
}
