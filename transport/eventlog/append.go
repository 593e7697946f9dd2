package eventlog

import (
	"context"
	"fmt"
	"maps"

	"bms/domain"
)

// Append implements domain.Appender. When the queue is full it waits until
// there is room or ctx ends; once queued it waits for the writer or the end of
// ctx. A call is kept as a whole or not at all. An error that is none of
// domain's nor the context's says that a commit can't be stored as it is (text
// that is not UTF-8, data that is not JSON); nothing of the call is in the log
// then.
func (l *Log) Append(ctx context.Context, commits ...*domain.Commit) error {
	return l.append(ctx, commits, false)
}

// append is Append; with next, commits take the next versions of their streams
// whatever those are.
func (l *Log) append(ctx context.Context, commits []*domain.Commit, next bool) error {
	if len(commits) == 0 {
		return nil
	}
	c := &call{ctx: ctx, records: make([]*record, len(commits)), done: make(chan error, 1)}
	bytes := 0
	for i, commit := range commits {
		l.stamp(commit)
		r, err := encode(commit, next)
		if err != nil {
			return fmt.Errorf("append: %w", err)
		}
		c.records[i] = r
		bytes += r.bytes
	}
	return l.submit(c, bytes)
}

// stamp notes in a commit how durable it will be when it is answered. Metadata
// may be shared, and be another commit's that this one follows from.
func (l *Log) stamp(c *domain.Commit) {
	said := c.Metadata[domain.MetadataDurability]
	switch {
	case l.config.Durability == Relaxed && said != Relaxed:
		c.Metadata = maps.Clone(c.Metadata)
		if c.Metadata == nil {
			c.Metadata = make(map[string]string, 1)
		}
		c.Metadata[domain.MetadataDurability] = Relaxed
	case l.config.Durability != Relaxed && said != "":
		c.Metadata = maps.Clone(c.Metadata)
		delete(c.Metadata, domain.MetadataDurability)
	}
}

func (l *Log) submit(c *call, bytes int) error {
	if err := l.queue.put(c, bytes); err != nil {
		return err
	}
	select {
	case err := <-c.done:
		return err
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}
