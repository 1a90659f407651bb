// Compiled strictly against the published types: the fake server and the fake socket.
import type { Sensor } from '@oei-ms/client';
import { answer, fakeServer, fakeSocket, problem } from '@oei-ms/client/testing';

export function plant(sensors: Sensor[]): string[] {
  const server = fakeServer({
    listSensors: ({ query }) => sensors.filter((s) => s.gateway_id === query.gateway_id),
    getSensor: ({ path }) => sensors.find((s) => s.id === path.id) ?? problem('not-found'),
    createSensor: async ({ body }) => answer({ ...sensors[0]!, key: body.key ?? 'k' }, { delay: 5 }),
    logout: () => undefined,
    getMetrics: () => 'up 1',
    exportReadings: () => new Response('sensor_id\n', { headers: { 'Content-Type': 'text/csv' } }),
  });
  // @ts-expect-error: there is no such operation
  server.handle({ listMachines: () => [] });
  // @ts-expect-error: a sensor has more members
  server.handle({ getSensor: () => ({ id: 1 }) });
  // @ts-expect-error: the id is a number
  server.handle({ getSensor: ({ path }) => problem('not-found', { detail: path.id.trim() }) });
  // @ts-expect-error: there is no such problem
  problem('teapot');
  return server.callsOf('createSensor').map((call) => call.body.name);
}

export async function socket(): Promise<boolean> {
  const sockets = fakeSocket();
  const connection = await sockets.connected();
  connection.push({ type: 'resync', scope: 'readings', reason: 'a relay was away' });
  // @ts-expect-error: a ping has no sensor
  connection.push({ type: 'ping', sensor_id: 1 });
  const { topics } = await connection.message('subscribe');
  return topics.includes('alarms') && sockets.WebSocket.OPEN === 1;
}
