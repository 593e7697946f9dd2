package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// libraries are the versions of socket.io-client, by the names under which
// package.json installs them.
var libraries = map[string]string{
	"4.0":    "socket.io-client-4.0",
	"4.4":    "socket.io-client-4.4",
	"4.6":    "socket.io-client-4.6",
	"newest": "socket.io-client",
}

// recovers says which versions know connection state recovery.
func recovers(version string) bool { return version == "4.6" || version == "newest" }

// member is a client of the matrix, as programs/matrix-client.mjs takes it.
type member struct {
	Name    string          `json:"name"`
	Library string          `json:"library"`
	URL     string          `json:"url"`
	Token   string          `json:"token"`
	Options json.RawMessage `json:"options"`
	Since   bool            `json:"since"` // keeps its cursor itself
	Once    bool            `json:"once"`  // gives up after the first error

	version, transport string
	lost               []string // positions of events that it was not there for
}

// forgets says that a client neither recovers nor keeps its cursor.
func (m *member) forgets() bool { return !m.Since && !recovers(m.version) }

// matrix makes a member of staff of b1 for each version and transport. Those
// before 4.6 keep their cursor; with forgetful there are others that don't.
func matrix(t *testing.T, n *node, where string, forgetful bool) []*member {
	t.Helper()
	var members []*member
	add := func(version, transport, suffix string, since bool) {
		name := fmt.Sprintf("%s-%s-%s%s", where, version, transport, suffix)
		members = append(members, &member{
			Name: name, Library: libraries[version], URL: "http://" + n.addr + "/ws",
			Token:   sign(t, secret, time.Hour, jwt.MapClaims{"sub": idOf(name), "role": "staff", "branchId": "b1"}),
			Options: json.RawMessage(transports[transport]), Since: since, version: version, transport: transport,
		})
	}
	for version := range libraries {
		for transport := range transports {
			add(version, transport, "", !recovers(version))
			if forgetful && !recovers(version) {
				add(version, transport, "-forgetful", false)
			}
		}
	}
	return members
}

// crowd is a program that runs members.
type crowd struct {
	*process
	members []*member
	seen    map[string]int // lines looked at, by member
}

// seenLine is a line of a member.
type seenLine struct {
	shown
	Client string `json:"client"`
	URL    string `json:"url"`
	Answer struct {
		OK    bool `json:"ok"`
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	} `json:"answer"`
	Stats struct {
		Namespaces map[string]int `json:"namespaces"`
	} `json:"stats"`
}

func newCrowd(p *process, members []*member) *crowd {
	return &crowd{process: p, members: members, seen: map[string]int{}}
}

// nodeCrowd runs members in Node.
func nodeCrowd(t *testing.T, name string, members ...*member) *crowd {
	t.Helper()
	return newCrowd(start(t, name, nil, "node", "programs/matrix.mjs", encode(t, members)), members)
}

func encode(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// idOf makes a user id of a member's name.
func idOf(name string) string {
	id := []byte(name)
	for i, c := range id {
		if c == '.' {
			id[i] = '_'
		}
	}
	return string(id)
}

func (c *crowd) parse(line string) seenLine {
	c.t.Helper()
	var s seenLine
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		c.t.Fatalf("%s printed %q: %v", c.name, line, err)
	}
	return s
}

// next waits for a member's next line of the kind, and passes by its others.
func (c *crowd) next(name, on string) seenLine {
	c.t.Helper()
	var last seenLine
	c.seen[name] = 1 + c.await(fmt.Sprintf("%q of %s", on, name), c.seen[name], func(line string) bool {
		last = c.parse(line)
		return last.Client == name && last.On == on
	})
	return last
}

// until waits for a member to see the event at a position, and returns all
// that it has seen since it started.
func (c *crowd) until(name, pos string) []json.RawMessage {
	c.t.Helper()
	var events []json.RawMessage
	c.await(fmt.Sprintf("event at %s of %s", pos, name), 0, func(line string) bool {
		s := c.parse(line)
		if s.Client != name || s.Event == nil {
			return false
		}
		events = append(events, s.Event)
		var e event
		return json.Unmarshal(s.Event, &e) == nil && e.Pos == pos
	})
	return events
}

// awaitAlerts waits until each member has seen so many low-stock alerts, which
// follow their causes after a moment.
func (c *crowd) awaitAlerts(count int) {
	c.t.Helper()
	for _, m := range c.members {
		for range count {
			c.next(m.Name, "low-stock:alert")
		}
	}
}

// arrive waits for all members and checks how each is received.
func (c *crowd) arrive() {
	c.t.Helper()
	for _, m := range c.members {
		if s := c.next(m.Name, "connect"); s.Recovered || m.transport != "default" && s.Transport != m.transport {
			c.t.Errorf("%s connects by %s, recovered %v; want its transport and false", m.Name, s.Transport, s.Recovered)
		}
		if s := c.next(m.Name, "session").Session; s.Recovered || s.UserID != idOf(m.Name) || s.Pos == "" {
			c.t.Errorf("%s: session %+v, want its own, with a position, recovered false", m.Name, s)
		}
		// What it asks for is answered.
		if s := c.next(m.Name, "joined branch:b1"); !s.Answer.OK {
			c.t.Errorf("%s joins its branch: %+v, want ok", m.Name, s.Answer)
		}
		if s := c.next(m.Name, "joined branch:b2"); s.Answer.OK || s.Answer.Error.Code != "branch_forbidden" {
			c.t.Errorf("%s joins another branch: %+v, want branch_forbidden", m.Name, s.Answer)
		}
	}
	for _, m := range c.members {
		if m.transport == "default" {
			c.seen[m.Name] = 0 // the upgrade may be faster than the session
			c.next(m.Name, "websocket")
		}
	}
	// What was passed by is not looked at again.
	out, _, _ := c.snapshot()
	for _, m := range c.members {
		c.seen[m.Name] = len(out)
	}
}

// leave waits until members have lost their connection.
func (c *crowd) leave(members ...*member) {
	c.t.Helper()
	for _, m := range members {
		c.next(m.Name, "disconnect")
	}
}

// comeBack waits until members are connected again after they have missed an
// event. It checks that each is told truly whether it gets that.
func (c *crowd) comeBack(missed string, members ...*member) {
	c.t.Helper()
	for _, m := range members {
		if s := c.next(m.Name, "connect"); s.Recovered != recovers(m.version) {
			c.t.Errorf("%s: socket.recovered is %v, want %v", m.Name, s.Recovered, recovers(m.version))
		}
		if s := c.next(m.Name, "session").Session; s.Recovered == m.forgets() {
			c.t.Errorf("%s: session.recovered is %v, want %v", m.Name, s.Recovered, !m.forgets())
		}
		if m.forgets() {
			m.lost = append(m.lost, missed)
		}
	}
}

// check makes one more event and compares what each member has seen with the
// log: the events of its branch, in log order, once, but for those that it was
// not there for.
func (c *crowd) check(n *node, admin string) {
	c.t.Helper()
	last := lastly(n, admin, "b1")
	all := visible(c.t, n.log(admin), "b1")
	for _, m := range c.members {
		want := slices.DeleteFunc(slices.Clone(all), func(raw json.RawMessage) bool {
			var e event
			return json.Unmarshal(raw, &e) == nil && slices.Contains(m.lost, e.Pos)
		})
		wantEvents(c.t, m.Name, c.until(m.Name, last), want)
	}
}

// killAndMiss kills the node with -9, appends to its log while its clients
// can't reach it, and starts it again where it was.
func (n *node) killAndMiss(admin string) (again *node, missed string) {
	n.t.Helper()
	n.signal(syscall.SIGKILL)
	n.exit()
	elsewhere := serveOn(n.t, n.data, quietAddr(n.t), n.flags...)
	missed = lastly(elsewhere, admin, "b1")
	lastly(elsewhere, admin, "b2") // not for them
	elsewhere.signal(syscall.SIGKILL)
	elsewhere.exit()
	return serveOn(n.t, n.data, n.addr, n.flags...), missed
}

// refusedOnes are members with a bad token, one for each version and transport.
func refusedOnes(members []*member) []*member {
	var refused []*member
	for _, m := range members {
		if !m.forgets() {
			refused = append(refused, &member{
				Name: m.Name + "-refused", Library: m.Library, URL: m.URL, Token: "not a token", Options: m.Options, Once: true,
			})
		}
	}
	return refused
}

// Invariant 4 for every version of the stock client and every transport, in
// Node: who recovers or keeps a cursor misses nothing across kill -9, who does
// neither is told so and gets all from then on.
func TestMatrix_of_clients_in_node(t *testing.T) {
	n := serve(t)
	admin := token(t, "root", "admin")
	members := matrix(t, n, "node", true)
	c := nodeCrowd(t, "clients of all versions", members...)
	c.arrive()
	openShops(n, admin)
	c.awaitAlerts(trade(n, admin, "b1"))
	trade(n, admin, "b2")
	c.check(n, admin)

	n, missed := n.killAndMiss(admin)
	c.leave(members...)
	c.comeBack(missed, members...)
	c.check(n, admin)

	refused := refusedOnes(members)
	r := nodeCrowd(t, "clients with a bad token", refused...)
	for _, m := range refused {
		if s := r.next(m.Name, "connect_error"); s.Data.Code != "unauthorized" || s.Message == "" {
			t.Errorf("%s: connect_error %q with code %q, want a message and unauthorized", m.Name, s.Message, s.Data.Code)
		}
	}
}
