//go:build unix

package eventlog

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// disk is what a power cut makes of a folder. It watches SQLite's writes, file
// by file, and knows which of them have been synced: those are on disk, of all
// others any part may be, in any order.
//
// It sits between SQLite and its own access to files (a VFS): SQLite's calls go
// through unchanged, and what was not synced is dropped in a copy.
type disk struct {
	mu    sync.Mutex // guards all below
	dir   string
	files map[string]*diskFile // as the process sees the folder
	names map[string]*diskFile // as it is on disk: synced with the folder
	ops   int                  // so far
	mark  int                  // ops when the last sync outside of SQLite began
	on    func(op int)         // called after each operation, with mu held; may call cut
}

// diskFile is a file, whatever it is called.
type diskFile struct {
	durable []byte
	pending []diskWrite
}

// diskWrite is a write, or the cutting or extending of a file to at.
type diskWrite struct {
	op       int
	truncate bool
	at       int64
	data     []byte
}

func (w diskWrite) apply(b []byte) []byte {
	end := w.at + int64(len(w.data))
	if w.truncate && int64(len(b)) > w.at {
		return b[:w.at]
	}
	if int64(len(b)) < end {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	copy(b[w.at:], w.data)
	return b
}

// sync brings what was written up to an operation to disk.
func (f *diskFile) sync(upTo int) {
	n := 0
	for ; n < len(f.pending) && f.pending[n].op <= upTo; n++ {
		f.durable = f.pending[n].apply(f.durable)
	}
	f.pending = slices.Clone(f.pending[n:])
}

// image is a folder's content.
type image map[string][]byte

// cut is what is left when the power goes now. mu is held.
func (d *disk) cut(random *rand.Rand) image {
	left := image{}
	for _, name := range slices.Sorted(maps.Keys(union(d.files, d.names))) {
		f, was := d.files[name], d.names[name]
		if f != was && random.IntN(2) == 0 {
			f = was // the folder was not synced
		}
		if f != nil {
			left[name] = f.cut(random)
		}
	}
	return left
}

func union(a, b map[string]*diskFile) map[string]*diskFile {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// sector is what a disk writes as a whole.
const sector = 512

// cut keeps nothing, all, the first, some of the writes that were not synced,
// or some of their sectors.
func (f *diskFile) cut(random *rand.Rand) []byte {
	b := slices.Clone(f.durable)
	how, share := random.IntN(5), random.Float64()
	first := random.IntN(len(f.pending) + 1)
	for i, w := range f.pending {
		switch {
		case how == 0, how == 1 && i > first, how == 2 && random.Float64() > share:
		case how == 3, how == 1 && i == first && len(w.data) > 0: // torn
			for at := 0; at < len(w.data); at += sector {
				part := w.data[at:min(at+sector, len(w.data))]
				if random.Float64() < share {
					b = diskWrite{at: w.at + int64(at), data: part}.apply(b)
				}
			}
		default:
			b = w.apply(b)
		}
	}
	return b
}

func (i image) write(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range i {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// did notes an operation. mu is held.
func (d *disk) did() {
	d.ops++
	if d.on != nil {
		d.on(d.ops)
	}
}

// syncing and synced stand around a sync that does not go through SQLite.
func (d *disk) syncing() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mark = d.ops
}

func (d *disk) synced(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[name]; f != nil {
		f.sync(d.mark)
		d.names[name] = f
	}
	d.did()
}

// watch begins to watch a folder; what is in it is on disk. The test ends it.
func watch(t *testing.T, dir string) *disk {
	t.Helper()
	d := &disk{dir: dir, files: map[string]*diskFile{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if watched(e.Name()) {
			d.files[e.Name()] = &diskFile{durable: b}
		}
	}
	d.names = maps.Clone(d.files)
	shim.mu.Lock()
	defer shim.mu.Unlock()
	shim.disks[dir] = d
	t.Cleanup(func() {
		shim.mu.Lock()
		defer shim.mu.Unlock()
		delete(shim.disks, dir)
	})
	return d
}

// watched leaves shared memory out, which nothing is kept in.
func watched(name string) bool {
	return strings.Contains(name, ".db") && !strings.HasSuffix(name, "-shm")
}

// shim is the VFS. There is one a process, the default one, which passes every
// call on.
var shim = &vfsShim{disks: map[string]*disk{}, open: map[uintptr]*handle{}, wrapped: map[uintptr]uintptr{}}

type vfsShim struct {
	once sync.Once
	mu   sync.Mutex // guards disks, open, wrapped, keep
	// disks are those watched, by folder.
	disks map[string]*disk
	open  map[uintptr]*handle
	// inner is the VFS that does the work, in memory of C; wrapped are our
	// methods by those of its files, which depend on the kind of file.
	inner   uintptr
	wrapped map[uintptr]uintptr
	keep    []any
}

// handle is an open file of a watched folder.
type handle struct {
	disk *disk
	file *diskFile
	// folder is set if the first sync also syncs the folder, as it does for
	// journals.
	folder bool
	inner  uintptr // methods
}

func (h *handle) io() *sqlite3.Tsqlite3_io_methods { return at[sqlite3.Tsqlite3_io_methods](h.inner) }

// goFunc is a Go function as SQLite calls it, cFunc the reverse.
func (s *vfsShim) goFunc(f any) uintptr {
	s.keep = append(s.keep, f) // C's memory doesn't
	return (*[2]uintptr)(unsafe.Pointer(&f))[1]
}

func cFunc[F any](p uintptr) F { return *(*F)(unsafe.Pointer(&struct{ p uintptr }{p})) }

func at[T any](p uintptr) *T { return *(**T)(unsafe.Pointer(&p)) }

type (
	openFunc     = func(tls *libc.TLS, vfs, path, file uintptr, flags int32, out uintptr) int32
	deleteFunc   = func(tls *libc.TLS, vfs, path uintptr, dirSync int32) int32
	closeFunc    = func(tls *libc.TLS, file uintptr) int32
	writeFunc    = func(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32
	truncateFunc = func(tls *libc.TLS, file uintptr, size int64) int32
	syncFunc     = func(tls *libc.TLS, file uintptr, flags int32) int32
)

func (s *vfsShim) install() {
	tls := libc.NewTLS()
	s.inner = sqlite3.Xsqlite3_vfs_find(tls, 0)
	outer := libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_vfs{})))
	v := at[sqlite3.Tsqlite3_vfs](outer)
	*v = *at[sqlite3.Tsqlite3_vfs](s.inner)
	name, err := libc.CString("powercut")
	if err != nil {
		panic(err)
	}
	v.FzName, v.FpNext = name, 0
	v.FxOpen, v.FxDelete = s.goFunc(s.xOpen), s.goFunc(s.xDelete)
	if rc := sqlite3.Xsqlite3_vfs_register(tls, outer, 1); rc != 0 {
		panic(rc)
	}
}

// find is the disk that a path is on, and the name there.
func (s *vfsShim) find(path uintptr) (*disk, string) {
	if path == 0 {
		return nil, ""
	}
	dir, name := filepath.Split(libc.GoString(path))
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.disks[filepath.Clean(dir)]; d != nil && watched(name) {
		return d, name
	}
	return nil, ""
}

func (s *vfsShim) handle(file uintptr) *handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[file]
}

func (s *vfsShim) xOpen(tls *libc.TLS, vfs, path, file uintptr, flags int32, out uintptr) int32 {
	rc := cFunc[openFunc](at[sqlite3.Tsqlite3_vfs](s.inner).FxOpen)(tls, vfs, path, file, flags, out)
	d, name := s.find(path)
	if rc != 0 || d == nil {
		return rc
	}
	h := &handle{disk: d, folder: flags&(sqlite3.SQLITE_OPEN_WAL|sqlite3.SQLITE_OPEN_MAIN_JOURNAL) != 0 && flags&sqlite3.SQLITE_OPEN_CREATE != 0}
	d.mu.Lock()
	if d.files[name] == nil {
		d.files[name] = &diskFile{}
		d.did()
	}
	h.file = d.files[name]
	d.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	methods := &at[sqlite3.Tsqlite3_file](file).FpMethods
	h.inner = *methods
	if s.wrapped[h.inner] == 0 {
		s.wrapped[h.inner] = libc.Xmalloc(tls, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_io_methods{})))
		m := at[sqlite3.Tsqlite3_io_methods](s.wrapped[h.inner])
		*m = *h.io()
		m.FxClose, m.FxWrite, m.FxTruncate, m.FxSync = s.goFunc(s.xClose), s.goFunc(s.xWrite), s.goFunc(s.xTruncate), s.goFunc(s.xSync)
	}
	*methods = s.wrapped[h.inner]
	s.open[file] = h
	return rc
}

func (s *vfsShim) xDelete(tls *libc.TLS, vfs, path uintptr, dirSync int32) int32 {
	rc := cFunc[deleteFunc](at[sqlite3.Tsqlite3_vfs](s.inner).FxDelete)(tls, vfs, path, dirSync)
	if d, name := s.find(path); rc == 0 && d != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.files, name)
		if dirSync != 0 {
			d.names = maps.Clone(d.files)
		}
		d.did()
	}
	return rc
}

func (s *vfsShim) xClose(tls *libc.TLS, file uintptr) int32 {
	h := s.handle(file)
	s.mu.Lock()
	delete(s.open, file)
	s.mu.Unlock()
	return cFunc[closeFunc](h.io().FxClose)(tls, file)
}

func (s *vfsShim) xWrite(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32 {
	h := s.handle(file)
	rc := cFunc[writeFunc](h.io().FxWrite)(tls, file, data, n, offset)
	if rc == 0 {
		h.wrote(diskWrite{at: offset, data: slices.Clone(unsafe.Slice(at[byte](data), n))})
	}
	return rc
}

func (s *vfsShim) xTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	h := s.handle(file)
	rc := cFunc[truncateFunc](h.io().FxTruncate)(tls, file, size)
	if rc == 0 {
		h.wrote(diskWrite{truncate: true, at: size})
	}
	return rc
}

func (h *handle) wrote(w diskWrite) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	w.op = h.disk.ops + 1
	h.file.pending = append(h.file.pending, w)
	h.disk.did()
}

// xSync passes the call on for the sake of the same timing, and counts what was
// written before it began.
func (s *vfsShim) xSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	h := s.handle(file)
	h.disk.mu.Lock()
	upTo := h.disk.ops
	h.disk.mu.Unlock()
	rc := cFunc[syncFunc](h.io().FxSync)(tls, file, flags)
	if rc == 0 {
		h.disk.mu.Lock()
		defer h.disk.mu.Unlock()
		h.file.sync(upTo)
		if h.folder {
			h.folder, h.disk.names = false, maps.Clone(h.disk.files)
		}
		h.disk.did()
	}
	return rc
}
