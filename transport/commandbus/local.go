package commandbus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// DefaultLocalBuffer is the default of NewLocal's buffer.
const DefaultLocalBuffer = 16384

// ErrLocalClosed is returned by Local's methods after Close.
var ErrLocalClosed = errors.New("pub/sub is closed")

// Local is a Watermill Publisher and Subscriber within the process that keeps
// order. Each topic is a queue: a message is held until a subscriber acks it,
// the next one is withheld until then, and a nack brings the same one again.
// The message that a subscriber gets is the one that was published, with its
// context, hence it must not be touched after Publish.
//
// A topic has one subscriber at a time, for the sake of order: a second
// Subscribe takes over, and the channel of the first is closed.
//
// A full queue makes Publish wait until there is room or the message's context
// ends. Nothing outlives the process, and Close drops what is queued.
type Local struct {
	buffer int

	mu     sync.Mutex // guards topics, closed, and each topic's subscription
	topics map[string]*topic
	closed bool

	closing chan struct{}
	pumps   sync.WaitGroup
}

type topic struct {
	queue chan *message.Message
	sub   *subscription
}

// subscription ends when its context does; done is closed after its output.
type subscription struct {
	cancel context.CancelFunc
	done   chan struct{}
	// head is what was taken from the queue and not acked. The next
	// subscription takes it over once done is closed.
	head *message.Message
}

// NewLocal makes a Pub/Sub whose topics hold buffer messages each. Zero means
// DefaultLocalBuffer.
func NewLocal(buffer int) *Local {
	if buffer <= 0 {
		buffer = DefaultLocalBuffer
	}
	return &Local{buffer: buffer, topics: make(map[string]*topic), closing: make(chan struct{})}
}

// topic returns the topic of a name. The caller holds mu.
func (l *Local) topic(name string) *topic {
	t := l.topics[name]
	if t == nil {
		t = &topic{queue: make(chan *message.Message, l.buffer)}
		l.topics[name] = t
	}
	return t
}

// Publish implements message.Publisher. It returns once all messages are
// queued, or with ErrLocalClosed or the error of a message's context; then the
// messages before that one are queued and the rest are not.
func (l *Local) Publish(topicName string, messages ...*message.Message) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrLocalClosed
	}
	queue := l.topic(topicName).queue
	l.mu.Unlock()
	for _, msg := range messages {
		select {
		case queue <- msg:
			continue
		default:
		}
		select {
		case queue <- msg:
		case <-msg.Context().Done():
			return fmt.Errorf("wait for room in %q: %w", topicName, msg.Context().Err())
		case <-l.closing:
			return ErrLocalClosed
		}
	}
	return nil
}

// Subscribe implements message.Subscriber.
func (l *Local) Subscribe(ctx context.Context, topicName string) (<-chan *message.Message, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrLocalClosed
	}
	t := l.topic(topicName)
	before := t.sub
	ctx, cancel := context.WithCancel(ctx)
	t.sub = &subscription{cancel: cancel, done: make(chan struct{})}
	if before != nil {
		before.cancel()
	}
	out := make(chan *message.Message)
	l.pumps.Add(1)
	go l.pump(ctx, t.queue, before, t.sub, out)
	return out, nil
}

// pump hands one message after the other to a subscription.
func (l *Local) pump(ctx context.Context, queue <-chan *message.Message, before, sub *subscription, out chan<- *message.Message) {
	defer l.pumps.Done()
	defer close(sub.done)
	defer close(out)
	defer sub.cancel()
	if before != nil {
		<-before.done
		sub.head = before.head
	}
	for {
		if sub.head == nil {
			select {
			case sub.head = <-queue:
			case <-ctx.Done():
				return
			case <-l.closing:
				return
			}
		}
		select {
		case out <- sub.head:
		case <-ctx.Done():
			return
		case <-l.closing:
			return
		}
		select {
		case <-sub.head.Acked():
			sub.head = nil
		case <-sub.head.Nacked():
			sub.head = sub.head.CopyWithContext()
		case <-ctx.Done():
			sub.leave()
			return
		case <-l.closing:
			return
		}
	}
}

// leave settles what becomes of a message that was handed over when the
// subscription ends: one that was acked by then is done, any other comes again.
func (s *subscription) leave() {
	select {
	case <-s.head.Acked():
		s.head = nil
	default:
		s.head = s.head.CopyWithContext()
	}
}

// Close implements message.Publisher and message.Subscriber: it ends all
// subscriptions and waits for that. It may be called any number of times.
func (l *Local) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.closing)
	}
	l.mu.Unlock()
	l.pumps.Wait()
	return nil
}
