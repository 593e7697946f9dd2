// Package wsframe is what a server's WebSocket connections share, whatever is
// spoken over them.
//
// It writes frames that were prepared once for many connections, in as few
// system calls as possible, over a connection whose handshake, reading and
// control frames are coder/websocket's. A server's frames are not masked, so
// the bytes of a message are the same for everybody who gets it. [Text] and
// [Binary] build them, header included, and [Conn.Write] writes any number of
// them at once. Prepared bytes may hold several frames one after the other;
// [Next] takes them apart again.
//
// A connection has no queue of events. Its [Flusher] is woken when there is
// something for it, and pulls; what goes ahead of events is in its [Lane].
// [Config] has what all servers bound, and [Waves] send clients away.
//
// # Concurrency properties
//
// Prepared frames are immutable and may be shared. A [Conn] has one reader;
// all its other methods may be called by any goroutine at any time. Pongs and
// the answer to a close frame are written by the reading goroutine and never
// wait behind a [Conn.Write] that is blocked.
package wsframe
