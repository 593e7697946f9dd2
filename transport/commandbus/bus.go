package commandbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"bms/domain"
)

// Defaults of Config.
const (
	DefaultTopic   = "commands"
	DefaultTimeout = 30 * time.Second
	DefaultPending = 16384
	DefaultBytes   = 64 << 20
)

// Config configures a Bus. Submit and Logger must be set.
type Config struct {
	// Publisher and Subscriber carry the messages. Both nil means a Local,
	// which Close closes; given ones are left to their owner. The
	// Subscriber has to withhold the next message until an ack, or commands
	// are not in order.
	Publisher  message.Publisher
	Subscriber message.Subscriber
	// Topic is where commands are published. Empty means DefaultTopic.
	Topic string
	// Submit hands a command to the one who decides. It must not block and
	// calls reply exactly once.
	Submit func(cmd domain.Command, reply func(*domain.Commit, error))
	// Timeout bounds a Do or Wait whose context has no deadline. Zero means
	// DefaultTimeout.
	Timeout time.Duration
	// Pending bounds the number of commands under way; one more is answered
	// "busy". Zero means DefaultPending.
	Pending int
	// Bytes bounds them by the sum of their bodies as JSON, too; one alone may
	// be larger. Zero means DefaultBytes.
	Bytes int
	// TracerProvider makes spans for sampled commands. Nil means none; the
	// trace context is passed on all the same.
	TracerProvider trace.TracerProvider
	Logger         *slog.Logger
}

// ErrOutcomeUnknown is wrapped in Do's error when no answer came in time.
var ErrOutcomeUnknown = errors.New("no answer in time: the command may have taken or may yet take effect")

// ErrClosed is wrapped in the error of a command that Close didn't wait for.
var ErrClosed = errors.New("command bus is closed")

// Bus carries commands to Config.Submit and answers back.
type Bus struct {
	cfg     Config
	local   *Local // nil if the Pub/Sub is somebody else's
	replies *replies
	tracing *tracing
	waits   sync.Pool // of chan answer, empty

	closing   chan struct{}
	closeOnce sync.Once
}

// New makes a Bus; Run makes it handle commands. It returns an error that names
// the field for a bad config.
func New(cfg Config) (*Bus, error) {
	switch {
	case cfg.Submit == nil:
		return nil, errors.New("command bus: Submit is nil")
	case cfg.Logger == nil:
		return nil, errors.New("command bus: Logger is nil")
	case (cfg.Publisher == nil) != (cfg.Subscriber == nil):
		return nil, errors.New("command bus: one of Publisher and Subscriber is nil")
	case cfg.Timeout < 0:
		return nil, fmt.Errorf("command bus: Timeout is %v", cfg.Timeout)
	case cfg.Pending < 0:
		return nil, fmt.Errorf("command bus: Pending is %d", cfg.Pending)
	case cfg.Bytes < 0:
		return nil, fmt.Errorf("command bus: Bytes is %d", cfg.Bytes)
	}
	if cfg.Topic == "" {
		cfg.Topic = DefaultTopic
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Pending == 0 {
		cfg.Pending = DefaultPending
	}
	if cfg.Bytes == 0 {
		cfg.Bytes = DefaultBytes
	}
	b := &Bus{closing: make(chan struct{})}
	b.waits.New = func() any { return make(chan answer, 1) }
	if cfg.Publisher == nil {
		b.local = NewLocal(cfg.Pending)
		cfg.Publisher, cfg.Subscriber = b.local, b.local
	}
	b.cfg = cfg
	b.replies = newReplies(cfg.Pending, cfg.Bytes)
	b.tracing = newTracing(cfg.TracerProvider, cfg.Topic)
	return b, nil
}

// Do sends a command and waits for what it comes to: Begin and Wait. Its
// context, or Config.Timeout if that has no deadline, bounds both.
func (b *Bus) Do(ctx context.Context, cmd domain.Command) (*domain.Commit, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	p, err := b.begin(ctx, &cmd)
	if err != nil {
		return nil, err
	}
	return p.Wait(ctx)
}

// bound gives a context without a deadline one.
func (b *Bus) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, b.cfg.Timeout)
}

// Pending is a command that was sent. Wait must be called, once.
type Pending struct {
	bus  *Bus
	id   string
	wait chan answer
}

// Begin sends a command and returns when it has its place: commands of one
// stream that one goroutine begins are decided in that order. With an error
// the command was not sent, or is as good as not sent: as the error of Wait
// says. While the queue is full Begin waits, bounded by ctx.
func (b *Bus) Begin(ctx context.Context, cmd domain.Command) (*Pending, error) {
	p, err := b.begin(ctx, &cmd)
	if err != nil {
		return nil, err
	}
	return &p, nil
}

func (b *Bus) begin(ctx context.Context, cmd *domain.Command) (Pending, error) {
	p := Pending{bus: b, id: uuid.NewString()}
	msg, err := encode(p.id, cmd)
	if err != nil {
		return Pending{}, err
	}
	msg.SetContext(ctx)

	p.wait = b.waits.Get().(chan answer)
	if no := b.replies.expect(p.id, p.wait, len(msg.Payload)); no != nil {
		b.waits.Put(p.wait)
		return Pending{}, no
	}
	end := b.tracing.publishing(ctx, msg, cmd.Type)
	err = b.cfg.Publisher.Publish(b.cfg.Topic, msg)
	end(err)
	if err != nil && b.replies.take(p.id) != nil {
		b.waits.Put(p.wait)
		return Pending{}, publishError(ctx, cmd.Type, err)
	}
	return p, nil // also if publishing failed and there is an answer all the same
}

// Wait waits for what the command comes to: the commit, once it is durable, or
// an error. The error is or wraps a *domain.Rejection where the answer is
// "no"; anything else is a fault.
//
// When the context ends first (or Config.Timeout, if it has no deadline), the
// command may still take effect. The error then wraps ErrOutcomeUnknown, the
// context's error and a "log_unavailable" rejection that asks the caller to
// come again with the same id.
func (p *Pending) Wait(ctx context.Context) (*domain.Commit, error) {
	b := p.bus
	ctx, cancel := b.bound(ctx)
	defer cancel()
	select {
	case a := <-p.wait:
		b.waits.Put(p.wait)
		return a.commit, a.err
	case <-ctx.Done():
		return b.give(p.id, p.wait, outcomeUnknown(ctx.Err()))
	case <-b.closing:
		return b.give(p.id, p.wait, outcomeUnknown(ErrClosed))
	}
}

// give gives a wait up, with an error unless the answer is there or about to.
func (b *Bus) give(id string, wait chan answer, err error) (*domain.Commit, error) {
	if b.replies.take(id) == nil {
		a := <-wait
		b.waits.Put(wait)
		return a.commit, a.err
	}
	b.waits.Put(wait)
	return nil, err
}

func publishError(ctx context.Context, commandType string, err error) error {
	if ctx.Err() != nil {
		return outcomeUnknown(err)
	}
	return fmt.Errorf("publish %s: %w", commandType, err)
}

func outcomeUnknown(cause error) error {
	no := domain.Reject(domain.CodeLogUnavailable, "no answer in time; the command may yet take effect, ask again with the same id")
	no.Details = map[string]any{"retryAfter": 1}
	return fmt.Errorf("%w: %w: %w", ErrOutcomeUnknown, cause, no)
}

// Pending is the number of commands that wait for an answer.
func (b *Bus) Pending() int { return b.replies.len() }

// Run hands commands on until the context ends or Close is called; then, and if
// that was before, it returns nil. It returns an error when the subscription cannot be made or ends
// by itself. Only one Run at a time keeps the order.
func (b *Bus) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages, err := b.cfg.Subscriber.Subscribe(ctx, b.cfg.Topic)
	if err != nil {
		select {
		case <-b.closing:
			return nil
		default:
			return fmt.Errorf("subscribe to %q: %w", b.cfg.Topic, err)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.closing:
			return nil
		case msg, open := <-messages:
			if !open {
				if ctx.Err() != nil {
					return nil
				}
				select {
				case <-b.closing:
					return nil
				default:
					return fmt.Errorf("subscription to %q ended", b.cfg.Topic)
				}
			}
			b.handle(msg)
		}
	}
}

// handle hands one command on. A message that cannot be handed on is answered
// and acked, too: it would not get better by coming again.
func (b *Bus) handle(msg *message.Message) {
	id := msg.UUID
	defer msg.Ack()
	defer func() {
		if reason := recover(); reason != nil {
			b.cfg.Logger.Error("handling a command panicked", "command", msg.Metadata[metaType], "reason", reason, "stack", string(debug.Stack()))
			b.replies.deliver(id, answer{err: fmt.Errorf("handle %s: panic: %v", msg.Metadata[metaType], reason)})
		}
	}()
	cmd, err := decode(msg)
	if err != nil {
		b.replies.deliver(id, answer{err: err})
		return
	}
	end := b.tracing.handling(msg, &cmd)
	b.cfg.Submit(cmd, func(commit *domain.Commit, err error) {
		end(err)
		b.replies.deliver(id, answer{commit, err})
	})
}

// Close takes no more commands ("draining"), waits until those under way are
// answered or the context ends, and makes Run return. In the latter case who
// still waits gets ErrOutcomeUnknown and ErrClosed at once, and
// Close returns the context's error. It may be called any number of times.
func (b *Bus) Close(ctx context.Context) error {
	var err error
	select {
	case <-b.replies.close():
	case <-ctx.Done():
		err = fmt.Errorf("finish %d commands under way: %w", b.replies.len(), ctx.Err())
	}
	b.closeOnce.Do(func() { close(b.closing) })
	if b.local != nil {
		err = errors.Join(err, b.local.Close())
	}
	return err
}

func asRejection(err error) (*domain.Rejection, bool) {
	var no *domain.Rejection
	return no, errors.As(err, &no)
}
