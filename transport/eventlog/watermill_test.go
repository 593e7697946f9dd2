package eventlog

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"

	"bms/domain"
)

// TestWatermill_conformance runs Watermill's own suite. Delivery is at least
// once: what was acknowledged within the last 200 ms before a crash comes
// again.
func TestWatermill_conformance(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir()})
	group := func(_ *testing.T, group string) (message.Publisher, message.Subscriber) {
		return NewPublisher(l), NewSubscriber(l, SubscriberConfig{Group: group, NackDelay: time.Millisecond})
	}
	// The suite runs its tests in parallel to each other: they end before
	// the log is closed.
	t.Run("suite", func(t *testing.T) {
		tests.TestPubSub(t, tests.Features{
			ConsumerGroups:  true,
			GuaranteedOrder: true,
			Persistent:      true,
		}, func(t *testing.T) (message.Publisher, message.Subscriber) { return group(t, "default") }, group)
	})
	t.Run("without_a_group_every_subscriber_gets_old_messages", func(t *testing.T) {
		id := tests.TestID(watermill.NewUUID())
		tests.TestNewSubscriberReceivesOldMessages(t, tests.TestContext{
			TestID:   id,
			Features: tests.Features{Persistent: true, GuaranteedOrder: true, NewSubscriberReceivesOldMessages: true},
		}, func(t *testing.T) (message.Publisher, message.Subscriber) { return group(t, "") })
	})
}

// receive takes a message that must come.
func receive(t *testing.T, messages <-chan *message.Message) *message.Message {
	t.Helper()
	m, ok := <-messages
	if !ok {
		t.Fatal("the subscription has ended")
	}
	return m
}

func subscribe(t *testing.T, s *Subscriber, topic string) <-chan *message.Message {
	t.Helper()
	messages, err := s.Subscribe(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

func TestSubscriber_gives_events_as_envelopes(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir()})
	c := adjustment("branch/b1", 1, "c1")
	c.Events = append(c.Events, c.Events[0])
	if err := l.Append(t.Context(), c, &domain.Commit{Stream: "branch/b1", Version: 2, At: testTime}); err != nil {
		t.Fatal(err)
	}
	s := NewSubscriber(l, SubscriberConfig{})
	defer s.Close()
	for _, topic := range []string{"branch/b1", AllStreams} {
		messages := subscribe(t, s, topic)
		m := receive(t, messages)
		want := "[" + string(c.Events[0].AppendEnvelope(nil)) + "," + string(c.Events[1].AppendEnvelope(nil)) + "]"
		if got := string(m.Payload); got != want {
			t.Errorf("payload is\n%s\nwant\n%s", got, want)
		}
		if m.UUID != c.Position.String() {
			t.Errorf("UUID is %q, want %q", m.UUID, c.Position)
		}
		wantMetadata := message.Metadata{
			MetadataStream: "branch/b1", MetadataVersion: "1", MetadataPos: c.Position.String(), MetadataUserID: "u-17",
			MetadataCommandID: "c1", MetadataCommandType: domain.CommandAdjustStock, "traceparent": c.Metadata["traceparent"],
		}
		if !maps.Equal(m.Metadata, wantMetadata) {
			t.Errorf("metadata is %v, want %v", m.Metadata, wantMetadata)
		}
		m.Ack()
		if m := receive(t, messages); string(m.Payload) != "[]" {
			t.Errorf("payload of a commit without events is %s, want []", m.Payload)
		}
	}
}

func TestPublisher_publishes_once(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir()})
	p := NewPublisher(l)
	publish := func(topic, uuid, payload string, metadata message.Metadata) error {
		m := message.NewMessage(uuid, []byte(payload))
		maps.Copy(m.Metadata, metadata)
		return p.Publish(topic, m)
	}
	command := message.Metadata{MetadataUserID: "u1", MetadataCommandID: "c1", MetadataCommandType: "stock.adjust", "traceparent": "00-x"}
	for _, c := range []struct {
		topic, uuid, payload string
		metadata             message.Metadata
		length               uint64
		want                 error
	}{
		{"t1", "m1", "a", nil, 1, nil},
		{"t1", "m1", "a", nil, 1, nil}, // again
		{"t1", "m1", "b", nil, 1, domain.ErrDuplicateCommand},
		{"t2", "m1", "a", nil, 2, nil},
		{"t1", "", "a", nil, 3, nil}, // without UUID: each is another
		{"t1", "", "a", nil, 4, nil},
		{"t3", "m2", "a", command, 5, nil},
		{"t3", "m3", "a", command, 5, nil}, // a retry of the command, under another UUID
		{"t4", "m2", "a", command, 5, domain.ErrDuplicateCommand},
		{AllStreams, "m9", "a", nil, 5, nil},
	} {
		err := publish(c.topic, c.uuid, c.payload, c.metadata)
		if c.topic == AllStreams {
			if err == nil {
				t.Error("published to all streams")
			}
			continue
		}
		if !errors.Is(err, c.want) || l.Head().Seq != c.length {
			t.Errorf("publish %q to %q: got %v and %d commits, want %v and %d", c.uuid, c.topic, err, l.Head().Seq, c.want, c.length)
		}
	}
	commit, err := l.FindCommand(t.Context(), "u1", "c1")
	if err != nil || commit.CommandType != "stock.adjust" || commit.Metadata["traceparent"] != "00-x" {
		t.Fatalf("find: got %+v, %v", commit, err)
	}

	// A message that came out of the log can be passed on in it.
	s := NewSubscriber(l, SubscriberConfig{})
	defer s.Close()
	m := receive(t, subscribe(t, s, "t3"))
	if m.UUID != "m2" || string(m.Payload) != "a" || m.Metadata["traceparent"] != "00-x" {
		t.Fatalf("got message %q %q %v", m.UUID, m.Payload, m.Metadata)
	}
	if err := p.Publish("poison", m.Copy()); err != nil {
		t.Fatal(err)
	}
	passed := receive(t, subscribe(t, s, "poison"))
	if passed.UUID != "m2" || passed.Metadata[MetadataStream] != "poison" || passed.Metadata[MetadataPos] == m.Metadata[MetadataPos] {
		t.Fatalf("got message %q %v", passed.UUID, passed.Metadata)
	}
}

func TestSubscriber_a_group_continues_after_reopen(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Config{Dir: dir})
	for _, topic := range []string{"a", "b"} {
		var messages []*message.Message
		for i := range 10 {
			messages = append(messages, message.NewMessage(fmt.Sprint(topic, i), []byte("x")))
		}
		if err := NewPublisher(l).Publish(topic, messages...); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string][]string{}
	for range 4 {
		for _, topic := range []string{"a", AllStreams} {
			s := NewSubscriber(l, SubscriberConfig{Group: "g"})
			messages := subscribe(t, s, topic)
			for range 3 {
				m := receive(t, messages)
				got[topic] = append(got[topic], m.UUID)
				m.Ack()
				if topic == "a" && len(got[topic]) == 10 {
					break
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, Config{Dir: dir})
	}
	for topic, want := range map[string]string{
		"a":        "[a0 a1 a2 a3 a4 a5 a6 a7 a8 a9]",
		AllStreams: "[a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 b0 b1]",
	} {
		if s := fmt.Sprint(got[topic]); s != want {
			t.Errorf("topic %q gave %s, want %s", topic, s, want)
		}
	}
}

// What was acknowledged before Close is not given again, also if nobody had the
// time to look at it.
func TestSubscriber_an_acknowledgement_just_before_close_counts(t *testing.T) {
	const messages = 50
	l := open(t, Config{Dir: t.TempDir()})
	for i := range messages {
		if err := NewPublisher(l).Publish("a", message.NewMessage(fmt.Sprint("m", i), nil)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range messages {
		s := NewSubscriber(l, SubscriberConfig{Group: "g"})
		m := receive(t, subscribe(t, s, "a"))
		if want := fmt.Sprint("m", i); m.UUID != want {
			t.Fatalf("got %q, want %q", m.UUID, want)
		}
		m.Ack()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSubscriber_one_of_a_group_at_a_time(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir()})
	first, second := NewSubscriber(l, SubscriberConfig{Group: "g"}), NewSubscriber(l, SubscriberConfig{Group: "g"})
	defer second.Close()
	one := subscribe(t, first, "a")
	if err := NewPublisher(l).Publish("a", message.NewMessage("m1", nil), message.NewMessage("m2", nil)); err != nil {
		t.Fatal(err)
	}
	receive(t, one).Ack()
	m := receive(t, one)
	two := subscribe(t, second, "a")
	select {
	case m := <-two:
		t.Fatalf("the second got %q while the first has the turn", m.UUID)
	default:
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if m.Ack(); m.Context().Err() == nil {
		t.Error("the message's context did not end with the subscriber")
	}
	if m := receive(t, two); m.UUID != "m2" { // it was never acknowledged in time
		t.Fatalf("the second got %q, want m2", m.UUID)
	}
}

func TestSubscriber_ends_with_the_log(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir()})
	s := NewSubscriber(l, SubscriberConfig{Group: "g"})
	holding, waiting, idle := subscribe(t, s, "a"), subscribe(t, s, "a"), subscribe(t, s, AllStreams)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, messages := range []<-chan *message.Message{holding, waiting, idle} {
		if m, ok := <-messages; ok {
			t.Fatalf("got message %q, want the end", m.UUID)
		}
	}
	if _, err := s.Subscribe(t.Context(), "a"); !errors.Is(err, domain.ErrLogUnavailable) {
		t.Fatalf("subscribe: got %v, want %v", err, domain.ErrLogUnavailable)
	}
	if err := NewPublisher(l).Publish("a", message.NewMessage("m1", nil)); !errors.Is(err, domain.ErrLogUnavailable) {
		t.Fatalf("publish: got %v, want %v", err, domain.ErrLogUnavailable)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSubscriber_a_slow_stream_goes_back_to_its_index(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir(), RecentCommits: 16})
	s := NewSubscriber(l, SubscriberConfig{Group: "g"})
	defer s.Close()
	messages := subscribe(t, s, "a")
	p := NewPublisher(l)
	for round := range 3 {
		if err := p.Publish("a", message.NewMessage(fmt.Sprint("m", round), nil)); err != nil {
			t.Fatal(err)
		}
		m := receive(t, messages)
		if want := fmt.Sprint("m", round); m.UUID != want {
			t.Fatalf("got %q, want %q", m.UUID, want)
		}
		// While it is held, others write far more than one batch.
		others := make([]*domain.Commit, 0, maxBatch+100)
		for i := range cap(others) {
			others = append(others, &domain.Commit{Stream: "other", Version: uint64(round*cap(others) + i + 1), At: testTime})
		}
		if err := l.Append(t.Context(), others...); err != nil {
			t.Fatal(err)
		}
		m.Ack()
	}
}
