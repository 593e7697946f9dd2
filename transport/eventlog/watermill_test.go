package eventlog

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
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
