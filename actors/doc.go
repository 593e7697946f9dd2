// Package actors holds who owns what at run time. On the write side a [Deciders]
// runs an actor per stream, which alone decides what is appended to it. On the
// read side a [Hub] follows the log and serves it to connections through rooms:
// each connection is a cursor on the log, and an actor that owns its identity,
// rooms and end.
//
// Actors run on Hollywood through [System], which fences their panics and owns
// their stops; nothing else knows Hollywood.
//
// # Concurrency properties
//
// Every value that changes has one owner: an actor, or a mutex whose comment
// says what it guards. Nothing that can be slow runs inside an actor's Receive,
// and every queue has a bound: commands per stream and node ("busy" beyond it),
// inbound events per connection (its socket is not read beyond it), frames per
// room (older ones are read from the log). No event is queued for a connection.
package actors
