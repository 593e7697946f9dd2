// Package commandbus carries commands to the actors that decide on them, over
// Watermill, and the answers back.
//
// A command is a Watermill message: its body as JSON in the payload, all else
// in the metadata (see the meta… constants). [Bus.Do] publishes it and waits;
// the handling side, [Bus.Run], hands it on and acks at once. The ack says
// "accepted", never "done": the answer comes back by itself, keyed by the
// message's UUID, when the command is decided and durable.
//
// Any Watermill Pub/Sub that withholds a message until the one before it is
// acked keeps the commands in order. The default is [Local], in process.
//
// # Concurrency properties
//
// All methods are safe for concurrent use. Commands that one goroutine
// publishes one after the other are handed on in that order.
package commandbus
