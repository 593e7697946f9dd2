// One client of the matrix, the same in Node and in a page: io is that of the
// socket.io-client version under test. What it sees goes to show, a line each.

const types = [
  'inventory:updated',
  'product:updated',
  'transaction:created',
  'transaction:status-changed',
  'low-stock:alert',
  'branch:updated',
  'user:updated',
  'sync:status',
  'system:notification',
];

// startClient starts a client of {name, url, token, options, since, once}.
// since is for versions before 4.6, which know no connection state recovery:
// the client keeps the position of what it saw last and sends it itself. A
// client with once gives up after the first error.
export function startClient(io, client, show) {
  const { name, url, token, options, since, once } = client;
  const say = (line) => show({ client: name, ...line });
  let last;
  const saw = (pos) => {
    if (since) last = pos;
  };
  const socket = io(url, {
    forceNew: true,
    reconnectionDelay: 100,
    reconnectionDelayMax: 500,
    auth: (send) => send(last ? { token, since: last } : { token }),
    ...options,
  });
  socket.on('connect', () => {
    const { engine } = socket.io;
    const transport = engine.transport.name;
    say({ on: 'connect', transport, recovered: socket.recovered ?? false });
    if (transport === 'websocket') say({ on: 'websocket' });
    else engine.once('upgrade', (to) => say({ on: to.name }));
  });
  socket.on('connect_error', (err) => {
    say({ on: 'connect_error', message: err.message, data: err.data });
    if (once) socket.disconnect();
  });
  socket.on('disconnect', (reason) => say({ on: 'disconnect', reason }));
  socket.on('session', (session) => {
    saw(session.pos);
    say({ on: 'session', session });
    socket.emit('room:join', 'branch:b1', (answer) => {
      say({ on: 'joined branch:b1', answer });
      socket.emit('room:join', 'branch:b2', (answer) => say({ on: 'joined branch:b2', answer }));
    });
  });
  socket.on('stats', (stats) => say({ on: 'stats', stats }));
  for (const type of types) {
    socket.on(type, (event) => {
      saw(event.pos);
      say({ on: type, event });
    });
  }
}
