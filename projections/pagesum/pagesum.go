// Package pagesum puts a checksum on each page of a SQLite database.
//
// SQLite has no checksums of its own and serves a flipped bit in a value. So
// each page of such a file ends with one, of its bytes and its number: it is put
// there when the page is written and compared whenever it is read, by whom ever.
// What doesn't agree is no page but an error, for which [Damaged] is true. That
// costs nothing at start and stop.
//
// It is done between SQLite and its own access to files (a VFS, see [VFS]), in
// the bytes that SQLite leaves alone at the end of each page if the file's header
// says so. The write-ahead log is not touched: its frames have checksums, which
// SQLite compares when it recovers what a killed process has left.
//
// # Concurrency properties
//
// All functions are safe for concurrent use.
package pagesum

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// Size of each page, in bytes.
	Size = 4096
	// Tail is what is reserved at the end of each page, in bytes: CRC-32C,
	// little endian, and four zeros.
	Tail = 8
	// headerSize is the most that SQLite reads of a file but whole pages.
	headerSize = 100
)

// Damaged reports whether an error of SQLite's says that a page is not as it was
// written, or that what was read is no page of this size.
func Damaged(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == sqlite3.SQLITE_IOERR_DATA
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is the checksum of the page at an offset.
func sum(page []byte, offset int64) uint32 {
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], uint64(offset))
	return crc32.Update(crc32.Checksum(at[:], castagnoli), castagnoli, page[:Size-Tail])
}

// sign puts the checksum into a page.
func sign(page []byte, offset int64) {
	tail := page[Size-Tail:]
	binary.LittleEndian.PutUint32(tail, sum(page, offset))
	clear(tail[4:])
}

// sound reports whether a page is as it was written.
func sound(page []byte, offset int64) bool {
	tail := page[Size-Tail:]
	return binary.LittleEndian.Uint64(tail) == uint64(sum(page, offset))
}

// emptyDatabase is the first page of a database in WAL mode: see "The Database
// Header" and "B-tree Pages" in SQLite's description of its file format.
func emptyDatabase() []byte {
	page := make([]byte, Size)
	copy(page, "SQLite format 3\x00")
	binary.BigEndian.PutUint16(page[16:], Size)
	page[18], page[19] = 2, 2 // written and read in WAL mode
	page[20] = Tail
	page[21], page[22], page[23] = 64, 32, 32
	binary.BigEndian.PutUint32(page[28:], 1) // pages
	binary.BigEndian.PutUint32(page[44:], 4) // schema format
	binary.BigEndian.PutUint32(page[56:], 1) // UTF-8
	page[headerSize] = 0x0d                  // a leaf without cells
	binary.BigEndian.PutUint16(page[headerSize+5:], Size-Tail)
	sign(page, 0)
	return page
}
