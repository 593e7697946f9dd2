package eventlog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"bms/projections/pagesum"
)

const immutable = "immutable"

// conn is one SQLite connection, used by one goroutine at a time. It speaks to
// the driver directly: database/sql's pool, locks and conversions cost a third
// of an insert, and the log owns its connections anyway.
type conn struct {
	raw   driver.Conn
	prep  driver.ConnPrepareContext
	stmts []*stmt // that live as long as the connection
}

// openConn opens a file in a mode of SQLite's: "rwc", "rw", or immutable, which
// reads the database without what is beside it and changes nothing.
func openConn(file string, mode string, pragmas ...string) (*conn, error) {
	q := url.Values{"mode": {mode}}
	if mode == immutable {
		q = url.Values{"mode": {"ro"}, "immutable": {"1"}}
	}
	return dial(file, q, pragmas)
}

// openSummed is openConn for a file whose pages have checksums: the index. It is
// also made with them.
func openSummed(file string, mode string, pragmas ...string) (*conn, error) {
	vfs, err := pagesum.VFS()
	if err != nil {
		return nil, err
	}
	return dial(file, url.Values{"mode": {mode}, "vfs": {vfs}}, pragmas)
}

func uri(file string, q url.Values) string {
	return (&url.URL{Scheme: "file", Path: file, RawQuery: q.Encode()}).String()
}

func dial(file string, q url.Values, pragmas []string) (*conn, error) {
	q["_error_rc"], q["_pragma"] = []string{"1"}, pragmas
	connector, err := sqlite.NewConnector(uri(file, q))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	raw, err := connector.Connect(context.Background())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	return &conn{raw: raw, prep: raw.(driver.ConnPrepareContext)}, nil
}

// close finalizes the statements first: SQLite keeps a connection, and its
// locks, until the last one is.
func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.close())
	}
	return errors.Join(append(errs, c.raw.Close())...)
}

// exec runs statements that take no arguments.
func (c *conn) exec(sql string) error {
	_, err := c.raw.(driver.ExecerContext).ExecContext(context.Background(), sql, nil)
	return err
}

// prepare makes a statement that lives as long as the connection.
func (c *conn) prepare(sql string) (*stmt, error) {
	s, err := c.once(sql)
	if err == nil {
		c.stmts = append(c.stmts, s)
	}
	return s, err
}

// once makes a statement that the caller closes.
func (c *conn) once(sql string) (*stmt, error) {
	s, err := c.prep.PrepareContext(context.Background(), sql)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", sql, err)
	}
	return &stmt{exec: s.(driver.StmtExecContext), query: s.(driver.StmtQueryContext), raw: s}, nil
}

// stmt is a prepared statement.
type stmt struct {
	exec  driver.StmtExecContext
	query driver.StmtQueryContext
	raw   driver.Stmt
	args  []driver.NamedValue
	dest  []driver.Value
}

func (s *stmt) close() error { return s.raw.Close() }

func (s *stmt) bind(values []driver.Value) []driver.NamedValue {
	s.args = s.args[:0]
	for i, v := range values {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return s.args
}

// run executes the statement.
func (s *stmt) run(values ...driver.Value) error {
	_, err := s.exec.ExecContext(context.Background(), s.bind(values))
	return err
}

// changes executes a statement that changes one row or none, and reports
// whether it did.
func (s *stmt) changes(values ...driver.Value) (bool, error) {
	r, err := s.exec.ExecContext(context.Background(), s.bind(values))
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n > 0, err
}

// attach adds another file, which is there and whose pages have checksums, to the
// connection under a name.
func (c *conn) attach(file, name string) error {
	vfs, err := pagesum.VFS()
	if err != nil {
		return err
	}
	if err := c.detach(name); err != nil {
		return err
	}
	s, err := c.once("ATTACH DATABASE ? AS " + name)
	if err != nil {
		return err
	}
	return errors.Join(s.run(uri(file, url.Values{"mode": {"rw"}, "vfs": {vfs}})), s.close())
}

// detach takes an attached file away. Statements that need it fail, until it is
// attached again.
func (c *conn) detach(name string) error {
	row, err := c.queryOne("SELECT 1 FROM pragma_database_list WHERE name = ?", name)
	if err != nil || row == nil {
		return err
	}
	return c.exec("DETACH DATABASE " + name)
}

// each calls f with every row until it returns false or an error. The row is
// valid during the call, strings and byte slices in it for ever.
func (s *stmt) each(f func(row []driver.Value) (more bool, err error), values ...driver.Value) error {
	rows, err := s.query.QueryContext(context.Background(), s.bind(values))
	if err != nil {
		return err
	}
	if n := len(rows.Columns()); len(s.dest) != n {
		s.dest = make([]driver.Value, n)
	}
	for {
		err = rows.Next(s.dest)
		if err != nil {
			break
		}
		var more bool
		if more, err = f(s.dest); err != nil || !more {
			break
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if closeErr := rows.Close(); err == nil {
		err = closeErr
	}
	return err
}

// one returns the first row's values, or nil if there is none.
func (s *stmt) one(values ...driver.Value) ([]driver.Value, error) {
	var first []driver.Value
	err := s.each(func(row []driver.Value) (bool, error) {
		first = row
		return false, nil
	}, values...)
	return first, err
}

// queryOne prepares, runs and forgets a statement.
func (c *conn) queryOne(sql string, values ...driver.Value) ([]driver.Value, error) {
	s, err := c.once(sql)
	if err != nil {
		return nil, err
	}
	row, err := s.one(values...)
	return row, errors.Join(err, s.close())
}

// code is SQLite's primary result code of an error, 0 if it is none of
// SQLite's.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

func isDamage(err error) bool {
	c := code(err)
	return c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB || pagesum.Damaged(err)
}
