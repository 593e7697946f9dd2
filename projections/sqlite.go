package projections

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"bms/domain"
	"bms/projections/pagesum"
)

// conn is a connection to a projection's file with its prepared statements. It
// goes past database/sql, whose locks and conversions cost more than a simple
// insert does. One goroutine at a time uses it.
type conn struct {
	driver driver.Conn
	stmts  map[string]driver.Stmt
	args   []driver.NamedValue // reused by every call
}

// connect opens a connection to a file that is there; settings are PRAGMAs,
// "name(value)".
func connect(file string, settings ...string) (*conn, error) { return dial(file, "rw", settings) }

// create is connect, and makes the file if it isn't there.
func create(file string, settings ...string) (*conn, error) { return dial(file, "rwc", settings) }

func dial(file, mode string, settings []string) (*conn, error) {
	vfs, err := pagesum.VFS()
	if err != nil {
		return nil, err
	}
	query := url.Values{"_pragma": settings, "vfs": {vfs}, "mode": {mode}}
	dc, err := (&sqlite.Driver{}).Open("file:" + (&url.URL{Path: file}).EscapedPath() + "?" + query.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	return &conn{driver: dc, stmts: map[string]driver.Stmt{}}, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.driver.Close())...)
}

func (c *conn) prepare(query string) (driver.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.driver.Prepare(query)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, err)
	}
	c.stmts[query] = s
	return s, nil
}

func (c *conn) bind(args []driver.Value) []driver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// exec runs one statement to its end. Arguments are int64, string, []byte or
// nil. It cannot be interrupted: what it does is short.
func (c *conn) exec(query string, args ...driver.Value) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	if _, err := s.(driver.StmtExecContext).ExecContext(context.Background(), c.bind(args)); err != nil {
		return fmt.Errorf("%q: %w", query, err)
	}
	return nil
}

// script runs several statements without arguments.
func (c *conn) script(sql string) error {
	s, err := c.driver.Prepare(sql)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	_, err = s.(driver.StmtExecContext).ExecContext(context.Background(), nil)
	return errors.Join(err, s.Close())
}

// query calls each for every row of the answer, until it returns an error.
// What each is given is valid only during the call, except for strings.
func (c *conn) query(ctx context.Context, each func(row) error, query string, args ...driver.Value) (err error) {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(ctx, c.bind(args))
	if err != nil {
		return fmt.Errorf("%q: %w", query, err)
	}
	defer func() {
		if closeErr := rows.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("%q: %w", query, closeErr)
		}
	}()
	dest := make(row, len(rows.Columns()))
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch err := rows.Next(dest); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%q: %w", query, err)
		}
		if err := each(dest); err != nil {
			return err
		}
	}
}

// one is query for at most one row; it reports whether there was one.
func (c *conn) one(ctx context.Context, each func(row) error, query string, args ...driver.Value) (bool, error) {
	found := false
	err := c.query(ctx, func(r row) error {
		found = true
		return each(r)
	}, query, args...)
	return found, err
}

// row is a row of an answer: int64, string, []byte, float64 or nil. NULL reads
// as zero.
type row []driver.Value

func (r row) int(i int) int64 {
	n, _ := r[i].(int64)
	return n
}

func (r row) text(i int) string {
	s, _ := r[i].(string)
	return s
}

func (r row) bool(i int) bool { return r.int(i) != 0 }

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// damaged reports whether an error means that a projection's file is not, or no
// longer, a sound one of this log. Damage in the log, which may be a SQLite
// file, too, is none: with the log damaged, the file is all that there is.
func damaged(err error) bool {
	if errors.Is(err, domain.ErrCorrupt) {
		return false
	}
	if errors.Is(err, errStale) || pagesum.Damaged(err) {
		return true
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT:
		return true
	}
	return false
}
