package projections

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"bms/domain"
)

// Branch is a branch as GET /api/branches gives it.
type Branch struct {
	BranchID string `json:"branchId"`
	Name     string `json:"name"`
	Status   string `json:"status"`
}

// BranchesQuery selects branches, by id in ascending order.
type BranchesQuery struct {
	// Only, if not nil, restricts the list to these ids.
	Only   []string
	Cursor string
	// Limit is DefaultLimit if zero and at most MaxLimit.
	Limit int
}

// Branches lists branches that were opened. Errors: ErrBadCursor,
// ErrUnavailable.
func (s *Set) Branches(ctx context.Context, q BranchesQuery) (Page[Branch], error) {
	only := any(nil)
	if q.Only != nil {
		raw, err := json.Marshal(q.Only)
		if err != nil {
			return Page[Branch]{}, fmt.Errorf("encode branch ids: %w", err)
		}
		only = string(raw)
	}
	return list(ctx, s, Branches, "branches", q.Cursor, q.Limit,
		func(b Branch) string { return b.BranchID },
		func(v *snapshot, after string, limit int64, add func(Branch)) error {
			return v.query(ctx, func(r row) error {
				add(Branch{BranchID: r.text(0), Name: r.text(1), Status: r.text(2)})
				return nil
			}, "SELECT branch, name, status FROM branches WHERE branch > ? AND status <> '' AND (? IS NULL OR branch IN (SELECT value FROM json_each(?))) ORDER BY branch LIMIT ?",
				after, only, only, limit)
		})
}

// Branch gives one branch and the position of the answer, or ErrNotFound.
func (s *Set) Branch(ctx context.Context, branchID string) (Branch, domain.Position, error) {
	b := Branch{BranchID: branchID}
	pos, err := s.view(ctx, Branches, func(v *snapshot) error {
		found, err := v.one(ctx, func(r row) error {
			b.Name, b.Status = r.text(0), r.text(1)
			return nil
		}, "SELECT name, status FROM branches WHERE branch = ? AND status <> ''", branchID)
		if err == nil && !found {
			err = ErrNotFound
		}
		return err
	})
	return b, pos, err
}

// LoadBranch gives the write-side state of a branch's stream, with its products
// but without the rows that LoadRows gives, and the version of the last commit
// in it: 0 and a new state for a branch that isn't there, or if the projection
// is unavailable or its file damaged. The caller owns the state and reads the
// stream on from that version, which gives the same state wherever it begins.
func (s *Set) LoadBranch(ctx context.Context, stream string) (domain.State, uint64, error) {
	id, ok := strings.CutPrefix(stream, branchPrefix)
	if !ok {
		return nil, 0, fmt.Errorf("load %q: not the stream of a branch", stream)
	}
	state, version := domain.NewBranch(id), uint64(0)
	_, err := s.view(ctx, Branches, func(v *snapshot) error {
		if _, err := v.one(ctx, func(r row) error {
			state.Name, state.Status, version = r.text(0), r.text(1), uint64(r.int(2))
			return nil
		}, "SELECT name, status, version FROM branches WHERE branch = ?", id); err != nil {
			return err
		}
		return v.query(ctx, func(r row) error {
			return state.PutRow(domain.Row{Kind: domain.RowProduct, ID: r.text(0)}, []byte(r.text(1)))
		}, "SELECT id, state FROM parts WHERE branch = ? AND kind = ?", id, domain.RowProduct)
	})
	if errors.Is(err, ErrUnavailable) {
		return domain.NewBranch(id), 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("load %q: %w", stream, err)
	}
	state.Reindex()
	return state, version, nil
}

// LoadRows gives rows of a branch's state as JSON, nil for each that isn't
// there, and the version of the last commit in all of them. That is 0 if the
// projection is unavailable.
func (s *Set) LoadRows(ctx context.Context, stream string, rows []domain.Row) (states [][]byte, version uint64, err error) {
	id, ok := strings.CutPrefix(stream, branchPrefix)
	if !ok {
		return nil, 0, fmt.Errorf("load rows of %q: not the stream of a branch", stream)
	}
	states = make([][]byte, len(rows))
	_, err = s.view(ctx, Branches, func(v *snapshot) error {
		if _, err := v.one(ctx, func(r row) error {
			version = uint64(r.int(0))
			return nil
		}, "SELECT version FROM branches WHERE branch = ?", id); err != nil {
			return err
		}
		for i, want := range rows {
			if _, err := v.one(ctx, func(r row) error {
				states[i] = []byte(r.text(0))
				return nil
			}, selectPart, id, want.Kind, want.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, ErrUnavailable) {
		return states, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("load rows of %q: %w", stream, err)
	}
	return states, version, nil
}
