package httpapi

import (
	"errors"

	"bms/domain"
	"bms/projections"
)

var eventTypes = []any{
	domain.TypeInventoryUpdated, domain.TypeProductUpdated, domain.TypeTransactionCreated,
	domain.TypeTransactionStatusChanged, domain.TypeLowStockAlert, domain.TypeBranchUpdated, domain.TypeUserUpdated,
	domain.TypeSyncStatus, domain.TypeSystemNotification,
}

const (
	// scanBatch is how many commits are read at a time.
	scanBatch = 500
	// maxScan bounds how many commits one request looks through for events
	// that fit its filters.
	maxScan = 20_000
)

// EventPage is a part of the log. NextCursor, if there is more, is the
// position to go on after.
type EventPage struct {
	Items      []*domain.Event `json:"items"`
	NextCursor string          `json:"nextCursor,omitempty"`
	Pos        domain.Position `json:"pos"`
}

// events gives events of the log after a position. A filter that fits little
// ends a page early, perhaps an empty one, with nextCursor.
func events(a *api, q *query) (any, error) {
	after, branch, eventType := q.position("after"), q.params.id("branch"), q.oneOf("type", eventTypes)
	limit := q.limit(paramLimit.name, projections.MaxLimit)
	if err := q.err(); err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = projections.DefaultLimit
	}
	if branch != "" && !q.id.OfBranch(branch) {
		return nil, domain.Reject(domain.CodeBranchForbidden, "branch %q is not yours", branch)
	}
	if err := a.cfg.Log.Check(after); q.has("after") && err != nil {
		if errors.Is(err, domain.ErrTrimmed) || errors.Is(err, domain.ErrUnknownPosition) {
			return nil, domain.Invalid(domain.FieldError{Field: "after", Message: "is not a position of this log"})
		}
		return nil, err
	}
	fits := func(e *domain.Event) bool {
		return (eventType == "" || e.Type == eventType) && (branch == "" || e.BranchID == branch) && domain.MayRead(q.id, e)
	}
	return a.scan(q, after, limit, fits)
}

func (a *api) scan(q *query, after domain.Position, limit int, fits func(*domain.Event) bool) (any, error) {
	page := EventPage{Items: []*domain.Event{}, Pos: a.cfg.Log.Head()}
	// The commit of after may have more events.
	seq := after.Seq
	if seq > 0 {
		seq--
	}
	for scanned := 0; scanned < maxScan; {
		commits, err := a.cfg.Log.Read(q.ctx, seq, scanBatch)
		if err != nil {
			return nil, err
		}
		if len(commits) == 0 {
			return page, nil
		}
		for _, c := range commits {
			for i := range c.Events {
				e := &c.Events[i]
				if !e.Pos.After(after) || !fits(e) {
					continue
				}
				if len(page.Items) == limit {
					page.NextCursor = page.Items[limit-1].Pos.String()
					return page, nil
				}
				page.Items = append(page.Items, e)
			}
		}
		last := commits[len(commits)-1]
		seq = last.Position.Seq
		scanned += len(commits)
		if scanned >= maxScan {
			page.NextCursor = last.Position.String()
		}
	}
	return page, nil
}
