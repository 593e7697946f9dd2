// A program without Socket.IO: a plain WebSocket that keeps its own cursor,
// comes back where that is worth it, and shows what it gets, one JSON line
// each. What it reads on stdin it sends, a message a line.
//
//   node plain.mjs URL TOKEN
import { createInterface } from 'node:readline';
import WebSocket from 'ws';

const [url, token] = process.argv.slice(2);
const show = (line) => process.stdout.write(JSON.stringify(line) + '\n');

// Close codes after which nothing would be different.
const stay = new Set([4400, 4401, 4403, 4409, 1009]);

let socket;
let cursor = '';

function comeBack(after) {
  if (after) {
    setTimeout(connect, after);
  } else {
    process.exit(0);
  }
}

function connect() {
  const since = cursor && '?since=' + encodeURIComponent(cursor);
  socket = new WebSocket(url + since, ['bms.v1.json', 'bearer.' + token]);
  socket.on('open', () => show({ on: 'open', transport: socket.protocol }));
  socket.on('message', (data) => {
    const frame = JSON.parse(data);
    switch (frame.type) {
      case 'session':
        show({ on: 'session', session: frame.data });
        cursor = frame.data.pos;
        return;
      case 'ack':
        show({ on: 'ack', text: JSON.stringify(frame) });
        return;
      default:
        show({ on: frame.type, event: frame });
        if (frame.pos > cursor) cursor = frame.pos;
    }
  });
  socket.on('unexpected-response', (request, response) => {
    let body = '';
    response.on('data', (part) => (body += part));
    response.on('end', () => {
      show({ on: 'refused', message: String(response.statusCode), data: JSON.parse(body) });
      request.destroy();
      comeBack(1000 * Number(response.headers['retry-after'] ?? 0));
    });
  });
  socket.on('error', () => {}); // closes next
  socket.on('close', (code, reason) => {
    show({ on: 'close', message: String(code), reason: String(reason) });
    comeBack(stay.has(code) ? 0 : 100);
  });
}

connect();
createInterface({ input: process.stdin }).on('line', (line) => socket.send(line));
process.on('SIGTERM', () => process.exit(0));
