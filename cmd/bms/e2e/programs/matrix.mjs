// Clients of several socket.io-client versions in one Node process.
//
//   node matrix.mjs CLIENTS
//
// CLIENTS is a JSON list of what startClient takes, with the library of each.
import { createRequire } from 'node:module';
import { startClient } from './matrix-client.mjs';

const require = createRequire(import.meta.url);
for (const client of JSON.parse(process.argv[2])) {
  startClient(require(client.library).io, client, (line) => process.stdout.write(JSON.stringify(line) + '\n'));
}
