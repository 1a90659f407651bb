// A headless Chromium that may connect to one server only, and records other attempts.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

const { chromium } = createRequire(new URL('../../../tools/package.json', import.meta.url))('playwright-core');

const executablePath = [
  process.env.CHROME_PATH,
  '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
].find((path) => path && existsSync(path));

/**
 * Opens a browser for pages of `origin`, which may also call the `others`. `open` returns a new page and its `faults`: requests to other servers, violations of the content security
 * policy, and script errors. An answer with an error status is not a fault. `another` opens a further page with the same storage
 * and the same faults.
 * `options` are further ones of `launch`.
 */
export async function startBrowser(origin, { others = [], ...options } = {}) {
  if (!executablePath) throw new Error('Chromium is missing; run tools/setup.sh');
  const browser = await chromium.launch({
    ...options,
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
      '--disable-features=LocalNetworkAccessChecks'], // a page served by the test has no address, and could not call the server
  });
  const open = async () => {
    const context = await browser.newContext({ baseURL: origin });
    const faults = [];
    await context.route((url) => ![origin, ...others].includes(url.origin) && !['data:', 'blob:'].includes(url.protocol), (route) => {
      faults.push(`asked for ${route.request().url()}`);
      return route.abort();
    });
    await context.exposeBinding('violated', (_, text) => faults.push(text));
    await context.addInitScript(() => document.addEventListener('securitypolicyviolation', (e) => {
      window.violated(`policy ${e.violatedDirective} stopped ${e.blockedURI}`);
    }));
    const another = async () => {
      const page = await context.newPage();
      page.on('pageerror', (err) => faults.push(`error ${err.message}`));
      page.on('console', (m) => {
        if (m.type() === 'error' && !m.text().startsWith('Failed to load resource: the server responded')) faults.push(m.text());
      });
      page.setDefaultTimeout(20_000);
      return page;
    };
    return { page: await another(), faults, another };
  };
  return { open, close: () => browser.close() };
}

/** Lets pages of a context load /page.html, which is empty, and the package from /client. */
export async function servePackage(context) {
  await context.route('**/client/**', async (route) => {
    const path = new URL(route.request().url()).pathname.slice('/client/'.length);
    const body = await readFile(new URL(`../dist/${path}`, import.meta.url));
    await route.fulfill({ contentType: 'text/javascript', body });
  });
  await context.route('**/page.html', (route) =>
    route.fulfill({ contentType: 'text/html', body: '<!doctype html><link rel="icon" href="data:,">' }));
}
