// Package httpapi is the HTTP edge: commands in, answers and read models out.
//
// There is one table of commands and one of queries. What a route is called,
// what it takes and answers, and the OpenAPI document all come from them. A
// command's handler is the same for all: who asks, what the body says (strictly
// read), under which idempotency key; then the bus, then the answer as the
// commit has it. Every refusal is problem+json, by one table of codes.
//
// # Concurrency properties
//
// The handler is safe for concurrent use and starts no goroutine. A request
// waits for the bus, for a read model to reach minPos, or for its own body and
// nothing else, each for a bounded time.
package httpapi
