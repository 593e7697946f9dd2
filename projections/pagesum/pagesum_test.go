package pagesum

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// connect opens a database in a mode of SQLite's.
func connect(t *testing.T, path, mode string) *sql.DB {
	t.Helper()
	vfs, err := VFS()
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+url.Values{"vfs": {vfs}, "mode": {mode}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// made is a closed file with rows on many pages, long ones and deleted ones
// among them.
func made(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	db := connect(t, path, "rwc")
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := db.Exec(sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
	for n := range 600 {
		exec("INSERT INTO rows VALUES (?, ?)", n, fmt.Sprintf("%0*d", 100+n%7*2000, n))
		if n%3 == 0 {
			exec("DELETE FROM rows WHERE id = ?", n/2)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// readAll reads all rows of a file, and returns how many characters they have.
func readAll(t *testing.T, path string) (length int, err error) {
	t.Helper()
	db := connect(t, path, "rw")
	rows, err := db.Query("SELECT text FROM rows")
	if err != nil {
		return 0, errors.Join(err, db.Close())
	}
	for err == nil && rows.Next() {
		text := ""
		err = rows.Scan(&text)
		length += len(text)
	}
	return length, errors.Join(err, rows.Err(), rows.Close(), db.Close())
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func Test_every_page_has_its_checksum(t *testing.T) {
	path := made(t)
	// Those of long values among them, which SQLite would read without their
	// ends if it might.
	if n, err := readAll(t, path); err != nil || n < 50*Size {
		t.Fatalf("read %d characters, %v, want %d at least", n, err, 50*Size)
	}
	raw := read(t, path)
	if len(raw)%Size != 0 || len(raw) < 50*Size {
		t.Fatalf("the file has %d bytes, want many pages of %d", len(raw), Size)
	}
	for at := 0; at < len(raw); at += Size {
		if !sound(raw[at:at+Size], int64(at)) {
			t.Errorf("page %d has no checksum", at/Size+1)
		}
	}
}

func Test_a_changed_page_is_no_page(t *testing.T) {
	path := made(t)
	good := read(t, path)
	random := rand.New(rand.NewPCG(101, 1))
	for name, harm := range map[string]func(raw []byte) []byte{
		"a_bit_of_the_first_page": func(raw []byte) []byte {
			raw[headerSize+random.IntN(Size-headerSize)] ^= 1 << random.IntN(8)
			return raw
		},
		"a_bit_of_a_checksum": func(raw []byte) []byte {
			raw[2*Size-1-random.IntN(Tail)] ^= 1 << random.IntN(8)
			return raw
		},
		"a_page_of_zeros": func(raw []byte) []byte {
			clear(raw[Size : 2*Size])
			return raw
		},
		"two_pages_swapped": func(raw []byte) []byte {
			first := slices.Clone(raw[Size : 2*Size])
			copy(raw[Size:], raw[2*Size:3*Size])
			copy(raw[2*Size:], first)
			return raw
		},
		"another_size_of_pages": func(raw []byte) []byte {
			binary.BigEndian.PutUint16(raw[16:], 8192)
			return raw
		},
		"cut_off": func(raw []byte) []byte { return raw[:len(good)/2/Size*Size+17] },
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, harm(bytes.Clone(good)), 0o600); err != nil {
				t.Fatal(err)
			}
			n, err := readAll(t, path)
			if e := new(sqlite.Error); !Damaged(err) && (!errors.As(err, &e) || e.Code() != sqlite3.SQLITE_CORRUPT) {
				t.Errorf("read %d characters, %v, want it to be damaged", n, err)
			}
		})
	}
}

// A file that is not there, or empty, is not made by who only reads.
func Test_only_who_may_make_a_file_makes_one(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.db")
	if err := connect(t, path, "rw").Ping(); err == nil {
		t.Error("connected to no file")
	}
	if left, err := filepath.Glob(path + "*"); err != nil || len(left) > 0 {
		t.Errorf("files are %q, want none", left)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(t, path); err == nil {
		t.Error("read rows from an empty file")
	}
	if raw := read(t, path); len(raw) > 0 {
		t.Errorf("the empty file has %d bytes now", len(raw))
	}
	db := connect(t, path, "rwc")
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	if raw := read(t, path); !bytes.Equal(raw, emptyDatabase()) {
		t.Errorf("the file has %d bytes, want the first page", len(raw))
	}
}
