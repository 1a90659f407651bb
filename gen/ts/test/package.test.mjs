// Tests of the package as users get it: packed, installed into a clean project outside of the
// repository, run in Node.js, type-checked, bundled by Vite and opened in a browser.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { startBrowser } from './browser.mjs';
import { admin, startServer } from './server.mjs';

const run = promisify(execFile);
const packageDir = fileURLToPath(new URL('..', import.meta.url));
const tools = new URL('../../../tools/node_modules/', import.meta.url);
const tsc = fileURLToPath(new URL('typescript/bin/tsc', tools));
const { build } = await import(new URL('vite/dist/node/index.js', tools));
const { publint } = await import(new URL('publint/src/index-node.js', tools));

const manifest = JSON.parse(await readFile(join(packageDir, 'package.json'), 'utf8'));
const subExports = Object.keys(manifest.exports);
const nameOf = (subExport) => subExport.replace('.', manifest.name); // ./live: @oei-ms/client/live

const limits = [
  {
    what: 'log in and make one call',
    maxKiB: 8,
    code: `import { connect } from '@oei-ms/client/session';
      import { listSensors } from '@oei-ms/client';
      const login = { username: 'ada', password: document.title };
      const oei = await connect({ url: location.origin, login });
      document.title = (await listSensors({ client: oei.client })).data.length;`,
  },
  {
    what: 'everything but ./testing',
    maxKiB: 25,
    code: subExports
      .filter((name) => name !== './testing')
      .map((name, i) => `export * as part${i} from '${nameOf(name)}';`)
      .join('\n'),
  },
];

let dir, server, browser;
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'oei-ms-package-'));
  const npm = (cwd, ...args) => run('npm', [...args, '--ignore-scripts'], { cwd });
  const { stdout } = await npm(packageDir, 'pack', '--json', '--pack-destination', dir);
  await write('package.json', JSON.stringify({ private: true, type: 'module' }));
  const [{ filename }] = JSON.parse(stdout);
  await npm(dir, 'install', '--offline', '--no-audit', '--no-fund', join(dir, filename));
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await rm(dir, { recursive: true, force: true });
});

async function write(name, text) {
  const path = join(dir, name);
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, text);
  return path;
}

test('the package has a licence, a README and what is built, and depends on nothing', async () => {
  const installed = join(dir, 'node_modules/@oei-ms/client');
  assert.deepEqual(await readdir(installed), ['LICENSE', 'README.md', 'dist', 'package.json']);
  assert.deepEqual(await readdir(join(dir, 'node_modules')), ['.package-lock.json', '@oei-ms']);
  assert.equal(manifest.dependencies, undefined);
  const { messages } = await publint({ pkgDir: installed, pack: false, strict: true });
  assert.deepEqual(messages, []);
});

test('every sub-export is imported, and required, by plain Node.js', async () => {
  const program = await write(
    'imports.mjs',
    `import { createRequire } from 'node:module';
    const require = createRequire(import.meta.url);
    for (const name of ${JSON.stringify(subExports.map(nameOf))}) {
      const names = Object.keys(await import(name));
      const required = Object.keys(require(name));
      if (!names.every((n) => required.includes(n))) throw new Error(name + ' ' + required);
    }`,
  );
  await run(process.execPath, [program]);
});

test('a program of a user runs in plain Node.js', async () => {
  server ??= await startServer();
  const program = await write(
    'program.mjs',
    `import { getCurrentUser, isProblem } from '@oei-ms/client';
    import { connect } from '@oei-ms/client/session';
    const [url, username, password] = process.argv.slice(2);
    const oei = await connect({ url, login: { username, password } });
    const { data: user } = await getCurrentUser({ client: oei.client });
    console.log(user.username, user.role);
    await oei.logout();
    await connect({ url, login: { username, password: 'wrong' } })
      .catch((err) => console.log(isProblem(err, 'not-authenticated')));`,
  );
  const { stdout } = await run(process.execPath, [
    program,
    server.origin,
    admin.username,
    admin.password,
  ]);
  assert.equal(stdout, 'admin admin\ntrue\n');
});

// TanStack Query, whose types ./query uses.
const addPeer = () =>
  cp(new URL('@tanstack/query-core', tools), join(dir, 'node_modules/@tanstack/query-core'), {
    recursive: true,
  });

const strictOptions = {
  target: 'ES2022',
  lib: ['ES2022', 'DOM', 'DOM.Iterable'],
  types: [],
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  verbatimModuleSyntax: true,
  skipLibCheck: false,
};

for (const [module, moduleResolution] of [
  ['NodeNext', 'NodeNext'],
  ['ESNext', 'Bundler'],
]) {
  test(`types are right for a strict program, resolved as ${moduleResolution}`, async () => {
    const peer = '@tanstack/query-core';
    await cp(new URL(peer, tools), join(dir, 'node_modules', peer), { recursive: true });
    const usages = ['usage.ts', 'usage_query.ts', 'usage_testing.ts', 'example.ts'];
    for (const name of usages) {
      await write(`types/${name}`, await readFile(new URL(name, import.meta.url), 'utf8'));
    }
    const imports = subExports.map((name, i) => `import * as part${i} from '${nameOf(name)}';`);
    const parts = subExports.map((_, i) => `part${i}`).join(', ');
    await write('types/all.ts', `${imports.join('\n')}\nexport const all = [${parts}];\n`);
    const compilerOptions = { ...strictOptions, module, moduleResolution, noEmit: true };
    await write('types/tsconfig.json', JSON.stringify({ compilerOptions, include: ['.'] }));
    const { stdout } = await run(process.execPath, [tsc, '-p', join(dir, 'types')]).catch((e) => e);
    assert.equal(stdout, '');
  });
}

test('the code of the README is compiled and run', async () => {
  server ??= await startServer();
  await addPeer();
  const readme = await readFile(join(dir, 'node_modules/@oei-ms/client/README.md'), 'utf8');
  const blocks = [...readme.matchAll(/^```ts\n(.*?)^```/gms)].map(([, code]) => code);
  for (const [i, code] of blocks.entries()) {
    await write(`readme/block${i}.ts`, code.replaceAll('http://localhost:8000', server.origin));
  }
  await write(
    'readme/given.d.ts',
    `declare const password: string;
    declare const oei: import('@oei-ms/client/session').Session;`,
  );
  await write(
    'readme/tsconfig.json',
    JSON.stringify({
      compilerOptions: { ...strictOptions, module: 'NodeNext', outDir: 'out' },
      include: ['.'],
    }),
  );
  await write('readme/run.mjs', readmeRunner);
  const compiled = await run(process.execPath, [tsc, '-p', join(dir, 'readme')]).catch((e) => e);
  assert.equal(compiled.stdout, '');
  const args = ['--experimental-websocket', join(dir, 'readme/run.mjs')];
  const given = [server.origin, admin.password, blocks.length];
  const { stdout } = await run(process.execPath, [...args, ...given]);
  for (const line of readmeOutput) assert.match(stdout, new RegExp(`^${line}$`, 'm'));
});

// Gives the blocks of the README a session and a sensor, and runs them one after the other.
const readmeRunner = `
import { createGateway, createSensor } from '@oei-ms/client';
import { connect } from '@oei-ms/client/session';

const [origin, password, blocks] = process.argv.slice(2);
const oei = await connect({ url: origin, login: { username: 'admin', password } });
const { client } = oei;
const { data: gateway } = await createGateway({ client, body: { name: 'README' } });
const body = { name: 'Bearing', type: 'temperature', gateway_id: gateway.id };
await createSensor({ client, body });
Object.assign(globalThis, { oei, password });
for (let i = 0; i < blocks; i++) await import('./out/block' + i + '.js');
process.exit(); // the first block stays connected
`;

const readmeOutput = [
  '0 of 1 are not normal',
  'maximum 200',
  'sensor_id,timestamp,value,quality,status_code',
  'faulty: key',
  'hello admin',
  'ended: .*',
  'sensor Bearing',
  'live data: live',
  '.*Z 21.5',
  'queried 1',
  'key taken',
  'asked for T1',
];

// Bundles a module of a user with Vite, and returns the text of the scripts.
async function bundle(name, code) {
  const input = await write(`bundle/${name}.js`, code);
  const { output } = await build({
    configFile: false,
    logLevel: 'error',
    root: join(dir, 'bundle'),
    build: {
      write: false,
      target: 'es2022',
      modulePreload: false,
      rollupOptions: { input, preserveEntrySignatures: 'strict' },
    },
  });
  return output.map((file) => file.code ?? '').join('');
}

test('bundles are small', async (t) => {
  const rows = [];
  const measure = async (what, code, maxKiB) => {
    const text = await bundle(`size${rows.length}`, code);
    const kib = gzipSync(text, { level: 9 }).length / 1024;
    rows.push({ bundle: what, 'KiB minified': text.length / 1024, 'KiB gzip': kib, limit: maxKiB });
    return kib;
  };
  for (const name of subExports) await measure(name, `export * from '${nameOf(name)}';`);
  for (const { what, code, maxKiB } of limits) {
    const kib = await measure(what, code, maxKiB);
    assert.ok(kib <= maxKiB, `${what}: ${kib.toFixed(2)} KiB are more than ${maxKiB}`);
  }
  for (const { bundle, limit = '', ...sizes } of rows) {
    const columns = Object.values(sizes).map((kib) => kib.toFixed(2).padStart(8));
    t.diagnostic(`${bundle.padEnd(26)}${columns.join('')} ${limit && `of ${limit} KiB gzip`}`);
  }
});

test('what a page does not use is not in its bundle', async () => {
  const used = await bundle('shaken', `export { getVersion } from '@oei-ms/client';`);
  assert.match(used, /"\/version"/);
  assert.doesNotMatch(used, /\/api\//);
});

test('a page built by Vite works in a browser under a strict policy', async () => {
  server ??= await startServer();
  browser = await startBrowser(server.origin);
  await write(
    'page/index.html',
    `<!doctype html><html lang="en"><head><title>Page</title>
    <link rel="icon" href="data:,"></head><body><p id="value">none</p>
    <script type="module" src="./main.js"></script></body></html>`,
  );
  await write('page/main.js', pageProgram);
  await build({
    configFile: false,
    logLevel: 'error',
    root: join(dir, 'page'),
    base: './',
    build: { outDir: join(dir, 'site'), emptyOutDir: true },
  });
  const { page, faults } = await browser.open();
  await page.route('**/site/**', async (route) => {
    const { pathname } = new URL(route.request().url());
    const contentType = pathname.endsWith('.js') ? 'text/javascript' : 'text/html';
    const policy = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:";
    await route.fulfill({
      body: await readFile(join(dir, pathname)),
      contentType,
      headers: { 'Content-Security-Policy': policy },
    });
  });
  await page.goto('/site/index.html');
  await page.evaluate((login) => window.start(login), admin);
  await page.getByText('21.5 good').waitFor();
  assert.deepEqual(faults, []);
});

const pageProgram = `
import { createGateway, createSensor, listSensors, writeReadings } from '@oei-ms/client';
import { Live } from '@oei-ms/client/live';
import { items } from '@oei-ms/client/pages';
import { connect } from '@oei-ms/client/session';

window.start = async (login) => {
  const oei = await connect({ url: location.origin, login });
  const { client } = oei;
  const { data: gateway } = await createGateway({ client, body: { name: 'Page' } });
  const body = { name: 'T1', type: 'temperature', gateway_id: gateway.id };
  const { data: sensor } = await createSensor({ client, body });
  const live = new Live({ session: oei });
  live.on('state', ({ state }) => state === 'live' && write());
  live.subscribe('sensors/' + sensor.id, {
    snapshot: true,
    onReading: ({ value, quality }) => {
      document.querySelector('#value').textContent = value + ' ' + quality;
    },
  });
  const write = async () => {
    for await (const { id } of items(listSensors, { client, query: { gateway_id: gateway.id } })) {
      await writeReadings({ client, body: { readings: [{ sensor_id: id, value: 21.5 }] } });
    }
  };
};
`;
