package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"bms/domain"
	"bms/transport/auth"
)

// Load is one run against a node.
type Load struct {
	cfg         Config
	api         *api
	sockets     *url.URL
	clock       *clock
	seen        meters
	admin       string // token
	branches    []string
	subscribers []*Subscriber
	setup       *commander
	commanders  []*commander
	began       atomic.Int64 // when commands began, ns since the start; 0 before
	ended       atomic.Int64
}

// New prepares a run. The error names the field of Config that is wrong.
func New(cfg Config) (*Load, error) {
	base, sockets, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if cfg.Run == "" {
		cfg.Run = strconv.FormatInt(start.UnixMicro(), 36)
	}
	l := &Load{cfg: cfg, api: newAPI(base, cfg.Clients+16, cfg.Grace), sockets: sockets, clock: newClock(cfg.Run, start)}
	if l.admin, err = l.token(domain.Identity{UserID: "bench-admin-" + cfg.Run, Role: domain.RoleAdmin}); err != nil {
		return nil, err
	}
	for i := range cfg.Branches {
		l.branches = append(l.branches, fmt.Sprintf("b%d-%s", i+1, cfg.Run))
	}
	l.setup = l.commander(0, l.admin)
	l.setup.seen = &meters{} // opening is not measured
	for i := range cfg.Clients {
		id := domain.Identity{UserID: fmt.Sprintf("till%d-%s", i+1, cfg.Run), Role: domain.RoleManager, Branches: slices.Clone(l.branches)}
		var audiences []string
		for _, b := range l.branches {
			audiences = append(audiences, domain.RoomOfBranch(b))
		}
		if i == 0 {
			// One is an admin, who writes to single users too.
			id.Role, id.Branches = domain.RoleAdmin, nil
			for k := range cfg.Sockets {
				audiences = append(audiences, domain.RoomOfUserNotifications(l.user(k)))
			}
		}
		token, err := l.token(id)
		if err != nil {
			return nil, err
		}
		c := l.commander(i+1, token)
		c.audiences = audiences
		l.commanders = append(l.commanders, c)
	}
	for i := range cfg.Sockets {
		s, err := l.subscriber(i)
		if err != nil {
			return nil, err
		}
		l.subscribers = append(l.subscribers, s)
	}
	return l, nil
}

// tokenTTL is longer than any run.
const tokenTTL = 7 * 24 * time.Hour

func (l *Load) token(id domain.Identity) (string, error) {
	slices.Sort(id.Branches)
	now := time.Now()
	return auth.Sign(l.cfg.Secret, auth.Grant{
		Identity: id, IssuedAt: now.Add(-time.Minute), ExpiresAt: now.Add(tokenTTL), Issuer: l.cfg.Issuer, Audience: l.cfg.Audience,
	})
}

func (l *Load) commander(number int, token string) *commander {
	return &commander{
		api: l.api, clock: l.clock, seen: &l.seen, token: token, number: number, branches: l.branches,
		products: l.cfg.Products, keep: l.cfg.Check, random: rand.New(rand.NewPCG(l.cfg.Seed, uint64(number))),
	}
}

// user is who the i-th subscriber is.
func (l *Load) user(i int) string { return fmt.Sprintf("s%d-%s", i, l.cfg.Run) }

// subscriber makes the i-th subscriber; see Config.Sockets for who it is.
func (l *Load) subscriber(i int) (*Subscriber, error) {
	own := func(n int) (branches []string) {
		for k := range min(n, len(l.branches)) {
			branches = append(branches, l.branches[(i+k)%len(l.branches)])
		}
		slices.Sort(branches)
		return branches
	}
	id := domain.Identity{UserID: l.user(i), Role: domain.RoleStaff, Branches: own(1)}
	namespace := []string{domain.NamespaceAll, domain.NamespaceAll, domain.NamespacePOS}[i%3]
	switch {
	case i%50 == 0:
		id.Role, id.Branches = domain.RoleAdmin, nil
		namespace = []string{domain.NamespaceAdmin, domain.NamespaceAll}[i/50%2]
	case i%10 == 0:
		id.Role, id.Branches = domain.RoleManager, own(3)
	}
	token, err := l.token(id)
	if err != nil {
		return nil, err
	}
	transport := l.cfg.Transport
	if transport == Mixed {
		transport = Transports[i%(len(Transports)-1)]
	}
	return newSubscriber(subscriberConfig{
		name: fmt.Sprintf("%s (%s, %s, %s)", id.UserID, id.Role, namespace, transport), identity: id, namespace: namespace, transport: transport,
		since: i%5 == 4, slow: i < l.cfg.Slow, token: token, base: l.sockets, keep: l.cfg.Check, clock: l.clock, seen: &l.seen, seed: l.cfg.Seed + uint64(i),
	}), nil
}

// Subscribers are the sockets, in the order of Config.Sockets.
func (l *Load) Subscribers() []*Subscriber { return l.subscribers }

// Run opens branches, connects the subscribers, gives commands until the
// duration is over or the context ends, waits for what is due, and reports. An
// error means that the run could not be made; broken promises are in the
// Report's Verdict.
func (l *Load) Run(ctx context.Context) (*Report, error) {
	defer l.api.client.CloseIdleConnections()
	// What follows the commands goes on when the context has ended.
	after, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if err := l.api.reach(ctx, l.admin); err != nil {
		return nil, err
	}
	if err := l.openShops(ctx); err != nil {
		return nil, err
	}
	listening, hangUp := context.WithCancel(after)
	defer hangUp()
	subscribed, listening := errgroup.WithContext(listening)
	if err := l.connect(ctx, listening, subscribed); err != nil {
		hangUp()
		return nil, errors.Join(subscribed.Wait(), err)
	}
	if l.cfg.Began != nil {
		l.cfg.Began()
	}
	err := l.command(ctx, listening)
	if err == nil && l.cfg.Settle != nil {
		err = l.cfg.Settle()
	}
	var h *History
	if err == nil {
		h, err = l.await(after)
	}
	hangUp()
	// A subscriber that gave up for good says more than what followed from it.
	if err := errors.Join(subscribed.Wait(), err); err != nil {
		return nil, err
	}
	report := l.report()
	if l.cfg.Check {
		l.collect(h)
		report.Verdict = Check(h)
	}
	return report, nil
}

// openShops opens the branches and fills their shelves. One product in ten is
// always about to run out.
func (l *Load) openShops(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Grace)
	defer cancel()
	c := l.setup
	c.late = ctx
	give := func(method, path, format string, args ...any) error {
		due := l.clock.now()
		mark := l.clock.mark(c.number, c.given, due)
		c.given++
		body := fmt.Appendf(nil, format, append([]any{markPrefix + mark}, args...)...)
		if err := c.give(mark, due, order{method: method, path: path, body: body}); err != nil {
			return err
		}
		return ctx.Err()
	}
	for _, b := range l.branches {
		if err := give("POST", "/api/branches", `{"name":%q,"branchId":%q}`, b); err != nil {
			return fmt.Errorf("open a branch: %w", err)
		}
		for i := range l.cfg.Products {
			stock := 10_000
			if i%10 == 0 {
				stock = 20
			}
			err := give("POST", "/api/branches/"+b+"/products",
				`{"name":%q,"productId":%q,"sku":%q,"priceMinor":%d,"currency":"EUR","stock":%d,"minStock":10}`,
				productID(i), "SKU-"+productID(i), 100+i, stock)
			if err != nil {
				return fmt.Errorf("create a product: %w", err)
			}
		}
	}
	return nil
}

// connecting is how many subscribers connect at a time.
const connecting = 64

// connect starts the subscribers and waits until all have a session.
func (l *Load) connect(ctx, listening context.Context, subscribed *errgroup.Group) error {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Grace)
	defer cancel()
	places := make(chan struct{}, connecting)
	for i, s := range l.subscribers {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d subscribers are connected: %w", i, len(l.subscribers), ctx.Err())
		case <-listening.Done():
			return nil // a subscriber's error follows
		}
		subscribed.Go(func() error { return s.run(listening) })
		go func() {
			select {
			case <-s.ready:
			case <-listening.Done():
			}
			<-places
		}()
	}
	for i, s := range l.subscribers {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return fmt.Errorf("subscriber %d of %d has no session: %w", i+1, len(l.subscribers), ctx.Err())
		case <-listening.Done():
			return fmt.Errorf("subscriber %d of %d has no session", i+1, len(l.subscribers))
		}
	}
	return nil
}

// command gives commands until the duration is over or the context ends, and
// sees those through that are under way.
func (l *Load) command(ctx, listening context.Context) error {
	late, cancel := context.WithCancel(listening)
	defer cancel()
	working, stop := context.WithTimeout(ctx, l.cfg.Duration)
	defer stop()
	overdue := context.AfterFunc(working, func() { time.AfterFunc(l.cfg.Grace, cancel) })
	defer overdue()
	var interval time.Duration
	if l.cfg.Rate > 0 {
		interval = time.Duration(float64(l.cfg.Clients) / l.cfg.Rate * float64(time.Second))
	}
	for _, s := range l.subscribers[:l.cfg.Slow] {
		s.Pause()
	}
	goOn := func() {
		for _, s := range l.subscribers[:l.cfg.Slow] {
			s.Resume()
		}
	}
	defer time.AfterFunc(l.cfg.Duration/2, goOn).Stop()
	defer goOn()
	l.began.Store(int64(l.clock.now()))
	defer func() { l.ended.Store(int64(l.clock.now())) }()
	g, working := errgroup.WithContext(working)
	for _, c := range l.commanders {
		c.late = late
		g.Go(func() error { return c.run(working, interval) })
	}
	return g.Wait()
}

// collect puts in what the subscribers have kept. They have ended.
func (l *Load) collect(h *History) {
	for _, s := range l.subscribers {
		h.Connections = append(h.Connections, s.conn)
	}
}

// await waits until what the log holds has reached everybody, for Grace at most
// since the last progress, and returns the log and the levels.
func (l *Load) await(ctx context.Context) (*History, error) {
	if !l.cfg.Check {
		l.quiet(ctx)
		return nil, nil
	}
	h := &History{Run: l.cfg.Run, Branches: l.branches, Escalation: l.cfg.Escalation, Forgetful: l.cfg.Forgetful}
	for _, c := range append([]*commander{l.setup}, l.commanders...) {
		h.Commands = append(h.Commands, c.commands...)
	}
	var after domain.Position
	progress := time.Now()
	for {
		before := len(h.Log)
		received := l.seen.events.Load()
		var err error
		if h.Log, after, err = l.api.follow(ctx, l.admin, after, h.Log); err != nil {
			return nil, err
		}
		if l.arrived(h) {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if len(h.Log) != before || l.seen.events.Load() != received {
			progress = time.Now()
		}
		if time.Since(progress) > l.cfg.Grace {
			break // Check says what is lacking
		}
	}
	h.Levels = []Level{}
	for _, b := range l.branches {
		levels, err := l.api.levels(ctx, l.admin, b, after)
		if err != nil {
			return nil, err
		}
		h.Levels = append(h.Levels, levels...)
	}
	return h, nil
}

// arrived reports whether every cause has its alert, every cancelled transfer
// come back, and every subscriber its last event.
func (l *Load) arrived(h *History) bool {
	c := &checker{h: h, verdict: &Verdict{Counts: map[Kind]int{}}}
	c.checkAlerts()
	c.checkTransfers()
	if !c.verdict.OK() {
		return false
	}
	s := newSights(h.Log)
	for _, sub := range l.subscribers {
		due := s.of(sub.cfg.identity, sub.cfg.namespace)
		if len(due) > 0 && h.Log[due[len(due)-1]].Pos.Seq > sub.last.Load() {
			return false
		}
	}
	return true
}

// quiet waits until nothing has come for a while: without a log to compare with
// that is the end.
func (l *Load) quiet(ctx context.Context) {
	for before := int64(-1); ; {
		now := l.seen.events.Load()
		if now == before {
			return
		}
		before = now
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}
