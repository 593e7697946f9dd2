package socketio

import "time"

// pace is how much a polling session gets in one answer. An answer is all or
// nothing: a client on a slow line that gives up before the end has got none of
// it, and would be given the same again the next time, for ever. So a session
// begins with little and gets more as long as it comes back quickly.
//
//	 16 KB  in 5 s at 3 KB/s
//	256 KB  in 1 s at 256 KB/s
//
// Its zero value begins.
type pace struct {
	bytes int       // 0: leastPoll
	at    time.Time // of the last answer
	full  bool      // it had that many bytes
}

const (
	leastPoll = 16 << 10
	mostPoll  = 256 << 10

	// A client that asks again within quickPoll of a full answer gets twice as
	// much, and half as much if it took it longer than slowPoll.
	quickPoll = time.Second
	slowPoll  = 5 * time.Second
)

// limit is about how much a GET that has come now gets at most.
func (p *pace) limit(now time.Time) int {
	took := now.Sub(p.at)
	switch {
	case p.bytes == 0:
		p.bytes = leastPoll
	case !p.full:
	case took <= quickPoll:
		p.bytes = min(2*p.bytes, mostPoll)
	case took > slowPoll:
		p.bytes = max(p.bytes/2, leastPoll)
	}
	return p.bytes
}

// answered notes that an answer begins to be written.
func (p *pace) answered(now time.Time, full bool) { p.at, p.full = now, full }
