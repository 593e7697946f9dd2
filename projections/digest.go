package projections

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"slices"
	"strings"
)

// paceRows is the number of rows after which a digest in the background rests.
const paceRows = 2000

// digest hashes every row of every table, tables by name and rows by primary
// key. The position and the epochs are no part of it. pace, if not nil, is
// called now and then.
func (v *snapshot) digest(ctx context.Context, pace func()) (string, error) {
	var tables []string
	if err := v.query(ctx, func(r row) error {
		tables = append(tables, r.text(0))
		return nil
	}, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('position', 'epochs') AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'local_%' ORDER BY name"); err != nil {
		return "", err
	}
	h, rows := sha256.New(), 0
	for _, table := range tables {
		writeValue(h, table)
		order, err := v.primaryKey(ctx, table)
		if err != nil {
			return "", err
		}
		if err := v.query(ctx, func(r row) error {
			for _, value := range r {
				writeValue(h, value)
			}
			if rows++; pace != nil && rows%paceRows == 0 {
				pace()
			}
			return nil
		}, "SELECT * FROM "+table+" ORDER BY "+order); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// primaryKey is the list of a table's key columns.
func (v *snapshot) primaryKey(ctx context.Context, table string) (string, error) {
	type column struct {
		place int64
		name  string
	}
	var columns []column
	if err := v.query(ctx, func(r row) error {
		if r.int(1) > 0 {
			columns = append(columns, column{r.int(1), r.text(0)})
		}
		return nil
	}, "SELECT name, pk FROM pragma_table_info(?)", table); err != nil {
		return "", err
	}
	if len(columns) == 0 {
		return "", fmt.Errorf("table %s has no primary key to order by", table)
	}
	slices.SortFunc(columns, func(a, b column) int { return int(a.place - b.place) })
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return strings.Join(names, ", "), nil
}

// writeValue writes a value so that no two sequences of values are alike: its
// type, then its length if it has one, then the value.
func writeValue(h hash.Hash, value any) {
	var b [9]byte
	switch v := value.(type) {
	case nil:
		h.Write([]byte{0})
	case int64:
		b[0] = 1
		binary.LittleEndian.PutUint64(b[1:], uint64(v))
		h.Write(b[:])
	case float64:
		b[0] = 2
		binary.LittleEndian.PutUint64(b[1:], math.Float64bits(v))
		h.Write(b[:])
	case string:
		b[0] = 3
		binary.LittleEndian.PutUint64(b[1:], uint64(len(v)))
		h.Write(b[:])
		h.Write([]byte(v))
	case []byte:
		b[0] = 4
		binary.LittleEndian.PutUint64(b[1:], uint64(len(v)))
		h.Write(b[:])
		h.Write(v)
	}
}
