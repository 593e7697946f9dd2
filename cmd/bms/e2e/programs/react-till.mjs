// The till's stock list as a React 18 component over a hook with useEffect
// and clean-up, in a browser's page (jsdom: its DOM, XMLHttpRequest and
// WebSocket, so its CORS as well) with socket.io-client's browser build.
// StrictMode mounts every effect twice, as it does in development.
//
//   node react-till.mjs URL TOKEN ORIGIN
//
// The page's lines go to stdout as JSON, a "rendered" one with the list as
// the page shows it. SIGTERM unmounts the component.
import { createRequire } from 'node:module';
import { JSDOM } from 'jsdom';

const [url, token, origin] = process.argv.slice(2);
const show = (line) => process.stdout.write(JSON.stringify(line) + '\n');

const { window } = new JSDOM('<!doctype html><div id="root"></div>', { url: origin, pretendToBeVisual: true });
const globals = { window, self: window };
for (const name of ['document', 'location', 'navigator', 'XMLHttpRequest', 'WebSocket']) {
  globals[name] = window[name];
}
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}

const require = createRequire(import.meta.url);
const React = require('react');
const { createRoot } = require('react-dom/client');
const { io } = require('socket.io-client/dist/socket.io.js');
const { useEffect, useState, StrictMode, createElement: h } = React;

function useStock(url, token) {
  const [connected, setConnected] = useState(false);
  const [stock, setStock] = useState({});

  useEffect(() => {
    show({ on: 'mount' });
    const socket = io(url, { auth: { token } });
    socket.on('connect', () => {
      show({ on: 'connect', recovered: socket.recovered });
      setConnected(true);
    });
    socket.on('connect_error', (err) => show({ on: 'connect_error', message: err.message, data: err.data }));
    socket.on('disconnect', () => setConnected(false));
    socket.on('inventory:updated', (event) => {
      show({ on: 'inventory:updated', event });
      setStock((old) => ({ ...old, [event.data.sku]: event.data.stock }));
    });
    return () => {
      show({ on: 'unmount' });
      socket.disconnect();
    };
  }, [url, token]);

  return { connected, stock };
}

function Till() {
  const { connected, stock } = useStock(url, token);
  useEffect(() => {
    show({ on: 'rendered', text: document.getElementById('root').textContent });
  });
  return h('ul', { className: connected ? 'online' : 'offline' },
    Object.keys(stock).sort().map((sku) => h('li', { key: sku }, `${sku}: ${stock[sku]}; `)));
}

const root = createRoot(document.getElementById('root'));
root.render(h(StrictMode, null, h(Till)));

process.on('SIGTERM', () => {
  root.unmount();
  show({ on: 'closed' });
  process.exit(0);
});
