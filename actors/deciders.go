package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"bms/domain"
)

// Defaults of DecidersConfig.
const (
	DefaultQueuePerStream = 1024
	DefaultQueuePerNode   = 16384
	DefaultBytesPerStream = 16 << 20
	DefaultBytesPerNode   = 64 << 20
	DefaultIdleAfter      = 5 * time.Minute
	DefaultAppendTimeout  = 10 * time.Second
)

// busyRetryAfter is the hint, in seconds, that goes with "busy" and
// "log_unavailable".
const busyRetryAfter = 1

// DecidersConfig configures Deciders. System, Log and Logger must be set.
type DecidersConfig struct {
	// System runs the stream actors.
	System *System
	// Log keeps what is decided.
	Log domain.Log
	// Load returns a state of a stream that was kept beside the log and the
	// version up to which it has been folded; a nil state is none. The rest
	// is read from the log. The caller owns the state. An error is logged
	// and the stream read from its beginning, as it is when Load is nil and
	// after any doubt about the state. It runs on a goroutine of its own and
	// may block.
	Load func(ctx context.Context, stream string) (state domain.State, version uint64, err error)
	// LoadRows, if set, returns rows of a branch's state that Load leaves out,
	// as JSON, nil for each that is not there, and the version of the stream
	// that they are kept at. Of the others Load's states have all. It runs
	// as Load does.
	LoadRows func(ctx context.Context, stream string, rows []domain.Row) (states [][]byte, version uint64, err error)
	// QueuePerStream bounds the commands of one stream, and QueuePerNode
	// those of all streams, that were submitted and not yet answered. One
	// more is answered "busy". Zero means DefaultQueuePerStream and
	// DefaultQueuePerNode.
	QueuePerStream, QueuePerNode int
	// BytesPerStream and BytesPerNode bound them by the sum of their sizes
	// (Command.Size), in bytes, too; one alone may be larger. Zero means
	// DefaultBytesPerStream and DefaultBytesPerNode.
	BytesPerStream, BytesPerNode int
	// IdleAfter is how long a stream's state is kept in memory without a
	// command; it may stay for twice as long. Zero means DefaultIdleAfter.
	IdleAfter time.Duration
	// AppendTimeout bounds one append, after which its outcome is unknown
	// and the log is asked, and each single read of the log. Zero means
	// DefaultAppendTimeout.
	AppendTimeout time.Duration
	Logger        *slog.Logger
	// Now is the clock that Observe's durations are taken from; it decides
	// nothing. Nil means time.Now.
	Now func() time.Time
	// Observe is told what happens, for metrics.
	Observe Observe
}

// Deciders owns the actors that decide on streams, one per stream that is in
// use: it starts one with the first command, is the only one who stops it when
// it has been idle, and bounds what waits for it.
//
// # Concurrency properties
//
// All methods are safe for concurrent use. Commands for one stream that one
// goroutine submits one after the other are decided in that order.
type Deciders struct {
	cfg      DecidersConfig
	newState func(stream string) (domain.State, error)
	maxRows  int

	ctx     context.Context // of the log's operations; ends when Close runs out of time
	cancel  context.CancelFunc
	closing chan struct{} // closed by Close
	drained chan struct{} // closed when closing and nothing is queued
	swept   chan struct{} // closed when the sweeper has ended
	errands sync.WaitGroup

	mu      sync.Mutex // guards what follows and the counters in entries
	streams map[string]*entry
	doubted map[string]struct{} // streams with an append in doubt
	queued  int
	bytes   int // of those queued
	closed  bool
}

// entry is a running stream actor. While commands is above zero the actor is
// not stopped, hence no message meets a stopping actor.
type entry struct {
	ref      *Ref
	commands int  // submitted and not answered
	bytes    int  // of those
	used     bool // since the last sweep
}

// NewDeciders starts Deciders; Close ends it. It returns an error that names
// the field for a bad config.
func NewDeciders(cfg DecidersConfig) (*Deciders, error) {
	switch {
	case cfg.System == nil:
		return nil, errors.New("deciders: System is nil")
	case cfg.Log == nil:
		return nil, errors.New("deciders: Log is nil")
	case cfg.Logger == nil:
		return nil, errors.New("deciders: Logger is nil")
	case cfg.QueuePerStream < 0:
		return nil, fmt.Errorf("deciders: QueuePerStream is %d", cfg.QueuePerStream)
	case cfg.QueuePerNode < 0:
		return nil, fmt.Errorf("deciders: QueuePerNode is %d", cfg.QueuePerNode)
	case cfg.BytesPerStream < 0:
		return nil, fmt.Errorf("deciders: BytesPerStream is %d", cfg.BytesPerStream)
	case cfg.BytesPerNode < 0:
		return nil, fmt.Errorf("deciders: BytesPerNode is %d", cfg.BytesPerNode)
	case cfg.IdleAfter < 0:
		return nil, fmt.Errorf("deciders: IdleAfter is %v", cfg.IdleAfter)
	case cfg.AppendTimeout < 0:
		return nil, fmt.Errorf("deciders: AppendTimeout is %v", cfg.AppendTimeout)
	}
	if cfg.QueuePerStream == 0 {
		cfg.QueuePerStream = DefaultQueuePerStream
	}
	if cfg.QueuePerNode == 0 {
		cfg.QueuePerNode = DefaultQueuePerNode
	}
	if cfg.BytesPerStream == 0 {
		cfg.BytesPerStream = DefaultBytesPerStream
	}
	if cfg.BytesPerNode == 0 {
		cfg.BytesPerNode = DefaultBytesPerNode
	}
	if cfg.IdleAfter == 0 {
		cfg.IdleAfter = DefaultIdleAfter
	}
	if cfg.AppendTimeout == 0 {
		cfg.AppendTimeout = DefaultAppendTimeout
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Observe = cfg.Observe.fenced(cfg.Logger)
	d := &Deciders{
		cfg: cfg, newState: domain.NewState, maxRows: maxRows,
		closing: make(chan struct{}), drained: make(chan struct{}), swept: make(chan struct{}),
		streams: make(map[string]*entry), doubted: make(map[string]struct{}),
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	go d.sweep()
	return d, nil
}

// Submit hands a command to the actor of its stream and never blocks. reply is
// called exactly once, on any goroutine, perhaps before Submit returns, and
// must not block. It gets either a commit that is durable, or an error: a
// *domain.Rejection for "no" (with "retryAfter" seconds in its details for
// "busy" and "log_unavailable"; the latter may leave open whether the command
// has taken or will take effect), anything else for a fault.
//
// A command whose Keyed is true takes effect at most once whenever and however
// often it is submitted; an equal one gets the commit of the first, also when
// the user has lost the right to it. After a rejection that is none of "busy",
// "log_unavailable" and "draining", no equal one that was submitted before takes
// effect. The ids of other commands have to be fresh.
func (d *Deciders) Submit(cmd domain.Command, reply func(*domain.Commit, error)) {
	p := &pending{cmd: cmd, reply: reply, since: d.cfg.Now()}
	// Decide judges the rights too; who has none must not be able to start
	// actors. But what he did when he had them has the same answer for ever.
	forbidden := domain.MayCommand(cmd.Identity, cmd.Type, cmd.BranchID)
	if forbidden != nil && !cmd.Keyed {
		p.answer(d, nil, forbidden)
		return
	}
	stream, err := domain.StreamOf(cmd)
	switch {
	case err != nil && forbidden != nil:
		p.answer(d, nil, forbidden)
		return
	case err != nil:
		p.answer(d, nil, err)
		return
	}
	e, no := d.admit(stream, cmd.Size, forbidden == nil)
	if no != nil {
		p.answer(d, nil, no)
		return
	}
	p.admitted, p.entry = true, e
	if e == nil {
		go d.repeat(p, forbidden)
		return
	}
	e.ref.Send(p)
}

// repeat answers a command whose user has no right to it (any more) and whose
// stream has no actor, which the first one may be on its way through.
func (d *Deciders) repeat(p *pending, forbidden *domain.Rejection) {
	ctx, cancel := context.WithTimeout(d.ctx, d.cfg.AppendTimeout)
	defer cancel()
	defer func() {
		if reason := recover(); reason != nil {
			d.cfg.Logger.Error("look-up of a command panicked", "reason", reason, "stack", string(debug.Stack()))
			p.answer(d, nil, fmt.Errorf("look up a command: panic: %v", reason))
		}
	}()
	commit, err := d.cfg.Log.FindCommand(ctx, p.cmd.Identity.UserID, p.cmd.ID)
	switch {
	case errors.Is(err, domain.ErrNotFound):
		p.answer(d, nil, forbidden)
	case unavailable(err):
		p.answer(d, nil, logUnavailable("the log cannot be read now; nothing was done, ask again"))
	case err != nil:
		p.answer(d, nil, fmt.Errorf("look up a command: %w", err))
	case commit.Fingerprint != p.cmd.Fingerprint:
		p.answer(d, nil, mismatch(p.cmd))
	default:
		p.answer(d, commit, nil)
	}
}

// admit counts a command in and returns the running actor of its stream,
// starting it if it may or if it has to: only the actor can answer while an
// append is in doubt. Nil is none.
func (d *Deciders) admit(name string, size int, start bool) (*entry, *domain.Rejection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, domain.Reject(domain.CodeDraining, "the server is shutting down; ask again, another is taking over")
	}
	if d.queued >= d.cfg.QueuePerNode {
		return nil, busy("the server has %d commands waiting; ask again later", d.queued)
	}
	if d.bytes > 0 && d.bytes+size > d.cfg.BytesPerNode {
		return nil, busy("the server has %d bytes of commands waiting; ask again later", d.bytes)
	}
	e := d.streams[name]
	_, doubt := d.doubted[name]
	switch {
	case e == nil && !start && !doubt:
		d.queued++
		d.bytes += size
		return nil, nil
	case e == nil:
		s := &stream{deciders: d, name: name, doubt: doubt}
		s.self = d.cfg.System.Spawn("stream", name, 64, s)
		e = &entry{ref: s.self}
		d.streams[name] = e
	case e.commands >= d.cfg.QueuePerStream:
		return nil, busy("%s has %d commands waiting; ask again later", name, e.commands)
	case e.bytes > 0 && e.bytes+size > d.cfg.BytesPerStream:
		return nil, busy("%s has %d bytes of commands waiting; ask again later", name, e.bytes)
	}
	e.commands++
	e.bytes += size
	e.used = true
	d.queued++
	d.bytes += size
	return e, nil
}

// doubts notes for the actor of a stream, and for the next one, whether an
// append is in doubt.
func (d *Deciders) doubts(name string, doubt bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if doubt {
		d.doubted[name] = struct{}{}
	} else {
		delete(d.doubted, name)
	}
}

// discharge counts an answered command out. e is nil for one without an actor.
func (d *Deciders) discharge(e *entry, size int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e != nil {
		e.commands--
		e.bytes -= size
	}
	d.queued--
	d.bytes -= size
	if d.closed && d.queued == 0 {
		close(d.drained)
	}
}

// Queued is the number of commands that were submitted and not yet answered.
func (d *Deciders) Queued() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queued
}

// Streams is the number of streams whose actor is running.
func (d *Deciders) Streams() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.streams)
}

// sweep stops the actors of streams that no command came for between two ticks.
func (d *Deciders) sweep() {
	defer close(d.swept)
	ticker := time.NewTicker(d.cfg.IdleAfter)
	defer ticker.Stop()
	for {
		select {
		case <-d.closing:
			return
		case <-ticker.C:
			for _, e := range d.idle() {
				<-e.ref.Stop()
			}
		}
	}
}

// idle takes out the actors to stop. From here on a command for their stream
// starts a new actor.
func (d *Deciders) idle() []*entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	var idle []*entry
	for name, e := range d.streams {
		if e.commands == 0 && !e.used {
			delete(d.streams, name)
			idle = append(idle, e)
		}
		e.used = false
	}
	return idle
}

// Close takes no more commands ("draining"), waits until those it has are
// answered, and stops the actors. When ctx ends first, operations of the log
// under way are cut off and what waits for them is answered
// "log_unavailable"; Close then returns the context's error. It may be called
// any number of times.
func (d *Deciders) Close(ctx context.Context) error {
	d.mu.Lock()
	if !d.closed {
		d.closed = true
		close(d.closing)
		if d.queued == 0 {
			close(d.drained)
		}
	}
	d.mu.Unlock()

	var err error
	select {
	case <-d.drained:
	case <-ctx.Done():
		err = fmt.Errorf("finish the commands that wait: %w", ctx.Err())
		d.cancel()
		<-d.drained
	}
	d.cancel()
	<-d.swept
	for _, e := range d.streams { // nothing changes it any more
		<-e.ref.Stop()
	}
	d.errands.Wait()
	return err
}

func busy(format string, args ...any) *domain.Rejection {
	no := domain.Reject(domain.CodeBusy, format, args...)
	no.Details = map[string]any{"retryAfter": busyRetryAfter}
	return no
}

func logUnavailable(format string, args ...any) *domain.Rejection {
	no := domain.Reject(domain.CodeLogUnavailable, format, args...)
	no.Details = map[string]any{"retryAfter": busyRetryAfter}
	return no
}
