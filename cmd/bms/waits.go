package main

import "time"

// waits bound how long a node waits for what it can do without. When one is over
// it goes on with what it knows, or says that it doesn't know.
type waits struct {
	// What follows holds an answer back until what was decided just now is known
	// where it is looked up.

	// fresh is for the read models to have what is in the log when a read comes,
	// or a dispatch, whose destination may have been opened or closed just now.
	fresh time.Duration
	// users is for those who are judged to be judged by a change of them that
	// was answered.
	users time.Duration
	// followUps is for what a commit entails, before it is answered.
	followUps time.Duration
	// unread is for the read model of unread notifications, when a user connects.
	unread time.Duration
	// acked is for the same, when he acknowledges some.
	acked time.Duration

	// start is for a node that starts to know its users; who comes meanwhile is
	// kept waiting, and then told to come back later.
	start time.Duration
	// traces is for the collector to take the last traces of a node that stops;
	// then they are lost.
	traces time.Duration
}

func usualWaits() waits {
	return waits{
		fresh:     100 * time.Millisecond,
		users:     5 * time.Second,
		followUps: 2 * time.Second,
		unread:    time.Second,
		acked:     2 * time.Second,
		start:     5 * time.Second,
		traces:    time.Second,
	}
}
