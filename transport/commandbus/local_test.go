package commandbus

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
)

// Watermill's own suite. What it has for persistent Pub/Subs, consumer groups
// and brokers that restart doesn't apply and is left out by the features.
func Test_local_passes_watermills_suite(t *testing.T) {
	tests.TestPubSub(t, tests.Features{
		ExactlyOnceDelivery:   true,
		GuaranteedOrder:       true,
		RequireSingleInstance: true,
		ContextPreserved:      true,
	}, func(*testing.T) (message.Publisher, message.Subscriber) {
		local := NewLocal(0)
		return local, local
	}, nil)
}

func numbered(n int) *message.Message { return message.NewMessage(strconv.Itoa(n), nil) }

func subscribe(t *testing.T, l *Local, ctx context.Context) <-chan *message.Message {
	t.Helper()
	messages, err := l.Subscribe(ctx, "topic")
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

func Test_a_publisher_s_messages_come_in_order(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const publishers, each = 4, 5000
		l := NewLocal(16)
		messages := subscribe(t, l, t.Context())
		for p := range publishers {
			go func() {
				for i := range each {
					msg := message.NewMessage(strconv.Itoa(p), message.Payload(strconv.Itoa(i)))
					if err := l.Publish("topic", msg); err != nil {
						t.Error(err)
					}
				}
			}()
		}
		next := map[string]int{}
		for range publishers * each {
			msg := <-messages
			if got, want := string(msg.Payload), strconv.Itoa(next[msg.UUID]); got != want {
				t.Fatalf("message %s of publisher %s, want %s", got, msg.UUID, want)
			}
			next[msg.UUID]++
			msg.Ack()
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

func Test_a_full_queue_makes_publish_wait_for_room_or_the_context(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLocal(2)
		if err := l.Publish("topic", numbered(0), numbered(1)); err != nil {
			t.Fatal(err)
		}
		late := numbered(2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		late.SetContext(ctx)
		if err := l.Publish("topic", late); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("publish to a full queue: %v, want the deadline's error", err)
		}
		published := make(chan error, 1)
		go func() { published <- l.Publish("topic", numbered(3)) }()
		synctest.Wait()
		messages := subscribe(t, l, t.Context())
		for _, want := range []string{"0", "1", "3"} {
			msg := <-messages
			if msg.UUID != want {
				t.Errorf("message %s, want %s", msg.UUID, want)
			}
			msg.Ack()
		}
		if err := <-published; err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

func Test_a_second_subscriber_takes_over_without_loss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLocal(0)
		first := subscribe(t, l, t.Context())
		for i := range 4 {
			if err := l.Publish("topic", numbered(i)); err != nil {
				t.Fatal(err)
			}
		}
		(<-first).Ack()
		(<-first).Nack()
		unacked := <-first
		if unacked.UUID != "1" {
			t.Errorf("message %s after a nack of 1, want 1 again", unacked.UUID)
		}
		second := subscribe(t, l, t.Context())
		if _, open := <-first; open {
			t.Error("a message on the first subscription, want it closed")
		}
		unacked.Ack() // too late: it comes again
		for _, want := range []string{"1", "2", "3"} {
			msg := <-second
			if msg.UUID != want {
				t.Errorf("message %s, want %s", msg.UUID, want)
			}
			if msg == unacked {
				t.Error("the very message of the first subscription, which it could ack for the second")
			}
			msg.Ack()
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

func Test_close_ends_all_that_waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLocal(1)
		var all sync.WaitGroup
		messages := subscribe(t, l, t.Context())
		for i := range 3 { // handed over, queued, waiting for room
			all.Go(func() { _ = l.Publish("topic", numbered(i)) })
		}
		<-messages
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		all.Wait()
		if _, open := <-messages; open {
			t.Error("a message after close")
		}
		if err := l.Publish("topic", numbered(9)); !errors.Is(err, ErrLocalClosed) {
			t.Errorf("publish after close: %v, want ErrLocalClosed", err)
		}
		if _, err := l.Subscribe(t.Context(), "topic"); !errors.Is(err, ErrLocalClosed) {
			t.Errorf("subscribe after close: %v, want ErrLocalClosed", err)
		}
	})
}
