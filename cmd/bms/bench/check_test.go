package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"bms/domain"
)

// shop builds a history as a node would have made it.
type shop struct {
	t     *testing.T
	h     *History
	seq   uint64
	stock map[string]int64
}

func newShop(t *testing.T) *shop {
	return &shop{t: t, h: &History{Branches: []string{"b1", "b2"}}, stock: map[string]int64{}}
}

// commit puts events into the log and returns what whoever gets them receives.
func (s *shop) commit(events ...Event) (received []Received) {
	s.seq++
	for i, e := range events {
		e.Pos = domain.Position{Epoch: 1, Seq: s.seq, Index: uint32(i)}
		e.ID = e.Pos.String()
		e.Sum = Sum([]byte(e.ID))
		s.h.Log = append(s.h.Log, e)
		received = append(received, Received{Seq: s.seq, Index: uint32(i), Sum: e.Sum})
	}
	return received
}

// minStock is every product's.
const minStock = 5

// moved is a change of stock by a command that has a mark.
func (s *shop) moved(branch, product, mark string, delta int64) Event {
	s.stock[branch+product] += delta
	return Event{
		Type: domain.TypeInventoryUpdated, BranchID: branch, ProductID: product, Mark: mark,
		Delta: delta, Stock: s.stock[branch+product], MinStock: minStock,
	}
}

// command notes that a command was answered with those events.
func (s *shop) command(mark string, events []Received) {
	at := time.Duration(len(s.h.Commands)) * time.Second
	s.h.Commands = append(s.h.Commands, Command{Mark: mark, Outcome: Answered, Sent: at, Done: at + time.Millisecond, Events: events})
}

// adjust is a whole command: what it does to the log, its answer, its alert.
func (s *shop) adjust(branch, product string, delta int64) {
	mark := fmt.Sprintf("m%d", len(s.h.Commands))
	e := s.moved(branch, product, mark, delta)
	s.command(mark, s.commit(e))
	if e.Stock <= minStock {
		s.alert(s.h.Log[len(s.h.Log)-1])
	}
}

func (s *shop) alert(cause Event) {
	s.commit(Event{
		Type: domain.TypeLowStockAlert, BranchID: cause.BranchID, ProductID: cause.ProductID,
		Stock: cause.Stock, MinStock: cause.MinStock, Cause: cause.Pos,
	})
}

// connect adds a connection that was there from a log index on and has received
// all that it should have.
func (s *shop) connect(id domain.Identity, from int) {
	c := Connection{Name: id.UserID, Identity: id, Namespace: domain.NamespaceAll, Opens: []Open{{Pos: s.h.Log[from].Pos}}}
	for _, e := range s.h.Log[from+1:] {
		if id.Role == domain.RoleAdmin || slices.Contains(id.Branches, e.BranchID) {
			c.Received = append(c.Received, Received{Seq: e.Pos.Seq, Index: e.Pos.Index, Sum: e.Sum})
		}
	}
	s.h.Connections = append(s.h.Connections, c)
}

// Connections of the sound history.
const (
	ann  = 0 // staff of b1, from the start
	bob  = 1 // staff of b2, from the start, resumed after his fourth event
	root = 2 // admin, from the middle on
)

// soundHistory is one in which all is well.
func soundHistory(t *testing.T) *shop {
	s := newShop(t)
	s.commit(Event{Type: domain.TypeBranchUpdated, BranchID: "other", Mark: "someone else's"})
	for _, b := range s.h.Branches {
		mark := "create-" + b
		s.command(mark, s.commit(Event{Type: domain.TypeProductUpdated, BranchID: b, ProductID: "p", Mark: mark}, s.moved(b, "p", "", 20)))
	}
	for range 8 {
		s.adjust("b1", "p", -2)
		s.adjust("b2", "p", -1)
	}
	s.command("sale", s.commit(Event{Type: domain.TypeTransactionCreated, BranchID: "b1", Mark: "sale"}, s.moved("b1", "p", "", -1)))
	s.alert(s.h.Log[len(s.h.Log)-1])
	s.commit(Event{Type: domain.TypeSystemNotification, Audience: "user-role:staff"})
	s.h.Commands = append(s.h.Commands, Command{Mark: "too-many", Outcome: Rejected}, Command{Mark: "who-knows", Outcome: Unknown})
	unknown := s.commit(s.moved("b2", "p", "done-without-answer", 3))
	s.h.Commands = append(s.h.Commands, Command{Mark: "done-without-answer", Outcome: Unknown})
	_ = unknown
	s.connect(domain.Identity{UserID: "ann", Role: domain.RoleStaff, Branches: []string{"b1"}}, 0)
	s.connect(domain.Identity{UserID: "bob", Role: domain.RoleStaff, Branches: []string{"b2"}}, 0)
	s.connect(domain.Identity{UserID: "root", Role: domain.RoleAdmin}, 6)
	for i := range s.h.Connections[:2] { // who also get what is for staff
		c := &s.h.Connections[i]
		for _, e := range s.h.Log {
			if e.Type == domain.TypeSystemNotification {
				c.Received = append(c.Received, Received{Seq: e.Pos.Seq, Index: e.Pos.Index, Sum: e.Sum})
			}
		}
		slices.SortFunc(c.Received, func(a, b Received) int { return a.pos().Compare(b.pos()) })
	}
	r := &s.h.Connections[root]
	r.Received = slices.DeleteFunc(r.Received, func(x Received) bool { return s.at(x).Type == domain.TypeSystemNotification })
	b := &s.h.Connections[bob]
	b.Opens = append(b.Opens, Open{At: 4, Cursor: true, Pos: b.Received[3].pos(), Recovered: true})
	for _, branch := range s.h.Branches {
		s.h.Levels = append(s.h.Levels, Level{branch, "p", s.stock[branch+"p"]})
	}
	return s
}

// at returns the event of the log that was received.
func (s *shop) at(r Received) *Event {
	for i := range s.h.Log {
		if e := &s.h.Log[i]; e.Pos.Seq == r.Seq && e.Pos.Index == r.Index {
			return e
		}
	}
	s.t.Fatalf("the log has nothing at %v", r.pos())
	return nil
}

// find returns the n-th event of a type, from 0, from the end with n < 0.
func (s *shop) find(eventType string, n int) int {
	var all []int
	for i := range s.h.Log {
		if s.h.Log[i].Type == eventType {
			all = append(all, i)
		}
	}
	if n < 0 {
		n += len(all)
	}
	return all[n]
}

// drop takes an event out of the log and out of everybody's hands.
func (s *shop) drop(i int) {
	e := s.h.Log[i]
	s.h.Log = slices.Delete(s.h.Log, i, i+1)
	for k := range s.h.Connections {
		c := &s.h.Connections[k]
		for at, r := range c.Received {
			if r.pos().Compare(e.Pos) == 0 {
				c.Received = slices.Delete(c.Received, at, at+1)
				for o := range c.Opens {
					if c.Opens[o].At > at {
						c.Opens[o].At--
					}
				}
				break
			}
		}
	}
}

func TestCheck_finds_nothing_in_a_sound_history(t *testing.T) {
	s := soundHistory(t)
	v := Check(s.h)
	if !v.OK() {
		t.Fatal(v)
	}
	want := Verdict{Connections: 3, Resumes: 1, Logged: len(s.h.Log), Commands: 22, Answered: 19, Unknown: 2, Products: 2, Alerts: 2}
	for _, c := range s.h.Connections {
		want.Events += len(c.Received)
	}
	if got := fmt.Sprint(*v); got != fmt.Sprint(Verdict{want.Connections, want.Resumes, want.Events, want.Logged, want.Commands, want.Answered, want.Unknown, want.Products, want.Alerts, v.Counts, nil}) {
		t.Errorf("counts %+v, want %+v", *v, want)
	}
}

func TestCheck_finds_what_is_broken(t *testing.T) {
	for name, c := range map[string]struct {
		broken func(s *shop)
		want   map[Kind]int
	}{
		"an_event_is_lost": {func(s *shop) {
			s.h.Connections[ann].Received = slices.Delete(s.h.Connections[ann].Received, 3, 4)
		}, map[Kind]int{Lost: 1}},
		"the_last_events_are_lost": {func(s *shop) {
			a := &s.h.Connections[ann]
			a.Received = a.Received[:len(a.Received)-2]
		}, map[Kind]int{Lost: 2}},
		"the_first_events_are_lost": {func(s *shop) {
			s.h.Connections[root].Received = s.h.Connections[root].Received[2:]
		}, map[Kind]int{Lost: 2}},
		"a_connection_never_came_about": {func(s *shop) {
			s.h.Connections[ann].Received, s.h.Connections[ann].Opens = nil, nil
		}, map[Kind]int{Lost: 1}},
		"a_resume_leaves_a_gap_and_says_it_has_recovered": {func(s *shop) {
			s.h.Connections[bob].Received = slices.Delete(s.h.Connections[bob].Received, 4, 6)
		}, map[Kind]int{Gap: 2}},
		"a_resume_gives_again_what_was_there": {func(s *shop) {
			b := &s.h.Connections[bob]
			b.Received = slices.Insert(b.Received, 4, b.Received[3])
		}, map[Kind]int{Doubled: 1}},
		"a_good_cursor_is_refused": {func(s *shop) {
			s.h.Connections[bob].Opens[1].Recovered = false
		}, map[Kind]int{Refused: 1}},
		"a_cursor_is_refused_and_the_position_to_go_on_from_is_wrong": {func(s *shop) {
			b := &s.h.Connections[bob]
			b.Opens[1].Recovered, b.Opens[1].Pos = false, b.Received[5].pos()
		}, map[Kind]int{Refused: 1, Foreign: 2}},
		"an_event_is_doubled": {func(s *shop) {
			a := &s.h.Connections[ann]
			a.Received = slices.Insert(a.Received, 5, a.Received[2])
		}, map[Kind]int{Doubled: 1}},
		"two_events_change_places": {func(s *shop) {
			a := &s.h.Connections[ann]
			a.Received[3], a.Received[4] = a.Received[4], a.Received[3]
		}, map[Kind]int{Reordered: 1}},
		"an_event_of_another_branch": {func(s *shop) {
			a := &s.h.Connections[ann]
			a.Received = slices.Insert(a.Received, 1, s.h.Connections[bob].Received[1])
		}, map[Kind]int{Foreign: 1}},
		"an_event_from_before_the_session": {func(s *shop) {
			r := &s.h.Connections[root]
			e := s.h.Log[2]
			r.Received = slices.Insert(r.Received, 0, Received{e.Pos.Seq, e.Pos.Index, e.Sum})
		}, map[Kind]int{Foreign: 1}},
		"a_message_for_another_role": {func(s *shop) {
			r := &s.h.Connections[root]
			e := s.h.Log[s.find(domain.TypeSystemNotification, 0)]
			at, _ := slices.BinarySearchFunc(r.Received, e.Pos, func(x Received, p domain.Position) int { return x.pos().Compare(p) })
			r.Received = slices.Insert(r.Received, at, Received{e.Pos.Seq, e.Pos.Index, e.Sum})
		}, map[Kind]int{Foreign: 1}},
		"an_event_that_is_not_in_the_log": {func(s *shop) {
			a := &s.h.Connections[ann]
			a.Received = append(a.Received, Received{Seq: 1000, Sum: 1})
		}, map[Kind]int{Phantom: 1}},
		"an_event_with_another_content": {func(s *shop) {
			s.h.Connections[ann].Received[2].Sum++
		}, map[Kind]int{Altered: 1}},
		"an_answered_command_is_not_in_the_log": {func(s *shop) {
			s.command("lost", []Received{{Seq: 1000, Sum: 1}})
		}, map[Kind]int{Forgotten: 1}},
		"an_answered_command_and_its_stock_are_lost": {func(s *shop) {
			s.drop(s.find(domain.TypeInventoryUpdated, 4))
		}, map[Kind]int{Forgotten: 1, Stock: 1}},
		"a_command_is_in_the_log_twice": {func(s *shop) {
			s.commit(Event{Type: domain.TypeTransactionCreated, BranchID: "b1", Mark: "sale"})
			for _, i := range []int{ann, root} {
				c := &s.h.Connections[i]
				e := s.h.Log[len(s.h.Log)-1]
				c.Received = append(c.Received, Received{e.Pos.Seq, e.Pos.Index, e.Sum})
			}
		}, map[Kind]int{Repeated: 1}},
		"a_rejected_command_is_in_the_log": {func(s *shop) {
			s.h.Commands[5].Outcome = Rejected
		}, map[Kind]int{Undenied: 1}},
		"a_command_that_nobody_gave": {func(s *shop) {
			s.h.Commands = slices.Delete(s.h.Commands, 5, 6)
		}, map[Kind]int{Unasked: 1}},
		"a_repetition_has_another_answer": {func(s *shop) {
			s.h.Commands[5].Repeated = 1
		}, map[Kind]int{Answers: 1}},
		"an_answer_lacks_an_event": {func(s *shop) {
			s.h.Commands[0].Events = s.h.Commands[0].Events[:1]
		}, map[Kind]int{Answers: 1}},
		"an_answer_says_something_else": {func(s *shop) {
			s.h.Commands[0].Events[1].Sum++
		}, map[Kind]int{Answers: 1}},
		"an_answer_names_another_commit": {func(s *shop) {
			s.h.Commands[4].Events = s.h.Commands[5].Events
		}, map[Kind]int{Answers: 1, Overtaken: 1}},
		"a_later_command_is_decided_before": {func(s *shop) {
			a, b := &s.h.Commands[4], &s.h.Commands[5]
			a.Sent, a.Done, b.Sent, b.Done = b.Sent, b.Done, a.Sent, a.Done
		}, map[Kind]int{Overtaken: 1}},
		"the_log_is_out_of_order": {func(s *shop) {
			s.h.Log[0], s.h.Log[1] = s.h.Log[1], s.h.Log[0] // the first of another commit gets between
		}, map[Kind]int{Log: 1, Answers: 1}},
		"an_id_is_there_twice": {func(s *shop) {
			s.h.Log[3].ID = s.h.Log[2].ID
		}, map[Kind]int{Log: 1}},
		"stock_is_not_the_sum_of_deltas": {func(s *shop) {
			s.h.Log[s.find(domain.TypeInventoryUpdated, 3)].Delta++
		}, map[Kind]int{Stock: 1}},
		"the_inventory_shows_another_stock": {func(s *shop) {
			s.h.Levels[1].Stock++
		}, map[Kind]int{Stock: 1}},
		"the_inventory_lacks_a_product": {func(s *shop) {
			s.h.Levels = s.h.Levels[:1]
		}, map[Kind]int{Stock: 1}},
		"the_inventory_lists_a_product_twice": {func(s *shop) {
			s.h.Levels = append(s.h.Levels, s.h.Levels[0])
		}, map[Kind]int{Stock: 1}},
		"an_alert_is_missing": {func(s *shop) {
			s.drop(s.find(domain.TypeLowStockAlert, 0))
		}, map[Kind]int{Alert: 1}},
		"an_alert_is_doubled": {func(s *shop) {
			s.alert(s.h.Log[s.find(domain.TypeTransactionCreated, 0)+1])
			for _, i := range []int{ann, root} {
				c := &s.h.Connections[i]
				e := s.h.Log[len(s.h.Log)-1]
				c.Received = append(c.Received, Received{e.Pos.Seq, e.Pos.Index, e.Sum})
			}
		}, map[Kind]int{Alert: 1}},
		"an_alert_has_no_cause": {func(s *shop) {
			a := &s.h.Log[s.find(domain.TypeLowStockAlert, 0)]
			a.Cause = s.h.Log[2].Pos
		}, map[Kind]int{Alert: 2}},
		"an_alert_tells_another_stock": {func(s *shop) {
			s.h.Log[s.find(domain.TypeLowStockAlert, 0)].Stock++
		}, map[Kind]int{Alert: 1}},
		"an_alert_comes_before_its_cause": {func(s *shop) {
			s.h.Log[s.find(domain.TypeLowStockAlert, 0)].Cause = s.h.Log[s.find(domain.TypeTransactionCreated, 0)+1].Pos
		}, map[Kind]int{Alert: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			s := soundHistory(t)
			c.broken(s)
			v := Check(s.h)
			if !maps.Equal(v.Counts, c.want) {
				t.Errorf("found %v, want %v\n%v", v.Counts, c.want, v)
			}
			if v.OK() || !strings.Contains(v.String(), "BROKEN") {
				t.Errorf("the verdict is %v", v)
			}
		})
	}
}

// transferred builds a history of transfers from b1 to b2: one received, one
// cancelled, one under way, one of which nobody knows whether it was sent.
func transferred(t *testing.T) *shop {
	s := newShop(t)
	for _, b := range s.h.Branches {
		s.adjust(b, "p", 100)
	}
	leg := func(branch, before, id string, delta int64) []Received {
		e := s.moved(branch, "p", before+id, delta)
		e.Transfer = id
		return s.commit(e)
	}
	for _, id := range []string{"t1", "t2", "t3"} {
		s.command(markOut+id, leg("b1", markOut, id, -3))
	}
	leg("b1", markOut, "t4", -3)
	s.h.Commands = append(s.h.Commands, Command{Mark: markUnnamed + "m", Outcome: Unknown})
	s.command(markIn+"t1", leg("b2", markIn, "t1", 3))
	s.command(markCancelled+"t2", nil)
	leg("b1", markBack, "t2", 3)
	return s
}

func TestCheck_transfers_conserve_units(t *testing.T) {
	if v := Check(transferred(t).h); !v.OK() {
		t.Fatal(v)
	}
	for name, c := range map[string]struct {
		broken func(s *shop)
		want   map[Kind]int
	}{
		"more_comes_than_was_sent": {func(s *shop) {
			e := &s.h.Log[len(s.h.Log)-2]
			e.Delta, e.Stock = e.Delta+1, e.Stock+1
		}, map[Kind]int{Transfer: 1}},
		"less_comes_than_was_sent": {func(s *shop) {
			e := &s.h.Log[len(s.h.Log)-2]
			e.Delta, e.Stock = e.Delta-1, e.Stock-1
		}, map[Kind]int{Transfer: 1}},
		"a_cancelled_one_does_not_come_back": {func(s *shop) {
			s.h.Log = s.h.Log[:len(s.h.Log)-1]
		}, map[Kind]int{Transfer: 1}},
		"one_comes_back_that_nobody_cancelled": {func(s *shop) {
			s.h.Commands = slices.DeleteFunc(s.h.Commands, func(c Command) bool { return c.Mark == markCancelled+"t2" })
		}, map[Kind]int{Unasked: 1}},
		"one_comes_back_twice": {func(s *shop) {
			e := s.moved("b1", "p", markBack+"t2", 3)
			e.Transfer = "t2"
			s.commit(e)
		}, map[Kind]int{Repeated: 1, Transfer: 1}},
		"one_was_sent_that_nobody_sent": {func(s *shop) {
			s.h.Commands = slices.DeleteFunc(s.h.Commands, func(c Command) bool { return c.Outcome == Unknown })
		}, map[Kind]int{Unasked: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := transferred(t)
			c.broken(s)
			if v := Check(s.h); !maps.Equal(v.Counts, c.want) {
				t.Errorf("found %v, want %v\n%v", v.Counts, c.want, v)
			}
		})
	}
}

func TestCheck_a_message_is_a_command_too(t *testing.T) {
	s := newShop(t)
	s.h.Run = "r1"
	s.command("r1-1", s.commit(Event{Type: domain.TypeSystemNotification, Mark: "r1-1", Audience: "system:notifications"}))
	s.commit(Event{Type: domain.TypeSystemNotification, Mark: "someone else's", Audience: "system:notifications"})
	if v := Check(s.h); !v.OK() {
		t.Error(v)
	}
	s.commit(Event{Type: domain.TypeSystemNotification, Mark: "r1-1", Audience: "system:notifications"})
	if v := Check(s.h); v.Counts[Repeated] != 1 {
		t.Errorf("found %v, want one repeated", v)
	}
}

func TestCheck_offline_sales_may_leave_less_than_nothing(t *testing.T) {
	s := newShop(t)
	s.command("d1", s.commit(Event{Type: domain.TypeTransactionCreated, BranchID: "b1", Mark: "d1"}, s.moved("b1", "p", "", -1),
		Event{Type: domain.TypeSyncStatus, BranchID: "b1", Mark: "d1", Offline: true}))
	s.alert(s.h.Log[1])
	if v := Check(s.h); !v.OK() {
		t.Error(v)
	}
}

func TestCheck_denied_stock_must_not_be_negative(t *testing.T) {
	s := newShop(t)
	for _, allowed := range []bool{false, true} {
		product := fmt.Sprintf("negative-%v", allowed)
		s.command(product, s.commit(Event{Type: domain.TypeProductUpdated, BranchID: "b1", ProductID: product, Mark: product, AllowsNegative: allowed}))
		s.adjust("b1", product, -1)
	}
	if v := Check(s.h); v.Counts[Stock] != 1 || v.Violations[0].Who != "b1/negative-false" {
		t.Errorf("found %v, want one at b1/negative-false", v)
	}
}

func TestCheck_escalation_alerts_only_when_it_gets_worse(t *testing.T) {
	s := newShop(t)
	s.h.Escalation = true
	for i, delta := range []int64{9, -5, -1, 1, -4, -1, 9, -9} { // 9 4! 3 4 0! -1! 8 -1!
		mark := fmt.Sprint("m", i)
		s.command(mark, s.commit(s.moved("b1", "p", mark, delta)))
		if slices.Contains([]int{1, 4, 5, 7}, i) {
			s.alert(s.h.Log[len(s.h.Log)-1])
		}
	}
	s.commit(Event{Type: domain.TypeSystemNotification, Audience: "system:alerts"})
	if v := Check(s.h); !v.OK() {
		t.Error(v)
	}
	s.drop(s.find(domain.TypeLowStockAlert, 1))
	if v := Check(s.h); v.Counts[Alert] != 1 {
		t.Errorf("found %v, want one alert", v)
	}
}

func TestCheck_a_forgetful_node_may_lose_answers_but_not_lie(t *testing.T) {
	s := soundHistory(t)
	s.h.Forgetful = true
	s.h.Connections[bob].Opens[1].Recovered = false
	s.command("lost", []Received{{Seq: 1000, Sum: 1}})
	if v := Check(s.h); !v.OK() {
		t.Error(v)
	}
	s.h.Connections[bob].Received[5].Sum++
	if v := Check(s.h); v.Counts[Altered] != 1 {
		t.Errorf("found %v, want one altered event", v)
	}
}

// Who has to see what, besides the events of branches.
func TestEvent_is_seen_by_whom_it_is_for(t *testing.T) {
	staff := domain.Identity{UserID: "ann", Role: domain.RoleStaff, Branches: []string{"b1"}}
	manager := domain.Identity{UserID: "max", Role: domain.RoleManager, Branches: []string{"b1", "b2"}}
	admin := domain.Identity{UserID: "root", Role: domain.RoleAdmin}
	message := func(audience string, critical bool) Event {
		return Event{Type: domain.TypeSystemNotification, Audience: audience, Critical: critical}
	}
	for name, c := range map[string]struct {
		event                 Event
		staff, manager, admin bool
	}{
		"of_a_branch":              {Event{Type: domain.TypeInventoryUpdated, BranchID: "b2"}, false, true, true},
		"to_everybody":             {message("system:notifications", false), true, true, true},
		"to_the_alerts":            {message("system:alerts", false), false, true, true},
		"to_a_branch":              {message("branch:b1", false), true, true, true},
		"critical_to_a_branch":     {message("branch:b3", true), false, true, true},
		"to_a_role":                {message("user-role:manager", false), false, true, false},
		"to_a_user":                {message("notifications:ann", false), true, false, false},
		"a_user_of_a_branch":       {Event{Type: domain.TypeUserUpdated, UserID: "joe", UserBranches: []string{"b2"}}, false, true, true},
		"a_user_of_another_branch": {Event{Type: domain.TypeUserUpdated, UserID: "joe", UserBranches: []string{"b3"}}, false, false, true},
		"oneself":                  {Event{Type: domain.TypeUserUpdated, UserID: "ann"}, true, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			for id, want := range map[*domain.Identity]bool{&staff: c.staff, &manager: c.manager, &admin: c.admin} {
				if got := c.event.seenBy(*id, domain.NamespaceAll); got != want {
					t.Errorf("%s sees it: %v, want %v", id.Role, got, want)
				}
			}
		})
	}
}
