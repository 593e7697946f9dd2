package socketio

import "container/list"

// lobby holds the sessions that are in no namespace, by age, and those apart
// that have sent nothing yet. Whoever wants to fill it can, so when it is full
// the newest is let in and the oldest has to go. Its zero value is empty.
type lobby struct{ silent, spoken list.List }

// place is a session's in the lobby.
type place struct {
	in      *list.List // nil: in none
	element *list.Element
}

func (l *lobby) len() int { return l.silent.Len() + l.spoken.Len() }

// enter puts a session in as the newest; it may be in already.
func (l *lobby) enter(e *engine, spoken bool) {
	l.leave(e)
	in := &l.silent
	if spoken {
		in = &l.spoken
	}
	e.place = place{in, in.PushBack(e)}
}

// leave takes a session out; it may be out already.
func (l *lobby) leave(e *engine) {
	if e.place.in != nil {
		e.place.in.Remove(e.place.element)
		e.place = place{}
	}
}

// spoke notes that a session has sent something.
func (l *lobby) spoke(e *engine) {
	if e.place.in == &l.silent {
		l.enter(e, true)
	}
}

// oldest is the session that has to go when another wants to come: of those
// that have sent nothing, if there are any. nil if the lobby is empty.
func (l *lobby) oldest() *engine {
	for _, in := range []*list.List{&l.silent, &l.spoken} {
		if front := in.Front(); front != nil {
			return front.Value.(*engine)
		}
	}
	return nil
}
