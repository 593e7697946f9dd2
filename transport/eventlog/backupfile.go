package eventlog

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"time"

	"github.com/klauspost/compress/zstd"

	"bms/domain"
)

// A backup is a zstd file, which `zstd -dc` unpacks too. Packed is
//
//	{manifest}\n          JSON, see Manifest
//	record …              one for each commit, in order
//	0x00                  a record of length 0
//	{"sha256":"…"}\n      of all bytes before the 0x00
//
// and a record is
//
//	uvarint  length of what follows
//	uvarint  version in its stream
//	4 bytes  checksum as in the log, little endian
//	columns  as appendColumns writes them
//
// The sequences are not written: they follow from the manifest's. In front
// of it all is a frame that zstd skips, by which a backup is known:
const backupMagic = "\x50\x2a\x4d\x18\x0d\x00\x00\x00BMS backup 1\n"

// backupFormat is Manifest.Format.
const backupFormat = 1

// maxManifestBytes bounds the manifest of a file to be restored.
const maxManifestBytes = 16 << 20

// ErrNotBackup is returned by Restore for a file that is no backup at all.
var ErrNotBackup = errors.New("not a backup")

// Manifest says what is in a backup.
type Manifest struct {
	// Format is the version of the file's format.
	Format    int       `json:"format"`
	CreatedAt time.Time `json:"createdAt"`
	// Head is the position of the last commit.
	Head domain.Position `json:"head"`
	// First is the sequence of the first commit; Commits is their number.
	First   uint64 `json:"first"`
	Commits uint64 `json:"commits"`
	// Epochs say where each epoch begins, offsets how far the consumer groups
	// have acknowledged.
	Epochs  []ManifestEpoch  `json:"epochs"`
	Offsets []ManifestOffset `json:"offsets,omitempty"`
	// Notes is what the caller of Backup gave, as it was.
	Notes json.RawMessage `json:"notes,omitempty"`
}

// ManifestEpoch is a row of the table epochs.
type ManifestEpoch struct {
	Epoch uint64 `json:"epoch"`
	Start uint64 `json:"start"`
}

// ManifestOffset is a row of the table offsets.
type ManifestOffset struct {
	Consumer string `json:"consumer"`
	Topic    string `json:"topic"`
	Seq      uint64 `json:"seq"`
}

type trailer struct {
	SHA256 string `json:"sha256"`
}

// backupWriter packs a backup.
type backupWriter struct {
	zip    *zstd.Encoder
	hash   hash.Hash
	buf    []byte
	header [3 * binary.MaxVarintLen64]byte
}

func newBackupWriter(w io.Writer, m Manifest) (*backupWriter, error) {
	if _, err := io.WriteString(w, backupMagic); err != nil {
		return nil, err
	}
	zip, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, err
	}
	b := &backupWriter{zip: zip, hash: sha256.New()}
	line, err := json.Marshal(m)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("manifest: %w", err), zip.Close())
	}
	b.buf = append(append(b.buf, line...), '\n')
	return b, nil
}

// add adds a row, whose columns are given as appendColumns writes them.
func (b *backupWriter) add(v *[numColumns]driver.Value, columns []byte) error {
	version, _ := v[colVersion].(int64)
	sum, _ := v[colChecksum].(int64)
	head := binary.AppendUvarint(b.header[:0], uint64(version))
	head = binary.LittleEndian.AppendUint32(head, uint32(sum))
	b.buf = binary.AppendUvarint(b.buf, uint64(len(head)+len(columns)))
	b.buf = append(append(b.buf, head...), columns...)
	if len(b.buf) >= 1<<18 {
		return b.flush()
	}
	return nil
}

func (b *backupWriter) flush() error {
	b.hash.Write(b.buf)
	_, err := b.zip.Write(b.buf)
	b.buf = b.buf[:0]
	return err
}

func (b *backupWriter) close() error {
	err := b.flush()
	if err == nil {
		_, err = fmt.Fprintf(b.zip, "\x00{\"sha256\":%q}\n", hex.EncodeToString(b.hash.Sum(nil)))
	}
	return errors.Join(err, b.zip.Close())
}

// backupReader unpacks a backup. Its errors wrap domain.ErrCorrupt for a
// damaged one.
type backupReader struct {
	manifest Manifest
	zip      *zstd.Decoder
	r        *bufio.Reader
	hash     hash.Hash
	next     uint64 // sequence
	buf      []byte
}

// newBackupReader reads the manifest. The caller closes the reader.
func newBackupReader(r io.Reader) (*backupReader, error) {
	magic := make([]byte, len(backupMagic))
	switch _, err := io.ReadFull(r, magic); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), err == nil && string(magic) != backupMagic:
		if bytes.HasPrefix(magic, []byte(backupMagic[:len(backupMagic)-2])) {
			return nil, fmt.Errorf("the backup has a format that this program doesn't know: use a newer program")
		}
		return nil, ErrNotBackup
	case err != nil:
		return nil, err
	}
	zip, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(1<<30))
	if err != nil {
		return nil, err
	}
	b := &backupReader{zip: zip, r: bufio.NewReaderSize(zip, 1<<18), hash: sha256.New()}
	if err := b.readManifest(); err != nil {
		zip.Close()
		return nil, err
	}
	return b, nil
}

func (b *backupReader) close() { b.zip.Close() }

func spoiled(format string, args ...any) error {
	return fmt.Errorf("%w: the backup is damaged: %w", domain.ErrCorrupt, fmt.Errorf(format, args...))
}

func (b *backupReader) readManifest() error {
	var line []byte
	for {
		part, err := b.r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) || len(line) > maxManifestBytes {
			return spoiled("manifest: %w", err)
		}
	}
	b.hash.Write(line)
	m := &b.manifest
	if err := json.Unmarshal(line, m); err != nil {
		return spoiled("manifest: %w", err)
	}
	last := m.First + m.Commits - 1
	switch {
	case m.Format != backupFormat:
		return spoiled("its manifest has format %d", m.Format)
	case m.First < 1 || m.Commits > math.MaxInt64 || last > math.MaxInt64 || len(m.Epochs) == 0:
		return spoiled("its manifest has %d commits from %d on in %d epochs", m.Commits, m.First, len(m.Epochs))
	}
	for i, e := range m.Epochs {
		if e.Epoch < 1 || e.Start < 1 || e.Start > last+1 || i > 0 && (e.Epoch <= m.Epochs[i-1].Epoch || e.Start < m.Epochs[i-1].Start) {
			return spoiled("its manifest has an epoch %d that begins at %d", e.Epoch, e.Start)
		}
	}
	b.next = m.First
	return nil
}

// read returns the next commit's row, valid until the next call (but strings
// and byte slices in it for ever), and io.EOF after the last one, when the
// whole file was found to be sound.
func (b *backupReader) read(v *[numColumns]driver.Value) error {
	length, err := binary.ReadUvarint(b.r)
	if err != nil {
		return spoiled("it ends before commit %d: %w", b.next, noEOF(err))
	}
	if length == 0 {
		return b.readTrailer()
	}
	if length > maxRecordBytes+1024 {
		return spoiled("commit %d takes %d bytes", b.next, length)
	}
	var head [binary.MaxVarintLen64]byte
	b.hash.Write(binary.AppendUvarint(head[:0], length))
	if uint64(cap(b.buf)) < length {
		b.buf = make([]byte, length)
	}
	b.buf = b.buf[:length]
	if _, err := io.ReadFull(b.r, b.buf); err != nil {
		return spoiled("it ends within commit %d: %w", b.next, noEOF(err))
	}
	b.hash.Write(b.buf)
	version, n := binary.Uvarint(b.buf)
	if n <= 0 || version < 1 || version > math.MaxInt64 || len(b.buf) < n+4 {
		return spoiled("commit %d has no version", b.next)
	}
	sum, columns := binary.LittleEndian.Uint32(b.buf[n:]), b.buf[n+4:]
	if got := checksum(crc32.Checksum(columns, castagnoli), version, b.next); got != sum {
		return spoiled("commit %d: checksum is %d, want %d", b.next, got, sum)
	}
	v[colSeq], v[colVersion], v[colChecksum] = int64(b.next), int64(version), int64(sum)
	if err := parseColumns(columns, v); err != nil {
		return spoiled("commit %d: %w", b.next, err)
	}
	b.next++
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (b *backupReader) readTrailer() error {
	if want := b.manifest.First + b.manifest.Commits; b.next != want {
		return spoiled("it ends before commit %d, want %d", b.next, want)
	}
	var t trailer
	line, err := b.r.ReadSlice('\n')
	if err == nil {
		err = json.Unmarshal(line, &t)
	}
	if err != nil {
		return spoiled("its end: %w", noEOF(err))
	}
	if got := hex.EncodeToString(b.hash.Sum(nil)); got != t.SHA256 {
		return spoiled("SHA-256 is %s, want %s", got, t.SHA256)
	}
	if _, err := b.r.ReadByte(); !errors.Is(err, io.EOF) {
		return spoiled("there is something behind its end")
	}
	return io.EOF
}

// parseColumns is the inverse of appendColumns.
func parseColumns(src []byte, v *[numColumns]driver.Value) error {
	for i := colStream; i < colChecksum; i++ {
		if i == colVersion {
			continue
		}
		if len(src) == 0 {
			return errDamaged
		}
		kind := src[0]
		src = src[1:]
		switch kind {
		case 0:
			v[i] = nil
		case 1:
			if len(src) < 8 {
				return errDamaged
			}
			v[i], src = int64(binary.LittleEndian.Uint64(src)), src[8:]
		case 2, 3:
			length, n := binary.Uvarint(src)
			if n <= 0 || length > uint64(len(src)-n) {
				return errDamaged
			}
			content := src[n : n+int(length)]
			if kind == 2 {
				v[i] = string(content)
			} else {
				v[i] = bytes.Clone(content)
				if length == 0 {
					v[i] = []byte{}
				}
			}
			src = src[n+int(length):]
		default:
			return errDamaged
		}
	}
	if len(src) > 0 {
		return errDamaged
	}
	return nil
}
