package eventlog

// offset says how far a consumer group has acknowledged a topic.
type offset struct {
	consumer, topic string
	seq             uint64
}

func (o *offset) store(c *conn) error {
	s, err := c.prepare("INSERT INTO offsets (consumer, topic, seq) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq")
	if err != nil {
		return err
	}
	err = s.run(o.consumer, o.topic, int64(o.seq))
	if closeErr := s.raw.Close(); err == nil {
		err = closeErr
	}
	return err
}
