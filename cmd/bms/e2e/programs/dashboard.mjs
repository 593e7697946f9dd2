// A shop's dashboard, as its developer wrote it for the Socket.IO server:
// connect with a token, listen, show. What it shows is one JSON line each.
//
//   node dashboard.mjs URL TOKEN [OPTIONS]
//
// URL as in io(URL), OPTIONS as JSON, merged into io's.
import { io } from 'socket.io-client';

const [url, token, options] = process.argv.slice(2);
const show = (line) => process.stdout.write(JSON.stringify(line) + '\n');

const socket = io(url, { auth: { token }, ...JSON.parse(options ?? '{}') });

socket.on('connect', () => {
  show({ on: 'connect', recovered: socket.recovered, transport: socket.io.engine.transport.name });
});
socket.on('connect_error', (err) => {
  show({ on: 'connect_error', message: err.message, data: err.data });
});
socket.on('disconnect', (reason) => {
  show({ on: 'disconnect', reason });
});

socket.on('session', (session) => {
  show({ on: 'session', session });
});

for (const type of [
  'inventory:updated',
  'product:updated',
  'transaction:created',
  'transaction:status-changed',
  'low-stock:alert',
  'branch:updated',
  'user:updated',
  'sync:status',
  'system:notification',
]) {
  socket.on(type, (event) => {
    show({ on: type, event });
  });
}

process.on('SIGTERM', () => {
  socket.disconnect();
  process.exit(0);
});
