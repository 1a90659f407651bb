// Follows alarms through restarts of the server and of this program, each event once.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Live } from '@oei-ms/client/live';
import { connect } from '@oei-ms/client/session';

const file = process.env.POSITION ?? 'position.json';
const resume = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;

const oei = await connect({
  url: process.env.OEI_URL ?? 'http://localhost:8000',
  apiKey: process.env.OEI_API_KEY, // a viewer is enough
});
const live = new Live({ session: oei, resume });
live.on('state', ({ state }) => console.error(`# ${state}`));
for await (const message of live.subscribe('alarms')) {
  if (message.type !== 'alarm') continue;
  const { at, kind, severity, sensor_id, message: text, epoch, offset } = message.event;
  console.log(at, kind, severity, `sensor ${sensor_id}`, text);
  writeFileSync(file, JSON.stringify({ epoch, offset })); // after it was handled
}
