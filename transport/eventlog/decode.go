package eventlog

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"bms/domain"
)

// errDamaged is the cause within domain.ErrCorrupt.
var errDamaged = errors.New("record is damaged")

// decode makes a commit of a row, without its position. It checks the row's
// checksum first; scratch is memory to do that in and is returned, perhaps
// grown.
func decode(row []driver.Value, scratch []byte) (*domain.Commit, uint64, []byte, error) {
	v := (*[numColumns]driver.Value)(row)
	seq, scratch, err := vouch(v, scratch)
	if err != nil {
		return nil, seq, scratch, err
	}
	c, err := commitOf(v)
	return c, seq, scratch, err
}

// vouch checks a row's checksum and returns what the checksum is of, in memory
// that is scratch's or took its place, and the sequence, 0 if there is none.
func vouch(v *[numColumns]driver.Value, scratch []byte) (uint64, []byte, error) {
	seq, ok := v[colSeq].(int64)
	version, ok2 := v[colVersion].(int64)
	sum, ok3 := v[colChecksum].(int64)
	if !ok || !ok2 || !ok3 {
		return 0, scratch, errDamaged
	}
	scratch = appendColumns(scratch[:0], v)
	if got := checksum(crc32.Checksum(scratch, castagnoli), uint64(version), uint64(seq)); int64(got) != sum {
		return uint64(seq), scratch, fmt.Errorf("%w: checksum is %d, want %d", errDamaged, got, sum)
	}
	return uint64(seq), scratch, nil
}

func commitOf(v *[numColumns]driver.Value) (*domain.Commit, error) {
	c := &domain.Commit{}
	var version, at int64
	ok := true
	text := func(col int, dst *string) {
		s, is := v[col].(string)
		*dst, ok = s, ok && is
	}
	number := func(col int, dst *int64) {
		n, is := v[col].(int64)
		*dst, ok = n, ok && is
	}
	text(colStream, &c.Stream)
	number(colVersion, &version)
	text(colUserID, &c.UserID)
	text(colCommandID, &c.CommandID)
	text(colCommandType, &c.CommandType)
	number(colAt, &at)
	text(colFingerprint, &c.Fingerprint)
	if !ok || version < 1 {
		return nil, errDamaged
	}
	c.Version, c.At = uint64(version), time.UnixMilli(at).UTC()
	if s, is := v[colMetadata].(string); is {
		m, err := parseStrings(s)
		if err != nil {
			return nil, fmt.Errorf("metadata: %w", err)
		}
		c.Metadata = m
	}
	if s, is := v[colResult].(string); is {
		c.Result = json.RawMessage(s)
	}
	if s, is := v[colEvents].(string); is {
		return c, parseEvents(c, s)
	}
	message, is := v[colMessage].([]byte)
	if !is {
		return nil, errDamaged
	}
	if message == nil {
		message = []byte{} // the driver gives nil for an empty blob
	}
	c.Message = message
	return c, nil
}

// scanner reads the JSON that this package itself writes: known keys in a known
// order and no white space outside of data. The checksum has vouched for the
// text, so anything else is damage.
type scanner struct {
	s   string
	pos int
	bad bool
}

// has consumes a literal if it comes next.
func (p *scanner) has(literal string) bool {
	if strings.HasPrefix(p.s[p.pos:], literal) {
		p.pos += len(literal)
		return true
	}
	return false
}

// must consumes a literal that has to come next.
func (p *scanner) must(literal string) {
	if !p.has(literal) {
		p.bad = true
	}
}

// text consumes a JSON string.
func (p *scanner) text() string {
	p.must(`"`)
	rest := p.s[p.pos:]
	end := strings.IndexByte(rest, '"')
	if end < 0 {
		p.bad = true
		return ""
	}
	if strings.IndexByte(rest[:end], '\\') < 0 {
		p.pos += end + 1
		return rest[:end]
	}
	end = quoteEnd(rest)
	var s string
	if end < 0 || json.Unmarshal([]byte(p.s[p.pos-1:p.pos+end+1]), &s) != nil {
		p.bad = true
		return ""
	}
	p.pos += end + 1
	return s
}

// quoteEnd is the index of the quote that ends a string, or -1.
func quoteEnd(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

func (p *scanner) number() int64 {
	end := p.pos
	for end < len(p.s) && (p.s[end] == '-' || p.s[end] >= '0' && p.s[end] <= '9') {
		end++
	}
	n, err := strconv.ParseInt(p.s[p.pos:end], 10, 64)
	if err != nil {
		p.bad = true
	}
	p.pos = end
	return n
}

// value skips a JSON value up to the bracket that closes what is around it and
// returns where it began and ended.
func (p *scanner) value() (from, to int) {
	from = p.pos
	for depth, i := 0, p.pos; i < len(p.s); i++ {
		switch p.s[i] {
		case '"':
			n := quoteEnd(p.s[i+1:])
			if n < 0 {
				p.bad = true
				return from, from
			}
			i += n + 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				p.pos = i
				return from, i
			}
			depth--
		}
	}
	p.bad = true
	return from, from
}

// parseEvents fills in a commit's events from what appendEvents wrote.
func parseEvents(c *domain.Commit, s string) error {
	if s == "[]" {
		return nil
	}
	bytes := []byte(s) // one copy that all Data share; the texts share s
	p := scanner{s: s}
	c.Events = make([]domain.Event, 0, 2)
	p.must("[")
	for !p.bad {
		e := domain.Event{UserID: c.UserID, At: c.At}
		p.must(`{"id":`)
		e.ID = p.text()
		p.must(`,"type":`)
		e.Type = p.text()
		p.must(`,"v":`)
		e.Version = int(p.number())
		if p.has(`,"branchId":`) {
			e.BranchID = p.text()
		}
		if p.has(`,"userId":`) {
			e.UserID = p.text()
		}
		if p.has(`,"at":`) {
			e.At = time.UnixMilli(p.number()).UTC()
		}
		p.must(`,"data":`)
		from, to := p.value()
		e.Data = bytes[from:to:to]
		c.Events = append(c.Events, e)
		p.must("}")
		if !p.has(",") {
			break
		}
	}
	p.must("]")
	if p.bad || p.pos != len(s) {
		return fmt.Errorf("%w: events at byte %d", errDamaged, p.pos)
	}
	return nil
}

// parseStrings reads what appendStrings wrote.
func parseStrings(s string) (map[string]string, error) {
	m := map[string]string{}
	p := scanner{s: s}
	p.must("{")
	for !p.bad {
		k := p.text()
		p.must(":")
		m[k] = p.text()
		if !p.has(",") {
			break
		}
	}
	p.must("}")
	if p.bad || p.pos != len(s) {
		return nil, fmt.Errorf("%w: at byte %d", errDamaged, p.pos)
	}
	return m, nil
}
