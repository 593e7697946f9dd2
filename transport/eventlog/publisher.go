package eventlog

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"bms/domain"
)

// Metadata of messages. A subscriber sets all that apply, beside the commit's
// own (traceparent, tracestate …); a publisher takes the command's from it.
const (
	MetadataStream      = "stream"
	MetadataVersion     = "version"
	MetadataPos         = "pos"
	MetadataUserID      = "userId"
	MetadataCommandID   = "commandId"
	MetadataCommandType = "commandType"
)

// metadataUUID keeps a message's UUID where the command id does not tell it.
const metadataUUID = "_uuid"

// Publisher is a Watermill publisher on a log: a message becomes a commit of
// the stream that is its topic, at the next version whatever that is, with the
// message's payload as Commit.Message. Publish returns when the messages are
// durable, all of them or none.
//
// A message takes effect once in its topic, by its UUID; publishing it there
// again succeeds and does nothing. A message whose metadata has commandId (and
// userId, commandType) is that command's commit, once in the log; unless it has
// pos, which says that it came out of a log and is passed on.
type Publisher struct {
	log    *Log
	closed atomic.Bool
}

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher makes a publisher on a log, which stays the caller's.
func NewPublisher(l *Log) *Publisher { return &Publisher{log: l} }

// Publish implements message.Publisher. It waits as Append does, until the
// context of the first message ends. It returns domain.ErrDuplicateCommand for
// a message whose command is in the log as something else.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	if p.closed.Load() {
		return fmt.Errorf("publish to %q: %w", topic, errClosed)
	}
	if topic == AllStreams {
		return fmt.Errorf("publish to %q: it stands for all topics", topic)
	}
	if len(messages) == 0 {
		return nil
	}
	err := p.append(topic, messages)
	if !errors.Is(err, domain.ErrDuplicateCommand) {
		return wrapPublish(topic, err)
	}
	// Some of them are there already.
	for _, m := range messages {
		err := p.append(topic, []*message.Message{m})
		if errors.Is(err, domain.ErrDuplicateCommand) {
			err = p.same(topic, m, err)
		}
		if err != nil {
			return wrapPublish(topic, err)
		}
	}
	return nil
}

func wrapPublish(topic string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("publish to %q: %w", topic, err)
}

func (p *Publisher) append(topic string, messages []*message.Message) error {
	now := p.log.config.Now().UTC().Truncate(time.Millisecond)
	commits := make([]*domain.Commit, len(messages))
	for i, m := range messages {
		commits[i] = commitOfMessage(topic, m, now)
	}
	return p.log.append(messages[0].Context(), commits, true)
}

// same returns duplicate unless the commit that is there is this very message.
func (p *Publisher) same(topic string, m *message.Message, duplicate error) error {
	c := commitOfMessage(topic, m, time.Time{})
	there, err := p.log.FindCommand(m.Context(), c.UserID, c.CommandID)
	if err != nil {
		return err
	}
	if there.Stream != topic || there.Message == nil || !bytes.Equal(there.Message, m.Payload) {
		return duplicate
	}
	return nil
}

func commitOfMessage(topic string, m *message.Message, at time.Time) *domain.Commit {
	c := &domain.Commit{Stream: topic, At: at, Message: append([]byte{}, m.Payload...)}
	metadata := maps.Clone(m.Metadata)
	if id := m.Metadata[MetadataCommandID]; id != "" && m.Metadata[MetadataPos] == "" {
		c.UserID, c.CommandID, c.CommandType = m.Metadata[MetadataUserID], id, m.Metadata[MetadataCommandType]
		if id != m.UUID {
			metadata[metadataUUID] = m.UUID
		}
	} else if m.UUID != "" {
		c.CommandID = m.UUID + "@" + topic
	}
	if len(metadata) > 0 {
		c.Metadata = metadata
	}
	return c
}

// messageOf makes a message of a commit. A commit of events gives their
// envelopes as a JSON array, and its position as UUID.
func messageOf(c *domain.Commit) *message.Message {
	var m *message.Message
	pos := c.Position.String()
	if c.Message != nil {
		m = message.NewMessage("", append([]byte{}, c.Message...))
	} else {
		payload := append(make([]byte, 0, 512), '[')
		for i := range c.Events {
			if i > 0 {
				payload = append(payload, ',')
			}
			payload = c.Events[i].AppendEnvelope(payload)
		}
		m = message.NewMessage(pos, append(payload, ']'))
	}
	for k, v := range c.Metadata {
		m.Metadata[k] = v
	}
	if c.Message != nil {
		uuid, derived := strings.CutSuffix(c.CommandID, "@"+c.Stream)
		if kept, ok := m.Metadata[metadataUUID]; ok {
			uuid = kept
			delete(m.Metadata, metadataUUID)
		}
		m.UUID = uuid
		if derived {
			c = &domain.Commit{Stream: c.Stream, Version: c.Version}
		}
	}
	for k, v := range map[string]string{MetadataUserID: c.UserID, MetadataCommandID: c.CommandID, MetadataCommandType: c.CommandType} {
		if v != "" {
			m.Metadata[k] = v
		}
	}
	m.Metadata[MetadataStream] = c.Stream
	m.Metadata[MetadataVersion] = strconv.FormatUint(c.Version, 10)
	m.Metadata[MetadataPos] = pos
	return m
}

// Close implements message.Publisher. The log stays open.
func (p *Publisher) Close() error {
	p.closed.Store(true)
	return nil
}
