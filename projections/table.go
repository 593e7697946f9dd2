package projections

// table keeps rows of a SQLite table in memory for a fold: read once, changed
// in place, written once per batch, in the order in which they were first
// changed. A row is read for every key, so that at most cap of them stay after
// a batch.
type table[K comparable, R any] struct {
	cap   int
	rows  map[K]*entry[R]
	dirty []*entry[R]
	// load reads a row, false if there is none; store writes it.
	load  func(K) (R, bool, error)
	store func(*R) error
}

type entry[R any] struct {
	row   R
	found bool
	dirty bool
}

func newTable[K comparable, R any](load func(K) (R, bool, error), store func(*R) error) *table[K, R] {
	return &table[K, R]{cap: 1 << 15, rows: map[K]*entry[R]{}, load: load, store: store}
}

// get gives the row of a key and whether there is one. If there is none it is
// the zero row, and put makes it one.
func (t *table[K, R]) get(k K) (*entry[R], error) {
	if e, ok := t.rows[k]; ok {
		return e, nil
	}
	r, found, err := t.load(k)
	if err != nil {
		return nil, err
	}
	e := &entry[R]{row: r, found: found}
	t.rows[k] = e
	return e, nil
}

// put marks a row as changed.
func (t *table[K, R]) put(e *entry[R]) {
	e.found = true
	if !e.dirty {
		e.dirty = true
		t.dirty = append(t.dirty, e)
	}
}

// flush writes the changed rows.
func (t *table[K, R]) flush() error {
	for _, e := range t.dirty {
		if err := t.store(&e.row); err != nil {
			return err
		}
		e.dirty = false
	}
	clear(t.dirty)
	t.dirty = t.dirty[:0]
	if len(t.rows) > t.cap {
		clear(t.rows)
	}
	return nil
}

// forget drops everything.
func (t *table[K, R]) forget() {
	clear(t.rows)
	clear(t.dirty)
	t.dirty = t.dirty[:0]
}
