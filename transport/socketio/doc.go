// Package socketio is an Engine.IO 4 and Socket.IO 5 server for unmodified
// socket.io-client programs: WebSocket, HTTP long-polling and the upgrade
// between them, namespaces, acknowledgements both ways, binary attachments,
// heartbeat, and hooks for connection state recovery.
//
// It pulls. A connected socket has no queue of events: it has a [Source], and
// when the transport can take more the server asks the source for prepared
// frames (package wsframe), writes what it got in one system call, and asks
// again until there is nothing. A socket that can't be written to is not asked,
// so a slow client costs what the kernel buffers for it and no more. What is
// answered or emitted to one client directly goes through a small bounded lane
// which is written ahead of events; a client that lets it overflow is closed.
//
// # Concurrency properties
//
// An idle WebSocket connection has one goroutine, its reader; an idle polling
// session has its pending GET's. Everything that is sent to one connection is
// written by one flusher at a time, started on demand by [Socket.Wake] (or run
// by a GET's goroutine while polling), which is also the only caller of the
// connection's sources. Packets from one connection are handled one at a time
// and in order, so a [Receiver] that blocks holds up its own client only.
//
// All methods of [Server] and [Socket] are safe for concurrent use and none
// but [Server.Close], [Server.Drain] and [Socket.EmitWithAck] blocks.
package socketio
