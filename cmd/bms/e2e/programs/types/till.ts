// A till written in TypeScript against /events.d.ts: it sells one tea, and shows
// what it gets. Every kind of event and message is used as its type says.
//
//   till.js URL TOKEN BRANCH
import { io, type Socket } from "socket.io-client";
import type {
  AdjustStockCommand,
  AnswerTo,
  BmsEvent,
  ClientToServerEvents,
  Command,
  ConnectError,
  EventOf,
  EventType,
  Position,
  Refused,
  ServerToClientEvents,
  Session,
  WebSocketMessage,
  WebSocketRequest,
} from "./events";

const [url, token, branchId] = process.argv.slice(2) as [string, string, string];
const show = (line: unknown) => process.stdout.write(JSON.stringify(line) + "\n");

const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io(url, { auth: { token } });

let cursor: Position | undefined;

/** tell says what an event means; that no type is left out is checked. */
function tell(event: BmsEvent): string {
  switch (event.type) {
    case "inventory:updated":
      return `${event.data.sku}: ${event.data.delta} -> ${event.data.stock} (${event.data.ref ?? event.data.reason})`;
    case "product:updated":
      return event.data.action === "deleted" ? `no ${event.data.product.name}` : event.data.changes.join();
    case "transaction:created":
      return event.data.lines.map((line) => line.quantity * line.unitPriceMinor).join() + event.data.currency;
    case "transaction:status-changed":
      return `${event.data.from} -> ${event.data.to}, ${(event.data.refundedMinor ?? 0) / 100}`;
    case "low-stock:alert": {
      const level: "low" | "out" | "negative" = event.data.level;
      return `${level}${event.data.first ? "!" : ""} since ${event.data.causePos}`;
    }
    case "branch:updated":
      return `${event.branchId ?? "?"} is ${event.data.status}`;
    case "user:updated":
      return `${event.data.name ?? event.data.userId} is ${event.data.role} of ${event.data.branches.length}`;
    case "sync:status":
      return `${event.data.phase}: ${event.data.applied} of ${event.data.received}, ${event.data.errors[0]?.code ?? "well"}`;
    case "system:notification":
      return `${event.data.severity.toUpperCase()} ${event.data.title}, until ${event.data.expiresAt ?? "read"}`;
    default: {
      const none: never = event;
      return none;
    }
  }
}

function listen<T extends EventType>(type: T, heard: (event: EventOf<T>) => void) {
  socket.onAny((name: string, event: BmsEvent) => {
    if (name === type && event.type === type) heard(event as EventOf<T>);
  });
}
listen("user:updated", (event) => show({ disabled: event.data.disabled }));

socket.on("inventory:updated", (event, pos) => {
  cursor = pos;
  show({ on: event.type, text: tell(event), stock: event.data.stock + 0, pos: event.pos === pos });
});
socket.on("stats", (stats) => show({ connections: stats.connections, here: stats.namespaces["/ws"] }));
socket.on("connect_error", (error: ConnectError) => show({ on: "refused", code: error.data?.code, in: error.data?.retryAfter }));

socket.on("session", async (session: Session) => {
  show({ on: "session", role: session.role, rooms: session.rooms.length, recovered: session.recovered });

  const joined = await socket.timeout(5000).emitWithAck("room:join", `branch:${branchId}`);
  show({ on: "joined", ok: joined.ok, rooms: joined.ok ? joined.rooms?.length : joined.error.code });

  const refused = await socket.emitWithAck("room:join", "branch:elsewhere");
  if (!refused.ok) show({ on: "denied", code: refused.error.code, message: refused.error.message });

  const adjust: AdjustStockCommand = {
    type: "stock.adjust",
    branchId,
    commandId: "till-1",
    body: { productId: "tea", delta: -1, reason: "tasted" },
  };
  socket.emit("command", adjust, (answer) => {
    if (!answer.ok) return show({ on: "not sold", code: answer.error.code });
    const done = answer as AnswerTo<typeof adjust>;
    show({ on: "sold", stock: done.result.stock, durability: done.durability, events: done.events.map((event) => event.type) });
  });
});

// The rest is compiled only: commands, a batch, and the plain WebSocket.
export const commands: Command[] = [
  { type: "branch.open", body: { branchId: "b9", name: "New" } },
  { type: "product.create", branchId, body: { sku: "T", name: "Tea", priceMinor: 250, currency: "EUR", negativeStock: "offline-only" } },
  { type: "product.change", branchId, body: { productId: "tea", minStock: 3, expectedVersion: 2 } },
  { type: "stock.count", branchId, body: { productId: "tea", counted: 5 } },
  { type: "stock.adjust-bulk", branchId, body: { mode: "per-line", lines: [{ productId: "tea", delta: 1, reason: "found" }] } },
  { type: "transaction.create", branchId, body: { kind: "sale", status: "completed", lines: [{ productId: "tea", quantity: 1 }] } },
  { type: "transaction.set-status", branchId, body: { transactionId: "t1", status: "refunded", reason: "cold", lines: [{ productId: "tea", quantity: 1, restock: false }] } },
  { type: "transfer.dispatch", branchId, body: { toBranchId: "b2", lines: [{ productId: "tea", quantity: 1 }] } },
  { type: "transfer.receive", branchId, body: { transferId: "x" } },
  { type: "user.set", body: { userId: "u1", role: "manager" } },
  { type: "notification.send", body: { audience: "branch:b1", severity: "info", title: "Hello", message: "there" } },
];
export const offline = (pos: Position, done: (answer: Refused | { ok: true }) => void) => {
  socket.emit("notifications:ack", pos, done);
  socket.emit("sync:submit", { branchId, deviceId: "d1", fromSeq: 1, operations: [{ seq: 1, lines: [{ productId: "tea", quantity: 1 }] }] }, (answer) => {
    if (answer.ok) show(answer.result.lastSeq + answer.result.errors.length);
  });
  socket.emit("auth:refresh", { token }, () => show(cursor));
  socket.emit("ping", (answer) => show(answer.ok ? answer.pos : answer.error.code));
};
export const join: WebSocketRequest = { op: "room:join", id: 1, args: ["branch:b1"] };
export const ping: WebSocketRequest = { op: "ping", id: 2 };
export const plain = (message: WebSocketMessage): string => {
  switch (message.type) {
    case "session":
      return message.data.sid;
    case "stats":
      return String(message.data.eventsPerSecond);
    case "ack":
      return `${message.id}: ${message.data.ok}`;
    default:
      return tell(message);
  }
};

process.on("SIGTERM", () => {
  socket.disconnect();
  process.exit(0);
});
