package projections

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"bms/domain"
)

// Errors of what is parked; test with errors.Is.
var (
	// ErrNotParked is returned for a position where nothing is parked.
	ErrNotParked = errors.New("nothing is parked there")
	// ErrParkedBehind is returned for a commit that waits behind another one
	// of its keys, which has to be dealt with first.
	ErrParkedBehind = errors.New("it waits behind an earlier one of its keys")
	// ErrStillFailing is returned by RetryParked, with the error, for a
	// commit that stays parked.
	ErrStillFailing = errors.New("it still can't be folded")
)

// Parked is a commit that a projection has set aside.
type Parked struct {
	Pos    domain.Position `json:"pos"`
	Stream string          `json:"stream"`
	// Keys are what it, and what comes after it, is kept in order by.
	Keys []string `json:"keys"`
	// Error is why it can't be folded; empty for one that waits behind
	// another with a key of its own.
	Error string `json:"error"`
	// Tries is how often it was tried.
	Tries int64 `json:"tries"`
	// At is when it was set aside or tried last.
	At string `json:"at"`
}

// Parked lists what a projection has set aside, in log order. Errors:
// ErrUnknownProjection, ErrBadCursor, ErrUnavailable.
func (s *Set) Parked(ctx context.Context, projection, cursor string, limit int) (Page[Parked], error) {
	return list(ctx, s, projection, "parked", cursor, limit,
		func(p Parked) string { return p.Pos.String() },
		func(v *snapshot, after string, limit int64, add func(Parked)) error {
			from, err := keyAfter(after, 0)
			if err != nil {
				return err
			}
			return v.query(ctx, func(r row) error {
				add(Parked{
					Pos: v.at(r.int(0)), Stream: r.text(1), Keys: strings.Split(r.text(2), "\n"),
					Error: r.text(5), Tries: r.int(4), At: time.UnixMilli(r.int(3)).UTC().Format(domain.TimestampFormat),
				})
				return nil
			}, "SELECT pos, stream, keys, at, tries, error FROM local_parked WHERE pos > ? ORDER BY pos LIMIT ?", from, limit)
		})
}

// RetryParked folds a parked commit, and then those that waited behind it.
// Errors: ErrUnknownProjection, ErrNotParked, ErrParkedBehind, ErrStillFailing,
// ErrUnavailable.
func (s *Set) RetryParked(ctx context.Context, projection string, pos domain.Position) error {
	return s.releaseParked(ctx, projection, pos, false)
}

// SkipParked lets go of a parked commit without folding it, and folds those
// that waited behind it: the read model is without that commit until it is
// rebuilt by a program that can fold it. Errors: as of RetryParked.
func (s *Set) SkipParked(ctx context.Context, projection string, pos domain.Position) error {
	return s.releaseParked(ctx, projection, pos, true)
}

func (s *Set) releaseParked(ctx context.Context, projection string, pos domain.Position, skip bool) error {
	r, err := s.runner(projection)
	if err != nil {
		return err
	}
	return r.ask(ctx, func(ctx context.Context) error { return r.release(ctx, pos, skip) })
}

// release is called on the goroutine that folds.
func (r *runner) release(ctx context.Context, pos domain.Position, skip bool) error {
	if r.served == nil || r.frozen() {
		return fmt.Errorf("%s: %w", r.name, ErrUnavailable)
	}
	if r.releasing != nil {
		defer r.releasing()()
	}
	err := r.served.release(ctx, pos, skip)
	r.progress.setParked(r.served.parking.events)
	return err
}

// Rebuild starts a rebuild of a projection: it is folded from the beginning
// beside the file that serves, which it replaces when it has caught up. Status
// tells how it goes. Errors: ErrUnknownProjection, ErrRebuilding.
func (s *Set) Rebuild(projection string) error { return s.beginJob(projection, false) }

// Verify starts a verification of a projection: it is folded twice from the
// beginning, into scratch files, and the digests are compared with that of the
// file that serves, at one position. It ends as a rebuild does, with its
// Verification. Errors: as of Rebuild.
func (s *Set) Verify(projection string) error { return s.beginJob(projection, true) }

func (s *Set) beginJob(projection string, verify bool) error {
	r, err := s.runner(projection)
	if err != nil {
		return err
	}
	if !r.rebuilds.begin(r.newJob(verify, nil)) {
		return fmt.Errorf("%s: %w", projection, ErrRebuilding)
	}
	return nil
}

// CancelRebuild ends the rebuild or verification of a projection under way,
// without effect. Errors: ErrUnknownProjection, ErrNoRebuild.
func (s *Set) CancelRebuild(projection string) error {
	r, err := s.runner(projection)
	if err != nil {
		return err
	}
	if err := r.rebuilds.stop(); err != nil {
		return fmt.Errorf("%s: %w", projection, err)
	}
	return nil
}

// NotedDigests are the digests noted of a projection, the oldest first: taken at
// round sequences, and now and then elsewhere, so that two nodes' or two days'
// can be compared. Error: ErrUnknownProjection.
func (s *Set) NotedDigests(projection string) ([]NotedDigest, error) {
	r, err := s.runner(projection)
	if err != nil {
		return nil, err
	}
	return r.notes.all(), nil
}
