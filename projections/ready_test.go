package projections

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A fold that hangs is told from one that is slow: by a head that it hasn't
// reached for long.
func TestAProjectionThatDoesntMoveIsNotReady(t *testing.T) {
	shop := newShop(t)
	shop.open("b1")
	shop.product("b1", "p1", 10, 0)
	var now atomic.Int64 // seconds
	now.Store(1_800_000_000)
	c := config(t.TempDir(), shop.log)
	c.Now = func() time.Time { return time.Unix(now.Load(), 0) }
	var hangs atomic.Bool
	reached, release := make(chan struct{}), make(chan struct{})
	c.fault = func(_, step string) {
		if step == stepFolded && hangs.CompareAndSwap(true, false) {
			close(reached)
			<-release
		}
	}
	r := only(t, c, inventoryDefinition())
	r.wait(shop.log.Head())
	now.Add(3600) // at rest, it may take as long as it likes
	if reasons := r.Unready(); len(reasons) != 0 {
		t.Errorf("not ready for %q, want ready", reasons)
	}
	hangs.Store(true)
	shop.adjust("b1", "p1", 1)
	<-reached
	if reasons := r.Unready(); len(reasons) != 0 {
		t.Errorf("not ready for %q just behind, want ready", reasons)
	}
	now.Add(int64(stallTime / time.Second))
	if reasons := strings.Join(r.Unready(), "; "); !strings.Contains(reasons, "inventory is 1 records behind and doesn't move") {
		t.Errorf("not ready for %q, want that it doesn't move", reasons)
	}
	close(release)
	r.wait(shop.log.Head())
	if reasons := r.Unready(); len(reasons) != 0 {
		t.Errorf("not ready for %q after it has moved, want ready", reasons)
	}
}
