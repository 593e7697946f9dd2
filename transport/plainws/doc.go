// Package plainws serves JSON over plain WebSockets, for programs that have no
// Socket.IO client. It knows nothing of what is sent.
//
//	client ── GET, upgrade ──> Handler.Connect ──> Session, or an HTTP error
//	client <── text frames ─── flusher <── pull ── Source.Next
//	client ── {"op":…} ──────> Receiver.Op
//	client <── {"type":"ack"} ─ lane <──────────── its answer
//
// Every message is one text frame. A client sends
//
//	{"op":"room:join","id":1,"args":["branch:b1"]}
//
// and gets, if it gave an id (a number or a short string),
//
//	{"type":"ack","id":1,"data":…}
//
// Who may connect is judged before the upgrade, so that a refusal is an HTTP
// status. Afterwards the close code tells a client whether to come back; see
// the Status constants.
//
// # Concurrency properties
//
// A connection has one goroutine, its reader, and while there is something to
// write one more, the flusher, which alone takes from the source: when the
// transport can take more it asks for about 64 KB. There is no queue of events
// here, so a slow client costs no more than that. The methods of [Server] and
// [Conn] are safe for concurrent use; those of Conn don't block.
package plainws
