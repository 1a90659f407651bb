// Tests in a browser: the documentation pages, and the client in a page.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { createGateway, createSensor, writeReadings } from '@oei-ms/client';
import { startBrowser } from './browser.mjs';
import { admin, logIn, startServer } from './server.mjs';

let server, browser, contract;
before(async () => {
  server = await startServer();
  browser = await startBrowser(server.origin);
  contract = await (await fetch(`${server.origin}/openapi.json`)).json();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const methods = ['get', 'put', 'post', 'delete', 'patch'];
const operations = () => Object.values(contract.paths).flatMap((item) => methods.filter((m) => item[m]).map((m) => item[m]));

test('/docs shows every operation, logs in and tries one out, without other servers', async () => {
  const { page, faults } = await browser.open();
  await page.goto('/docs');
  await page.locator('.opblock').first().waitFor();
  assert.equal(await page.locator('.opblock').count(), operations().length);

  await page.locator('.btn.authorize').first().click();
  const dialog = page.locator('.auth-container', { hasText: 'OAuth2, password' });
  await dialog.locator('#oauth_username').fill(admin.username);
  await dialog.locator('#oauth_password').fill(admin.password);
  await dialog.getByText('select all').click();
  await dialog.locator('button.authorize').click();
  await dialog.getByText('Logout').waitFor();
  await page.locator('.btn-done').first().click();

  const me = page.locator('#operations-auth-getCurrentUser');
  await me.locator('.opblock-summary').click();
  await me.getByRole('button', { name: 'Try it out' }).click();
  await me.getByRole('button', { name: 'Execute' }).click();
  const answer = me.locator('.live-responses-table');
  await answer.waitFor();
  assert.match(await answer.innerText(), /200/);
  assert.match(await answer.innerText(), /"username": "admin"/);

  await page.reload();
  await page.locator('.btn.authorize.unlocked').first().waitFor(); // the login is not kept
  assert.deepEqual(faults, []);
});

test('/redoc shows the contract, without other servers', async () => {
  const { page, faults } = await browser.open();
  await page.goto('/redoc');
  await page.getByRole('heading', { name: contract.info.title }).first().waitFor();
  for (const { name } of contract.tags) await page.locator('.menu-content').getByText(name, { exact: true }).waitFor();
  await page.getByText('Search').first().click();
  await page.keyboard.type('ticket');
  await page.getByTestId('search-dialog').getByText('Create a WebSocket ticket').first().waitFor();
  await page.keyboard.press('Escape');
  await page.waitForLoadState('networkidle');
  assert.equal(await page.getByTestId('page-actions').first().locator('button').count(), 1); // copy, and no chat service
  assert.deepEqual(faults, []);
});

test('/asyncapi shows every channel and message, without other servers', async () => {
  const { info, channels, components } = await (await fetch(`${server.origin}/asyncapi.json`)).json();
  const { page, faults } = await browser.open();
  await page.goto('/asyncapi');
  await page.getByRole('heading', { name: info.title }).first().waitFor();
  await page.getByRole('heading', { name: 'Close codes of WebSocket' }).waitFor();
  const shown = new Set();
  for (const [name, { title, address, messages = {} }] of Object.entries(channels)) {
    await page.locator('.menu-content').getByText(title, { exact: true }).click();
    const section = page.locator(`[data-section-id="/channels/${name.toLowerCase()}"]`);
    await section.getByText(`name: ${address}`).waitFor();
    const names = Object.keys(messages);
    const titles = names.map((message) => components.messages[message].title);
    if (names.length === 1) {
      await section.getByText(components.messages[names[0]].summary).first().waitFor();
    } else if (names.length > 1) { // the others are in a list, or buttons next to the first
      await section.locator('button', { hasText: titles[0] }).first().click();
      for (const message of titles) {
        await page.getByText(message, { exact: true }).first().waitFor({ state: 'attached' });
      }
      await page.keyboard.press('Escape');
    }
    for (const message of names) shown.add(message);
  }
  assert.deepEqual([...shown].sort(), Object.keys(components.messages).sort());
  await page.waitForLoadState('networkidle');
  assert.deepEqual(faults, []);
});

test('a page logs in, subscribes, and receives a reading', async () => {
  await logIn(server.origin);
  const gateway = (await createGateway({ body: { key: 'page', name: 'Page' }, throwOnError: true })).data;
  const sensor = (await createSensor({
    body: { key: 't1', name: 'T1', type: 'temperature', gateway_id: gateway.id }, throwOnError: true,
  })).data;

  const { page, faults } = await browser.open();
  await page.route('**/client/**', async (route) => {
    const file = new URL(`../dist/${new URL(route.request().url()).pathname.slice('/client/'.length)}`, import.meta.url);
    await route.fulfill({ contentType: 'text/javascript', body: await readFile(file) });
  });
  await page.route('**/page.html', (route) => route.fulfill({
    contentType: 'text/html', body: '<!doctype html><link rel="icon" href="data:,"><p id="value">none</p>',
  }));
  await page.goto('/page.html');
  await page.evaluate(async ({ admin, topic }) => {
    const { client, login } = await import('/client/index.js');
    const { Live } = await import('/client/live.js');
    const { data } = await login({ body: admin, throwOnError: true });
    client.setConfig({ auth: data.access_token });
    const value = document.querySelector('#value');
    const live = new Live({ url: '/', token: () => data.access_token });
    const subscription = live.subscribe(topic, {
      onReading: (e) => (value.textContent = `${e.sensor_id}: ${e.value} ${e.quality}`),
    });
    await subscription.ready;
    value.textContent = 'subscribed';
  }, { admin, topic: `sensors/${sensor.id}` });

  await page.getByText('subscribed').waitFor();
  await writeReadings({ body: { readings: [{ sensor_id: sensor.id, value: 21.5 }] }, throwOnError: true });
  await page.getByText(`${sensor.id}: 21.5 good`).waitFor();
  assert.deepEqual(faults, []);
});
