// A phone that shows its user's messages and, asked by SIGUSR2, acknowledges
// all that it has shown. What it shows is one JSON line each.
//
//   node inbox.mjs URL TOKEN
import { io } from 'socket.io-client';

const [url, token] = process.argv.slice(2);
const show = (line) => process.stdout.write(JSON.stringify(line) + '\n');

let last;
const socket = io(url, { auth: { token } });
socket.on('connect_error', (err) => {
  show({ on: 'connect_error', message: err.message, data: err.data });
});
socket.on('session', (session) => {
  last ??= session.pos;
  show({ on: 'session', session });
});
socket.on('system:notification', (event) => {
  last = event.pos;
  show({ on: 'system:notification', event });
});

process.on('SIGUSR2', async () => {
  const answer = await socket.emitWithAck('notifications:ack', last);
  show({ on: 'ack', text: JSON.stringify(answer) });
});
process.on('SIGTERM', () => {
  socket.disconnect();
  process.exit(0);
});
