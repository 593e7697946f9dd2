package eventlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"bms/domain"
)

// SQLite recovers a write-ahead log up to the first frame that is not sound and
// forgets all behind it: one flipped bit undoes every later commit, and nobody
// is told. That rule is made for torn tails. So the write-ahead log is read
// before SQLite opens it, to tell a torn tail from damage.
//
// The layout is https://sqlite.org/fileformat2.html#walformat, big-endian:
//
//	header   32 bytes   magic, version, page size, checkpoint number,
//	                    salt[2], checksum[2]
//	frame    24 bytes   page number, size of the database in pages if it ends
//	                    a transaction, salt[2], checksum[2]
//	         one page
//
// A frame's checksum goes on from that of the frame before, as stored there.
// Hence frames behind a bad one can be checked, too: whether each follows the
// one before it. A frame that follows the end of a transaction was written when
// that transaction was complete and, with Fsync, on disk. So everything before
// such an end has to be sound, and if it is not, that is damage and not a torn
// tail. What else may be behind the last commit proves nothing: the frames of
// the transaction that the power cut has torn, of one that failed and was
// written over, each with at most one end and nothing that follows it, and of
// older generations, whose salts are others.
//
// The shared memory beside it (-shm) outlives the process, though not the power
// cut in all cases. Where it is of the same generation it says how many frames
// have been committed, which is only written once they are on disk; fewer sound
// ones are damage, be it that the file was cut.

const (
	walHeader      = 32
	walFrameHeader = 24
	walMagic       = 0x377f0682 // the last bit says that the checksum's words are big-endian
	walVersion     = 3007000
	walSector      = 512 // what disks write as a whole, at least
)

// walState is what a write-ahead log turns out to be; the zero value is none.
type walState struct {
	file     string
	headless bool   // the header is not sound: SQLite takes the log for empty
	kept     uint32 // the frames that SQLite recovers: up to the last sound commit
	sound    uint32 // and those before the first that is not sound
	at       int64  // where that begins; the end of the last whole frame if there is none
	overrun  bool   // and behind it a transaction follows another one's end
	// From the shared memory, zero if it is of another generation: how many
	// frames have been committed, and copied into the database or begun to be.
	committed, copied uint32
}

// damage returns an error that wraps domain.ErrCorrupt if answered commits are
// lost with what SQLite drops. It is meant for logs that sync each commit.
func (s walState) damage() error {
	const restore = "restore a backup into an empty folder; nothing was changed"
	switch {
	case s.headless:
		return fmt.Errorf("%w: %s: the header at byte 0 is damaged: %s", domain.ErrCorrupt, s.file, restore)
	case s.overrun:
		return fmt.Errorf("%w: %s: frame %d at byte %d is damaged, commits follow it: %s", domain.ErrCorrupt, s.file, s.sound+1, s.at, restore)
	case s.committed > s.kept:
		return fmt.Errorf("%w: %s: frame %d at byte %d is damaged or missing, %d frames were committed: %s",
			domain.ErrCorrupt, s.file, s.sound+1, s.at, s.committed, restore)
	}
	return nil
}

// mixed reports whether the database would be left with pages of different
// times: some were copied into it that SQLite would now drop.
func (s walState) mixed() bool { return s.headless || s.copied > s.kept }

// inspectWAL reads the write-ahead log of a database that no process writes.
func inspectWAL(database string) (s walState, err error) {
	s.file = database + "-wal"
	f, err := os.Open(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	defer func() { _ = f.Close() }() // read only
	in := bufio.NewReaderSize(f, 1<<18)
	header := make([]byte, walHeader)
	if _, err := io.ReadFull(in, header); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return s, nil // SQLite syncs the header before the first frame
	} else if err != nil {
		return s, fmt.Errorf("read %s: %w", s.file, err)
	}
	g, ok := generationOf(header)
	if !ok {
		// It is less than a sector, so it is not torn. New files may have
		// a size and no content.
		s.headless, err = anything(in, header)
	} else {
		err = s.walk(in, g)
		s.committed, s.copied = g.shared(database + "-shm")
	}
	if err != nil {
		return s, fmt.Errorf("read %s: %w", s.file, err)
	}
	return s, nil
}

// anything reports whether there is a byte that is not zero.
func anything(r io.Reader, b []byte) (bool, error) {
	for {
		for _, v := range b {
			if v != 0 {
				return true, nil
			}
		}
		n, err := r.Read(b)
		if b = b[:n]; n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return false, err
		}
	}
}

// generation is what the frames written since a write-ahead log started over
// have in common.
type generation struct {
	order binary.ByteOrder
	page  int
	salts [8]byte
	sum   walSum // of the header
}

func generationOf(header []byte) (g generation, ok bool) {
	magic, page := binary.BigEndian.Uint32(header), binary.BigEndian.Uint32(header[8:])
	g = generation{order: binary.LittleEndian, page: int(page), salts: [8]byte(header[16:])}
	if magic&1 != 0 {
		g.order = binary.BigEndian
	}
	g.sum = walSum{}.add(g.order, header[:24])
	return g, magic&^1 == walMagic && binary.BigEndian.Uint32(header[4:]) == walVersion &&
		page >= 512 && page <= 1<<16 && page&(page-1) == 0 && g.sum == storedSum(header[24:])
}

// walSum is SQLite's checksum.
type walSum [2]uint32

// add goes on over b, whose length is a multiple of 8.
func (s walSum) add(order binary.ByteOrder, b []byte) walSum {
	if order == binary.LittleEndian { // known here, it costs a fifth
		for ; len(b) >= 8; b = b[8:] {
			s[0] += binary.LittleEndian.Uint32(b) + s[1]
			s[1] += binary.LittleEndian.Uint32(b[4:]) + s[0]
		}
		return s
	}
	for ; len(b) >= 8; b = b[8:] {
		s[0] += order.Uint32(b) + s[1]
		s[1] += order.Uint32(b[4:]) + s[0]
	}
	return s
}

func storedSum(b []byte) walSum {
	return walSum{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

// walk reads the frames. Up to the first that is not sound it does as SQLite
// does; behind it, it looks for a frame that follows the end of a transaction.
func (s *walState) walk(in io.Reader, g generation) error {
	frame := make([]byte, walFrameHeader+g.page)
	s.at = walHeader
	before := g.sum // as the frame before has it stored
	// What the first bad frame's checksum should be: perhaps it is only that
	// which is damaged.
	var computed walSum
	ended := false // the frame before ends a transaction
	bad := false
	for offset := int64(walHeader); ; offset += int64(len(frame)) {
		if _, err := io.ReadFull(in, frame); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		} else if err != nil {
			return err
		}
		stored, ends := storedSum(frame[16:]), binary.BigEndian.Uint32(frame[4:]) != 0
		ours := [8]byte(frame[8:]) == g.salts && binary.BigEndian.Uint32(frame) != 0
		sum := before.add(g.order, frame[:8]).add(g.order, frame[walFrameHeader:])
		follows := ours && sum == stored
		switch {
		case !bad && follows:
			s.sound++
			if ends {
				s.kept = s.sound
			}
			s.at = offset + int64(len(frame))
		case !bad:
			bad, computed = true, sum
		default:
			if ours && !follows && offset == s.at+int64(len(frame)) {
				follows = computed.add(g.order, frame[:8]).add(g.order, frame[walFrameHeader:]) == stored
			}
			if follows && ended {
				s.overrun = true
				return nil
			}
		}
		before = stored
		// In a header that lies across two sectors, the end of one
		// transaction may have met the checksum of another.
		ended = ends && (follows || offset%walSector+walFrameHeader <= walSector)
	}
}

// The start of the shared memory, in the machine's byte order: two copies of a
// header, of which the first is written last, and how much was copied into the
// database.
const (
	shmFrames    = 16 // in the header: the last committed frame
	shmSalts     = 32
	shmSum       = 40
	shmCopied    = 96
	shmAttempted = 128
	shmSize      = 136
)

// shared reads how many frames the shared memory says were committed and
// copied; 0 if it says nothing of this generation.
func (g generation) shared(file string) (committed, copied uint32) {
	f, err := os.Open(file)
	if err != nil { // SQLite makes it anew
		return 0, 0
	}
	defer func() { _ = f.Close() }() // read only
	b := make([]byte, shmSize)
	if _, err := io.ReadFull(f, b); err != nil {
		return 0, 0
	}
	order := binary.ByteOrder(binary.BigEndian)
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		order = binary.LittleEndian
	}
	if order.Uint32(b) != walVersion || [8]byte(b[shmSalts:]) != g.salts ||
		(walSum{}).add(order, b[:shmSum]) != (walSum{order.Uint32(b[shmSum:]), order.Uint32(b[shmSum+4:])}) {
		return 0, 0
	}
	return order.Uint32(b[shmFrames:]), max(order.Uint32(b[shmCopied:]), order.Uint32(b[shmAttempted:]))
}
