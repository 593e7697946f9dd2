package eventlogtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
	"unicode/utf8"

	"bms/domain"
)

// Memory is a log in memory, for tests of what stands on a log: the whole
// contract but for durability. It keeps the commits it was given, events'
// typed payloads included. All methods are safe for concurrent use.
type Memory struct {
	mu       sync.Mutex // guards what follows
	epochs   []epoch    // in rising order of both fields
	commits  []*domain.Commit
	streams  map[string][]*domain.Commit
	commands map[command]*domain.Commit
	grown    chan struct{} // closed and replaced by an append, closed for good by Close
	closed   bool
}

var _ domain.Log = (*Memory)(nil)

// epoch begins with the commit start.
type epoch struct{ id, start uint64 }

type command struct{ userID, id string }

// firstEpoch is the epoch of a new Memory, a time like any log's.
const firstEpoch = 1_795_000_000_000

// NewMemory makes an empty log. All begin with the same epoch.
func NewMemory() *Memory {
	return &Memory{
		epochs:  []epoch{{firstEpoch, 1}},
		streams: map[string][]*domain.Commit{}, commands: map[command]*domain.Commit{},
		grown: make(chan struct{}),
	}
}

// Append implements domain.Appender. It checks first and then takes all or
// none, and refuses what the durable log could not give back.
func (m *Memory) Append(ctx context.Context, commits ...*domain.Commit) error {
	for _, c := range commits {
		if err := check(c); err != nil {
			return fmt.Errorf("append to %q: %w", c.Stream, err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return err
	}
	if err := m.fence(commits); err != nil || len(commits) == 0 {
		return err
	}
	for _, c := range commits {
		c.At = c.At.UTC().Truncate(time.Millisecond)
		for i := range c.Events {
			c.Events[i].At = c.Events[i].At.UTC().Truncate(time.Millisecond)
		}
		c.Placed(m.epoch().id, uint64(len(m.commits))+1)
		m.add(c)
	}
	close(m.grown)
	m.grown = make(chan struct{})
	return nil
}

// check refuses what could not be read back as it is.
func check(c *domain.Commit) error {
	switch {
	case c.Stream == "" || c.Version == 0 || c.Version > math.MaxInt64:
		return fmt.Errorf("the commit has version %d", c.Version)
	case len(c.Events) > domain.MaxEventsPerCommit:
		return fmt.Errorf("the commit has %d events, at most %d", len(c.Events), domain.MaxEventsPerCommit)
	case c.Message != nil && len(c.Events) > 0:
		return errors.New("the commit has both a message and events")
	case len(c.Result) > 0 && !json.Valid(c.Result):
		return errors.New("the result is not JSON")
	}
	for _, s := range [...]string{c.Stream, c.UserID, c.CommandID, c.CommandType, c.Fingerprint} {
		if !utf8.ValidString(s) {
			return fmt.Errorf("%q is not UTF-8", s)
		}
	}
	for i := range c.Events {
		if !json.Valid(c.Events[i].Data) {
			return fmt.Errorf("the data of event %d is not JSON", i)
		}
	}
	return nil
}

// fence refuses versions that are not the next ones and commands that took
// effect. Called with mu held, like all unexported methods.
func (m *Memory) fence(commits []*domain.Commit) error {
	next, ids := map[string]uint64{}, map[command]bool{}
	for _, c := range commits {
		id := command{c.UserID, c.CommandID}
		if _, known := m.commands[id]; known || ids[id] {
			return fmt.Errorf("append %q to %q: %w", c.CommandID, c.Stream, domain.ErrDuplicateCommand)
		}
		if c.CommandID != "" {
			ids[id] = true
		}
		if next[c.Stream] == 0 {
			next[c.Stream] = uint64(len(m.streams[c.Stream])) + 1
		}
		if want := next[c.Stream]; c.Version != want {
			return fmt.Errorf("append version %d to %q, the next is %d: %w", c.Version, c.Stream, want, domain.ErrVersionConflict)
		}
		next[c.Stream]++
	}
	return nil
}

func (m *Memory) add(c *domain.Commit) {
	m.commits = append(m.commits, c)
	m.streams[c.Stream] = append(m.streams[c.Stream], c)
	if c.CommandID != "" {
		m.commands[command{c.UserID, c.CommandID}] = c
	}
}

// usable is the error of a call that can't be served.
func (m *Memory) usable(ctx context.Context) error {
	if m.closed {
		return fmt.Errorf("%w: it is closed", domain.ErrLogUnavailable)
	}
	return ctx.Err()
}

// epoch is the one of the next append.
func (m *Memory) epoch() epoch { return m.epochs[len(m.epochs)-1] }

// FindCommand implements domain.Appender.
func (m *Memory) FindCommand(ctx context.Context, userID, commandID string) (*domain.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	if c, ok := m.commands[command{userID, commandID}]; ok {
		return c, nil
	}
	return nil, fmt.Errorf("command %q of %q: %w", commandID, userID, domain.ErrNotFound)
}

// Read implements domain.Reader.
func (m *Memory) Read(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	return window(m.commits, after, limit), nil
}

// ReadStream implements domain.Reader.
func (m *Memory) ReadStream(ctx context.Context, stream string, after uint64, limit int) ([]*domain.Commit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(ctx); err != nil {
		return nil, err
	}
	return window(m.streams[stream], after, limit), nil
}

// window is capped, so that nobody appends into the log's own slice.
func window(commits []*domain.Commit, after uint64, limit int) []*domain.Commit {
	if after >= uint64(len(commits)) {
		return nil
	}
	rest := commits[after:]
	n := min(limit, len(rest))
	return rest[:n:n]
}

// Head implements domain.Follower.
func (m *Memory) Head() domain.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	head := domain.Position{Epoch: m.epoch().id, Seq: uint64(len(m.commits))}
	if head.Seq > 0 {
		head.Index = m.commits[head.Seq-1].Position.Index
	}
	return head
}

// Next implements domain.Follower.
func (m *Memory) Next(ctx context.Context, after uint64, limit int) ([]*domain.Commit, error) {
	for {
		m.mu.Lock()
		commits, grown, err := window(m.commits, after, limit), m.grown, m.usable(ctx)
		m.mu.Unlock()
		if err != nil || len(commits) > 0 {
			return commits, err
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Check implements domain.Follower. A position belongs to an epoch if it lies
// between its first commit and the next one's, or right before it.
func (m *Memory) Check(p domain.Position) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := uint64(len(m.commits))
	for i := len(m.epochs) - 1; i >= 0; i-- {
		e := m.epochs[i]
		if e.id == p.Epoch && p.Seq <= end && (p.Seq == 0 || p.Seq+1 >= e.start) {
			return nil
		}
		end = e.start - 1
	}
	return fmt.Errorf("%w: %s", domain.ErrUnknownPosition, p)
}

// Close ends the calls of Next that wait. All calls but Head and Check answer
// domain.ErrLogUnavailable from then on.
func (m *Memory) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		close(m.grown)
	}
}

// Version is that of a stream's last commit; 0 for none.
func (m *Memory) Version(stream string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(len(m.streams[stream]))
}

// All is the log so far; the caller owns the slice, not the commits.
func (m *Memory) All() []*domain.Commit {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*domain.Commit(nil), m.commits...)
}

// BeginEpoch does what a restore does: what is appended from now on is of a
// new epoch.
func (m *Memory) BeginEpoch() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epochs = append(m.epochs, epoch{m.epoch().id + 1000, uint64(len(m.commits)) + 1})
}

// Reread is a log with copies of the same commits, as a process that starts
// reads them: payloads have to be decoded. It is open although m may be
// closed.
func (m *Memory) Reread() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	other := NewMemory()
	other.epochs = append(other.epochs[:0], m.epochs...)
	for _, c := range m.commits {
		copied := *c
		copied.Events = make([]domain.Event, len(c.Events))
		for i, e := range c.Events {
			copied.Events[i] = domain.Event{
				ID: e.ID, Type: e.Type, Version: e.Version, BranchID: e.BranchID, UserID: e.UserID, At: e.At, Data: e.Data, Pos: e.Pos,
			}
		}
		other.add(&copied)
	}
	return other
}
