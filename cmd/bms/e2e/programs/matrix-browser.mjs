// Clients of several socket.io-client versions in Chromium, a profile and a
// page for each version.
//
//   node matrix-browser.mjs CHROMIUM ORIGIN CLIENTS
//
// ORIGIN serves matrix-page.html, CLIENTS is as for matrix.mjs. Lines on stdin
// say what happens: sleep and wake (all of the browser's processes are stopped
// and go on, as on a laptop that is closed and opened), offline and online, or
// "fetch URL TOKEN", by each page. Each is answered by a line when it is done;
// the end of stdin closes the browser.
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [executablePath, origin, list] = process.argv.slice(2);
const clients = JSON.parse(list);
const show = (line) => process.stdout.write(JSON.stringify(line) + '\n');

const server = await chromium.launchServer({
  executablePath,
  headless: true,
  chromiumSandbox: false,
  args: ['--headless', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const browser = await chromium.connect(server.wsEndpoint());
const signal = (name) => process.kill(-server.process().pid, name); // to its process group

const pages = [];
for (const library of new Set(clients.map((client) => client.library))) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const devtools = await context.newCDPSession(page);
  devtools.on('Network.requestWillBeSent', ({ request }) => {
    if (request.method === 'OPTIONS') show({ on: 'preflight', url: request.url });
  });
  await devtools.send('Network.enable');
  page.on('pageerror', (err) => show({ on: 'pageerror', message: err.message }));
  await page.exposeFunction('show', show);
  await page.goto(`${origin}/matrix-page.html?library=${library}`);
  await page.evaluate((mine) => window.startClients(mine), clients.filter((client) => client.library === library));
  pages.push({ context, page });
}
show({ on: 'open' });

const actions = {
  sleep: () => signal('SIGSTOP'),
  wake: () => signal('SIGCONT'),
  offline: () => Promise.all(pages.map(({ context }) => context.setOffline(true))),
  online: () => Promise.all(pages.map(({ context }) => context.setOffline(false))),
  fetch: (url, token) => Promise.all(pages.map(async ({ page }) => {
    const status = await page.evaluate(async ([url, token]) => (await fetch(url, { headers: { Authorization: `Bearer ${token}` } })).status, [url, token]);
    if (status !== 200) throw new Error(`fetch ${url}: ${status}`);
  })),
};
for await (const line of createInterface({ input: process.stdin })) {
  const [action, ...args] = line.split(' ');
  await actions[action](...args);
  show({ on: action });
}
signal('SIGCONT');
await server.close();
