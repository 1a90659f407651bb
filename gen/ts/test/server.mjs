// Starts the built program on free ports, with a temporary directory.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { client, login } from '@oei-ms/client';

const program = process.env.OEI_PROGRAM ?? fileURLToPath(new URL('../../../oei-ms', import.meta.url));

export const admin = { username: 'admin', password: 'a password for the tests' };

/**
 * Resolves when the server is ready: its address, its MQTT port, how to restart and how to
 * stop it. `env` has further settings.
 */
export async function startServer({ env = {} } = {}) {
  if (!existsSync(program)) throw new Error(`${program} is missing; build it: ./task build`);
  const [port, mqttPort] = await freePorts(2);
  const dir = await mkdtemp(join(tmpdir(), 'oei-ms-ts-'));
  await chmod(dir, 0o755); // as root the database runs as another user
  const origin = `http://127.0.0.1:${port}`;
  const settings = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    HOST: '127.0.0.1',
    PORT: String(port),
    MQTT_PORT: String(mqttPort),
    DATA_DIR: join(dir, 'data'),
    ADMIN_USERNAME: admin.username,
    ADMIN_PASSWORD: admin.password,
    ...env,
  };
  let running = await run(dir, settings, origin);
  return {
    origin,
    mqttPort,
    restart: async () => {
      await running.end();
      running = await run(dir, settings, origin);
    },
    stop: async () => {
      await running.end().finally(() => rm(dir, { recursive: true, force: true }));
    },
  };
}

async function run(dir, env, origin) {
  const output = [];
  const child = spawn(program, ['serve'], {
    cwd: dir, // without the .env of the repository
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => output.push(text));
  const ended = new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal));
  });
  const end = async () => {
    child.kill('SIGTERM');
    const code = await ended;
    if (code !== 0) throw new Error(`the server ended with ${code}:\n${output.join('')}`);
  };
  for (let tries = 0; ; tries++) {
    const ready = await fetch(`${origin}/health/ready`).then((r) => r.ok, () => false);
    if (ready) return { end };
    const gone = await Promise.race([ended, new Promise((r) => setTimeout(r, 100))]);
    if (gone !== undefined || tries === 600) {
      child.kill('SIGKILL');
      throw new Error(`the server does not become ready:\n${output.join('')}`);
    }
  }
}

/** Logs the client in as admin, and returns the tokens. */
export async function logIn(origin) {
  client.setConfig({ baseUrl: origin, auth: undefined });
  const { data } = await login({ body: admin, throwOnError: true });
  client.setConfig({ auth: data.access_token });
  return data;
}

async function freePorts(n) {
  const servers = await Promise.all(Array.from({ length: n }, () => new Promise((resolve) => {
    const s = createServer().listen(0, '127.0.0.1', () => resolve(s));
  })));
  return Promise.all(servers.map((s) => new Promise((resolve) => {
    const { port } = s.address();
    s.close(() => resolve(port));
  })));
}
