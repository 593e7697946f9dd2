package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"bms/domain"
)

// AllStreams is the topic of all streams together, in log order.
const AllStreams = "*"

// SubscriberConfig is what NewSubscriber needs; the zero value is usable.
type SubscriberConfig struct {
	// Group is the consumer group: its offset in each topic is kept in the
	// log, and of its subscriptions to a topic one at a time gets messages,
	// while the others wait to take over. Without a group, every
	// subscription gets the whole topic from its beginning.
	Group string
	// NackDelay is how long a refused message rests before it comes again.
	// Zero is 10 ms.
	NackDelay time.Duration
	// Logger gets what ends or delays a subscription. Nil discards it.
	Logger *slog.Logger
}

// Subscriber is a Watermill subscriber on a log. A topic is a stream, or
// AllStreams. Messages come in log order, the next after the one before was
// acknowledged; one that was refused comes again. Offsets are stored when a
// subscription has nothing more to deliver, when it ends, and every 200 ms in
// between: after a crash, what was acknowledged since then comes again.
//
// Commits of events come as messages too: their payload is the JSON array of
// the events' envelopes.
type Subscriber struct {
	log    *Log
	config SubscriberConfig
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex // guards closed, and running against Close
	closed bool
	// running counts subscriptions.
	running sync.WaitGroup
}

var _ message.Subscriber = (*Subscriber)(nil)

const storeOffsetEvery = 200 * time.Millisecond

// NewSubscriber makes a subscriber on a log, which stays the caller's. The
// caller closes the subscriber; closing the log ends its subscriptions too.
func NewSubscriber(l *Log, config SubscriberConfig) *Subscriber {
	if config.NackDelay == 0 {
		config.NackDelay = 10 * time.Millisecond
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Subscriber{log: l, config: config, ctx: ctx, cancel: cancel}
}

// Subscribe implements message.Subscriber. It returns
// domain.ErrLogUnavailable when subscriber or log is closed.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.log.claims.enter(&s.log.subscriptions) {
		return nil, fmt.Errorf("subscribe to %q: %w", topic, errClosed)
	}
	ctx, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(s.ctx, cancel)
	b := &subscription{subscriber: s, log: s.log, topic: topic, out: make(chan *message.Message)}
	s.running.Go(func() {
		defer s.log.subscriptions.Done()
		defer close(b.out)
		defer cancel()
		defer unlink()
		err := b.run(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, errClosed) {
			s.config.Logger.Error("subscription ended", "topic", topic, "group", s.config.Group, "error", err)
		}
	})
	return b.out, nil
}

// Close implements message.Subscriber: it ends the subscriptions and waits for
// them. It may be called more than once.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
	return nil
}

// subscription delivers one topic to one channel, in one goroutine.
type subscription struct {
	subscriber *Subscriber
	log        *Log
	topic      string
	out        chan *message.Message

	seq     uint64 // delivered and acknowledged up to here
	version uint64 // the same within the stream
	live    bool   // reading the whole log's end, not the stream's history
	seen    uint64 // live: read up to here

	stored   uint64 // the offset that is stored
	storedAt time.Time
}

// run delivers until the context or the log ends. Its error is one of reading.
func (b *subscription) run(ctx context.Context) (err error) {
	group := b.subscriber.config.Group
	if group != "" {
		release, err := b.log.claims.take(ctx, b.log.stop, group, b.topic)
		if err != nil {
			return err
		}
		defer release()
		if err := b.resume(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.store()) }()
	}
	for {
		commits, err := b.next(ctx)
		if b.passing(err) {
			b.subscriber.config.Logger.Warn("subscription reads again in a second", "topic", b.topic, "group", group, "error", err)
			b.rest(ctx, time.Second)
			continue
		}
		if err != nil {
			return err
		}
		for _, c := range commits {
			if err := b.deliver(ctx, c); err != nil {
				return err
			}
			b.seq, b.version = c.Position.Seq, c.Version
			if time.Since(b.storedAt) >= storeOffsetEvery {
				if err := b.store(); err != nil {
					return err
				}
			}
		}
		if err := b.store(); err != nil {
			return err
		}
	}
}

// resume continues where the group has come to.
func (b *subscription) resume(ctx context.Context) error {
	seq, err := b.log.pool.offset(ctx, b.subscriber.config.Group, b.topic)
	if err != nil || seq == 0 {
		return err
	}
	commits, err := b.log.Read(ctx, seq-1, 1)
	if err != nil {
		return err
	}
	if len(commits) == 0 {
		// Relaxed durability and a crash: the log is shorter than what was
		// acknowledged. What comes now is new.
		seq = b.log.Head().Seq
		b.live, b.seen = true, seq
	} else {
		b.version = commits[0].Version
	}
	b.seq, b.stored = seq, seq
	return nil
}

// store keeps the offset if it has moved.
func (b *subscription) store() error {
	group := b.subscriber.config.Group
	if group == "" || b.seq == b.stored {
		return nil
	}
	c := &call{ctx: context.Background(), offset: &offset{group, b.topic, b.seq}, done: make(chan error, 1)}
	if err := b.log.submit(c, 0); err != nil {
		if !b.passing(err) {
			return fmt.Errorf("store the offset of group %q in topic %q: %w", group, b.topic, err)
		}
		b.subscriber.config.Logger.Warn("offset is stored later", "topic", b.topic, "group", group, "error", err)
		b.storedAt = time.Now()
		return nil
	}
	b.stored, b.storedAt = b.seq, time.Now()
	return nil
}

// next returns what is next in the topic, waiting for it. A stream's history
// is read by the stream's index; its end by following the whole log, which
// costs no I/O.
func (b *subscription) next(ctx context.Context) ([]*domain.Commit, error) {
	if b.topic == AllStreams {
		return b.log.Next(ctx, b.seq, maxBatch)
	}
	for {
		if b.live && b.log.Head().Seq-b.seen > maxBatch {
			b.live = false // slow: other streams' commits are not worth reading
		}
		if !b.live {
			head := b.log.Head().Seq
			commits, err := b.log.ReadStream(ctx, b.topic, b.version, maxBatch)
			if err != nil || len(commits) > 0 {
				return commits, err
			}
			b.live, b.seen = true, head
		}
		commits, err := b.log.Next(ctx, b.seen, maxBatch)
		if err != nil {
			return nil, err
		}
		b.seen = commits[len(commits)-1].Position.Seq
		var own []*domain.Commit
		for _, c := range commits {
			if c.Stream == b.topic && c.Version > b.version {
				own = append(own, c)
			}
		}
		if len(own) > 0 {
			return own, nil
		}
	}
}

// deliver offers a commit until it is acknowledged.
func (b *subscription) deliver(ctx context.Context, c *domain.Commit) error {
	for {
		acked, err := b.offer(ctx, messageOf(c))
		if err != nil || acked {
			return err
		}
		b.rest(ctx, b.subscriber.config.NackDelay)
	}
}

// passing reports whether an error is one of the disk that may pass.
func (b *subscription) passing(err error) bool {
	return errors.Is(err, domain.ErrLogUnavailable) && !errors.Is(err, errClosed)
}

// rest waits, but not beyond the end of the context or the log.
func (b *subscription) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-b.log.stop:
	}
}

func (b *subscription) offer(ctx context.Context, m *message.Message) (acked bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.SetContext(ctx)
	select {
	case b.out <- m:
	case <-ctx.Done():
		return false, ctx.Err()
	case <-b.log.stop:
		return false, errClosed
	}
	select {
	case <-m.Acked():
		return true, nil
	case <-m.Nacked():
		return false, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-b.log.stop:
		err = errClosed
	}
	select {
	case <-m.Acked(): // before the end
		return true, nil
	default:
		return false, err
	}
}
