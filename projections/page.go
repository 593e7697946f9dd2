package projections

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"bms/domain"
)

// Errors of queries; test with errors.Is.
var (
	// ErrNotFound is returned for a row that does not exist at the position
	// of the answer, which comes along.
	ErrNotFound = errors.New("not in the read model")
	// ErrBadCursor is returned for a cursor that this kind of list did not
	// make.
	ErrBadCursor = errors.New("cursor is not of this list")
	// ErrUnavailable is returned while a projection has no file to answer
	// from or has stopped: WaitFor of a position it will not reach, a query
	// between the loss of a damaged file and its replacement.
	ErrUnavailable = errors.New("read model unavailable")
	// ErrUnknownProjection is returned for a name that is not one of Names.
	ErrUnknownProjection = errors.New("no such projection")
)

// Limits of lists: DefaultLimit applies when none is given, MaxLimit to all.
const (
	DefaultLimit = 50
	MaxLimit     = 500
)

// Page is a part of a list, with the position of the read model it was taken
// from. An empty NextCursor means that the list ends here. Cursors are opaque
// and stay valid for ever: they name the last row given, not a place.
type Page[T any] struct {
	Items      []T             `json:"items"`
	NextCursor string          `json:"nextCursor,omitempty"`
	Pos        domain.Position `json:"pos"`
}

// limit applies DefaultLimit and MaxLimit.
func limit(n int) int {
	switch {
	case n <= 0:
		return DefaultLimit
	case n > MaxLimit:
		return MaxLimit
	}
	return n
}

// cursor makes a cursor of a list's name and the key of its last row.
func cursor(list, key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(list + "\x00" + key))
}

// cursorKey is the key in a cursor; "" for the empty cursor.
func cursorKey(list, c string) (string, error) {
	if c == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(c)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrBadCursor, err)
	}
	of, key, ok := strings.Cut(string(raw), "\x00")
	if !ok || of != list || key == "" {
		return "", fmt.Errorf("%w: want one of %q", ErrBadCursor, list)
	}
	return key, nil
}

// endOfTime is a key after all others.
const endOfTime = int64(1<<63 - 1)

// keyAfter is the key of the position that the last row of a page is at, where
// lists are by position; none if there is no page before.
func keyAfter(after string, none int64) (int64, error) {
	if after == "" {
		return none, nil
	}
	pos, err := domain.ParsePosition(after)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrBadCursor, err)
	}
	return key(pos), nil
}

// list makes a page. read adds the rows after the one with key after, at most
// limit of them, which is one more than the page takes: it shows whether there
// is a next page.
func list[T any](ctx context.Context, s *Set, projection, name, c string, n int, keyOf func(T) string, read func(v *snapshot, after string, limit int64, add func(T)) error) (Page[T], error) {
	page := Page[T]{Items: []T{}}
	after, err := cursorKey(name, c)
	if err != nil {
		return page, err
	}
	n = limit(n)
	page.Pos, err = s.view(ctx, projection, func(v *snapshot) error {
		return read(v, after, int64(n)+1, func(item T) { page.Items = append(page.Items, item) })
	})
	if err != nil {
		return Page[T]{Items: []T{}, Pos: page.Pos}, err
	}
	if len(page.Items) > n {
		page.Items = page.Items[:n]
		page.NextCursor = cursor(name, keyOf(page.Items[n-1]))
	}
	return page, nil
}
