package projections

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bms/domain"
)

// pagedFile is a closed file with rows on many pages, long ones and deleted ones
// among them.
func pagedFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	f, err := openFile(path, "CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL);", false)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 600 {
		if err := f.begin(); err != nil {
			t.Fatal(err)
		}
		if err := f.writer.exec("INSERT INTO rows VALUES (?, ?)", int64(n), fmt.Sprintf("%0*d", 100+n%7*2000, n)); err != nil {
			t.Fatal(err)
		}
		if n%3 == 0 {
			if err := f.writer.exec("DELETE FROM rows WHERE id = ?", int64(n/2)); err != nil {
				t.Fatal(err)
			}
		}
		if n%50 == 0 {
			if err := f.commit(domain.Position{Epoch: 1, Seq: uint64(n)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.commit(domain.Position{Epoch: 1, Seq: 600}); err != nil {
		t.Fatal(err)
	}
	if err := f.shut(); err != nil {
		t.Fatal(err)
	}
	return path
}

// readAll reads every page of a file that is in use: SQLite looks through all of
// it.
func readAll(path string) error {
	c, err := connect(path, readerSettings...)
	if err != nil {
		return err
	}
	defer func() { _ = c.close() }()
	verdict := ""
	_, err = c.one(context.Background(), func(r row) error {
		verdict = r.text(0)
		return nil
	}, "PRAGMA integrity_check")
	if err == nil && verdict != "ok" {
		err = fmt.Errorf("integrity_check says %s", verdict)
	}
	return err
}

func TestEveryPageHasItsChecksum(t *testing.T) {
	path := pagedFile(t)
	if err := readAll(path); err != nil {
		t.Fatal(err)
	}
	raw := read(t, path)
	if len(raw)%pageSize != 0 || len(raw) < 50*pageSize {
		t.Fatalf("the file has %d bytes, want many pages of %d", len(raw), pageSize)
	}
	for at := 0; at < len(raw); at += pageSize {
		if !soundPage(raw[at:at+pageSize], int64(at)) {
			t.Errorf("page %d has no checksum", at/pageSize+1)
		}
	}
}

func TestAChangedPageIsNoPage(t *testing.T) {
	path := pagedFile(t)
	good := read(t, path)
	random := rand.New(rand.NewPCG(101, 1))
	for name, harm := range map[string]func(raw []byte) []byte{
		"a_bit_of_the_first_page": func(raw []byte) []byte {
			raw[headerSize+random.IntN(pageSize-headerSize)] ^= 1 << random.IntN(8)
			return raw
		},
		"a_bit_of_a_checksum": func(raw []byte) []byte {
			raw[2*pageSize-1-random.IntN(pageTail)] ^= 1 << random.IntN(8)
			return raw
		},
		"a_page_of_zeros": func(raw []byte) []byte {
			clear(raw[pageSize : 2*pageSize])
			return raw
		},
		"two_pages_swapped": func(raw []byte) []byte {
			first := slices.Clone(raw[pageSize : 2*pageSize])
			copy(raw[pageSize:], raw[2*pageSize:3*pageSize])
			copy(raw[2*pageSize:], first)
			return raw
		},
		"another_size_of_pages": func(raw []byte) []byte {
			binary.BigEndian.PutUint16(raw[16:], 8192)
			return raw
		},
		"cut_off": func(raw []byte) []byte { return raw[:len(good)/2/pageSize*pageSize+17] },
	} {
		t.Run(name, func(t *testing.T) {
			raw := harm(bytes.Clone(good))
			write(t, path, raw)
			if err := readAll(path); !damaged(err) {
				t.Errorf("read: %v, want it to be damaged", err)
			}
		})
	}
}

// A file that is not there is not made by who only reads.
func TestReadersMakeNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.db")
	if c, err := connect(path, readerSettings...); err == nil {
		t.Errorf("connected to no file: %v", c.close())
	}
	if _, err := openFile(path, "", false); err == nil {
		t.Error("opened a file of another version that is not there")
	}
	if left, err := filepath.Glob(path + "*"); err != nil || len(left) > 0 {
		t.Errorf("files are %q, want none", left)
	}
}

// A value that fills pages of its own is read as it was written, once it is in
// the file and not in the write-ahead log any more.
func TestALongValueIsRead(t *testing.T) {
	const schema = "CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL);"
	path, want := filepath.Join(t.TempDir(), "x.db"), strings.Repeat("long ", 20_000)
	for _, write := range []bool{true, false} {
		f, err := openFile(path, schema, false)
		if err != nil {
			t.Fatal(err)
		}
		if write {
			if err := errors.Join(f.begin(), f.writer.exec("INSERT INTO rows VALUES (1, ?)", want), f.commit(domain.Position{Epoch: 1, Seq: 1})); err != nil {
				t.Fatal(err)
			}
		}
		got := ""
		if _, err := f.view(t.Context(), func(v *snapshot) error {
			_, err := v.one(t.Context(), func(r row) error {
				got = r.text(0)
				return nil
			}, "SELECT text FROM rows")
			return err
		}); err != nil || got != want {
			t.Errorf("read %d characters, %v, want %d", len(got), err, len(want))
		}
		if err := f.shut(); err != nil {
			t.Fatal(err)
		}
	}
}
