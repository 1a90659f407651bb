// The programs of examples/ that use this package, installed as a user installs it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  commentOnAlarm,
  createAlarm,
  createApiKey,
  createGateway,
  createSensor,
  writeReadings,
} from '@oei-ms/client';
import { startBrowser } from './browser.mjs';
import { admin, logIn, startServer } from './server.mjs';

const fromHere = (path) => fileURLToPath(new URL(path, import.meta.url));
const kinds = { '.html': 'text/html', '.js': 'text/javascript' };

let server, folder, pages, pageOrigin, sensor_id, alarm_id;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oei-ms-examples-'));
  await cp(fromHere('../../../examples'), folder, { recursive: true });
  for (const place of [folder, join(folder, 'dashboard')]) {
    await mkdir(join(place, 'node_modules/@oei-ms'), { recursive: true });
    await symlink(fromHere('..'), join(place, 'node_modules/@oei-ms/client'));
  }
  pages = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://pages');
    const file = normalize(pathname === '/' ? '/index.html' : pathname);
    try {
      const content = await readFile(join(folder, 'dashboard', file));
      response.writeHead(200, { 'Content-Type': kinds[extname(file)] ?? 'text/plain' });
      response.end(content);
    } catch {
      response.writeHead(404).end();
    }
  }).listen(0, '127.0.0.1');
  await once(pages, 'listening');
  pageOrigin = `http://127.0.0.1:${pages.address().port}`;
  server = await startServer({
    env: { OEI_SERVER_ALLOWED_ORIGINS: pageOrigin, OEI_PUSH_ALLOWED_ORIGINS: pageOrigin },
  });
  await logIn(server.origin);
  const { data: gateway } = await createGateway({ body: { name: 'Press 1' } });
  const body = { name: 'Bearing', type: 'temperature', unit: 'Cel', gateway_id: gateway.id };
  sensor_id = (await createSensor({ body })).data.id;
  await write(21.5);
  const rule = {
    name: 'Hot',
    kind: 'threshold',
    severity: 'major',
    message: '{name}: {value}',
    limits: { high: { value: 80 } },
  };
  alarm_id = (await createAlarm({ body: { sensor_id, rule } })).data.id;
});
after(async () => {
  pages?.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const write = (value) => writeReadings({ body: { readings: [{ sensor_id, value }] } });
const comment = (text) => commentOnAlarm({ path: { id: alarm_id }, body: { comment: text } });

test('follow-alarms.mjs prints each event once, through restarts of the server and its own', async (t) => {
  const { data: key } = await createApiKey({ body: { name: 'follower', role: 'viewer' } });
  const start = () => {
    const program = spawn(process.execPath, ['--experimental-websocket', 'follow-alarms.mjs'], {
      cwd: folder,
      env: { ...process.env, OEI_URL: server.origin, OEI_API_KEY: key.key },
    });
    t.after(() => program.kill());
    const lines = createInterface({ input: program.stdout })[Symbol.asyncIterator]();
    const states = createInterface({ input: program.stderr })[Symbol.asyncIterator]();
    const live = async () => {
      for (let line = ''; line !== '# live'; ) {
        const { value, done } = await states.next();
        assert.ok(!done, `it ended after ${line}`);
        line = value;
      }
    };
    return { program, live, kind: async () => (await lines.next()).value.split(' ')[1] };
  };

  let { program, live, kind } = start();
  await live();
  await write(90);
  assert.equal(await kind(), 'raised');
  await server.restart();
  await logIn(server.origin);
  await comment('after the restart');
  assert.equal(await kind(), 'commented');
  program.kill('SIGKILL');
  await once(program, 'exit');
  await write(60); // nobody follows
  ({ program, live, kind } = start());
  assert.equal(await kind(), 'cleared');
  await comment('the last one');
  assert.equal(await kind(), 'commented');
  program.kill();
});

test('the dashboard shows readings and alarms as they come', async () => {
  const browser = await startBrowser(pageOrigin, { others: [server.origin] });
  try {
    const { page, faults } = await browser.open();
    await page.goto(`${pageOrigin}/?server=${encodeURIComponent(server.origin)}`);
    await page.locator('[name=username]').fill(admin.username);
    await page.locator('[name=password]').fill(admin.password);
    await page.getByRole('button').click();
    await page.locator('td', { hasText: 'Bearing' }).waitFor();
    await page.locator('#state', { hasText: 'live' }).waitFor();
    await write(95.25);
    await page.locator('td', { hasText: '95.25' }).waitFor();
    await page.locator('#alarm', { hasText: 'major: Hot: 95.25 (raised)' }).waitFor();
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
  }
});
