package audit

import (
	"slices"
	"time"

	"bms/domain"
)

// cause is an event that an alert follows from.
type cause struct {
	due
	alert domain.LowStockAlert
	// both is set if both modes alert it.
	both bool
}

// cause judges whether an event calls for an alert; it was not folded in yet.
// The two modes differ in which causes have one, not in what it says, nor in the
// state that remains.
func (a *Audit) cause(b *branch, e *domain.Event, payload domain.Payload) {
	product, name := "", ""
	switch p := payload.(type) {
	case domain.InventoryUpdated:
		product = p.ProductID
	case domain.ProductUpdated:
		product = p.ProductID
	default:
		return
	}
	if p, known := b.state.Products[product]; known {
		name = p.Name
	}
	was := b.alerts[product]
	alert, emit, now, err := domain.DeriveAlert(domain.AlertEvery, was, name, e)
	if err != nil {
		return // its payload was decoded before
	}
	if now != was {
		b.alerts[product] = now
	}
	if !emit {
		return
	}
	_, both, _, _ := domain.DeriveAlert(domain.AlertEscalation, was, name, e) // err as above
	a.causes[e.Pos] = cause{due: due{pos: e.Pos, at: e.At}, alert: alert, both: both}
}

// alert looks at a commit of a stream of alerts.
func (a *Audit) alert(s *stream, c *domain.Commit) {
	for i := range c.Events {
		payload, err := a.payload(i)
		if err != nil {
			return
		}
		alert, ok := payload.(domain.LowStockAlert)
		if !ok || c.Events[i].BranchID != s.alerts {
			a.breach("evolve", "event %d, %s of branch %q, does not belong in stream %q", i, c.Events[i].Type, c.Events[i].BranchID, c.Stream)
			continue
		}
		a.report.Alerts++
		if want := domain.AlertCommandID(alert.CausePos); c.UserID != "" || c.CommandID != want || len(c.Events) != 1 {
			a.breach("alert", "it is command %q of user %q with %d events, want %q of none with 1", c.CommandID, c.UserID, len(c.Events), want)
		}
		if a.lost {
			continue
		}
		cause, known := a.causes[alert.CausePos]
		switch {
		case !known:
			a.breach("alert", "%s calls for no alert, or had one", alert.CausePos)
		case cause.alert != alert:
			a.breach("alert", "it says %+v, its cause %+v", alert, cause.alert)
		}
		delete(a.causes, alert.CausePos)
	}
}

func (a *Audit) finishAlerts(late time.Time) {
	var missing []cause
	for _, c := range a.causes {
		must := c.both || a.config.Alerts == domain.AlertEvery
		switch {
		case !must:
			a.report.Unalerted++
		case c.at.Before(late):
			missing = append(missing, c)
		default:
			a.report.Pending++
		}
	}
	slices.SortFunc(missing, func(x, y cause) int { return x.pos.Compare(y.pos) })
	for _, c := range missing {
		a.breachAt(c.pos, "alert", "product %s at stock %d, minimum %d, has no alert", c.alert.ProductID, c.alert.Stock, c.alert.MinStock)
	}
}
