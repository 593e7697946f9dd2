// Package bench drives a node as many tills and screens at once do, measures
// it, and proves from outside that it keeps its promises. It speaks to the node
// over HTTP and Socket.IO only, so it works on any node, here or elsewhere.
//
//	commanders ──HTTP──> node ──Socket.IO──> subscribers
//	     │ answers        │ log, levels           │ events
//	     └──────────────> History <───────────────┘
//	                         │
//	                       Check
//
// [Load] opens branches of its own, sends commands, and follows what comes of
// them on any number of sockets, which resume as stock clients do when they lose
// their connection. [Check] is pure: it takes a [History], all that was sent,
// answered and received besides what the node's log and read models say in the
// end, and lists where they contradict each other.
//
// # Concurrency properties
//
// A Load's Run is called once; Subscribers and Progress may be called at any
// time. A commander and a subscriber are a goroutine each, and write what they
// saw into memory of their own, which is read when they have ended.
package bench
