package actors

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"bms/domain"
)

// subscriber is a user of a schedule with a client of his: one connection at a
// time, resumed with what the last frame said. The model knows from the log and
// from what he asked for what each of his connections must show him, and what
// it may: where something was asked for, it takes effect between the question
// and the answer.
type subscriber struct {
	h         *house
	id        domain.Identity // as his present token says
	namespace string
	codec     int
	known     bool // the log says something of him
	conn      *client
	sid       string
	cursor    string
	open      opened
	changes   []*request // of the session's rooms
	renewals  []*request // of the connection's token
}

// opened is how a connection began.
type opened struct {
	recovered bool
	from      domain.Position // where its part of the log begins
	head      domain.Position // of the log
	claims    domain.Identity
	backlog   []string
}

// request is a room:join, a room:leave or an auth:refresh.
type request struct {
	name, room string
	claims     domain.Identity
	by         []domain.Identity // whose request it may have been, by the tokens so far
	cursor     domain.Position   // the client's when it asked
	asked      domain.Position   // the head then

	mu       sync.Mutex // guards what follows
	answered bool
	done     bool            // with ok
	at       domain.Position // the head at the answer
}

func (r *request) answer(done bool, at domain.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered, r.done, r.at = true, done, at
}

// effect says whether the request has taken effect before an event: certainly,
// perhaps. One that joins reaches back to no event before it.
func (r *request) effect(p domain.Position) (certain, perhaps bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answered && !r.done {
		return false, false
	}
	since := r.cursor
	if r.name == "room:join" {
		since = r.asked
	}
	return r.answered && p.After(r.at), p.After(since)
}

// userChange is a state of a user and the position from which it is his.
type userChange struct {
	at   domain.Position
	user *domain.User
}

// usersOf folds a user's stream; the first state is that before all.
func (h *house) usersOf(userID string) []userChange {
	h.t.Helper()
	state, err := domain.NewState(domain.StreamOfUser(userID))
	if err != nil {
		h.t.Fatal(err)
	}
	user := state.(*domain.User)
	all := []userChange{{user: new(*user)}}
	commits, err := h.log.ReadStream(context.Background(), domain.StreamOfUser(userID), 0, 1<<20)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, c := range commits {
		if err := user.Evolve(&c.Events[0]); err != nil {
			h.t.Fatal(err)
		}
		all = append(all, userChange{c.Events[0].Pos, new(*user)})
	}
	return all
}

// during are the states from one position to another, that at the first among
// them.
func during(all []userChange, from, to domain.Position) []userChange {
	first := 0
	for i, c := range all {
		if !c.at.After(from) {
			first = i
		}
	}
	last := first
	for last+1 < len(all) && !all[last+1].at.After(to) {
		last++
	}
	return all[first : last+1]
}

func (s *subscriber) barred(u userChange, claims domain.Identity) bool {
	return domain.MayConnect(u.user.Overlay(claims), s.namespace) != nil
}

// mayLeave reports whether a room was the user's all the time from the question
// to the answer: leaving another one is nothing.
func mayLeave(all []userChange, r *request) bool {
	return !slices.ContainsFunc(during(all, r.cursor, r.at), func(u userChange) bool {
		return slices.ContainsFunc(r.by, func(c domain.Identity) bool { return domain.MayJoin(u.user.Overlay(c), r.room) != nil })
	})
}

// claimsAt are the claims by which an event may have been judged.
func (s *subscriber) claimsAt(p domain.Position) []domain.Identity {
	claims := []domain.Identity{s.open.claims}
	for _, r := range s.renewals {
		switch certain, perhaps := r.effect(p); {
		case certain:
			claims = []domain.Identity{r.claims}
		case perhaps:
			claims = append(claims, r.claims)
		}
	}
	return claims
}

// choicesAt are what may have been the last thing done to a room before an
// event: "", "room:join", "room:leave".
func (s *subscriber) choicesAt(all []userChange, room string, p domain.Position) []string {
	last := []string{""}
	for _, r := range s.changes {
		if r.room != room {
			continue
		}
		certain, perhaps := r.effect(p)
		if certain && r.name == "room:leave" && !mayLeave(all, r) {
			certain = false
		}
		switch {
		case certain:
			last = []string{r.name}
		case perhaps:
			last = append(last, r.name)
		}
	}
	return last
}

// sight says whether the connection has to show an event, and whether it may.
func (s *subscriber) sight(all []userChange, e *domain.Event) (must, may bool) {
	must = true
	then := during(all, e.Pos, e.Pos)[0]
	if then.at == e.Pos { // it is judged by what was before it
		then = during(all, before(e.Pos), before(e.Pos))[0]
	}
	now := during(all, s.open.head, s.open.head)[0]
	for _, claims := range s.claimsAt(e.Pos) {
		id := then.user.Overlay(claims)
		allowed := domain.MaySee(id, s.namespace, e)
		if present := now.user.Overlay(claims); s.open.recovered && !e.Pos.After(s.open.head) {
			allowed = allowed && domain.MaySee(present, s.namespace, e) && domain.MayRead(present, e)
		}
		sure, perhaps := false, false
		for _, room := range domain.AppendRooms(nil, e) {
			if room == domain.RoomAllBranches {
				continue // the branch's own stands for it
			}
			in, out := 0, 0
			for _, choice := range s.choicesAt(all, room, e.Pos) {
				if choice != "room:leave" && domain.MayJoin(id, room) == nil && (choice == "room:join" || isDefault(id, room)) {
					in++
				} else {
					out++
				}
			}
			sure, perhaps = sure || out == 0, perhaps || in > 0
		}
		must, may = must && allowed && sure, may || allowed && perhaps
	}
	return must, may
}

func isDefault(id domain.Identity, room string) bool {
	return id.Role == domain.RoleAdmin && isBranchRoom(room) || slices.Contains(domain.DefaultRooms(id), room)
}

// check compares what came on the connection so far with what had to come:
// up to the last frame, or all there is once nothing is under way.
func (s *subscriber) check(frames []string, quiet bool) error {
	all := s.h.usersOf(s.id.UserID)
	if len(frames) == 0 {
		if quiet {
			return fmt.Errorf("nothing came")
		}
		return nil
	}
	first := s.open.from.String()
	if len(s.open.backlog) > 0 {
		p, err := domain.ParsePosition(s.open.backlog[0])
		if err != nil {
			return err
		}
		first = before(p).String()
	}
	if want := "session " + first; !strings.HasPrefix(frames[0], want) {
		return fmt.Errorf("first came %q, want %s", frames[0], want)
	}
	frames = frames[1:]
	for i, want := range s.open.backlog {
		if i == len(frames) && !quiet {
			return nil
		}
		if i == len(frames) || !strings.HasPrefix(frames[i], want) {
			return fmt.Errorf("unread %v, want %v", frames[:min(i+1, len(frames))], s.open.backlog)
		}
	}
	if n := len(s.open.backlog); n > 0 {
		if frames = frames[n:]; len(frames) == 0 && !quiet {
			return nil
		}
		if want := "session " + s.open.from.String(); s.codec == plainText {
			if len(frames) == 0 || !strings.HasPrefix(frames[0], want) {
				return fmt.Errorf("behind the unread came %v, want %s", frames[:min(1, len(frames))], want)
			}
			frames = frames[1:]
		}
	}
	return s.checkLog(all, frames, quiet)
}

// checkLog judges the connection's part of the log.
func (s *subscriber) checkLog(all []userChange, frames []string, quiet bool) error {
	got, last := []string{}, s.open.from.String()
	for _, f := range frames {
		at := cursorOf(f)
		if at < last || at == f && at == last {
			return fmt.Errorf("%q came after %s", f, last)
		}
		if last = at; at == f {
			got = append(got, f)
		}
	}
	end := "~" // where his rights end, after all positions
	for _, u := range all {
		if u.at.After(s.open.from) && slices.ContainsFunc(s.claimsAt(u.at), func(c domain.Identity) bool { return s.barred(u, c) }) {
			end = u.at.String()
			break
		}
	}
	commits, err := s.h.log.Read(context.Background(), s.open.from.Seq-min(s.open.from.Seq, 1), 1<<20)
	if err != nil {
		return err
	}
	for _, c := range commits {
		for i := range c.Events {
			e := &c.Events[i]
			p := e.Pos.String()
			if !e.Pos.After(s.open.from) || p > end || p > last && !quiet {
				continue
			}
			must, may := s.sight(all, e)
			has := len(got) > 0 && got[0] == p
			if has {
				got = got[1:]
			}
			if must && !has {
				return fmt.Errorf("%s of %q at %s is missing", e.Type, e.BranchID, p)
			}
			if has && !may {
				return fmt.Errorf("%s of %q at %s is not for him", e.Type, e.BranchID, p)
			}
		}
	}
	if len(got) > 0 {
		return fmt.Errorf("%s is not of the log, or came out of order", got[0])
	}
	return nil
}

// connect connects the subscriber with what he has, and compares what becomes of
// it with what has to: he is let in if he may be in now, and goes on if he might
// have been in all the time.
func (s *subscriber) connect(t *testing.T, unread []string, lost bool, size int) {
	t.Helper()
	head := s.h.log.Head()
	all := s.h.usersOf(s.id.UserID)
	if now := all[len(all)-1]; s.barred(now, s.id) {
		_, _, err := s.h.hub.Connect(context.Background(), ConnectRequest{Identity: s.id, Namespace: s.namespace, SID: s.sid, NewSID: s.h.newSID, Cursor: s.cursor})
		if err == nil {
			t.Fatalf("%s is let in, want him refused", s.id.UserID)
		}
		return
	}
	want := s.cursor != "" && (!lost || s.sid == "")
	from := head
	if want {
		p, err := domain.ParsePosition(s.cursor)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(during(all, p, head), func(u userChange) bool { return s.barred(u, s.id) }) {
			want = false
		} else {
			from = p
		}
	}
	s.h.namespace, s.h.codec = s.namespace, s.codec
	c, recovered := s.h.connectAs(s.sid, s.id, s.cursor, size)
	if recovered != want {
		t.Fatalf("%s resumes at %q: recovered %t, want %t", s.id.UserID, s.cursor, recovered, want)
	}
	if !recovered || s.sid == "" {
		s.changes = nil
	}
	if recovered {
		unread = nil
	}
	s.conn, s.sid, s.renewals = c, c.conn.sid, nil
	s.open = opened{recovered: recovered, from: from, head: head, claims: s.id, backlog: unread}
}

// cut takes leave of the connection, as it stands.
func (s *subscriber) cut(quiet bool) error {
	c := s.conn
	s.conn = nil
	c.leave()
	return s.saw(c.frames, quiet)
}

// told lists what there is to know of a connection that got it wrong.
func (s *subscriber) told() string {
	var b strings.Builder
	fmt.Fprintf(&b, "token at %s: %s %v\n", s.open.head, s.open.claims.Role, s.open.claims.Branches)
	for _, u := range s.h.usersOf(s.id.UserID)[1:] {
		fmt.Fprintf(&b, "user at %s: %s %v disabled %t\n", u.at, u.user.Role, u.user.Branches, u.user.Disabled)
	}
	for _, r := range slices.Concat(s.changes, s.renewals) {
		fmt.Fprintf(&b, "%s %s%v by %s after %s, answered %t %t at %s\n", r.name, r.room, r.claims.Branches, r.asked, r.cursor, r.answered, r.done, r.at)
	}
	return b.String()
}

// saw checks frames, and remembers the last.
func (s *subscriber) saw(frames []string, quiet bool) error {
	if len(frames) > 0 {
		s.cursor = cursorOf(frames[len(frames)-1])
	}
	if err := s.check(frames, quiet); err != nil {
		return fmt.Errorf("%s (recovered %t at %s): %w\n%s", s.id.UserID, s.open.recovered, s.open.from, err, s.told())
	}
	return nil
}
