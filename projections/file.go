package projections

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"bms/domain"
)

// Settings of the connections. synchronous=NORMAL, not OFF: in WAL mode a power
// cut may then take the last transactions, which are folded again from the
// log, but never a part of one, so that position and rows always agree; OFF
// could leave a mixture that nothing would notice. FULL would buy nothing: what
// is lost is in the log.
var (
	writerSettings = []string{"journal_mode(WAL)", "synchronous(NORMAL)", "cache_size(-16384)", "temp_store(MEMORY)", "busy_timeout(5000)"}
	readerSettings = []string{"query_only(1)", "cache_size(-2048)", "temp_store(MEMORY)", "busy_timeout(5000)"}
)

// maxReaders is the number of queries of one projection that run at once; more
// wait.
const maxReaders = 4

// baseSchema is in every file: where the fold stands, whether the file is still
// being built beside the one that serves, in which epoch which sequences lie
// (rows keep a position as one number, see key), and what is parked. Tables
// whose names begin with local_ don't follow from the log alone and are no part
// of the digest.
const baseSchema = `
CREATE TABLE position (id INTEGER PRIMARY KEY CHECK (id = 0), epoch INTEGER NOT NULL, seq INTEGER NOT NULL, idx INTEGER NOT NULL, beside INTEGER NOT NULL, boot TEXT NOT NULL);
CREATE TABLE epochs (first INTEGER PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE local_parked (pos INTEGER PRIMARY KEY, stream TEXT NOT NULL, keys TEXT NOT NULL, at INTEGER NOT NULL, tries INTEGER NOT NULL, error TEXT, events INTEGER NOT NULL);
`

// file is the SQLite file of one projection in one version. begin, commit and
// rollback and the writer belong to one goroutine; view may be called by any.
type file struct {
	path    string
	writer  *conn
	readers chan *conn // maxReaders places; a nil is a connection not opened yet
	open    bool       // the writer is in a transaction
	beside  bool       // it doesn't serve yet
	lazy    bool       // it is written without waiting for the disk
	wal     walBound
	views   sync.WaitGroup

	epochs atomic.Pointer[epochs]
	// stretch says up to where the rows stay as they are at the position in
	// the file: commits that don't concern a projection are not written
	// down one by one.
	stretch atomic.Pointer[stretch]
}

type stretch struct{ from, to domain.Position }

// key is a position within one log as one ascending number.
func key(p domain.Position) int64 { return int64(p.Seq)<<15 | int64(p.Index) }

// epochs are the beginnings of the log's epochs, by first sequence.
type epochs []epochStart

type epochStart struct {
	first, epoch uint64
}

// at gives the position that was made into a key.
func (e epochs) at(key int64) domain.Position {
	p := domain.Position{Seq: uint64(key) >> 15, Index: uint32(key & (1<<15 - 1))}
	for _, start := range e {
		if start.first > p.Seq {
			break
		}
		p.Epoch = start.epoch
	}
	return p
}

// openFile opens a projection's file, making it if it isn't there: beside says
// whether a new one is built beside another. An error for which damaged is true
// means that it must be thrown away (discard).
//
// Without a schema the file must be there, and is one of another version.
func openFile(path, schema string, beside bool) (*file, error) {
	open := connect
	if schema != "" {
		open = create
	}
	writer, err := open(path, writerSettings...)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, writer: writer, readers: make(chan *conn, maxReaders), beside: beside}
	for range maxReaders {
		f.readers <- nil
	}
	if err := errors.Join(f.boundWAL(walPages), f.prepare(schema)); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), writer.close())
	}
	return f, nil
}

// errStale is wrapped by errors about a file whose pages are sound, and which is
// useless all the same. damaged is true for it.
var errStale = errors.New("not a usable projection file")

func (f *file) prepare(schema string) error {
	tables, mark := int64(0), int64(0)
	_, err := f.writer.one(context.Background(), func(r row) error {
		tables, mark = r.int(0), r.int(1)
		return nil
	}, "SELECT count(*), (SELECT user_version FROM pragma_user_version) FROM sqlite_master")
	if err != nil {
		return err
	}
	// The mark tells a file made with another schema under the same version,
	// as happens while one is being worked on.
	want := int64(crc32.ChecksumIEEE([]byte(baseSchema+schema)) >> 1)
	switch {
	case tables == 0 && schema == "":
		return fmt.Errorf("%w: it is empty", errStale)
	case tables == 0:
		sql := fmt.Sprintf("BEGIN IMMEDIATE; %s %s INSERT INTO position VALUES (0, 0, 0, 0, %d, ''); PRAGMA user_version = %d; COMMIT;",
			baseSchema, schema, flag(f.beside), want)
		if err := f.writer.script(sql); err != nil {
			return err
		}
	case mark != want && schema != "":
		return fmt.Errorf("%w: its schema is another", errStale)
	}
	boot := ""
	if _, err := f.writer.one(context.Background(), func(r row) error {
		f.beside, boot = r.bool(0), r.text(1)
		return nil
	}, "SELECT beside, boot FROM position"); err != nil {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	if f.beside {
		if boot != "" && boot != bootID() {
			return fmt.Errorf("%w: it is half-built, and the machine went down meanwhile", errStale)
		}
		if err := f.hasten(); err != nil {
			return err
		}
	}
	return f.loadEpochs()
}

// hasten has a file that doesn't serve written without waiting for the disk, on
// which the log waits. A killed process costs nothing then, but when the machine
// goes down, a part of what was written may be lost: so the file says in which
// run of the machine it is built. Where these can't be told apart, it is written
// as the others are.
func (f *file) hasten() error {
	boot := bootID()
	if boot == "" {
		return nil
	}
	if err := f.writer.exec("UPDATE position SET boot = ?", boot); err != nil {
		return err
	}
	f.lazy = true
	return f.writer.script("PRAGMA synchronous = OFF")
}

// settle waits until all that was written is on disk, and from then on writes as
// files that serve are written.
func (f *file) settle(p domain.Position) error {
	if err := f.writer.script("PRAGMA synchronous = FULL"); err != nil {
		return err
	}
	if err := f.commit(p); err != nil { // so that there is something to checkpoint, which syncs the file
		return err
	}
	if _, err := f.writer.one(context.Background(), func(row) error { return nil }, "PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
		return err
	}
	if err := f.writer.script("PRAGMA synchronous = NORMAL"); err != nil {
		return err
	}
	f.lazy = false
	return nil
}

// bootID tells one run of the machine from another; empty if it can't be told.
func bootID() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// promote makes the file the one that serves, together with the position that
// its rows are at. It is on disk then, so that the one that served can go.
func (f *file) promote(p domain.Position) error {
	if f.lazy {
		if err := f.settle(p); err != nil {
			return err
		}
	}
	if err := f.writer.script("PRAGMA synchronous = FULL"); err != nil {
		return err
	}
	if err := f.begin(); err != nil {
		return err
	}
	if err := f.writer.exec("UPDATE position SET beside = 0, boot = ''"); err != nil {
		return err
	}
	if err := f.commit(p); err != nil {
		return err
	}
	f.beside = false
	return f.writer.script("PRAGMA synchronous = NORMAL")
}

func (f *file) loadEpochs() error {
	var known epochs
	if err := f.writer.query(context.Background(), func(r row) error {
		known = append(known, epochStart{uint64(r.int(0)), uint64(r.int(1))})
		return nil
	}, "SELECT first, epoch FROM epochs ORDER BY first"); err != nil {
		return fmt.Errorf("%w: %w", errStale, err)
	}
	f.epochs.Store(&known)
	return nil
}

const selectPosition = "SELECT epoch, seq, idx FROM position"

func position(ctx context.Context, c *conn) (domain.Position, error) {
	var p domain.Position
	found, err := c.one(ctx, func(r row) error {
		p = domain.Position{Epoch: uint64(r.int(0)), Seq: uint64(r.int(1)), Index: uint32(r.int(2))}
		return nil
	}, selectPosition)
	if err == nil && !found {
		err = fmt.Errorf("%w: it has no position", errStale)
	}
	return p, err
}

// begin starts a transaction if there is none yet.
func (f *file) begin() error {
	if f.open {
		return nil
	}
	if err := f.writer.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	f.open = true
	return nil
}

// commit ends the transaction with the position that the rows are now at.
func (f *file) commit(p domain.Position) error {
	if err := f.begin(); err != nil {
		return err
	}
	if err := f.writer.exec("UPDATE position SET epoch = ?, seq = ?, idx = ?", int64(p.Epoch), int64(p.Seq), int64(p.Index)); err != nil {
		return err
	}
	if err := f.writer.exec("COMMIT"); err != nil {
		return err
	}
	f.open = false
	f.shortenWAL()
	return nil
}

// rollback ends the transaction, if there is one, without effect.
func (f *file) rollback() error {
	if !f.open {
		return nil
	}
	f.open = false
	return errors.Join(f.writer.exec("ROLLBACK"), f.loadEpochs())
}

// learn keeps the epoch of a commit, if it is new, within the transaction.
func (f *file) learn(p domain.Position) error {
	known := *f.epochs.Load()
	if n := len(known); n > 0 && known[n-1].epoch == p.Epoch {
		return nil
	}
	if err := f.begin(); err != nil {
		return err
	}
	if err := f.writer.exec("INSERT OR REPLACE INTO epochs VALUES (?, ?)", int64(p.Seq), int64(p.Epoch)); err != nil {
		return err
	}
	grown := append(append(epochs{}, known...), epochStart{p.Seq, p.Epoch})
	f.epochs.Store(&grown)
	return nil
}

// hold takes a snapshot of the file, waiting for a connection. Call its release.
func (f *file) hold(ctx context.Context) (*snapshot, error) {
	select {
	case c := <-f.readers:
		return f.snap(ctx, c)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// snap takes a snapshot through a connection of the file's; nil opens one.
func (f *file) snap(ctx context.Context, c *conn) (*snapshot, error) {
	v := &snapshot{conn: c, file: f}
	if err := v.begin(ctx); err != nil {
		return nil, errors.Join(err, v.release())
	}
	return v, nil
}

func (v *snapshot) begin(ctx context.Context) (err error) {
	f := v.file
	if v.conn == nil {
		if v.conn, err = connect(f.path, readerSettings...); err != nil {
			v.conn = nil
			return err
		}
	}
	if err := v.exec("BEGIN"); err != nil {
		return err
	}
	if v.pos, err = position(ctx, v.conn); err != nil {
		return err
	}
	// Read after the snapshot was taken: a stretch from its position can only
	// have been added to.
	if s := f.stretch.Load(); s != nil && s.from == v.pos {
		v.pos = s.to
	}
	v.epochs = *f.epochs.Load()
	return nil
}

// view calls fn with a snapshot of the file and returns its position.
func (f *file) view(ctx context.Context, fn func(*snapshot) error) (p domain.Position, err error) {
	v, err := f.hold(ctx)
	if err != nil {
		return domain.Position{}, err
	}
	defer func() {
		if endErr := v.release(); endErr != nil {
			err = errors.Join(err, endErr)
		}
	}()
	return v.pos, fn(v)
}

// snapshot is one state of a file, to be read until it is released.
type snapshot struct {
	*conn
	epochs
	pos  domain.Position
	file *file
}

// release gives the snapshot's connection back.
func (v *snapshot) release() error {
	c := v.conn
	defer func() { v.file.readers <- c }()
	if c == nil {
		return nil
	}
	if err := c.exec("ROLLBACK"); err != nil {
		err = errors.Join(err, c.close())
		c = nil
		return err
	}
	return nil
}

// shut waits for those that look at the file and closes it; nobody may come to
// look any more.
func (f *file) shut() error {
	f.views.Wait()
	errs := []error{f.rollback()}
	for range maxReaders {
		if c := <-f.readers; c != nil {
			errs = append(errs, c.close())
		}
	}
	errs = append(errs, f.writer.exec("PRAGMA wal_checkpoint(TRUNCATE)"), f.writer.close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close %s: %w", f.path, err)
	}
	return nil
}
