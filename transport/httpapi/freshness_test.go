package httpapi

import (
	"context"
	"strings"
	"sync"
	"testing"

	"bms/domain"
	"bms/projections"
	"bms/transport/eventlog/eventlogtest"
)

// dosed is a log that gives its followers one commit at a time, and holds one
// of them back until it is let go.
type dosed struct {
	*eventlogtest.Memory
	held  uint64 // its sequence
	letGo chan struct{}
	once  sync.Once
}

func (l *dosed) Next(ctx context.Context, after uint64, _ int) ([]*domain.Commit, error) {
	commits, err := l.Memory.Next(ctx, after, 1)
	if err != nil || commits[0].Position.Seq < l.held {
		return commits, err
	}
	select {
	case <-l.letGo:
		return commits, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// asked is the log as the API has it: whoever asks for its end lets the commit
// go.
type asked struct{ *dosed }

func (l asked) Head() domain.Position {
	l.once.Do(func() { close(l.letGo) })
	return l.dosed.Head()
}

// What is in the log when a read comes is waited for, also behind the position
// that it names: an answer's position is before what its commit entailed.
func Test_a_read_from_a_position_on_is_no_staler_than_one_from_none(t *testing.T) {
	log := &dosed{Memory: eventlogtest.NewMemory(), held: 4, letGo: make(chan struct{})}
	var set *projections.Set
	s := newShop(t, func(c *Config) {
		log.Memory = c.Log.(*eventlogtest.Memory)
		var err error
		if set, err = projections.Open(t.Context(), projections.Config{Dir: t.TempDir(), Log: log, Append: log}); err != nil {
			t.Fatal(err)
		}
		c.Read, c.Log = set, asked{log}
	})
	runSet(t, set)
	s.must("admin", "POST", "/api/branches", `{"branchId":"b1","name":"Mitte"}`)
	s.must("admin", "POST", "/api/branches/b1/products", `{"productId":"cola","sku":"C","name":"Cola","priceMinor":1,"currency":"EUR","minStock":0,"negativeStock":"allow"}`)
	s.must("admin", "PUT", "/api/branches/b1/products/cola/stock", `{"counted":7}`)
	before := log.Memory.Head()
	s.must("admin", "PUT", "/api/branches/b1/products/cola/stock", `{"counted":8}`)
	if before.Seq != 3 {
		t.Fatalf("%d commits before the last, want 3", before.Seq)
	}
	a := s.must("staff", "GET", "/api/branches/b1/products/cola?minPos="+before.String(), "")
	if !strings.Contains(a.body, `"stock":8,`) {
		t.Errorf("product %s, want stock 8", a.body)
	}
}
