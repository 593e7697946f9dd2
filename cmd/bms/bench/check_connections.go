package bench

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"bms/domain"
)

// sights knows which events of the log which identity has to get.
type sights struct {
	log      []Event
	byBranch map[string][]int32 // but for messages
	rest     []int32
	personal map[string][]int32 // of rest: what is about or for one user
	known    map[string][]int32
}

func newSights(log []Event) *sights {
	s := &sights{log: log, byBranch: map[string][]int32{}, personal: map[string][]int32{}, known: map[string][]int32{}}
	for i := range log {
		e := &log[i]
		if e.BranchID != "" && e.Type != domain.TypeSystemNotification {
			s.byBranch[e.BranchID] = append(s.byBranch[e.BranchID], int32(i))
			continue
		}
		s.rest = append(s.rest, int32(i))
		if user := e.addressee(); user != "" {
			s.personal[user] = append(s.personal[user], int32(i))
		}
	}
	return s
}

// of lists the indices in the log of what a connection has to get, had it been
// there from the beginning.
func (s *sights) of(id domain.Identity, namespace string) []int32 {
	user := id.UserID
	id.UserID = ""
	seen := s.shared(id, namespace)
	var own []int32
	for _, i := range s.personal[user] {
		who := id
		who.UserID = user
		if e := &s.log[i]; e.seenBy(who, namespace) && !e.seenBy(id, namespace) {
			own = append(own, i)
		}
	}
	if own == nil {
		return seen
	}
	all := append(own, seen...)
	slices.Sort(all)
	return all
}

// shared lists what is not for one user alone: the same for all who have role,
// branches and namespace in common.
func (s *sights) shared(id domain.Identity, namespace string) []int32 {
	key := fmt.Sprint(id.Role, namespace, strings.Join(id.Branches, ","))
	if seen, ok := s.known[key]; ok {
		return seen
	}
	var seen []int32
	add := func(indices []int32) {
		for _, i := range indices {
			if s.log[i].seenBy(id, namespace) {
				seen = append(seen, i)
			}
		}
	}
	add(s.rest)
	branches := id.Branches
	if id.Role == domain.RoleAdmin {
		branches = slices.Collect(maps.Keys(s.byBranch))
	}
	for _, b := range branches {
		add(s.byBranch[b])
	}
	slices.Sort(seen)
	s.known[key] = seen
	return seen
}

func (c *checker) checkConnections() {
	s := newSights(c.h.Log)
	for i := range c.h.Connections {
		conn := &c.h.Connections[i]
		c.verdict.Connections++
		c.verdict.Events += len(conn.Received)
		t := &tracker{checker: c, conn: conn, due: s.of(conn.Identity, conn.Namespace), skipped: map[int]Kind{}}
		opens := conn.Opens
		for at, r := range conn.Received {
			for ; len(opens) > 0 && opens[0].At <= at; opens = opens[1:] {
				t.open(opens[0])
			}
			t.receive(r)
		}
		for _, o := range opens {
			t.open(o)
		}
		t.end()
	}
}

// tracker follows one connection along what it has to get.
type tracker struct {
	*checker
	conn *Connection
	due  []int32
	next int // index in due of what has to come next
	from int // what lies before was not asked for

	opened   bool
	resuming bool         // nothing has come since a resume
	skipped  map[int]Kind // by index in due: passed over, and not come since
}

func (t *tracker) open(o Open) {
	switch {
	case !t.opened, !o.Cursor:
		// A client that has no cursor begins where the session says.
		t.begin(o.Pos)
	case !o.Recovered:
		t.verdict.Resumes++
		if !t.h.Forgetful {
			t.found(Refused, t.conn.Name, o.Pos, "came back with a cursor of this log, and was told to begin anew")
		}
		t.begin(o.Pos)
	default:
		t.verdict.Resumes++
		t.resuming = true
	}
	t.opened = true
}

// begin sets what is due to what lies after a position.
func (t *tracker) begin(after domain.Position) {
	t.next = sort.Search(len(t.due), func(i int) bool { return t.h.Log[t.due[i]].Pos.After(after) })
	t.from = t.next
	t.resuming = false
}

func (t *tracker) receive(r Received) {
	resuming := t.resuming
	t.resuming = false
	if t.next < len(t.due) { // nearly always
		if due := &t.h.Log[t.due[t.next]]; due.Pos.Seq == r.Seq && due.Pos.Index == r.Index && due.Sum == r.Sum {
			t.next++
			return
		}
	}
	at, there, same := t.logged(r)
	if !there {
		t.found(Phantom, t.conn.Name, r.pos(), "the log has no such event")
		return
	}
	if !same {
		t.found(Altered, t.conn.Name, r.pos(), "the log has it with another content")
	}
	if t.next < len(t.due) && t.due[t.next] == int32(at) {
		t.next++
		return
	}
	place, due := slices.BinarySearch(t.due, int32(at))
	switch {
	case !due:
		t.found(Foreign, t.conn.Name, r.pos(), "is not for %s of %v in %s", t.conn.Identity.Role, t.conn.Identity.Branches, t.conn.Namespace)
	case place >= t.next:
		kind := Lost
		if resuming {
			kind = Gap
		}
		for ; t.next < place; t.next++ {
			t.skipped[t.next] = kind
		}
		t.next++
	case t.skipped[place] != "":
		delete(t.skipped, place)
		t.found(Reordered, t.conn.Name, r.pos(), "came after %s", t.h.Log[t.due[t.next-1]].Pos)
	case place < t.from:
		t.found(Foreign, t.conn.Name, r.pos(), "lies before the position that the session began at")
	default:
		t.found(Doubled, t.conn.Name, r.pos(), "came before")
	}
}

// end settles what never came.
func (t *tracker) end() {
	if !t.opened {
		t.found(Lost, t.conn.Name, domain.Position{}, "was never connected")
		return
	}
	for _, at := range slices.Sorted(maps.Keys(t.skipped)) {
		kind := t.skipped[at]
		t.found(kind, t.conn.Name, t.h.Log[t.due[at]].Pos, "later ones came, this never")
	}
	for ; t.next < len(t.due); t.next++ {
		t.found(Lost, t.conn.Name, t.h.Log[t.due[t.next]].Pos, "never came")
	}
}
