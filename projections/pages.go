package projections

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// SQLite has no checksums of its own and serves a flipped bit in a value. So
// each page of a projection's file ends with one, of its bytes and its number:
// it is put there when the page is written and compared whenever it is read, by
// whom ever. What doesn't agree is no page but an error, for which damaged is
// true. That holds for all projections, and costs nothing at start and stop.
//
// It is done between SQLite and its own access to files (a VFS), in the bytes
// that SQLite leaves alone at the end of each page if the file's header says so.
// The write-ahead log is not touched: its frames have checksums, which SQLite
// compares when it recovers what a killed process has left.

const (
	pageSize = 4096
	// pageTail is what is reserved at the end of each page: CRC-32C, little
	// endian, and four zeros.
	pageTail = 8
	// headerSize is the most that SQLite reads of a file but whole pageVFS.
	headerSize = 100

	vfsName = "bms-pages"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// pageSum is the checksum of the page at an offset.
func pageSum(page []byte, offset int64) uint32 {
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(offset))
	return crc32.Update(crc32.Checksum(at[:], castagnoli), castagnoli, page[:pageSize-pageTail])
}

// signPage puts the checksum into a page.
func signPage(page []byte, offset int64) {
	tail := page[pageSize-pageTail:]
	binary.LittleEndian.PutUint32(tail, pageSum(page, offset))
	clear(tail[4:])
}

// soundPage reports whether a page is as it was written.
func soundPage(page []byte, offset int64) bool {
	tail := page[pageSize-pageTail:]
	return binary.LittleEndian.Uint64(tail) == uint64(pageSum(page, offset))
}

// createFile makes a database without tables whose pages have checksums, if
// there is no file, or an empty one.
func createFile(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Size() > 0 {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make %s: %w", path, err)
	}
	if err := os.WriteFile(path, emptyDatabase(), 0o600); err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	return nil
}

// emptyDatabase is the first page of a database in WAL mode: see "The Database
// Header" and "B-tree Pages" in SQLite's description of its file format.
func emptyDatabase() []byte {
	page := make([]byte, pageSize)
	copy(page, "SQLite format 3\x00")
	binary.BigEndian.PutUint16(page[16:], pageSize)
	page[18], page[19] = 2, 2 // written and read in WAL mode
	page[20] = pageTail
	page[21], page[22], page[23] = 64, 32, 32
	binary.BigEndian.PutUint32(page[28:], 1) // pages
	binary.BigEndian.PutUint32(page[44:], 4) // schema format
	binary.BigEndian.PutUint32(page[56:], 1) // UTF-8
	page[headerSize] = 0x0d                  // a leaf without cells
	binary.BigEndian.PutUint16(page[headerSize+5:], pageSize-pageTail)
	signPage(page, 0)
	return page
}

// pagesVFS is SQLite's description of the VFS, and the one beneath.
type pagesVFS struct {
	sqlite3.Tsqlite3_vfs
	inner uintptr
}

// pagesMethods are the methods of an open file, and those beneath.
type pagesMethods struct {
	sqlite3.Tsqlite3_io_methods
	inner *sqlite3.Tsqlite3_io_methods
}

type (
	openFunc  = func(tls *libc.TLS, vfs, path, file uintptr, flags int32, outFlags uintptr) int32
	readFunc  = func(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32
	writeFunc = readFunc
	traitFunc = func(tls *libc.TLS, file uintptr) int32
)

// pageVFS makes the VFS known to SQLite, once a process.
var pageVFS = sync.OnceValue(registerPages)

// methodsOfPages are our methods of files by those beneath, which depend on the
// kind of file. They are in memory of C's, and stay there.
var methodsOfPages = struct {
	mu   sync.Mutex // guards ours
	ours map[uintptr]uintptr
}{ours: map[uintptr]uintptr{}}

// registerPages makes the VFS known to SQLite, under vfsName.
func registerPages() error {
	tls := libc.NewTLS()
	defer tls.Close()
	inner := sqlite3.Xsqlite3_vfs_find(tls, 0)
	outer := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(pagesVFS{})))
	if inner == 0 || outer == 0 {
		return errors.New("make a VFS for SQLite: no memory, or none beneath")
	}
	name, err := libc.CString(vfsName)
	if err != nil {
		return fmt.Errorf("name a VFS for SQLite: %w", err)
	}
	*at[pagesVFS](outer) = pagesVFS{*at[sqlite3.Tsqlite3_vfs](inner), inner}
	v := at[pagesVFS](outer)
	v.FzName, v.FpNext, v.FxOpen = name, 0, pointer(openFunc(openPages))
	if rc := sqlite3.Xsqlite3_vfs_register(tls, outer, 0); rc != sqlite3.SQLITE_OK {
		return fmt.Errorf("register a VFS with SQLite: code %d", rc)
	}
	return nil
}

// openPages opens a file; if it is a database, we come between it and SQLite.
func openPages(tls *libc.TLS, vfs, path, file uintptr, flags int32, outFlags uintptr) int32 {
	inner := at[pagesVFS](vfs).inner
	rc := function[openFunc](at[sqlite3.Tsqlite3_vfs](inner).FxOpen)(tls, inner, path, file, flags, outFlags)
	if rc != sqlite3.SQLITE_OK || flags&sqlite3.SQLITE_OPEN_MAIN_DB == 0 {
		return rc
	}
	known := &methodsOfPages
	known.mu.Lock()
	defer known.mu.Unlock()
	methods := &at[sqlite3.Tsqlite3_file](file).FpMethods
	ours := known.ours[*methods]
	if ours == 0 {
		if ours = libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(pagesMethods{}))); ours == 0 {
			return sqlite3.SQLITE_NOMEM
		}
		theirs := at[sqlite3.Tsqlite3_io_methods](*methods)
		m := at[pagesMethods](ours)
		*m = pagesMethods{*theirs, theirs}
		m.FxRead, m.FxWrite = pointer(readFunc(readPage)), pointer(writeFunc(writePage))
		m.FxDeviceCharacteristics = pointer(traitFunc(traits))
		known.ours[*methods] = ours
	}
	*methods = ours
	return sqlite3.SQLITE_OK
}

// beneath are the methods beneath ours.
func beneath(file uintptr) *sqlite3.Tsqlite3_io_methods {
	return at[pagesMethods](at[sqlite3.Tsqlite3_file](file).FpMethods).inner
}

// readPage reads a page, or less than one: the header.
func readPage(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32 {
	rc := function[readFunc](beneath(file).FxRead)(tls, file, data, n, offset)
	switch {
	case n <= headerSize, rc != sqlite3.SQLITE_OK && rc != sqlite3.SQLITE_IOERR_SHORT_READ:
		return rc
	case rc == sqlite3.SQLITE_OK && n == pageSize && soundPage(unsafe.Slice(at[byte](data), pageSize), offset):
		return rc
	}
	return sqlite3.SQLITE_IOERR_DATA // also for what is cut off, or of another size
}

// writePage puts the checksum into the page itself: SQLite makes nothing of
// what is there.
func writePage(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32 {
	if n == pageSize {
		signPage(unsafe.Slice(at[byte](data), pageSize), offset)
	}
	return function[writeFunc](beneath(file).FxWrite)(tls, file, data, n, offset)
}

// traits are what SQLite may rely on. It may not read parts of pages, as it else
// does with those that are full of one long value.
func traits(tls *libc.TLS, file uintptr) int32 {
	return function[traitFunc](beneath(file).FxDeviceCharacteristics)(tls, file) &^ sqlite3.SQLITE_IOCAP_SUBPAGE_READ
}

// pointer is a Go function as SQLite calls it, function the reverse. at is what
// is at an address of C's. Functions of packages are never collected.
func pointer(f any) uintptr { return (*[2]uintptr)(unsafe.Pointer(&f))[1] }

func function[F any](p uintptr) F { return *(*F)(unsafe.Pointer(&struct{ p uintptr }{p})) }

func at[T any](p uintptr) *T { return *(**T)(unsafe.Pointer(&p)) }
