package projections

import (
	"database/sql/driver"
	"strings"
)

// bulk gathers rows to insert and inserts them many at a time: a statement
// costs more than the row in it.
type bulk struct {
	writer  *conn
	columns int
	many    string // the statement for bulkRows rows
	single  string // the statement for one
	args    []driver.Value
}

const bulkRows = 32

// newBulk makes the gatherer for a statement that ends before its VALUES, for
// instance "INSERT INTO ledger", and a number of columns.
func newBulk(writer *conn, insert string, columns int) *bulk {
	tuple := "(" + strings.TrimSuffix(strings.Repeat("?,", columns), ",") + ")"
	return &bulk{
		writer: writer, columns: columns,
		single: insert + " VALUES " + tuple,
		many:   insert + " VALUES " + strings.TrimSuffix(strings.Repeat(tuple+",", bulkRows), ","),
	}
}

func (b *bulk) add(row ...driver.Value) error {
	b.args = append(b.args, row...)
	if len(b.args) < b.columns*bulkRows {
		return nil
	}
	err := b.writer.exec(b.many, b.args...)
	b.forget()
	return err
}

func (b *bulk) flush() error {
	for args := b.args; len(args) > 0; args = args[b.columns:] {
		if err := b.writer.exec(b.single, args[:b.columns]...); err != nil {
			return err
		}
	}
	b.forget()
	return nil
}

func (b *bulk) forget() {
	clear(b.args)
	b.args = b.args[:0]
}
