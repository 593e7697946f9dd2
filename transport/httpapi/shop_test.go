package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bms/actors"
	"bms/domain"
	"bms/projections"
	"bms/transport/eventlog/eventlogtest"
	"bms/transport/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// noon is the time of every command.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// identities by token.
var identities = map[string]domain.Identity{
	"admin":     {UserID: "root", Role: domain.RoleAdmin},
	"manager":   {UserID: "mia", Role: domain.RoleManager, Branches: []string{"b1"}},
	"staff":     {UserID: "sam", Role: domain.RoleStaff, Branches: []string{"b1"}},
	"stranger":  {UserID: "eve", Role: domain.RoleStaff, Branches: []string{"b2"}},
	"nobranch":  {UserID: "nob", Role: domain.RoleStaff},
	"nowhere":   {UserID: "now", Role: domain.RoleManager, Branches: []string{"ghost"}},
	"twobranch": {UserID: "two", Role: domain.RoleManager, Branches: []string{"b1", "b2"}},
}

// identify is auth.Verifier.Identify with tokens that are names.
func identify(r *http.Request) (domain.Identity, error) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token == "expired" {
		return domain.Identity{}, domain.Reject(domain.CodeTokenExpired, "the token has expired, get a new one")
	}
	id, ok := identities[token]
	if !ok {
		return domain.Identity{}, domain.Reject(domain.CodeUnauthorized, "a token is needed")
	}
	return id, nil
}

// shop is the API on real deciders, real read models and a log in memory.
type shop struct {
	t       testing.TB
	log     *eventlogtest.Memory
	read    *projections.Set
	decide  *actors.Deciders
	handler http.Handler
	lines   *logLines
	// transfer is the last one that drive has dispatched.
	transfer string
}

// logLines is a log that can be read.
type logLines struct {
	mu    sync.Mutex
	lines strings.Builder
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(b)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

func newShop(t testing.TB, change func(*Config)) *shop {
	t.Helper()
	s := &shop{t: t, log: eventlogtest.NewMemory(), lines: &logLines{}}
	logger := slog.New(slog.NewTextHandler(s.lines, nil))
	system, err := actors.NewSystem(logger)
	if err != nil {
		t.Fatal(err)
	}
	s.decide, err = actors.NewDeciders(actors.DecidersConfig{System: system, Log: s.log, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	s.read, err = projections.Open(context.Background(), projections.Config{Dir: t.TempDir(), Log: s.log, Append: s.log, Commands: s.do, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.read.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("projections: %v", err)
		}
		if err := s.decide.Close(context.Background()); err != nil {
			t.Errorf("deciders: %v", err)
		}
		if err := s.read.Close(); err != nil {
			t.Errorf("projections: %v", err)
		}
	})
	cfg := Config{
		Commands: s.do, Identify: identify, Read: s.read, Log: s.log, Logger: logger,
		// However slow the machine is.
		FreshWait: time.Minute, ReadTimeout: time.Minute, CommandTimeout: time.Minute,
		Now: func() time.Time { return noon },
	}
	if change != nil {
		change(&cfg)
	}
	s.handler, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// do is the bus: to the deciders and back.
func (s *shop) do(ctx context.Context, cmd domain.Command) (*domain.Commit, error) {
	type reply struct {
		commit *domain.Commit
		err    error
	}
	replies := make(chan reply, 1)
	s.decide.Submit(cmd, func(c *domain.Commit, err error) { replies <- reply{c, err} })
	select {
	case r := <-replies:
		if r.err == nil && strings.HasPrefix(r.commit.Stream, domain.StreamOfUser("")) {
			return r.commit, s.read.WaitFor(ctx, projections.Users, r.commit.Position)
		}
		return r.commit, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes a request; who is a token, rest are header names and values.
func (s *shop) send(who, method, path, body string, header ...string) answer {
	s.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+who)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	raw, err := io.ReadAll(w.Result().Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{w.Code, w.Header(), string(raw)}
}

// must makes a request that has to succeed.
func (s *shop) must(who, method, path, body string) answer {
	s.t.Helper()
	a := s.send(who, method, path, body)
	if a.status >= 300 {
		s.t.Fatalf("%s %s as %s: %d %s", method, path, who, a.status, a.body)
	}
	return a
}

// stocked is a shop with two branches and a product "cola" of 10 in b1.
func stocked(t testing.TB, change func(*Config)) *shop {
	t.Helper()
	s := newShop(t, change)
	s.must("admin", "POST", "/api/branches", `{"branchId":"b1","name":"Mitte"}`)
	s.must("admin", "POST", "/api/branches", `{"branchId":"b2","name":"Nord"}`)
	s.must("admin", "POST", "/api/branches/b1/products", `{"productId":"cola","sku":"C-1","name":"Cola <0.5 l>","priceMinor":150,"currency":"EUR","stock":10,"minStock":3}`)
	return s
}

// settle waits until the read models have all that is in the log.
func (s *shop) settle() {
	s.t.Helper()
	for {
		head := s.log.Head()
		for _, name := range s.read.Names() {
			if err := s.read.WaitFor(s.t.Context(), name, head); err != nil {
				s.t.Fatal(err)
			}
		}
		if s.log.Head() == head {
			return
		}
	}
}

// until waits until an event of a type, whose data has a text in it, is in the
// log.
func (s *shop) until(eventType string, text ...string) {
	s.t.Helper()
	for seq := uint64(0); ; {
		commits, err := s.log.Next(s.t.Context(), seq, 100)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, c := range commits {
			if slices.ContainsFunc(c.Events, func(e domain.Event) bool {
				return e.Type == eventType && (len(text) == 0 || strings.Contains(string(e.Data), text[0]))
			}) {
				return
			}
			seq = c.Position.Seq
		}
	}
}

// problem is a refusal as it came.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Errors []domain.FieldError
}

// refused checks that an answer is a problem of a code, with the code's status
// everywhere it is said.
func (a answer) refused(t testing.TB, code string) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("%d %q is not JSON: %v", a.status, a.body, err)
	}
	if p.Code != code {
		t.Fatalf("code %q, want %q: %d %s", p.Code, code, a.status, a.body)
	}
	if want := StatusOf(code); a.status != want || p.Status != want {
		t.Errorf("status %d, in the body %d, want %d", a.status, p.Status, want)
	}
	if got := a.header.Get("Content-Type"); got != contentProblem {
		t.Errorf("content type %q, want %q", got, contentProblem)
	}
	if p.Type != "urn:bms:problem:"+code || p.Title == "" || p.Detail == "" {
		t.Errorf("problem %+v lacks type, title or detail", p)
	}
	if retry := a.header.Get("Retry-After"); (retry != "") != (a.status == 429 || a.status == 503) {
		t.Errorf("Retry-After %q with status %d", retry, a.status)
	}
	return p
}

func (p problem) fields() string {
	var names []string
	for _, e := range p.Errors {
		names = append(names, e.Field)
	}
	return strings.Join(names, " ")
}

var errFault = errors.New("disk on fire in /secret/place")

func (s *shop) logger() *slog.Logger { return slog.New(slog.NewTextHandler(s.lines, nil)) }
