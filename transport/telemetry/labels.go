package telemetry

import "sync"

// other stands for every label value that is not let through.
const other = "other"

// allowed lets through the values of a fixed list: for what clients name.
type allowed map[string]struct{}

func allow(values ...string) allowed {
	a := make(allowed, len(values))
	for _, v := range values {
		a[v] = struct{}{}
	}
	return a
}

func (a allowed) value(v string) string {
	if _, ok := a[v]; ok {
		return v
	}
	return other
}

// bounded lets through the first max values: for what the program itself names
// and nobody lists, such as reasons.
type bounded struct {
	max int

	mu   sync.RWMutex // guards seen
	seen map[string]struct{}
}

func bound(max int) *bounded { return &bounded{max: max, seen: map[string]struct{}{}} }

func (b *bounded) value(v string) string {
	b.mu.RLock()
	_, ok := b.seen[v]
	b.mu.RUnlock()
	if ok {
		return v
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.seen[v]; ok {
		return v
	}
	if len(b.seen) >= b.max || len(v) > 128 {
		return other
	}
	b.seen[v] = struct{}{}
	return v
}
