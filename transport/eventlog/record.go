package eventlog

import (
	"database/sql/driver"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"bms/domain"
)

// columns in the order of the table, of every insert and of every select.
const columns = "seq, stream, version, user_id, command_id, command_type, at, fingerprint, metadata, result, events, message, checksum"

const (
	colSeq = iota
	colStream
	colVersion
	colUserID
	colCommandID
	colCommandType
	colAt
	colFingerprint
	colMetadata
	colResult
	colEvents
	colMessage
	colChecksum
	numColumns
)

// maxRecordBytes bounds one commit as stored.
const maxRecordBytes = 64 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is a commit ready to be inserted: all columns but seq and checksum,
// which the writer fills in.
type record struct {
	commit  *domain.Commit
	columns [numColumns]driver.Value
	partial uint32 // checksum of the columns but version and seq
	bytes   int
	entry   indexEntry
	next    bool // the writer fills in the version, too
}

// encode makes the record of a commit. It returns an error for what could not
// be read back as it is: text that is not UTF-8, data that is not JSON, a
// version that is none. With next, the version is left to the writer.
func encode(c *domain.Commit, next bool) (*record, error) {
	if c.Stream == "" || c.Version == 0 && !next || c.Version > math.MaxInt64 {
		return nil, fmt.Errorf("commit of stream %q has version %d", c.Stream, c.Version)
	}
	if len(c.Events) > domain.MaxEventsPerCommit {
		return nil, fmt.Errorf("commit of stream %q has %d events, at most %d", c.Stream, len(c.Events), domain.MaxEventsPerCommit)
	}
	if c.Message != nil && len(c.Events) > 0 {
		return nil, fmt.Errorf("commit of stream %q has both a message and events", c.Stream)
	}
	for _, s := range [...]string{c.Stream, c.UserID, c.CommandID, c.CommandType, c.Fingerprint} {
		if !utf8.ValidString(s) {
			return nil, fmt.Errorf("commit of stream %q: %q is not UTF-8", c.Stream, s)
		}
	}
	c.At = c.At.UTC().Truncate(time.Millisecond)
	for i := range c.Events {
		c.Events[i].At = c.Events[i].At.UTC().Truncate(time.Millisecond)
	}
	r := &record{commit: c, next: next, entry: indexEntry{stream: c.Stream, version: c.Version}}
	if c.CommandID != "" {
		r.entry.command, r.entry.keyed = commandKey(c.UserID, c.CommandID), true
	}
	v := &r.columns
	v[colStream] = c.Stream
	v[colUserID], v[colCommandID], v[colCommandType] = c.UserID, c.CommandID, c.CommandType
	v[colAt], v[colFingerprint] = c.At.UnixMilli(), c.Fingerprint
	if len(c.Metadata) > 0 {
		metadata, err := appendStrings(nil, c.Metadata)
		if err != nil {
			return nil, fmt.Errorf("metadata of a commit of stream %q: %w", c.Stream, err)
		}
		v[colMetadata] = string(metadata)
	}
	if len(c.Result) > 0 {
		if !json.Valid(c.Result) {
			return nil, fmt.Errorf("result of a commit of stream %q is not JSON", c.Stream)
		}
		v[colResult] = string(c.Result)
	}
	if c.Message != nil {
		v[colMessage] = c.Message
	} else {
		events, err := appendEvents(make([]byte, 0, 512), c)
		if err != nil {
			return nil, fmt.Errorf("commit of stream %q: %w", c.Stream, err)
		}
		v[colEvents] = string(events)
	}
	buf := appendColumns(make([]byte, 0, 1024), v)
	r.partial, r.bytes = crc32.Checksum(buf, castagnoli), len(buf)
	if r.bytes > maxRecordBytes {
		return nil, fmt.Errorf("commit of stream %q takes %d bytes, at most %d", c.Stream, r.bytes, maxRecordBytes)
	}
	return r, nil
}

// place fills in what the writer decides.
func (r *record) place(seq, version uint64) {
	r.entry.seq, r.entry.version, r.entry.checksum = seq, version, int64(checksum(r.partial, version, seq))
	r.columns[colSeq], r.columns[colVersion], r.columns[colChecksum] = int64(seq), int64(version), r.entry.checksum
}

// checksum goes on with a checksum over two numbers: of a commit, version and
// seq, which the writer decides.
func checksum(partial uint32, a, b uint64) uint32 {
	var buf [16]byte
	binary.LittleEndian.PutUint64(buf[:], a)
	binary.LittleEndian.PutUint64(buf[8:], b)
	return crc32.Update(partial, castagnoli, buf[:])
}

// appendColumns appends all columns but version, seq and checksum in the form
// the checksum is taken of: a byte for the kind, then the number, or the length
// and the bytes.
func appendColumns(dst []byte, v *[numColumns]driver.Value) []byte {
	for i := colStream; i < colChecksum; i++ {
		if i == colVersion {
			continue
		}
		switch x := v[i].(type) {
		case nil:
			dst = append(dst, 0)
		case int64:
			dst = append(dst, 1)
			dst = binary.LittleEndian.AppendUint64(dst, uint64(x))
		case string:
			dst = append(dst, 2)
			dst = binary.AppendUvarint(dst, uint64(len(x)))
			dst = append(dst, x...)
		case []byte:
			dst = append(dst, 3)
			dst = binary.AppendUvarint(dst, uint64(len(x)))
			dst = append(dst, x...)
		}
	}
	return dst
}

// appendEvents appends the JSON array of a commit's events:
//
//	[{"id":"…","type":"…","v":1,"branchId":"b1","data":{…}},…]
//
// branchId is left out where there is none; time and user are the commit's,
// and are only written ("at", "userId", before data) where an event has its
// own.
func appendEvents(dst []byte, c *domain.Commit) ([]byte, error) {
	var err error
	text := func(s string) {
		var e error
		if dst, e = appendString(dst, s); e != nil {
			err = e
		}
	}
	dst = append(dst, '[')
	for i := range c.Events {
		e := &c.Events[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"id":`...)
		text(e.ID)
		dst = append(dst, `,"type":`...)
		text(e.Type)
		dst = append(dst, `,"v":`...)
		dst = strconv.AppendInt(dst, int64(e.Version), 10)
		if e.BranchID != "" {
			dst = append(dst, `,"branchId":`...)
			text(e.BranchID)
		}
		if e.UserID != c.UserID {
			dst = append(dst, `,"userId":`...)
			text(e.UserID)
		}
		if ms := e.At.UnixMilli(); ms != c.At.UnixMilli() {
			dst = append(dst, `,"at":`...)
			dst = strconv.AppendInt(dst, ms, 10)
		}
		dst = append(dst, `,"data":`...)
		if !json.Valid(e.Data) {
			return nil, fmt.Errorf("data of event %d (%s) is not JSON", i, e.Type)
		}
		dst = append(dst, e.Data...)
		dst = append(dst, '}')
	}
	return append(dst, ']'), err
}

// appendStrings appends a JSON object of strings, keys sorted.
func appendStrings(dst []byte, m map[string]string) ([]byte, error) {
	var err error
	dst = append(dst, '{')
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendString(dst, k); err != nil {
			return nil, err
		}
		dst = append(dst, ':')
		if dst, err = appendString(dst, m[k]); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

var errNotUTF8 = errors.New("text is not UTF-8")

func appendString(dst []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			if !utf8.ValidString(s) {
				return dst, errNotUTF8
			}
			b, err := json.Marshal(s)
			return append(dst, b...), err
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"'), nil
}
