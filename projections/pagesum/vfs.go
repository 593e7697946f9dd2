package pagesum

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

const vfsName = "bms-pagesum"

// VFS makes the VFS known to SQLite, once a process, and returns its name: it is
// to be the parameter vfs in the URI of every connection to such a file, also of
// one that attaches it. A file that is absent or empty becomes a database without
// tables, in WAL mode, when it is opened with mode=rwc.
func VFS() (name string, err error) { return vfsName, registered() }

var registered = sync.OnceValue(register)

// vfs is SQLite's description of the VFS, and the one beneath.
type vfs struct {
	sqlite3.Tsqlite3_vfs
	inner uintptr
}

// io are the methods of an open file, and those beneath.
type io struct {
	sqlite3.Tsqlite3_io_methods
	inner *sqlite3.Tsqlite3_io_methods
}

type (
	openFunc  = func(tls *libc.TLS, vfs, path, file uintptr, flags int32, outFlags uintptr) int32
	sizeFunc  = func(tls *libc.TLS, file, size uintptr) int32
	readFunc  = func(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32
	writeFunc = readFunc
	traitFunc = func(tls *libc.TLS, file uintptr) int32
)

// methods are our methods of files by those beneath, which depend on the kind
// of file. They are in memory of C's, and stay there.
var methods = struct {
	mu   sync.Mutex // guards ours
	ours map[uintptr]uintptr
}{ours: map[uintptr]uintptr{}}

// register makes the VFS known to SQLite, under vfsName.
func register() error {
	tls := libc.NewTLS()
	defer tls.Close()
	inner := sqlite3.Xsqlite3_vfs_find(tls, 0)
	outer := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(vfs{})))
	if inner == 0 || outer == 0 {
		return errors.New("make a VFS for SQLite: no memory, or none beneath")
	}
	name, err := libc.CString(vfsName)
	if err != nil {
		return fmt.Errorf("name a VFS for SQLite: %w", err)
	}
	*at[vfs](outer) = vfs{*at[sqlite3.Tsqlite3_vfs](inner), inner}
	v := at[vfs](outer)
	v.FzName, v.FpNext, v.FxOpen = name, 0, pointer(openFunc(open))
	if rc := sqlite3.Xsqlite3_vfs_register(tls, outer, 0); rc != sqlite3.SQLITE_OK {
		return fmt.Errorf("register a VFS with SQLite: code %d", rc)
	}
	return nil
}

// open opens a file; if it is a database, we come between it and SQLite.
func open(tls *libc.TLS, self, path, file uintptr, flags int32, outFlags uintptr) int32 {
	inner := at[vfs](self).inner
	rc := function[openFunc](at[sqlite3.Tsqlite3_vfs](inner).FxOpen)(tls, inner, path, file, flags, outFlags)
	if rc != sqlite3.SQLITE_OK || flags&sqlite3.SQLITE_OPEN_MAIN_DB == 0 {
		return rc
	}
	theirs := &at[sqlite3.Tsqlite3_file](file).FpMethods
	ours := methodsOver(tls, *theirs)
	if ours == 0 {
		return sqlite3.SQLITE_NOMEM
	}
	*theirs = ours
	if flags&sqlite3.SQLITE_OPEN_CREATE == 0 {
		return sqlite3.SQLITE_OK
	}
	return begin(tls, file)
}

// methodsOver returns our methods over those beneath, 0 for want of memory.
func methodsOver(tls *libc.TLS, theirs uintptr) uintptr {
	methods.mu.Lock()
	defer methods.mu.Unlock()
	ours := methods.ours[theirs]
	if ours != 0 {
		return ours
	}
	if ours = libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(io{}))); ours == 0 {
		return 0
	}
	m, inner := at[io](ours), at[sqlite3.Tsqlite3_io_methods](theirs)
	*m = io{*inner, inner}
	m.FxRead, m.FxWrite = pointer(readFunc(readPage)), pointer(writeFunc(writePage))
	m.FxDeviceCharacteristics = pointer(traitFunc(traits))
	methods.ours[theirs] = ours
	return ours
}

// beneath are the methods beneath ours.
func beneath(file uintptr) *sqlite3.Tsqlite3_io_methods {
	return at[io](at[sqlite3.Tsqlite3_file](file).FpMethods).inner
}

// begin makes a database without tables of an empty file: only its first page
// can tell SQLite to leave the ends of pages alone.
func begin(tls *libc.TLS, file uintptr) int32 {
	page := libc.Xmalloc(tls, Size)
	if page == 0 {
		return sqlite3.SQLITE_NOMEM
	}
	defer libc.Xfree(tls, page)
	size := at[int64](page)
	if rc := function[sizeFunc](beneath(file).FxFileSize)(tls, file, page); rc != sqlite3.SQLITE_OK || *size > 0 {
		return rc
	}
	copy(unsafe.Slice(at[byte](page), Size), emptyDatabase())
	return function[writeFunc](beneath(file).FxWrite)(tls, file, page, Size, 0)
}

// readPage reads a page, or less than one: the header.
func readPage(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32 {
	rc := function[readFunc](beneath(file).FxRead)(tls, file, data, n, offset)
	switch {
	case n <= headerSize, rc != sqlite3.SQLITE_OK && rc != sqlite3.SQLITE_IOERR_SHORT_READ:
		return rc
	case rc == sqlite3.SQLITE_OK && n == Size && sound(unsafe.Slice(at[byte](data), Size), offset):
		return rc
	}
	return sqlite3.SQLITE_IOERR_DATA // also for what is cut off, or of another size
}

// writePage puts the checksum into the page itself: SQLite makes nothing of
// what is there.
func writePage(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32 {
	if n == Size {
		sign(unsafe.Slice(at[byte](data), Size), offset)
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
